//! What can be told of a component from its bytes alone.
//!
//! The bytes may be anybody's. Names are read in one pass, of whatever there is. Types are
//! written out only of what the compiler accepted, which has limits that this process has not:
//! a validator makes much of little, however well it bounds the depth and size of one type.

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
    /// Whether there is more to be told of what these are.
    pub(crate) is_cut: bool,
}

/// An import or export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// Such as `wasi:io/poll@0.2.0` or `hello`.
    pub(crate) name: String,
    pub(crate) content: Content,
}

impl Anatomy {
    /// Of a component that was compiled: what this takes of another one, nothing bounds.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub(crate) fn of_compiled(bytes: &[u8]) -> Result<Self, Defect> {
        let needs = count_component(bytes)?;
        Self::with(needs, bytes).map_err(|error| malformed(&error))
    }

    /// With names alone.
    ///
    /// # Errors
    /// What is wrong with the bytes, as far as that is seen.
    pub(crate) fn of_any(bytes: &[u8]) -> Result<Self, Defect> {
        let needs = count_component(bytes)?;
        let names = Names::of(bytes).map_err(|error| malformed(&error))?;
        let item = |name: &&str| Item {
            name: (*name).to_owned(),
            content: Content::Untold,
        };
        Ok(Self {
            needs,
            imports: names.imports.iter().map(item).collect(),
            exports: names.exports.iter().map(item).collect(),
            is_cut: false,
        })
    }

    fn with(needs: ComponentNeeds, bytes: &[u8]) -> wasmparser::Result<Self> {
        // Features that the engine may lack are no reason not to look inside.
        let mut validator = Validator::new_with_features(WasmFeatures::all());
        let mut outermost = None;
        for payload in Parser::new(0).parse_all(bytes) {
            // What functions do says nothing of types.
            if let ValidPayload::End(types) = validator.payload(&payload?)? {
                outermost = Some(types);
            }
        }
        let names = Names::of(bytes)?;
        let types = outermost.as_ref().expect("what ends is parsed to its end");
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
            is_cut: describer.is_full(),
        })
    }
}

fn malformed(error: &wasmparser::Error) -> Defect {
    Defect::Malformed {
        reason: error.to_string(),
    }
}

/// Names of what the outermost component imports and exports. Nothing is validated, and no type
/// looked at: it takes as long as reading the bytes.
#[derive(Default)]
pub(crate) struct Names<'a> {
    pub(crate) imports: Vec<&'a str>,
    pub(crate) exports: Vec<&'a str>,
}

impl<'a> Names<'a> {
    /// # Errors
    /// The bytes end too early, or are no WebAssembly.
    pub(crate) fn of(bytes: &'a [u8]) -> wasmparser::Result<Self> {
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

    /// Whether one that can be loaded takes messages.
    pub(crate) fn takes_messages(&self, engine: &WasmtimeEngine) -> bool {
        engine.takes_messages(self.exports.iter().copied())
    }

    /// Whether one that can be loaded answers HTTP requests.
    pub(crate) fn answers_http(&self, engine: &WasmtimeEngine) -> bool {
        engine.answers_http(self.exports.iter().copied())
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
        let takes_messages = |bytes| Names::of(bytes).unwrap().takes_messages(&engine);
        let anatomy = Anatomy::of_compiled(wasm_fixtures::HELLO.wasm).unwrap();
        assert!(!takes_messages(wasm_fixtures::HELLO.wasm));
        assert_eq!(anatomy.imports, []);
        let hello = Item {
            name: "hello".into(),
            content: Content::Function("func() -> u32".into()),
        };
        assert_eq!(anatomy.exports, [hello]);

        let anatomy = Anatomy::of_compiled(wasm_fixtures::STORED_COUNTER.wasm).unwrap();
        assert!(takes_messages(wasm_fixtures::STORED_COUNTER.wasm));
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
        let anatomy = Anatomy::of_compiled(&bytes).unwrap();
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
                let _ = Anatomy::of_compiled(&whole[..place]);
                for change in [1, 0x40, 0xff] {
                    let mut bytes = whole.to_vec();
                    bytes[place] ^= change;
                    let _ = Anatomy::of_compiled(&bytes);
                }
            }
        }
        assert!(Anatomy::of_compiled(wasm_fixtures::TRUNCATED.wasm).is_err());
    }

    /// An instance of a component with a type of many functions has all of them, and a name is as
    /// long as somebody made it: little text says much.
    #[test]
    fn what_is_said_of_all_types_is_cut() {
        let functions: String = (0..500)
            .map(|i| {
                format!(
                    "(export \"f{i}\" (func (param \"{}\" u8)))",
                    "n".repeat(1_500)
                )
            })
            .collect();
        let imports: String = (0..10)
            .map(|i| format!("(import \"i{i}\" (instance (type $many)))"))
            .collect();
        let text = format!("(component (type $many (instance {functions})) {imports})");
        let anatomy = Anatomy::of_compiled(&wat::parse_str(text).unwrap()).unwrap();
        assert!(anatomy.is_cut);
        assert_eq!(anatomy.imports.len(), 10);
        let mut bytes = 0;
        for import in &anatomy.imports {
            if let Content::Interface { functions, .. } = &import.content {
                let functions = functions.iter();
                bytes += functions
                    .map(|(name, ty)| name.len() + ty.len())
                    .sum::<usize>();
            }
        }
        assert!((1_000_000..1_100_000).contains(&bytes), "{bytes}");
    }

    /// What no validator would take has names all the same.
    #[test]
    fn names_are_read_and_nothing_else() {
        let engine = WasmtimeEngine::new(EngineConfig::default(), HostServices::default()).unwrap();
        let text = "(component
            (import \"i\" (instance (type 99)))
            (core module (func i32.add drop))
            (export \"airssys:core/component-lifecycle@1.0.0\" (instance 99)))";
        let bytes = wat::parse_str(text).unwrap();
        assert!(Anatomy::of_compiled(&bytes).is_err());
        let names = Names::of(&bytes).unwrap();
        assert_eq!(names.imports, ["i"]);
        assert!(names.takes_messages(&engine) && !names.answers_http(&engine));
        let anatomy = Anatomy::of_any(&bytes).unwrap();
        assert_eq!(anatomy.imports[0].content, Content::Untold);
    }
}
