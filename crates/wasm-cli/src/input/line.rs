use std::str::FromStr;

use wasm_core::ComponentId;
use wasm_core::text::Quoted;

use crate::output::report::Report;

/// What can be typed, as `help` shows it.
pub(crate) const HELP: &str = "\
namespace/name/instance TEXT  send a message, wait for the reply
send ID TEXT                  send a message, wait for nothing
call ID EXPORT(ARGUMENTS)     call an export, show what it returns
ps                            list the components
ps ID                         show all that is known of one
dead                          list messages that could not be handled
redeliver NUMBER              deliver one of those once more
restart ID                    give a component a fresh start, in quarantine or not
help                          this
quit                          end, as Ctrl-D and Ctrl-C do
";

pub(super) const WORDS: [&str; 8] = [
    "send",
    "call",
    "ps",
    "dead",
    "redeliver",
    "restart",
    "help",
    "quit",
];

/// A line that was typed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Empty,
    Ask(ComponentId, Vec<u8>),
    Send(ComponentId, Vec<u8>),
    Call(ComponentId, String),
    Components,
    Component(ComponentId),
    DeadLetters,
    Redeliver(u64),
    Restart(ComponentId),
    Help,
    Quit,
}

impl Line {
    pub(crate) fn parse(line: &[u8]) -> Result<Self, Report> {
        let line = line.trim_ascii_start();
        let (word, rest) = first_word(line);
        // What is not UTF-8 is no word that is known, and no id.
        let word = String::from_utf8_lossy(word);
        match &*word {
            "" => Ok(Self::Empty),
            "send" => {
                let (to, text) = first_word(rest.trim_ascii_start());
                Ok(Self::Send(named("send ID TEXT", to)?, text.to_vec()))
            }
            "call" => {
                let usage = "call ID EXPORT(ARGUMENTS)";
                let (component, call) = first_word(rest.trim_ascii_start());
                let component = named(usage, component)?;
                let call = std::str::from_utf8(call);
                let call =
                    call.map_err(|_| Report::error(format!("`{usage}` is text in UTF-8")))?;
                Ok(Self::Call(component, call.to_owned()))
            }
            "restart" => {
                let (component, rest) = first_word(rest.trim_ascii());
                nothing_after("restart ID", rest)?;
                Ok(Self::Restart(named("restart ID", component)?))
            }
            "ps" if rest.trim_ascii().is_empty() => Ok(Self::Components),
            "ps" => {
                let (component, rest) = first_word(rest.trim_ascii());
                nothing_after("ps ID", rest)?;
                Ok(Self::Component(named("ps ID", component)?))
            }
            "dead" => nothing_after("dead", rest).map(|()| Self::DeadLetters),
            "redeliver" => Ok(Self::Redeliver(number(rest.trim_ascii())?)),
            "help" | "?" => nothing_after("help", rest).map(|()| Self::Help),
            "quit" | "exit" => nothing_after("quit", rest).map(|()| Self::Quit),
            word if word.contains('/') => Ok(Self::Ask(parse_id(word)?, rest.to_vec())),
            word => Err(unknown(word)),
        }
    }
}

/// Up to the first space or tab, and what comes after it: further ones are part of it.
fn first_word(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|byte| matches!(byte, b' ' | b'\t')) {
        Some(end) => (&text[..end], &text[end + 1..]),
        None => (text, b""),
    }
}

fn named(usage: &str, id: &[u8]) -> Result<ComponentId, Report> {
    if id.is_empty() {
        let report = Report::error(format!("the component is missing in `{usage}`"));
        return Err(report.with_help("`ID` is `namespace/name/instance`; `ps` lists them"));
    }
    parse_id(&String::from_utf8_lossy(id))
}

/// Of a dead letter.
fn number(text: &[u8]) -> Result<u64, Report> {
    let text = String::from_utf8_lossy(text);
    text.parse().map_err(|_| {
        let found = match &*text {
            "" => "nothing".to_owned(),
            found => Quoted::new(found).to_string(),
        };
        Report::error(format!(
            "`redeliver NUMBER` takes the number of a dead letter, and this is {found}"
        ))
        .with_help("`dead` lists them with their numbers")
    })
}

fn parse_id(text: &str) -> Result<ComponentId, Report> {
    ComponentId::from_str(text).map_err(|error| {
        Report::error(error.to_string())
            .with_help("`namespace/name/instance TEXT` sends TEXT to that component")
    })
}

fn nothing_after(usage: &str, rest: &[u8]) -> Result<(), Report> {
    if rest.trim_ascii().is_empty() {
        return Ok(());
    }
    Err(Report::error(format!(
        "nothing comes after `{usage}`, and this does: {}",
        Quoted::new(&String::from_utf8_lossy(rest.trim_ascii()))
    )))
}

fn unknown(word: &str) -> Report {
    let report = Report::error(format!(
        "{} is neither a component, `namespace/name/instance`, nor one of {}",
        Quoted::new(word),
        WORDS.join(", ")
    ));
    let similar = WORDS
        .iter()
        .map(|known| (strsim::damerau_levenshtein(known, word), known))
        .filter(|(distance, known)| *distance <= known.len() / 2)
        .min_by_key(|(distance, _)| *distance);
    match similar {
        Some((_, known)) => report.with_help(format!("did you mean `{known}`?")),
        None => report.with_help("`help` explains them"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo() -> ComponentId {
        "demo/echo/main".parse().unwrap()
    }

    #[test]
    fn a_line_is_a_message_or_a_word() {
        let ask = |text: &str| Line::Ask(echo(), text.into());
        for (line, expected) in [
            ("", Line::Empty),
            (" \t ", Line::Empty),
            ("demo/echo/main hello", ask("hello")),
            ("  demo/echo/main\thello", ask("hello")),
            // One space ends the id, the others are the message's.
            ("demo/echo/main  hello ", ask(" hello ")),
            ("demo/echo/main", ask("")),
            ("demo/echo/main ps", ask("ps")),
            ("send demo/echo/main a b", Line::Send(echo(), b"a b".into())),
            (
                "call demo/echo/main a = f(1) ",
                Line::Call(echo(), "a = f(1) ".to_owned()),
            ),
            ("restart  demo/echo/main ", Line::Restart(echo())),
            (" ps ", Line::Components),
            (" ps  demo/echo/main ", Line::Component(echo())),
            ("dead", Line::DeadLetters),
            ("redeliver 17 ", Line::Redeliver(17)),
            ("help", Line::Help),
            ("quit", Line::Quit),
        ] {
            let parsed = Line::parse(line.as_bytes());
            assert_eq!(
                parsed.map_err(|report| report.to_string()),
                Ok(expected),
                "{line:?}"
            );
        }
        let bytes = Line::parse(b"demo/echo/main \xff\0").unwrap();
        assert_eq!(bytes, Line::Ask(echo(), vec![0xff, 0]));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said() {
        for (line, part) in [
            ("demo/echo hello", "has 2 segments"),
            ("demo/e cho/main", "has 2 segments"),
            ("send", "the component is missing in `send ID TEXT`"),
            ("send demo x", "has 1 segment"),
            ("call", "is missing in `call ID EXPORT(ARGUMENTS)`"),
            ("call demo f()", "has 1 segment"),
            ("restart ", "is missing in `restart ID`"),
            (
                "restart demo/echo/main now",
                "nothing comes after `restart ID`",
            ),
            ("ps aux", "has 1 segment"),
            ("ps demo/echo/main now", "nothing comes after `ps ID`"),
            ("redeliver", "and this is nothing"),
            ("redeliver all", "and this is \"all\""),
            ("redeliver -1", "`dead` lists them"),
            ("redelivre 1", "did you mean `redeliver`?"),
            ("sp", "did you mean `ps`?"),
            ("hlep", "did you mean `help`?"),
            ("hello", "\"hello\" is neither a component"),
            ("what", "`help` explains them"),
        ] {
            let report = Line::parse(line.as_bytes()).unwrap_err().to_string();
            assert!(report.contains(part), "{line}: {report}");
        }
        let report = Line::parse(b"\x1b[2J\xff").unwrap_err().to_string();
        assert!(report.contains("\"\\u{1b}[2J\u{fffd}\""), "{report}");
    }

    #[test]
    fn every_word_is_explained() {
        for word in WORDS {
            assert!(HELP.lines().any(|line| line.starts_with(word)), "{word}");
        }
    }
}
