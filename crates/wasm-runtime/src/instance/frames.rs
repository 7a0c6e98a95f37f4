//! Where a guest was, in few and short names: wasmtime's backtrace has names as long as
//! the component likes.

use std::fmt::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use cpp_demangle::{DemangleOptions, ParseOptions, Symbol};
use wasmtime::{Error, WasmBacktrace};

use wasm_core::WasmFrame;

/// A longer name is not demangled but cut: those of deeply generic code reach a few KiB.
const MAX_MANGLED_BYTES: usize = 4 << 10;

/// C++'s grammar is parsed by trying, each level of nesting several times. Names that
/// people write nest less than half as deep.
const CPP_NESTING: u32 = 48;

pub(crate) fn frames(error: &Error) -> Box<[WasmFrame]> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return Box::default();
    };
    let frame = |frame: &wasmtime::FrameInfo| {
        WasmFrame::new(
            frame.module().name().map(cut),
            frame.func_name().map(demangled),
            frame.func_index(),
            frame.module_offset().map(|offset| offset as u64),
        )
    };
    backtrace.frames().iter().map(frame).collect()
}

/// The name as it stands in the source, for Rust and C++; any other name as it is.
fn demangled(name: &str) -> String {
    if name.len() > MAX_MANGLED_BYTES {
        return cut(name);
    }
    // Names are the component's, and the parsers of others.
    let demangled = catch_unwind(AssertUnwindSafe(|| rust(name).or_else(|| cpp(name))));
    demangled.ok().flatten().unwrap_or_else(|| cut(name))
}

/// Without the hashes that tell two versions of a crate apart.
fn rust(name: &str) -> Option<String> {
    let symbol = rustc_demangle::try_demangle(name).ok()?;
    let mut text = Beginning::default();
    // What a name refers back to can be printed at any length: printing ends at what is
    // kept, with the only error that there is.
    let _ = write!(text, "{symbol:#}");
    Some(text.0)
}

fn cpp(name: &str) -> Option<String> {
    let options = ParseOptions::default().recursion_limit(CPP_NESTING);
    let symbol = Symbol::new_with_options(name, &options).ok()?;
    let mut text = Beginning::default();
    let options = DemangleOptions::default().recursion_limit(CPP_NESTING);
    let printed = symbol.structured_demangle(&mut text, &options);
    (printed.is_ok() || text.is_full()).then_some(text.0)
}

fn cut(name: &str) -> String {
    name[..name.floor_char_boundary(WasmFrame::MAX_NAME_BYTES)].to_owned()
}

/// Takes the first bytes of what is printed and ends the printing there.
#[derive(Default)]
struct Beginning(String);

impl Beginning {
    fn is_full(&self) -> bool {
        // A character that does not fit any more has at most four bytes.
        self.0.len() + 4 > WasmFrame::MAX_NAME_BYTES
    }
}

impl Write for Beginning {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let left = WasmFrame::MAX_NAME_BYTES - self.0.len();
        let taken = &text[..text.floor_char_boundary(left)];
        self.0.push_str(taken);
        if taken.len() == text.len() {
            Ok(())
        } else {
            Err(fmt::Error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_source() {
        for (mangled, name) in [
            (
                "_RNCNvNtCsfIcCtt6Tiat_3std9panicking13panic_handler0B5_",
                "std::panicking::panic_handler::{closure#0}",
            ),
            (
                "_ZN4core9panicking5panic17h0123456789abcdefE",
                "core::panicking::panic",
            ),
            ("_ZNSt6vectorIiE4pushEi", "std::vector<int>::push(int)"),
            ("_Z3addii", "add(int, int)"),
            ("handle-message", "handle-message"),
            ("main.(*T).Run", "main.(*T).Run"),
            ("_R", "_R"),
            ("_Z", "_Z"),
            ("", ""),
        ] {
            assert_eq!(demangled(mangled), name);
        }
    }

    #[test]
    fn what_refers_back_to_itself_is_short() {
        // Each tuple has the one before twice: 2^40 names when printed.
        let mut rust = "_RINvC1a1fTyyE".to_owned();
        let mut at = rust.len() - "_R".len() - "TyyE".len();
        for _ in 0..40 {
            let back = format!("B{}_", in_base_62(at - 1));
            at = rust.len() - "_R".len();
            rust.push_str(&format!("T{back}{back}E"));
        }
        rust.push('E');
        // The same in C++, with what it substitutes.
        let mut cpp = "_Z1fSt4pairIiiE".to_owned();
        cpp.push_str("St4pairIS_S_E");
        for n in 0..30 {
            let back = format!("S{}_", in_base_36(n));
            cpp.push_str(&format!("St4pairI{back}{back}E"));
        }
        for name in [rust, cpp] {
            let text = demangled(&name);
            assert!(text.len() <= 256, "{} bytes: {text}", text.len());
            assert!(!text.is_empty());
        }
    }

    #[test]
    fn long_names_are_cut() {
        for name in ["é".repeat(50_000), format!("_ZN{}", "1a".repeat(50_000))] {
            assert_eq!(demangled(&name), cut(&name));
            assert_eq!(cut(&name).len(), 256);
        }
        let long = "x".repeat(3_000);
        let rust = format!("_RNvC3foo3000{long}");
        assert!(
            demangled(&rust).starts_with("foo::xxx"),
            "{}",
            demangled(&rust)
        );
        let cpp = format!("_Z3000{long}v");
        assert!(demangled(&cpp).starts_with("xxx"), "{}", demangled(&cpp));
        for name in [rust, cpp] {
            assert!(demangled(&name).len() <= 256);
        }
    }

    #[test]
    fn a_name_is_printed_up_to_what_is_kept() {
        let printed = |pieces: &[&str]| {
            let mut text = Beginning::default();
            let ends = pieces.iter().map(|piece| text.write_str(piece).is_err());
            (ends.collect::<Vec<_>>(), text.is_full(), text.0.len())
        };
        let (long, short) = ("x".repeat(252), "x".repeat(251));
        assert_eq!(printed(&[&long]), (vec![false], false, 252));
        assert_eq!(printed(&[&long, "y"]), (vec![false, false], true, 253));
        assert_eq!(printed(&[&long, "yyyy"]), (vec![false, false], true, 256));
        assert_eq!(printed(&[&long, "yyyyy"]), (vec![false, true], true, 256));
        // A character is not cut.
        assert_eq!(
            printed(&[&short, "éé", "é"]),
            (vec![false, false, true], true, 255)
        );
    }

    #[test]
    fn a_name_that_is_too_long_is_not_parsed() {
        let of_bytes = |bytes: usize| {
            let letters = bytes - "_RNvC3foo4000".len();
            format!("_RNvC3foo{letters}{}", "x".repeat(letters))
        };
        let long = of_bytes((4 << 10) + 1);
        assert_eq!(demangled(&long), long[..256]);
        assert!(demangled(&of_bytes(4 << 10)).starts_with("foo::xxx"));
    }

    #[test]
    fn a_name_that_nests_too_deeply_is_not_demangled() {
        let pointers = |depth| format!("_Z1f{}i", "P".repeat(depth));
        assert_eq!(
            demangled(&pointers(10)),
            format!("f(int{})", "*".repeat(10))
        );
        assert_eq!(demangled(&pointers(100)), pointers(100));
    }

    fn in_base_62(number: usize) -> String {
        let digit = |n: usize| {
            char::from(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[n])
        };
        if number < 62 {
            digit(number).to_string()
        } else {
            format!("{}{}", digit(number / 62), digit(number % 62))
        }
    }

    fn in_base_36(number: usize) -> String {
        let digit = |n: usize| char::from(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[n]);
        digit(number).to_string()
    }
}
