//! What a component answers, as it is printed.

use serde_json::{Value, json};

use wasm_core::text::steering_chars;

/// Text as it is, anything else in hexadecimal: what is printed must not steer the
/// terminal.
pub(crate) fn shown(reply: &[u8]) -> String {
    match std::str::from_utf8(reply) {
        Ok(text) if steering_chars(text).all(|c| matches!(c, '\t' | '\n')) => text.to_owned(),
        _ => format!("0x{}", hex(reply)),
    }
}

/// For programs: text as it is, which JSON spells out by itself, and anything else as no text
/// could be.
pub(crate) fn as_json(reply: &[u8]) -> Value {
    match std::str::from_utf8(reply) {
        Ok(text) => json!(text),
        Err(_) => json!({ "hex": hex(reply) }),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0xf])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENGLAND: &str = "\u{1f3f4}\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}";

    #[test]
    fn text_is_shown_and_everything_else_spelled_out() {
        for (reply, text) in [
            (&b""[..], ""),
            (b"hello", "hello"),
            ("zwölf\n\tzeilen".as_bytes(), "zwölf\n\tzeilen"),
            (
                "so\u{ad}ft \u{61c}\u{180e}\u{200d}".as_bytes(),
                "so\u{ad}ft \u{61c}\u{180e}\u{200d}",
            ),
            (ENGLAND.as_bytes(), ENGLAND),
            ("\u{e0041}".as_bytes(), "0xf3a08181"),
            (b"\xff\x00", "0xff00"),
            (b"\x1b[2J", "0x1b5b324a"),
            (b"a\r\n", "0x610d0a"),
            ("\u{9b}".as_bytes(), "0xc29b"),
        ] {
            assert_eq!(shown(reply), text);
        }
    }

    #[test]
    fn programs_tell_text_from_bytes() {
        for (reply, json) in [
            (&b"0x00ff"[..], json!("0x00ff")),
            (b"a\r\n\x1b", json!("a\r\n\u{1b}")),
            (b"\x00\xff", json!({"hex": "00ff"})),
        ] {
            assert_eq!(as_json(reply), json);
        }
    }
}
