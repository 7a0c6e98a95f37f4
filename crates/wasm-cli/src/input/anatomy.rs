//! What can be told of a component from its bytes alone.
//!
//! The bytes may be anybody's. wasmparser's validator is made for that and bounds
//! the depth and size of types; the tools for WIT, which would print them as well,
//! are not.

use wasmparser::types::Types;
use wasmparser::{Parser, Payload, ValidPayload, Validator, WasmFeatures};

use wasm_core::Defect;
use wasm_runtime::{ComponentNeeds, WasmtimeEngine, count_component};

use crate::input::wit::{Content, Describer};

/// A component, taken apart.
#[derive(Debug)]
pub(crate) struct Anatomy {
    /// What instantiating it takes.
    pub(crate) needs: ComponentNeeds,
    pub(crate) imports: Vec<Item>,
    pub(crate) exports: Vec<Item>,
}

/// An import or export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// Such as `wasi:io/poll@0.2.0` or `hello`.
    pub(crate) name: String,
    pub(crate) content: Content,
}

impl Anatomy {
    /// # Errors
    /// What is wrong with the bytes.
    pub(crate) fn of(bytes: &[u8]) -> Result<Self, Defect> {
        let needs = count_component(bytes)?;
        Self::with(needs, bytes).map_err(|error| Defect::Malformed {
            reason: error.to_string(),
        })
    }

    fn with(needs: ComponentNeeds, bytes: &[u8]) -> wasmparser::Result<Self> {
        let names = Names::of(bytes)?;
        // A parser says so where the end is missing.
        let Some(types) = types(bytes)? else {
            return Ok(Self {
                needs,
                imports: Vec::new(),
                exports: Vec::new(),
            });
        };
        let types = types.as_ref();
        let imports = names.imports.iter();
        let imports: Vec<_> = imports
            .filter_map(|name| Some((*name, types.component_item_for_import(name)?.ty)))
            .collect();
        let exports = names.exports.iter();
        let exports: Vec<_> = exports
            .filter_map(|name| Some((*name, types.component_item_for_export(name)?.ty)))
            .collect();
        let describer = Describer::new(types, imports.iter().chain(&exports));
        let item = |(name, ty): &(&str, _)| Item {
            name: (*name).to_owned(),
            content: describer.content(*ty),
        };
        Ok(Self {
            needs,
            imports: imports.iter().map(item).collect(),
            exports: exports.iter().map(item).collect(),
        })
    }

    /// Whether it takes messages.
    pub(crate) fn takes_messages(&self, engine: &WasmtimeEngine) -> bool {
        engine.takes_messages(self.exports.iter().map(|item| item.name.as_str()))
    }

    /// Whether it answers HTTP requests.
    pub(crate) fn answers_http(&self, engine: &WasmtimeEngine) -> bool {
        engine.answers_http(self.exports.iter().map(|item| item.name.as_str()))
    }
}

/// The types of the outermost component. What functions do takes long to look at, tells
/// nothing of them, and is for a compiler to refuse.
fn types(bytes: &[u8]) -> wasmparser::Result<Option<Types>> {
    // Features that the engine may lack are no reason not to look inside.
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let mut types = None;
    for payload in Parser::new(0).parse_all(bytes) {
        if let ValidPayload::End(known) = validator.payload(&payload?)? {
            types = Some(known);
        }
    }
    Ok(types)
}

/// Names of what the outermost component imports and exports.
#[derive(Default)]
struct Names<'a> {
    imports: Vec<&'a str>,
    exports: Vec<&'a str>,
}

impl<'a> Names<'a> {
    fn of(bytes: &'a [u8]) -> wasmparser::Result<Self> {
        let mut names = Self::default();
        let mut depth = 0_u32;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::Version { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 1 => {
                    for import in section {
                        names.imports.push(import?.name.name);
                    }
                }
                Payload::ComponentExportSection(section) if depth == 1 => {
                    for export in section {
                        names.exports.push(export?.name.name);
                    }
                }
                _ => {}
            }
        }
        Ok(names)
    }
}

/// Whether a component answers HTTP requests itself, going by the names of its exports alone;
/// whether an engine finds what it needs is known when it is loaded.
pub(crate) fn exports_handler(bytes: &[u8]) -> bool {
    let names = Names::of(bytes)
        .map(|names| names.exports)
        .unwrap_or_default();
    names
        .iter()
        .any(|name| name.starts_with("wasi:http/incoming-handler@0.2."))
}

#[cfg(test)]
mod tests {
    use wasm_core::HostServices;
    use wasm_runtime::EngineConfig;

    use super::*;

    #[test]
    fn tells_what_goes_in_and_out() {
        let engine = WasmtimeEngine::new(EngineConfig::default(), HostServices::default()).unwrap();
        let anatomy = Anatomy::of(wasm_fixtures::HELLO.wasm).unwrap();
        assert!(!anatomy.takes_messages(&engine));
        assert_eq!(anatomy.imports, []);
        let hello = Item {
            name: "hello".into(),
            content: Content::Function("func() -> u32".into()),
        };
        assert_eq!(anatomy.exports, [hello]);

        let anatomy = Anatomy::of(wasm_fixtures::STORED_COUNTER.wasm).unwrap();
        assert!(anatomy.takes_messages(&engine));
        assert_eq!(anatomy.exports.len(), 1);
        let names: Vec<&str> = anatomy.imports.iter().map(|i| i.name.as_str()).collect();
        assert!(names.contains(&"airssys:core/storage@1.0.0"), "{names:?}");
    }

    /// A name has no bound of its own, and may be used thousands of times.
    #[test]
    fn what_is_said_of_a_type_is_cut() {
        let name = "n".repeat(50_000);
        let params: String = (0..100).map(|i| format!("(param \"p{i}\" $e)")).collect();
        let text = format!(
            "(component
               (type $enum (enum \"{name}\"))
               (import \"{name}\" (type $e (eq $enum)))
               (import \"f\" (func {params})))"
        );
        let bytes = wat::parse_str(text).unwrap();
        let anatomy = Anatomy::of(&bytes).unwrap();
        for import in &anatomy.imports {
            if let Content::Function(text) | Content::Type(text) = &import.content {
                assert!((1_000..3_000).contains(&text.len()), "{}", text.len());
                assert!(text.ends_with('…'));
            }
        }
        assert_eq!(anatomy.imports.len(), 2);
    }

    #[test]
    fn damage_does_no_harm() {
        for fixture in [wasm_fixtures::ECHO, wasm_fixtures::HELLO] {
            let whole = fixture.wasm;
            for place in (8..whole.len()).step_by(7) {
                let _ = Anatomy::of(&whole[..place]);
                for change in [1, 0x40, 0xff] {
                    let mut bytes = whole.to_vec();
                    bytes[place] ^= change;
                    let _ = Anatomy::of(&bytes);
                }
            }
        }
        assert!(Anatomy::of(wasm_fixtures::TRUNCATED.wasm).is_err());
    }
}
