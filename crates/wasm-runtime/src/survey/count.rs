//! One linear pass over a component, valid or not, that takes next to no memory.

use std::collections::BTreeMap;
use std::ops::Range;

use wasmparser::{
    BinaryReader, ComponentAlias, ComponentExternalKind, ComponentImport, ComponentInstance,
    ComponentOuterAliasKind, ComponentType, ComponentTypeRef, CompositeInnerType, CoreType,
    DataKind, DataSectionReader, ElementItems, ElementKind, Encoding, Instance,
    InstanceTypeDeclaration, MemoryType, Operator, Parser, Payload, SubType, TypeRef,
};

use wasm_core::Defect;

use super::limits::*;

/// Takes no memory for what it counts, valid or not, so that a validator is not given what
/// it would take much for.
pub(crate) fn count(bytes: &[u8]) -> Result<Counted, Rejection> {
    let survey = Survey::of(bytes)?;
    let Needs {
        memory_bytes,
        table_bytes,
        core_instances,
        and_more,
        ..
    } = survey.needs;
    Ok(Counted {
        needs: ComponentNeeds {
            memory_bytes,
            table_bytes,
            core_instances,
            core_modules: survey.modules.sum(),
            and_more,
        },
        instructions: survey.instructions,
        handed: survey.handed,
    })
}

/// What one instance of a component takes from the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ComponentNeeds {
    /// Initial sizes of all memories, in bytes.
    pub memory_bytes: u64,
    /// Initial sizes of all tables, in bytes, at 8 for an element.
    pub table_bytes: u64,
    /// Instances of core modules.
    pub core_instances: u64,
    /// Core modules that the component consists of, however often they are instantiated.
    pub core_modules: u64,
    /// Whether it also instantiates what it is handed, of which nothing is known here.
    pub and_more: bool,
}

impl ComponentNeeds {
    /// All memories and tables, in bytes.
    pub fn bytes(&self) -> u64 {
        self.memory_bytes.saturating_add(self.table_bytes)
    }
}

/// What is left to say once everything is counted.
pub(crate) struct Counted {
    pub(crate) needs: ComponentNeeds,
    pub(super) instructions: Tally,
    /// Instances of what nobody knows.
    pub(super) handed: u64,
}

/// As engines count an element of a table.
const TABLE_ELEMENT_BYTES: u64 = 8;

/// What one instance takes, all that is in it included.
#[derive(Debug, Clone, Copy, Default)]
struct Needs {
    core_instances: u64,
    component_instances: u64,
    memories: u64,
    tables: u64,
    definitions: u64,
    host_bytes: u64,
    memory_bytes: u64,
    table_bytes: u64,
    /// Of what nobody knows.
    and_more: bool,
}

impl Needs {
    const MODULE: Self = Self {
        core_instances: 1,
        component_instances: 0,
        memories: 0,
        tables: 0,
        definitions: 0,
        host_bytes: 0,
        memory_bytes: 0,
        table_bytes: 0,
        and_more: false,
    };

    const COMPONENT: Self = Self {
        core_instances: 0,
        component_instances: 1,
        ..Self::MODULE
    };

    /// Components that instantiate each other twice grow without end.
    fn add(&mut self, other: Self) {
        for (sum, more) in [
            (&mut self.core_instances, other.core_instances),
            (&mut self.component_instances, other.component_instances),
            (&mut self.memories, other.memories),
            (&mut self.tables, other.tables),
            (&mut self.definitions, other.definitions),
            (&mut self.host_bytes, other.host_bytes),
            (&mut self.memory_bytes, other.memory_bytes),
            (&mut self.table_bytes, other.table_bytes),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.and_more |= other.and_more;
    }

    fn add_host_bytes(&mut self, count: u64, each: u64) {
        let bytes = count.saturating_mul(each);
        self.host_bytes = self.host_bytes.saturating_add(bytes);
    }

    fn check(&self) -> Result<(), Defect> {
        CORE_INSTANCES.check(self.core_instances)?;
        COMPONENT_INSTANCES.check(self.component_instances)?;
        MEMORIES.check(self.memories)?;
        TABLES.check(self.tables)?;
        DEFINITIONS.check(self.definitions)?;
        HOST_BYTES.check(self.host_bytes)
    }
}

/// What is being read.
enum Level {
    Module(Module),
    Component(Scope),
}

struct Module {
    needs: Needs,
    /// `None` for those that are imported.
    memory_bytes: Vec<Option<u64>>,
    /// Fields of the largest struct, which a validator goes through for each instruction that
    /// makes one with nothing in it.
    largest_struct: u64,
}

/// A component's index spaces of what can be instantiated; `None` for what it is
/// handed by another.
struct Scope {
    modules: Vec<Option<Needs>>,
    components: Vec<Option<Needs>>,
    needs: Needs,
    /// Definitions in this component itself.
    defined: u64,
}

struct Survey<'a> {
    bytes: &'a [u8],
    /// Outermost first.
    levels: Vec<Level>,
    /// Of the outermost component, once it is read.
    needs: Needs,
    definitions: Tally,
    modules: Tally,
    functions: Tally,
    types: Tally,
    table_elements: Tally,
    imports_and_exports: Tally,
    globals: Tally,
    element_segments: Tally,
    elements: Tally,
    data_segments: Tally,
    image_bytes: Tally,
    instructions: Tally,
    handed: u64,
}

impl<'a> Survey<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self, Rejection> {
        let mut survey = Self::new(bytes);
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload?;
            if let Payload::Version { .. } = payload {
                LEVELS.check(survey.levels.len() as u64)?;
            }
            survey.payload(payload)?;
        }
        Ok(survey)
    }

    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            levels: Vec::new(),
            needs: Needs::default(),
            definitions: Tally::of(&DEFINITIONS),
            modules: Tally::of(&MODULES),
            functions: Tally::of(&FUNCTIONS),
            types: Tally::of(&TYPES),
            table_elements: Tally::of(&TABLE_ELEMENTS),
            imports_and_exports: Tally::of(&IMPORTS_AND_EXPORTS),
            globals: Tally::of(&GLOBALS),
            element_segments: Tally::of(&ELEMENT_SEGMENTS),
            elements: Tally::of(&ELEMENTS),
            data_segments: Tally::of(&DATA_SEGMENTS),
            image_bytes: Tally::of(&IMAGE_BYTES).within(Density::of(
                &IMAGE_BYTES_PER_KIB,
                SPARE_IMAGE_BYTES,
                bytes.len(),
            )),
            instructions: Tally::of(&INSTRUCTIONS).within(Density::of(
                &INSTRUCTIONS_PER_KIB,
                SPARE_INSTRUCTIONS,
                bytes.len(),
            )),
            handed: 0,
        }
    }

    fn payload(&mut self, payload: Payload<'_>) -> Result<(), Rejection> {
        match payload {
            Payload::Version { encoding, .. } => self.enter(encoding)?,
            Payload::End(_) => self.leave()?,
            payload => match self.levels.last() {
                Some(Level::Module(_)) => self.module_section(payload)?,
                Some(Level::Component(_)) => self.component_section(payload)?,
                None => {}
            },
        }
        Ok(())
    }

    fn enter(&mut self, encoding: Encoding) -> Result<(), Defect> {
        self.levels.push(match encoding {
            Encoding::Module => {
                self.modules.add(1)?;
                Level::Module(Module {
                    needs: Needs::MODULE,
                    memory_bytes: Vec::new(),
                    largest_struct: 0,
                })
            }
            Encoding::Component => Level::Component(Scope {
                modules: Vec::new(),
                components: Vec::new(),
                needs: Needs::COMPONENT,
                defined: 0,
            }),
        });
        Ok(())
    }

    fn leave(&mut self) -> Result<(), Defect> {
        match (self.levels.pop(), self.levels.last_mut()) {
            (Some(Level::Module(module)), Some(Level::Component(parent))) => {
                parent.modules.push(Some(module.needs));
            }
            (Some(Level::Component(scope)), Some(Level::Component(parent))) => {
                parent.components.push(Some(scope.needs));
            }
            (Some(Level::Component(outermost)), None) => {
                outermost.needs.check()?;
                self.needs = outermost.needs;
            }
            _ => {}
        }
        Ok(())
    }

    fn module_section(&mut self, payload: Payload<'_>) -> Result<(), Rejection> {
        let Some(Level::Module(module)) = self.levels.last_mut() else {
            return Ok(());
        };
        let needs = &mut module.needs;
        match payload {
            Payload::TypeSection(types) => {
                // A group counts as one type there, however many are in it.
                for group in types.clone() {
                    let group = group?;
                    self.types.add(group.types().len() as u64)?;
                    let largest = group.types().map(fields).max().unwrap_or_default();
                    module.largest_struct = module.largest_struct.max(largest);
                }
                // Calls in and out of the module convert parameters one by one.
                let bytes = length(&types.range());
                self.instructions.add(bytes.saturating_mul(HEAVY))?;
            }
            Payload::ExportSection(exports) => {
                self.imports_and_exports.add(exports.count().into())?;
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    self.imports_and_exports.add(1)?;
                    needs.add_host_bytes(1, REFERENCE_BYTES);
                    if let TypeRef::Memory(_) = import?.ty {
                        module.memory_bytes.push(None);
                    }
                }
            }
            Payload::FunctionSection(functions) => {
                let count = functions.count().into();
                self.functions.add(count)?;
                self.instructions.add(count.saturating_mul(FUNCTION))?;
                needs.add_host_bytes(count, REFERENCE_BYTES);
            }
            Payload::TableSection(tables) => {
                needs.tables = needs.tables.saturating_add(tables.count().into());
                for table in tables {
                    let elements = table?.ty.initial;
                    TABLE_ELEMENTS.check(elements)?;
                    self.table_elements
                        .add(elements.min(LARGEST_TABLE_LAID_OUT))?;
                    let bytes = elements.saturating_mul(TABLE_ELEMENT_BYTES);
                    needs.table_bytes = needs.table_bytes.saturating_add(bytes);
                }
            }
            Payload::MemorySection(memories) => {
                needs.memories = needs.memories.saturating_add(memories.count().into());
                for memory in memories {
                    let bytes = initial_bytes(&memory?);
                    module.memory_bytes.push(Some(bytes));
                    needs.memory_bytes = needs.memory_bytes.saturating_add(bytes);
                }
            }
            Payload::GlobalSection(globals) => {
                let count = globals.count().into();
                self.globals.add(count)?;
                // Those that are not constants become a function, as elements do.
                let bytes = length(&globals.range());
                FUNCTION_INSTRUCTIONS.check(bytes)?;
                let each = EXPRESSION + module.largest_struct;
                self.instructions.add(bytes.saturating_mul(each))?;
                needs.add_host_bytes(count, VALUE_BYTES);
            }
            Payload::ElementSection(segments) => {
                self.element_segments.add(segments.count().into())?;
                let section_bytes = length(&segments.range());
                for segment in segments {
                    let segment = segment?;
                    let count = match segment.items {
                        ElementItems::Functions(items) => items.count(),
                        ElementItems::Expressions(_, items) => items.count(),
                    };
                    self.elements.add(count.into())?;
                    if let ElementKind::Passive = segment.kind {
                        needs.add_host_bytes(count.into(), VALUE_BYTES);
                    }
                }
                FUNCTION_INSTRUCTIONS.check(section_bytes)?;
                let each = 1 + module.largest_struct;
                self.instructions.add(section_bytes.saturating_mul(each))?;
            }
            Payload::DataSection(segments) => {
                let count = u64::from(segments.count());
                self.data_segments.add(count)?;
                let layout = layout(segments, &module.memory_bytes)?;
                self.image_bytes.add(layout.image_bytes)?;
                self.instructions
                    .add(layout.offset_bytes.saturating_mul(EXPRESSION))?;
                if layout.copied {
                    let instructions = count.saturating_mul(HEAVY) + layout.offset_bytes;
                    FUNCTION_INSTRUCTIONS.check(instructions)?;
                    self.instructions.add(instructions)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn component_section(&mut self, payload: Payload<'_>) -> Result<(), Rejection> {
        let outermost = self.levels.len() == 1;
        let Some((Level::Component(scope), outer)) = self.levels.split_last_mut() else {
            return Ok(());
        };
        let before = scope.defined;
        if let Payload::ComponentTypeSection(types) = &payload {
            let section = self.bytes.get(types.range()).unwrap_or_default();
            scope.define(usize::try_from(declarations(section)?).unwrap_or(usize::MAX));
        }
        self.handed += scope.section(payload, outer, outermost)?;
        // Each of them takes memory here, however seldom it is instantiated.
        self.definitions.add(scope.defined - before)?;
        Ok(())
    }
}

/// Of a struct.
fn fields(ty: &SubType) -> u64 {
    match &ty.composite_type.inner {
        CompositeInnerType::Struct(fields) => fields.fields.len() as u64,
        _ => 0,
    }
}

fn initial_bytes(memory: &MemoryType) -> u64 {
    let page_bytes = 1 << memory.page_size_log2.unwrap_or(16);
    memory.initial.saturating_mul(page_bytes)
}

/// How data gets into memory when an instance starts.
#[derive(Debug, Default, PartialEq, Eq)]
struct Layout {
    /// What may be laid out in advance.
    image_bytes: u64,
    /// A function that wasmtime writes for it may have to copy the segments.
    copied: bool,
    /// Of the instructions that say where to.
    offset_bytes: u64,
}

/// wasmtime lays data out in advance if all of it is for the module's own memories,
/// at places that are known and exist, and if either the whole is small or at least
/// half of its pages hold data.
fn layout(
    segments: DataSectionReader<'_>,
    memory_bytes: &[Option<u64>],
) -> wasmparser::Result<Layout> {
    let mut extents: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    let mut dense_bytes = 0_u64;
    let mut layout = Layout::default();
    for segment in segments {
        let segment = segment?;
        let DataKind::Active {
            memory_index,
            offset_expr,
        } = segment.kind
        else {
            continue;
        };
        layout.offset_bytes += length(&offset_expr.get_binary_reader().range());
        let mut offset = offset_expr.get_operators_reader();
        let start = match offset.read()? {
            Operator::I32Const { value } => Some(u64::from(value.cast_unsigned())),
            Operator::I64Const { value } => Some(value.cast_unsigned()),
            _ => None,
        };
        let start = start.filter(|_| offset.is_end_then_eof());
        let size = memory_bytes.get(memory_index as usize).copied().flatten();
        let (Some(start), Some(size)) = (start, size) else {
            layout.copied = true;
            continue;
        };
        let data_bytes = segment.data.len() as u64;
        let end = start.saturating_add(data_bytes);
        layout.copied |= end > size;
        let (low, high) = extents.entry(memory_index).or_insert((start, end));
        (*low, *high) = ((*low).min(start), (*high).max(end));
        // With a page that it has only begun, and a page without data for each page
        // with some.
        dense_bytes = dense_bytes.saturating_add(2 * (data_bytes + 2 * PAGE_BYTES));
    }
    if !layout.copied {
        let extents = extents.values().map(|(low, high)| high - low);
        let extent = extents.fold(0, u64::saturating_add);
        layout.copied = extent > GAPPY_IMAGE_BYTES;
        layout.image_bytes = match layout.copied {
            true => extent.min(dense_bytes),
            false => extent,
        };
    }
    Ok(layout)
}

fn length(range: &Range<usize>) -> u64 {
    range.len() as u64
}

impl Scope {
    fn section(
        &mut self,
        payload: Payload<'_>,
        outer: &[Level],
        outermost: bool,
    ) -> Result<u64, Rejection> {
        let mut handed = 0;
        match payload {
            Payload::InstanceSection(instances) => {
                for instance in instances {
                    match instance? {
                        Instance::Instantiate { module_index, args } => {
                            self.define(1 + args.len());
                            let module = known(&self.modules, module_index);
                            handed += self.instantiate(module);
                        }
                        Instance::FromExports(exports) => self.define(1 + exports.len()),
                    }
                }
            }
            Payload::ComponentInstanceSection(instances) => {
                for instance in instances {
                    match instance? {
                        ComponentInstance::Instantiate {
                            component_index,
                            args,
                        } => {
                            self.define(1 + args.len());
                            let component = known(&self.components, component_index);
                            handed += self.instantiate(component);
                        }
                        ComponentInstance::FromExports(exports) => self.define(1 + exports.len()),
                    }
                }
            }
            Payload::ComponentAliasSection(aliases) => {
                self.define(aliases.count() as usize);
                for alias in aliases {
                    self.alias(&alias?, outer);
                }
            }
            Payload::ComponentImportSection(imports) => {
                self.define(imports.count() as usize);
                // What the outermost is handed is an embedder's: the linker says whether
                // there is any, and the store counts.
                let unknown = |needs| Needs {
                    and_more: true,
                    ..needs
                };
                let module = outermost.then_some(unknown(Needs::MODULE));
                let component = outermost.then_some(unknown(Needs::COMPONENT));
                for import in imports {
                    match import?.ty {
                        ComponentTypeRef::Module(_) => self.modules.push(module),
                        ComponentTypeRef::Component(_) => self.components.push(component),
                        _ => {}
                    }
                }
            }
            // What is exported gets an index of its own.
            Payload::ComponentExportSection(exports) => {
                self.define(exports.count() as usize);
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
            Payload::ComponentCanonicalSection(functions) => {
                self.define(functions.count() as usize);
            }
            Payload::CoreTypeSection(types) => {
                for ty in types {
                    let declared = match ty? {
                        CoreType::Rec(group) => group.types().len(),
                        CoreType::Module(declarations) => declarations.len(),
                    };
                    self.define(1 + declared);
                    DEFINITIONS.check(self.defined)?;
                }
            }
            _ => {}
        }
        Ok(handed)
    }

    fn define(&mut self, count: usize) {
        self.defined += count as u64;
        self.needs.definitions = self.needs.definitions.saturating_add(count as u64);
    }

    /// How many of unknown needs.
    fn instantiate(&mut self, of: Option<Needs>) -> u64 {
        match of {
            Some(needs) => {
                self.needs.add(needs);
                0
            }
            None => {
                self.needs.and_more = true;
                1
            }
        }
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

/// Types in a section, with the declarations in them and in types within those.
///
/// Goes through them with a stack of its own: a parser has one call on the thread's for each
/// level, and there may be one for every three bytes.
fn declarations(section: &[u8]) -> Result<u64, Rejection> {
    const COMPONENT_TYPE: u8 = 0x41;
    const INSTANCE_TYPE: u8 = 0x42;
    const TYPE: u8 = 0x01;
    const IMPORT: u8 = 0x03;

    let mut reader = BinaryReader::new(section, 0);
    let mut found = 0;
    // What is left to read at each level, outermost first.
    let mut left = vec![reader.read_var_u32()?];
    while let Some(items) = left.last_mut() {
        let Some(fewer) = items.checked_sub(1) else {
            left.pop();
            continue;
        };
        *items = fewer;
        found += 1;
        let is_outermost = left.len() == 1;
        let mut ahead = reader.clone();
        let first = ahead.read_u8()?;
        // Where a declaration cannot stand, it is for a validator to say so.
        let ty = match first {
            TYPE => ahead.read_u8()?,
            first => first,
        };
        match ty {
            COMPONENT_TYPE | INSTANCE_TYPE => {
                reader = ahead;
                LEVELS.check(left.len() as u64)?;
                left.push(reader.read_var_u32()?);
            }
            IMPORT => {
                reader = ahead;
                reader.read::<ComponentImport<'_>>()?;
            }
            _ if is_outermost => {
                reader.read::<ComponentType<'_>>()?;
            }
            _ => {
                reader.read::<InstanceTypeDeclaration<'_>>()?;
            }
        }
    }
    Ok(found)
}

fn known(space: &[Option<Needs>], index: u32) -> Option<Needs> {
    space.get(index as usize).copied().flatten()
}

#[cfg(test)]
mod tests;
