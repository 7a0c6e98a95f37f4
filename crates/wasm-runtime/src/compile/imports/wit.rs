//! Types in the words of WIT: what a component wants, and what the contract says.

use std::sync::LazyLock;

use wasmtime::Engine;
use wasmtime::component::ResourceType;
use wasmtime::component::types::{ComponentFunc, ComponentItem, Type};

use wasm_core::{TIMERS_WIT, Unmet, WIT};

use super::probe::is_small;

/// Longer types are not read by anybody.
const MAX_TEXT_BYTES: usize = 600;

/// Two types are only compared if both are small: equality takes as long as the types
/// are large as trees.
const MAX_NAMED_PARTS: usize = 200;

/// Types of one interface whose names are known, because each type that is mentioned is
/// compared with them. `wasi:filesystem/types` has a dozen.
const MAX_NAMES: usize = 100;

/// The package whose interfaces [`TEXT`] describes.
const CONTRACT: &str = "airssys:core/";

/// The contract with what its minor versions added.
static TEXT: LazyLock<String> = LazyLock::new(|| [WIT, TIMERS_WIT].concat());

/// Writes types by the names that an imported interface gives them.
pub(super) struct Words<R> {
    names: Vec<(String, Type)>,
    resource: R,
}

impl<'a, R: Fn(ResourceType) -> Option<&'a str>> Words<R> {
    pub(super) fn new(engine: &Engine, import: &ComponentItem, resource: R) -> Self {
        let mut names = Vec::new();
        if let ComponentItem::ComponentInstance(interface) = import {
            let types = interface.exports(engine).filter_map(|(name, export)| {
                let ComponentItem::Type(ty) = export.ty else {
                    return None;
                };
                keyword(&ty).map(|_| (name, ty))
            });
            // Those that are too large took as long to look at.
            for (name, ty) in types.take(MAX_NAMES) {
                if is_small(&ty, MAX_NAMED_PARTS) {
                    names.push((name.to_owned(), ty));
                }
            }
        }
        Self { names, resource }
    }

    /// How a function differs from the one of the host.
    pub(super) fn mismatch(
        &self,
        name: &str,
        member: Option<&str>,
        function: &ComponentFunc,
    ) -> Unmet {
        let wanted = Signature::wanted(self, function);
        let other = |wanted, provided| Unmet::OtherType { wanted, provided };
        let Some(provided) = member.and_then(|member| Signature::of_contract(name, member)) else {
            return other(wanted.to_string(), None);
        };
        if wanted == provided {
            // Then a type of the same name is another one.
            if let Some((wanted, provided)) = self.other_definition(&wanted.to_string()) {
                return other(wanted, Some(provided));
            }
        }
        match (
            wanted.params == provided.params,
            wanted.result,
            provided.result,
        ) {
            (true, Some(wanted), Some(provided)) => other(wanted, Some(provided)),
            (_, wanted_result, provided_result) => {
                let wanted = Signature {
                    params: wanted.params,
                    result: wanted_result,
                };
                let provided = Signature {
                    params: provided.params,
                    result: provided_result,
                };
                other(wanted.to_string(), Some(provided.to_string()))
            }
        }
    }

    /// Of the types that a text names, and those that they name, the first that the
    /// contract defines otherwise.
    fn other_definition(&self, text: &str) -> Option<(String, String)> {
        let mut named: Vec<String> = words(text).map(|(word, _)| word.to_owned()).collect();
        let mut next = 0;
        while let Some(name) = named.get(next).cloned() {
            next += 1;
            let Some((_, ty)) = self.names.iter().find(|(known, _)| *known == name) else {
                continue;
            };
            let provided = definition_of_contract(&name)?;
            let mut wanted = String::new();
            self.structure(ty, &mut wanted);
            if wanted != provided {
                return Some((format!("{wanted} as {name}"), provided));
            }
            for (word, _) in words(&wanted) {
                if !named.iter().any(|known| known == word) {
                    named.push(word.to_owned());
                }
            }
        }
        None
    }

    fn write(&self, ty: &Type, text: &mut String) {
        let small = keyword(ty).is_some() && is_small(ty, MAX_NAMED_PARTS);
        let named = self.names.iter().find(|(_, named)| small && named == ty);
        match named {
            Some((name, _)) => text.push_str(name),
            None => self.structure(ty, text),
        }
    }

    fn structure(&self, ty: &Type, text: &mut String) {
        match ty {
            Type::Bool => text.push_str("bool"),
            Type::S8 => text.push_str("s8"),
            Type::U8 => text.push_str("u8"),
            Type::S16 => text.push_str("s16"),
            Type::U16 => text.push_str("u16"),
            Type::S32 => text.push_str("s32"),
            Type::U32 => text.push_str("u32"),
            Type::S64 => text.push_str("s64"),
            Type::U64 => text.push_str("u64"),
            Type::Float32 => text.push_str("f32"),
            Type::Float64 => text.push_str("f64"),
            Type::Char => text.push_str("char"),
            Type::String => text.push_str("string"),
            Type::List(list) => self.generic("list", &[Some(list.ty())], text),
            Type::Tuple(tuple) => {
                let types: Vec<_> = tuple.types().map(Some).collect();
                self.generic("tuple", &types, text);
            }
            Type::Option(option) => self.generic("option", &[Some(option.ty())], text),
            Type::Result(result) => match (result.ok(), result.err()) {
                (None, None) => text.push_str("result"),
                (ok, None) => self.generic("result", &[ok], text),
                (ok, err) => self.generic("result", &[ok, err], text),
            },
            Type::Own(resource) => text.push_str(self.resource(*resource)),
            Type::Borrow(resource) => {
                text.push_str(&format!("borrow<{}>", self.resource(*resource)));
            }
            Type::Record(record) => {
                let fields = record.fields().map(|field| (field.name, Some(field.ty)));
                self.cases("record", ": ", fields, "", text);
            }
            Type::Variant(variant) => {
                let cases = variant.cases().map(|case| (case.name, case.ty));
                self.cases("variant", "(", cases, ")", text);
            }
            Type::Enum(cases) => {
                self.cases("enum", "", cases.names().map(|name| (name, None)), "", text);
            }
            Type::Flags(flags) => {
                self.cases(
                    "flags",
                    "",
                    flags.names().map(|name| (name, None)),
                    "",
                    text,
                );
            }
            // The engine does not run what has these.
            Type::FixedLengthList(_)
            | Type::Map(_)
            | Type::Future(_)
            | Type::Stream(_)
            | Type::ErrorContext => text.push('…'),
        }
    }

    fn resource(&self, resource: ResourceType) -> &'a str {
        (self.resource)(resource).unwrap_or("resource")
    }

    /// `_` stands for a type that is not there.
    fn generic(&self, name: &str, types: &[Option<Type>], text: &mut String) {
        text.push_str(name);
        text.push('<');
        for (place, ty) in types.iter().enumerate() {
            if text.len() > MAX_TEXT_BYTES {
                text.push('…');
                break;
            }
            text.push_str(if place == 0 { "" } else { ", " });
            match ty {
                Some(ty) => self.write(ty, text),
                None => text.push('_'),
            }
        }
        text.push('>');
    }

    fn cases<'n>(
        &self,
        keyword: &str,
        open: &str,
        cases: impl Iterator<Item = (&'n str, Option<Type>)>,
        close: &str,
        text: &mut String,
    ) {
        text.push_str(keyword);
        text.push_str(" { ");
        for (place, (name, ty)) in cases.enumerate() {
            if text.len() > MAX_TEXT_BYTES {
                text.push('…');
                break;
            }
            text.push_str(if place == 0 { "" } else { ", " });
            text.push_str(name);
            if let Some(ty) = ty {
                text.push_str(open);
                self.write(&ty, text);
                text.push_str(close);
            }
        }
        text.push_str(" }");
    }
}

/// The word that begins the definition of a type that has to have a name.
fn keyword(ty: &Type) -> Option<&'static str> {
    match ty {
        Type::Record(_) => Some("record"),
        Type::Variant(_) => Some("variant"),
        Type::Enum(_) => Some("enum"),
        Type::Flags(_) => Some("flags"),
        _ => None,
    }
}

/// The type of a function, in two texts.
#[derive(Debug, PartialEq, Eq)]
struct Signature {
    /// With their parentheses.
    params: String,
    result: Option<String>,
}

impl Signature {
    fn wanted<'a, R>(words: &Words<R>, function: &ComponentFunc) -> Self
    where
        R: Fn(ResourceType) -> Option<&'a str>,
    {
        let mut params = "(".to_owned();
        for (place, (name, ty)) in function.params().enumerate() {
            if params.len() > MAX_TEXT_BYTES {
                break;
            }
            params.push_str(if place == 0 { "" } else { ", " });
            params.push_str(name);
            params.push_str(": ");
            words.write(&ty, &mut params);
        }
        params.push(')');
        let result = function.results().next().map(|ty| {
            let mut text = String::new();
            words.write(&ty, &mut text);
            text
        });
        Self { params, result }
    }

    /// As [`TEXT`] has it; `None` for what is none of its functions.
    fn of_contract(import: &str, function: &str) -> Option<Self> {
        let (interface, _) = import.strip_prefix(CONTRACT)?.split_once('@')?;
        let (_, body) = TEXT.split_once(&format!("\ninterface {interface} {{\n"))?;
        let (body, _) = body.split_once("\n}")?;
        let (_, after) = body.split_once(&format!("\n  {function}: func"))?;
        let (ty, _) = after.split_once(';')?;
        let ty = without_aliases(ty);
        let (params, result) = match ty.split_once(" -> ") {
            Some((params, result)) => (params, Some(result.to_owned())),
            None => (ty.as_str(), None),
        };
        Some(Self {
            params: params.to_owned(),
            result,
        })
    }
}

impl std::fmt::Display for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "func{}", self.params)?;
        match &self.result {
            Some(result) => write!(f, " -> {result}"),
            None => Ok(()),
        }
    }
}

/// What [`TEXT`] defines a name as, as in `enum { a, b }`.
fn definition_of_contract(name: &str) -> Option<String> {
    ["record", "variant", "enum", "flags"]
        .iter()
        .find_map(|keyword| {
            let (_, after) = TEXT.split_once(&format!("\n  {keyword} {name} {{"))?;
            let (cases, _) = after.split_once('}')?;
            let cases = without_aliases(cases.trim().trim_end_matches(','));
            Some(format!("{keyword} {{ {cases} }}"))
        })
}

/// A text of [`TEXT`] on one line, with the types that are only other names spelled out.
fn without_aliases(text: &str) -> String {
    let mut text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for definition in TEXT.lines() {
        let alias = definition.trim().strip_prefix("type ");
        let Some((name, ty)) = alias.and_then(|alias| alias.split_once(" = ")) else {
            continue;
        };
        let mut places: Vec<usize> = words(&text)
            .filter(|(word, place)| *word == name && !text[place + word.len()..].starts_with(':'))
            .map(|(_, place)| place)
            .collect();
        while let Some(place) = places.pop() {
            text.replace_range(place..place + name.len(), ty.trim_end_matches(';'));
        }
    }
    text
}

/// The names and keywords of a text, with their places.
fn words(text: &str) -> impl Iterator<Item = (&str, usize)> {
    let separator = |c: char| !(c.is_ascii_alphanumeric() || c == '-');
    text.split(separator)
        .filter(|word| !word.is_empty())
        .map(|word| (word, word.as_ptr() as usize - text.as_ptr() as usize))
}

#[cfg(test)]
mod tests {
    use wasmtime::component::Component;

    use super::*;
    use crate::compile::exports::tests::type_of;

    fn written(ty: &Type) -> String {
        let words = Words {
            names: Vec::new(),
            resource: |_| None,
        };
        let mut text = String::new();
        words.write(ty, &mut text);
        text
    }

    #[test]
    fn types_are_written_as_in_wit() {
        for (ty, text) in [
            ("bool", "bool"),
            ("s8", "s8"),
            ("u8", "u8"),
            ("s16", "s16"),
            ("u16", "u16"),
            ("s32", "s32"),
            ("u32", "u32"),
            ("s64", "s64"),
            ("u64", "u64"),
            ("f32", "f32"),
            ("f64", "f64"),
            ("char", "char"),
            ("string", "string"),
            ("(list u8)", "list<u8>"),
            ("(tuple u8 string)", "tuple<u8, string>"),
            ("(option (list u8))", "option<list<u8>>"),
            ("(result)", "result"),
            ("(result u8)", "result<u8>"),
            ("(result (error u8))", "result<_, u8>"),
            ("(result u8 (error string))", "result<u8, string>"),
            (
                "(record (field \"a\" u8) (field \"b\" string))",
                "record { a: u8, b: string }",
            ),
            (
                "(variant (case \"a\") (case \"b\" u8))",
                "variant { a, b(u8) }",
            ),
            ("(enum \"a\" \"b\")", "enum { a, b }"),
            ("(flags \"a\" \"b\")", "flags { a, b }"),
        ] {
            assert_eq!(written(&type_of(ty)), text);
        }
    }

    #[test]
    fn a_long_type_is_written_in_part() {
        let cases = |count| {
            let cases: String = (100..100 + count).map(|n| format!(" \"c{n}\"")).collect();
            written(&type_of(&format!("(enum{cases})")))
        };
        // `enum { `, four characters each, and two between them: 601 once the 100th is written.
        let longest = cases(100);
        assert!(!longest.contains('…'), "{longest}");
        let longer = cases(101);
        assert_eq!(longer, longest.replace(" }", "… }"));
        // After 99 of these there are 600, and one more is written.
        let cases: String = (101..200).map(|n| format!(" \"c{n}\"")).collect();
        let exactly = written(&type_of(&format!("(enum \"c1000\"{cases})")));
        assert!(exactly.ends_with(", c199 }"), "{exactly}");
        let elements =
            |count: usize| written(&type_of(&format!("(tuple{})", " u64".repeat(count))));
        // `tuple<`, three characters each, and two between them.
        assert!(!elements(119).contains('…'));
        assert_eq!(elements(500).matches('…').count(), 1);
        let exactly = written(&type_of(&format!("(tuple bool{})", " u64".repeat(119))));
        assert!(exactly.ends_with(", u64>"), "{exactly}");
    }

    #[test]
    fn the_words_of_a_text_have_places() {
        let found: Vec<_> = words("list<a-b>, c2").collect();
        assert_eq!(found, [("list", 0), ("a-b", 5), ("c2", 11)]);
    }

    #[test]
    fn other_names_of_the_contract_are_spelled_out() {
        // A field of that name is none of that type.
        assert_eq!(
            without_aliases("(request-id: request-id, other: request-id)"),
            "(request-id: string, other: string)"
        );
        assert_eq!(without_aliases("  u8,\n  string  "), "u8, string");
    }

    type NoResources = fn(ResourceType) -> Option<&'static str>;

    /// Those of an imported interface of these types, which may name those before them.
    fn words_of(types: &[(&str, String)]) -> Words<NoResources> {
        let exports: String = types
            .iter()
            .map(|(name, ty)| {
                format!("(type $'{name} ({ty})) (export \"{name}\" (type ${name} (eq $'{name})))")
            })
            .collect();
        let text = format!("(component (import \"i\" (instance {exports})))");
        let engine = Engine::default();
        let component = Component::new(&engine, wat::parse_str(text).unwrap()).unwrap();
        let ty = component.component_type();
        let Some((_, import)) = ty.imports(&engine).next() else {
            panic!("it imports an interface");
        };
        Words::new(&engine, &import.ty, |_| None)
    }

    fn names(types: &[(&str, String)]) -> Vec<String> {
        let words = words_of(types);
        words.names.into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn of_types_in_types_the_first_that_is_another_is_told() {
        let id = |fields: &[&str]| {
            let fields = fields
                .iter()
                .map(|field| format!("(field \"{field}\" string)"));
            format!("record {}", fields.collect::<String>())
        };
        let info = "record (field \"id\" $component-id) (field \"name\" string)
            (field \"version\" string) (field \"health\" string)";
        let other = |id: String| {
            let words = words_of(&[("component-id", id), ("component-info", info.to_owned())]);
            words.other_definition("func() -> option<component-info>")
        };
        assert_eq!(other(id(&["namespace", "name", "instance"])), None);
        assert_eq!(
            other(id(&["namespace", "name"])),
            Some((
                "record { namespace: string, name: string } as component-id".to_owned(),
                "record { namespace: string, name: string, instance: string }".to_owned()
            ))
        );
    }

    #[test]
    fn so_many_small_types_have_names() {
        let record = |fields| -> String {
            let fields = (0..fields).map(|field| format!("(field \"f{field}\" u8)"));
            format!("record {}", fields.collect::<String>())
        };
        let types = [("small", record(199)), ("large", record(200))];
        assert_eq!(names(&types), ["small"]);
        let kinds = [
            ("a", record(1)),
            ("b", "variant (case \"x\")".to_owned()),
            ("c", "enum \"x\"".to_owned()),
            ("d", "flags \"x\"".to_owned()),
            // Whatever it is called, it is written as it is.
            ("e", "list u8".to_owned()),
        ];
        assert_eq!(names(&kinds), ["a", "b", "c", "d"]);
        let words = words_of(&kinds);
        for (name, ty) in &words.names {
            let mut text = String::new();
            words.write(ty, &mut text);
            assert_eq!(&text, name);
        }
        let many: Vec<_> = (0..510).map(|number| format!("t{number}")).collect();
        let many: Vec<_> = many
            .iter()
            .map(|name| (name.as_str(), "enum \"a\"".to_owned()))
            .collect();
        assert_eq!(names(&many).len(), 100);
    }

    #[test]
    fn the_contract_is_read() {
        let function = |interface: &str, function| {
            let import = format!("airssys:core/{interface}@1.7.0");
            Signature::of_contract(&import, function).map(|found| found.to_string())
        };
        assert_eq!(
            function("storage", "exists").as_deref(),
            Some("func(key: string) -> result<bool, storage-error>")
        );
        assert_eq!(
            function("storage", "get").as_deref(),
            Some("func(key: string) -> result<option<list<u8>>, storage-error>")
        );
        assert_eq!(
            function("host-messaging", "request").as_deref(),
            Some(
                "func(target: component-id, payload: list<u8>, timeout-ms: u64) -> \
                 result<string, messaging-error>"
            )
        );
        assert_eq!(
            function("host-messaging", "cancel-request").as_deref(),
            Some("func(request-id: string) -> result<_, messaging-error>")
        );
        assert_eq!(
            function("host-services", "sleep-millis").as_deref(),
            Some("func(duration-ms: u64)")
        );
        assert_eq!(function("storage", "rename"), None);
        assert_eq!(function("clocks", "now"), None);
        assert_eq!(
            definition_of_contract("storage-usage").as_deref(),
            Some("record { used-bytes: u64, quota-bytes: u64, key-count: u64 }")
        );
        assert_eq!(
            definition_of_contract("storage-error").as_deref(),
            Some(
                "variant { not-found(string), already-exists(string), quota-exceeded, \
                 invalid-key(string), io-error(string) }"
            )
        );
    }
}
