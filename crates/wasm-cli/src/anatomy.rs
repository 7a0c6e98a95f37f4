//! What can be told of a component from its bytes alone.
//!
//! The bytes may be anybody's. wasmparser's validator is made for that and bounds
//! the depth and size of types; the tools for WIT, which would print them as well,
//! are not.

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind,
    ComponentTypeRef, Encoding, Instance, Parser, Payload, Validator, WasmFeatures,
};

use wasm_runtime::WasmtimeEngine;

use crate::wit::{Content, Describer};

/// As engines count an element of a table.
const TABLE_ELEMENT_BYTES: u64 = 8;

/// A component, taken apart.
#[derive(Debug)]
pub(crate) struct Anatomy {
    /// Core modules that it consists of.
    pub(crate) modules: usize,
    /// What instantiating it takes.
    pub(crate) needs: Needs,
    pub(crate) imports: Vec<Item>,
    pub(crate) exports: Vec<Item>,
}

/// What one instance takes from the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Initial sizes of all memories, in bytes.
    pub(crate) memory_bytes: u64,
    /// Initial sizes of all tables, in bytes.
    pub(crate) table_bytes: u64,
    /// Instances of core modules.
    pub(crate) instances: u64,
    /// It also instantiates what it is handed, of which nothing is known here.
    pub(crate) and_more: bool,
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
    /// Why the bytes are not a valid component, with the offset.
    pub(crate) fn of(bytes: &[u8]) -> wasmparser::Result<Self> {
        // Features that the engine may lack are no reason not to look inside.
        let types = Validator::new_with_features(WasmFeatures::all()).validate_all(bytes)?;
        let skeleton = Skeleton::of(bytes)?;
        let types = types.as_ref();
        let imports = skeleton.imports.iter();
        let imports: Vec<_> = imports
            .filter_map(|name| Some((*name, types.component_item_for_import(name)?.ty)))
            .collect();
        let exports = skeleton.exports.iter();
        let exports: Vec<_> = exports
            .filter_map(|name| Some((*name, types.component_item_for_export(name)?.ty)))
            .collect();
        let describer = Describer::new(types, imports.iter().chain(&exports));
        let item = |(name, ty): &(&str, _)| Item {
            name: (*name).to_owned(),
            content: describer.content(*ty),
        };
        Ok(Self {
            modules: skeleton.modules,
            needs: skeleton.needs,
            imports: imports.iter().map(item).collect(),
            exports: exports.iter().map(item).collect(),
        })
    }

    /// Whether it takes messages.
    pub(crate) fn takes_messages(&self, engine: &WasmtimeEngine) -> bool {
        engine.takes_messages(self.exports.iter().map(|item| item.name.as_str()))
    }
}

impl Needs {
    /// Memories and tables.
    pub(crate) fn bytes(&self) -> u64 {
        self.memory_bytes.saturating_add(self.table_bytes)
    }

    fn add(&mut self, other: Option<&Self>) {
        let Some(other) = other else {
            self.and_more = true;
            return;
        };
        // Components that instantiate each other twice and more grow without end.
        self.memory_bytes = self.memory_bytes.saturating_add(other.memory_bytes);
        self.table_bytes = self.table_bytes.saturating_add(other.table_bytes);
        self.instances = self.instances.saturating_add(other.instances);
        self.and_more |= other.and_more;
    }
}

/// What the sections say, without types.
#[derive(Debug, Default)]
struct Skeleton<'a> {
    modules: usize,
    needs: Needs,
    imports: Vec<&'a str>,
    exports: Vec<&'a str>,
}

/// What is being read, outermost first.
enum Level {
    Module(Needs),
    Component(Scope),
}

/// A component's index spaces of what can be instantiated; `None` for what comes
/// from outside.
#[derive(Debug, Default)]
struct Scope {
    modules: Vec<Option<Needs>>,
    components: Vec<Option<Needs>>,
    needs: Needs,
}

impl<'a> Skeleton<'a> {
    /// Reads a component that is valid.
    fn of(bytes: &'a [u8]) -> wasmparser::Result<Self> {
        let mut skeleton = Self::default();
        let mut levels: Vec<Level> = Vec::new();
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::Version { encoding, .. } => levels.push(match encoding {
                    Encoding::Module => {
                        skeleton.modules += 1;
                        Level::Module(Needs {
                            instances: 1,
                            ..Needs::default()
                        })
                    }
                    Encoding::Component => Level::Component(Scope::default()),
                }),
                Payload::End(_) => skeleton.leave(&mut levels),
                payload => skeleton.section(payload, &mut levels)?,
            }
        }
        Ok(skeleton)
    }

    fn leave(&mut self, levels: &mut Vec<Level>) {
        let left = levels.pop();
        match (left, levels.last_mut()) {
            (Some(Level::Module(needs)), Some(Level::Component(parent))) => {
                parent.modules.push(Some(needs));
            }
            (Some(Level::Component(scope)), Some(Level::Component(parent))) => {
                parent.components.push(Some(scope.needs));
            }
            (Some(Level::Component(outermost)), None) => self.needs = outermost.needs,
            _ => {}
        }
    }

    fn section(&mut self, payload: Payload<'a>, levels: &mut [Level]) -> wasmparser::Result<()> {
        let outermost = levels.len() == 1;
        let Some((level, outer)) = levels.split_last_mut() else {
            return Ok(());
        };
        match level {
            Level::Module(needs) => needs.section(payload),
            Level::Component(scope) => {
                if outermost {
                    self.names(&payload)?;
                }
                scope.section(payload, outer)
            }
        }
    }

    fn names(&mut self, payload: &Payload<'a>) -> wasmparser::Result<()> {
        match payload {
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    self.imports.push(import?.name.name);
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    self.exports.push(export?.name.name);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Needs {
    fn section(&mut self, payload: Payload<'_>) -> wasmparser::Result<()> {
        match payload {
            Payload::MemorySection(memories) => {
                for memory in memories {
                    let memory = memory?;
                    let page_bytes = 1 << memory.page_size_log2.unwrap_or(16);
                    let bytes = memory.initial.saturating_mul(page_bytes);
                    self.memory_bytes = self.memory_bytes.saturating_add(bytes);
                }
            }
            Payload::TableSection(tables) => {
                for table in tables {
                    let bytes = table?.ty.initial.saturating_mul(TABLE_ELEMENT_BYTES);
                    self.table_bytes = self.table_bytes.saturating_add(bytes);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Scope {
    fn section(&mut self, payload: Payload<'_>, outer: &[Level]) -> wasmparser::Result<()> {
        match payload {
            Payload::InstanceSection(instances) => {
                for instance in instances {
                    if let Instance::Instantiate { module_index, .. } = instance? {
                        let module = known(&self.modules, module_index);
                        self.needs.add(module.as_ref());
                    }
                }
            }
            Payload::ComponentInstanceSection(instances) => {
                for instance in instances {
                    if let ComponentInstance::Instantiate {
                        component_index, ..
                    } = instance?
                    {
                        let component = known(&self.components, component_index);
                        self.needs.add(component.as_ref());
                    }
                }
            }
            Payload::ComponentAliasSection(aliases) => {
                for alias in aliases {
                    self.alias(&alias?, outer);
                }
            }
            Payload::ComponentImportSection(imports) => {
                for import in imports {
                    match import?.ty {
                        ComponentTypeRef::Module(_) => self.modules.push(None),
                        ComponentTypeRef::Component(_) => self.components.push(None),
                        _ => {}
                    }
                }
            }
            // What is exported gets an index of its own.
            Payload::ComponentExportSection(exports) => {
                for export in exports {
                    let export = export?;
                    match export.kind {
                        ComponentExternalKind::Module => {
                            self.modules.push(known(&self.modules, export.index));
                        }
                        ComponentExternalKind::Component => {
                            self.components.push(known(&self.components, export.index));
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn alias(&mut self, alias: &ComponentAlias<'_>, outer: &[Level]) {
        match *alias {
            ComponentAlias::InstanceExport { kind, .. } => match kind {
                ComponentExternalKind::Module => self.modules.push(None),
                ComponentExternalKind::Component => self.components.push(None),
                _ => {}
            },
            ComponentAlias::Outer { kind, count, index } => {
                let scope = match count.checked_sub(1) {
                    None => Some(&*self),
                    Some(count) => match outer.iter().nth_back(count as usize) {
                        Some(Level::Component(scope)) => Some(scope),
                        _ => None,
                    },
                };
                match kind {
                    ComponentOuterAliasKind::CoreModule => {
                        let module = scope.and_then(|scope| known(&scope.modules, index));
                        self.modules.push(module);
                    }
                    ComponentOuterAliasKind::Component => {
                        let component = scope.and_then(|scope| known(&scope.components, index));
                        self.components.push(component);
                    }
                    ComponentOuterAliasKind::CoreType | ComponentOuterAliasKind::Type => {}
                }
            }
            ComponentAlias::CoreInstanceExport { .. } => {}
        }
    }
}

fn known(space: &[Option<Needs>], index: u32) -> Option<Needs> {
    space.get(index as usize).copied().flatten()
}

#[cfg(test)]
mod tests {
    use wasm_core::HostServices;
    use wasm_runtime::EngineConfig;

    use super::*;

    fn needs(text: &str) -> Needs {
        let bytes = wat::parse_str(text).unwrap();
        Anatomy::of(&bytes).unwrap().needs
    }

    fn instance(memory_bytes: u64, table_bytes: u64, instances: u64) -> Needs {
        Needs {
            memory_bytes,
            table_bytes,
            instances,
            and_more: false,
        }
    }

    #[test]
    fn a_module_counts_as_often_as_it_is_instantiated() {
        assert_eq!(needs("(component)"), Needs::default());
        let module = "(core module $m (memory 2) (table 10 funcref))";
        assert_eq!(needs(&format!("(component {module})")), Needs::default());
        let twice = format!(
            "(component {module} (core instance (instantiate $m)) (core instance (instantiate $m)))"
        );
        assert_eq!(needs(&twice), instance(4 << 16, 160, 2));
    }

    #[test]
    fn components_count_with_what_is_in_them() {
        let nested = needs(
            "(component $outer
               (core module $m (memory 1))
               (component $inner
                 (alias outer $outer $m (core module $again))
                 (core instance (instantiate $again)))
               (instance (instantiate $inner))
               (instance (instantiate $inner))
               (core instance (instantiate $m)))",
        );
        assert_eq!(nested, instance(3 << 16, 0, 3));
    }

    #[test]
    fn an_exported_module_has_an_index_of_its_own() {
        let exported = needs(
            "(component
               (core module $a (memory 1))
               (export $exported \"a\" (core module $a))
               (core module $b (memory 5))
               (core instance (instantiate $b))
               (core instance (instantiate $exported)))",
        );
        assert_eq!(exported, instance(6 << 16, 0, 2));
    }

    #[test]
    fn doubling_does_not_overflow() {
        let mut text = "(core module $m (memory 65536)) \
            (component $c0 (alias outer 1 $m (core module $m)) (core instance (instantiate $m)))"
            .to_owned();
        for i in 1..80 {
            let below = i - 1;
            text += &format!(
                "(component $c{i} (alias outer 1 $c{below} (component $c)) \
                 (instance (instantiate $c)) (instance (instantiate $c)))"
            );
        }
        let needs = needs(&format!("(component {text} (instance (instantiate $c79)))"));
        assert_eq!((needs.memory_bytes, needs.instances), (u64::MAX, u64::MAX));
    }

    #[test]
    fn what_is_handed_in_is_unknown() {
        let handed_in = needs(
            "(component
               (import \"m\" (core module $m))
               (core instance (instantiate $m)))",
        );
        assert!(handed_in.and_more);
    }

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
