//! What compiling and instantiating a component will cost the host, found before wasmtime
//! sees it: by one linear pass that counts what there is, and a second one, of what is
//! little enough to be validated, that looks at functions and types.
//!
//! No limit of a guest's applies while its component is compiled, and a compiler's
//! time and memory grow faster than its input. Every limit here has room above the
//! largest of the components that were measured: C, Rust and Go programs, QuickJS,
//! SpiderMonkey (12 to 14 MB) and a Python interpreter (19 MB).

pub(crate) mod proposals;
mod sizes;

use std::collections::BTreeMap;
use std::ops::Range;

use wasmparser::component_types::ComponentFuncTypeId;
use wasmparser::types::TypesRef;
use wasmparser::{
    BinaryReader, CanonicalFunction, ComponentAlias, ComponentExternalKind, ComponentImport,
    ComponentInstance, ComponentOuterAliasKind, ComponentType, ComponentTypeRef, CoreType,
    DataKind, DataSectionReader, ElementItems, ElementKind, Encoding, FuncToValidate,
    FuncValidatorAllocations, FunctionBody, Instance, InstanceTypeDeclaration, MemoryType,
    Operator, Parser, Payload, TypeRef, ValidPayload, Validator, ValidatorResources, WasmFeatures,
};

use wasm_core::Defect;

use self::sizes::TypeSizes;

/// What there may be how much of.
pub(crate) struct Limit {
    what: &'static str,
    most: u64,
}

impl Limit {
    const fn of(what: &'static str, most: u64) -> Self {
        Self { what, most }
    }

    /// For what is counted again while it is made.
    pub(crate) fn most(&self) -> usize {
        usize::try_from(self.most).unwrap_or(usize::MAX)
    }

    fn check(&self, found: u64) -> Result<(), Defect> {
        if found <= self.most {
            return Ok(());
        }
        Err(Defect::TooComplex {
            what: self.what,
            found,
            limit: self.most,
        })
    }
}

// Of the whole component, where one that is instantiated often counts as often.

/// Twice and more what the largest components of known toolchains have: Python has 110 of
/// these and 12 tables. Each costs host memory that no limit of the guest's own memory
/// covers.
pub(crate) const CORE_INSTANCES: Limit = Limit::of("core instances", 256);
pub(crate) const TABLES: Limit = Limit::of("tables", 64);

/// Known toolchains need two. Each reserves over 4 GiB of address space, however
/// little of it is used.
pub(crate) const MEMORIES: Limit = Limit::of("memories", 8);

/// QuickJS has 5. Composed programs have one for each part.
const COMPONENT_INSTANCES: Limit = Limit::of("component instances", 256);

/// What wasmtime goes through one by one when it flattens components: Python has
/// 3,400.
const DEFINITIONS: Limit = Limit::of("definitions in components", 50_000);

/// Of what no memory limit covers: Python and SpiderMonkey take half a MiB.
const HOST_BYTES: Limit = Limit::of("bytes of host memory for instances", 4 << 20);

// Of what is compiled, once however often it is instantiated.

/// QuickJS has 2. Each takes a parser's and a validator's state.
const LEVELS: Limit = Limit::of("levels of components in components", 32);

/// Python has 14. Each becomes an image of its own, on pages of its own.
const MODULES: Limit = Limit::of("core modules", 128);

/// Python has 13,400. Even an empty one takes about a KiB to compile.
const FUNCTIONS: Limit = Limit::of("functions", 1 << 16);

/// Python has 1,100.
const TYPES: Limit = Limit::of("types of functions", 1 << 14);

/// Python has 6,500.
const IMPORTS_AND_EXPORTS: Limit = Limit::of("imports and exports of core modules", 1 << 16);

/// Python has 880.
const GLOBALS: Limit = Limit::of("globals", 1 << 14);

/// Python has 8.
const ELEMENT_SEGMENTS: Limit = Limit::of("element segments", 1 << 10);

/// SpiderMonkey has 7,950. Those that cannot be laid out in advance are compiled,
/// one by one.
const ELEMENTS: Limit = Limit::of("elements in segments", 1 << 16);

/// SpiderMonkey has 8,000. wasmtime lays out tables in advance, gaps and all.
const TABLE_ELEMENTS: Limit = Limit::of("elements in tables", 1 << 22);

/// Go has 43,000.
const DATA_SEGMENTS: Limit = Limit::of("data segments", 1 << 17);

/// wasmtime lays out data in advance as it will be in memory, gaps and all: Python
/// has 12 MB.
const IMAGE_BYTES: Limit = Limit::of("bytes of memory images", 64 << 20);

/// SpiderMonkey has 5 million. Each takes microseconds to compile.
const INSTRUCTIONS: Limit = Limit::of("instructions", 12 << 20);

/// SpiderMonkey has 11 million; a million takes half a second.
const KEPT_VALUES: Limit = Limit::of("values kept across branches", 1 << 25);

// Of one function: all of it is in the compiler's memory at once.

/// Python has one of 167,000. Each takes up to 2.5 KiB to compile.
const FUNCTION_INSTRUCTIONS: Limit = Limit::of("instructions in one function", 1 << 18);

/// Python has one of 780; a switch of 3,457 cases, which a compiler written in Go has, is as
/// many blocks. Stacks of the compiler grow with it, and time with the square.
const FUNCTION_BLOCKS: Limit = Limit::of("blocks within each other in one function", 8_000);

/// SpiderMonkey has one of 820,000. A million takes half a second and 150 MB.
const FUNCTION_KEPT_VALUES: Limit =
    Limit::of("values kept across branches in one function", 1 << 21);

// Of types, with all that they refer to written out.

/// Python has 9,000. Each takes about a KiB while it is compiled.
const INSTANCE_ITEMS: Limit = Limit::of("items of component instances", 1 << 17);

/// A component of all interfaces of WASI has 700. Each takes up to 3 KiB while it is
/// compiled.
const EXPORTED_ITEMS: Limit = Limit::of("items of exports", 1 << 14);

/// Nobody can tell what they cost, and no toolchain makes any.
const HANDED: Limit = Limit::of("instances of what a component is handed", 0);

/// What counts as so many instructions: a call of the host, with registers to save,
/// or a check with code of its own.
const HEAVY: u64 = 10;

/// What a byte of a constant expression counts as: where it cannot be evaluated in advance,
/// each instruction becomes several.
const EXPRESSION: u64 = 4;

/// Branches so far that cost as much as a value that is kept: what a compiler does
/// for a block takes longer the more blocks there are.
const BRANCHES_PER_VALUE: u64 = 256;

/// How large an image wasmtime lays out even if it is mostly gaps.
const GAPPY_IMAGE_BYTES: u64 = 16 << 20;

/// The unit in which it looks for gaps; the host's, at its smallest.
const PAGE_BYTES: u64 = 4 << 10;

/// Elements of the largest table that it lays out.
const LARGEST_TABLE_LAID_OUT: u64 = 1 << 20;

/// In an instance as wasmtime keeps it: a global, or an element of a segment that
/// is not used up when it starts.
const VALUE_BYTES: u64 = 16;

/// A function that can be referred to, or an import: up to four pointers.
const REFERENCE_BYTES: u64 = 32;

static LIMITS: [&Limit; 25] = [
    &CORE_INSTANCES,
    &TABLES,
    &MEMORIES,
    &COMPONENT_INSTANCES,
    &DEFINITIONS,
    &HOST_BYTES,
    &LEVELS,
    &MODULES,
    &FUNCTIONS,
    &TYPES,
    &IMPORTS_AND_EXPORTS,
    &GLOBALS,
    &ELEMENT_SEGMENTS,
    &ELEMENTS,
    &TABLE_ELEMENTS,
    &DATA_SEGMENTS,
    &IMAGE_BYTES,
    &INSTRUCTIONS,
    &KEPT_VALUES,
    &FUNCTION_INSTRUCTIONS,
    &FUNCTION_BLOCKS,
    &FUNCTION_KEPT_VALUES,
    &INSTANCE_ITEMS,
    &EXPORTED_ITEMS,
    &HANDED,
];

/// The defect that another process found, by the name of the limit.
pub(crate) fn excess(what: &str, found: u64) -> Option<Defect> {
    let limit = LIMITS.iter().find(|limit| limit.what == what)?;
    limit.check(found).err()
}

/// Why a component is not compiled.
#[derive(Debug)]
pub(crate) enum Rejection {
    Invalid(wasmparser::Error),
    TooComplex(Defect),
}

impl From<wasmparser::Error> for Rejection {
    fn from(error: wasmparser::Error) -> Self {
        Self::Invalid(error)
    }
}

impl From<Defect> for Rejection {
    fn from(defect: Defect) -> Self {
        Self::TooComplex(defect)
    }
}

/// What wasmtime does not support, it has to say itself.
pub(crate) fn check(bytes: &[u8]) -> Result<(), Rejection> {
    let counted = count(bytes)?;
    let mut inspection = Inspection::new(counted.instructions);
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        if let ValidPayload::Func(function, body) = validator.payload(&payload)? {
            inspection.function(function, &body)?;
        }
        if let Some(types) = validator.types(0) {
            inspection.section(&payload, types)?;
        }
    }
    // An index that means nothing is known now to be no accident.
    HANDED.check(counted.handed)?;
    Ok(())
}

/// Takes no memory for what it counts, valid or not, so that a validator is not given what
/// it would take much for.
pub(crate) fn count(bytes: &[u8]) -> Result<Counted, Rejection> {
    let mut survey = Survey::new(bytes);
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        if let Payload::Version { .. } = payload {
            LEVELS.check(survey.levels.len() as u64)?;
        }
        survey.payload(payload)?;
    }
    Ok(Counted {
        instructions: survey.instructions,
        handed: survey.handed,
    })
}

/// What is left to say once everything is counted.
pub(crate) struct Counted {
    instructions: Tally,
    /// Instances of what nobody knows.
    handed: u64,
}

/// How much of something was found so far.
struct Tally {
    limit: &'static Limit,
    found: u64,
}

impl Tally {
    fn of(limit: &'static Limit) -> Self {
        Self { limit, found: 0 }
    }

    fn add(&mut self, more: u64) -> Result<(), Defect> {
        self.found = self.found.saturating_add(more);
        self.limit.check(self.found)
    }
}

/// What one instance takes, all that is in it included.
#[derive(Debug, Clone, Copy, Default)]
struct Needs {
    core_instances: u64,
    component_instances: u64,
    memories: u64,
    tables: u64,
    definitions: u64,
    host_bytes: u64,
}

impl Needs {
    const MODULE: Self = Self {
        core_instances: 1,
        component_instances: 0,
        memories: 0,
        tables: 0,
        definitions: 0,
        host_bytes: 0,
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
        ] {
            *sum = sum.saturating_add(more);
        }
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
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            levels: Vec::new(),
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
            image_bytes: Tally::of(&IMAGE_BYTES),
            instructions: Tally::of(&INSTRUCTIONS),
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
            (Some(Level::Component(outermost)), None) => outermost.needs.check()?,
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
                    self.types.add(group?.types().len() as u64)?;
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
                needs.add_host_bytes(count, REFERENCE_BYTES);
            }
            Payload::TableSection(tables) => {
                needs.tables = needs.tables.saturating_add(tables.count().into());
                for table in tables {
                    let laid_out = table?.ty.initial.min(LARGEST_TABLE_LAID_OUT);
                    self.table_elements.add(laid_out)?;
                }
            }
            Payload::MemorySection(memories) => {
                needs.memories = needs.memories.saturating_add(memories.count().into());
                for memory in memories {
                    module.memory_bytes.push(Some(initial_bytes(&memory?)));
                }
            }
            Payload::GlobalSection(globals) => {
                let count = globals.count().into();
                self.globals.add(count)?;
                // Those that are not constants become a function, as elements do.
                let bytes = length(&globals.range());
                FUNCTION_INSTRUCTIONS.check(bytes)?;
                self.instructions.add(bytes.saturating_mul(EXPRESSION))?;
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
                self.instructions.add(section_bytes)?;
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

/// Of what is little enough to be validated, what only a validator knows: the operands of
/// instructions, and which types are which.
struct Inspection {
    instructions: Tally,
    kept_values: Tally,
    instance_items: Tally,
    exported_items: Tally,
    sizes: TypeSizes,
    allocations: FuncValidatorAllocations,
}

impl Inspection {
    fn new(instructions: Tally) -> Self {
        Self {
            instructions,
            kept_values: Tally::of(&KEPT_VALUES),
            instance_items: Tally::of(&INSTANCE_ITEMS),
            exported_items: Tally::of(&EXPORTED_ITEMS),
            sizes: TypeSizes::default(),
            allocations: FuncValidatorAllocations::default(),
        }
    }

    /// A section that was just validated, with the types known since.
    fn section(&mut self, payload: &Payload<'_>, types: TypesRef<'_>) -> Result<(), Rejection> {
        match payload {
            // Each that was made, imported or named once more is the last of its kind so far.
            Payload::ComponentInstanceSection(section) => {
                self.instances(types, section.count())?;
            }
            Payload::ComponentImportSection(section) => {
                let mut imported = 0;
                for import in section.clone() {
                    imported += u32::from(matches!(import?.ty, ComponentTypeRef::Instance(_)));
                }
                self.instances(types, imported)?;
            }
            Payload::ComponentAliasSection(section) => {
                let mut named = 0;
                for alias in section.clone() {
                    let kind = ComponentExternalKind::Instance;
                    let is_instance = matches!(alias?,
                        ComponentAlias::InstanceExport { kind: found, .. } if found == kind);
                    named += u32::from(is_instance);
                }
                self.instances(types, named)?;
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    let item = types.component_item_for_export(export?.name.name);
                    let items = item.map_or(1, |item| self.sizes.exported(types, &item.ty));
                    self.exported_items.add(items)?;
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                let mut lifted = 0;
                for function in section.clone() {
                    match function? {
                        // An adapter converts every value in every case of its own.
                        CanonicalFunction::Lower { func_index, .. } => {
                            self.conversion(types, types.component_function_at(func_index))?;
                        }
                        CanonicalFunction::Lift { .. } => lifted += 1,
                        _ => {}
                    }
                }
                let count = types.component_function_count();
                for index in count.saturating_sub(lifted)..count {
                    self.conversion(types, types.component_function_at(index))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The latest instances.
    fn instances(&mut self, types: TypesRef<'_>, latest: u32) -> Result<(), Defect> {
        let count = types.component_instance_count();
        for index in count.saturating_sub(latest)..count {
            let instance = types.component_instance_at(index);
            self.instance_items
                .add(self.sizes.instance(types, instance))?;
        }
        Ok(())
    }

    fn conversion(
        &mut self,
        types: TypesRef<'_>,
        function: ComponentFuncTypeId,
    ) -> Result<(), Defect> {
        let values = self.sizes.function(types, function);
        self.instructions.add(values.saturating_mul(HEAVY))
    }

    fn function(
        &mut self,
        function: FuncToValidate<ValidatorResources>,
        body: &FunctionBody<'_>,
    ) -> Result<(), Rejection> {
        let mut validator = function.into_validator(std::mem::take(&mut self.allocations));
        let mut reader = body.get_binary_reader();
        validator.read_locals(&mut reader)?;
        reader.set_features(WasmFeatures::all());
        let mut cost = FunctionCost {
            // Parameters and locals; the last `end` counts the results.
            instructions: validator.len_locals().into(),
            ..FunctionCost::default()
        };
        while !reader.eof() {
            let position = reader.original_position();
            let operator = reader.peek_operator(&validator.visitor(position))?;
            let locals = u64::from(validator.len_locals());
            let operands = u64::from(validator.operand_stack_height());
            let (values, branches) = weigh(&operator, || {
                operator
                    .operator_arity(&validator.visitor(position))
                    .map_or(0, |(taken, given)| u64::from(taken) + u64::from(given))
            });
            cost.add(values, branches, locals + operands);
            reader.visit_operator(&mut validator.visitor(position))??;
            cost.blocks = cost.blocks.max(validator.control_stack_height().into());
            FUNCTION_INSTRUCTIONS.check(cost.instructions)?;
            FUNCTION_KEPT_VALUES.check(cost.kept_values)?;
        }
        reader.finish_expression(&validator.visitor(reader.original_position()))?;
        self.allocations = validator.into_allocations();
        FUNCTION_BLOCKS.check(cost.blocks)?;
        self.instructions.add(cost.instructions)?;
        self.kept_values.add(cost.kept_values)?;
        Ok(())
    }
}

/// What a compiler has to do for one function.
#[derive(Default)]
struct FunctionCost {
    instructions: u64,
    branches: u64,
    /// The most within each other.
    blocks: u64,
    /// For each branch and each place where branches meet, the values that may still
    /// be needed: locals and operands.
    kept_values: u64,
}

impl FunctionCost {
    fn add(&mut self, instructions: u64, branches: u64, values: u64) {
        self.instructions += instructions;
        let kept = values + self.branches / BRANCHES_PER_VALUE;
        self.kept_values = self.kept_values.saturating_add(branches * kept);
        self.branches += branches;
    }
}

/// Instructions that an operator counts as, and branches, those included that the
/// compiler adds. `arity` counts what a call or a block takes and gives.
fn weigh(operator: &Operator<'_>, arity: impl FnOnce() -> u64) -> (u64, u64) {
    match operator {
        Operator::Block { .. } | Operator::Loop { .. } => (1 + arity(), 1),
        Operator::If { .. } => (1 + arity(), 2),
        Operator::Else | Operator::End => (1 + arity(), 0),
        Operator::Br { .. }
        | Operator::BrIf { .. }
        | Operator::BrOnNull { .. }
        | Operator::BrOnNonNull { .. } => (1, 1),
        Operator::BrTable { targets } => (1, u64::from(targets.len()) + 1),
        Operator::Call { .. } | Operator::ReturnCall { .. } => (1 + arity(), 0),
        Operator::CallIndirect { .. }
        | Operator::ReturnCallIndirect { .. }
        | Operator::CallRef { .. }
        | Operator::ReturnCallRef { .. } => (HEAVY + arity(), 2),
        Operator::TableGet { .. }
        | Operator::TableSet { .. }
        | Operator::TableGrow { .. }
        | Operator::TableFill { .. }
        | Operator::TableCopy { .. }
        | Operator::TableInit { .. } => (HEAVY, 2),
        Operator::MemoryGrow { .. }
        | Operator::MemoryCopy { .. }
        | Operator::MemoryFill { .. }
        | Operator::MemoryInit { .. }
        | Operator::DataDrop { .. }
        | Operator::ElemDrop { .. } => (HEAVY, 0),
        _ => (1, 0),
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
                let module = outermost.then_some(Needs::MODULE);
                let component = outermost.then_some(Needs::COMPONENT);
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
            None => 1,
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
        if !is_outermost && first == IMPORT {
            reader = ahead;
            reader.read::<ComponentImport<'_>>()?;
            continue;
        }
        let ty = match first {
            TYPE if !is_outermost => ahead.read_u8()?,
            first if is_outermost => first,
            _ => 0,
        };
        if let COMPONENT_TYPE | INSTANCE_TYPE = ty {
            reader = ahead;
            LEVELS.check(left.len() as u64)?;
            left.push(reader.read_var_u32()?);
        } else if is_outermost {
            reader.read::<ComponentType<'_>>()?;
        } else {
            reader.read::<InstanceTypeDeclaration<'_>>()?;
        }
    }
    Ok(found)
}

fn known(space: &[Option<Needs>], index: u32) -> Option<Needs> {
    space.get(index as usize).copied().flatten()
}
