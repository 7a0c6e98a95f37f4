//! What only a validator knows of a component that is little enough to be validated: the
//! operands of instructions, and which types are which.

use wasmparser::component_types::ComponentFuncTypeId;
use wasmparser::types::TypesRef;
use wasmparser::{
    CanonicalFunction, Catch, ComponentAlias, ComponentExternalKind, ComponentTypeRef,
    FuncToValidate, FuncValidatorAllocations, FunctionBody, Handle, ModuleArity, Operator, Payload,
    ValidatorResources, WasmFeatures,
};

use wasm_core::Defect;

use super::limits::*;
use super::sizes::TypeSizes;

/// Of what is little enough to be validated, what only a validator knows: the operands of
/// instructions, and which types are which.
pub(super) struct Inspection {
    instructions: Tally,
    kept_values: Tally,
    instance_items: Tally,
    exported_items: Tally,
    sizes: TypeSizes,
    allocations: FuncValidatorAllocations,
}

impl Inspection {
    /// Of a file of so many bytes.
    pub(super) fn new(bytes: usize, instructions: Tally) -> Self {
        Self {
            instructions,
            kept_values: Tally::of(&KEPT_VALUES).within(Density::of(
                &KEPT_VALUES_PER_KIB,
                SPARE_KEPT_VALUES,
                bytes,
            )),
            instance_items: Tally::of(&INSTANCE_ITEMS),
            exported_items: Tally::of(&EXPORTED_ITEMS),
            sizes: TypeSizes::default(),
            allocations: FuncValidatorAllocations::default(),
        }
    }

    /// A section that was just validated, with the types known since.
    pub(super) fn section(
        &mut self,
        payload: &Payload<'_>,
        types: TypesRef<'_>,
    ) -> Result<(), Rejection> {
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
        self.instructions.add_light(values.saturating_mul(HEAVY))
    }

    pub(super) fn function(
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
        let density = Density::of(
            &FUNCTION_INSTRUCTIONS_PER_KIB,
            SPARE_FUNCTION_INSTRUCTIONS,
            body.range().len(),
        );
        while !reader.eof() {
            let position = reader.original_position();
            let operator = reader.peek_operator(&validator.visitor(position))?;
            let locals = u64::from(validator.len_locals());
            let operands = u64::from(validator.operand_stack_height());
            let weight = weigh(&operator, &validator);
            // Where code is not reached, there are no operands, and each is checked all the same.
            cost.add(&weight, locals + operands.max(weight.taken));
            // A validator takes as long as this says, so it is asked afterwards.
            FUNCTION_INSTRUCTIONS.check(cost.instructions)?;
            density.check(cost.instructions)?;
            FUNCTION_KEPT_VALUES.check(cost.kept_values)?;
            reader.visit_operator(&mut validator.visitor(position))??;
            cost.blocks = cost.blocks.max(validator.control_stack_height().into());
        }
        reader.finish_expression(&validator.visitor(reader.original_position()))?;
        self.allocations = validator.into_allocations();
        FUNCTION_BLOCKS.check(cost.blocks)?;
        let depths = cost.blocks * cost.blocks / DEPTHS_PER_INSTRUCTION;
        self.instructions.add(cost.instructions + depths)?;
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
    fn add(&mut self, weight: &Weight, values: u64) {
        self.instructions = self.instructions.saturating_add(weight.instructions);
        let kept = values + self.branches / BRANCHES_PER_VALUE;
        let kept = weight.branches.saturating_mul(kept);
        self.kept_values = self.kept_values.saturating_add(kept);
        self.branches += weight.branches;
    }
}

/// What an operator counts as.
struct Weight {
    instructions: u64,
    /// Those included that the compiler adds.
    branches: u64,
    /// Operands that it takes, and each of its branches passes on.
    taken: u64,
}

/// How much of a compiler's and a validator's time an operator takes, to be known before
/// either sees it.
fn weigh(operator: &Operator<'_>, module: &impl ModuleArity) -> Weight {
    let (taken, given) = arity(operator, module);
    let values = taken.saturating_add(given);
    let (instructions, branches) = match operator {
        Operator::Block { .. } => (1 + values, 1),
        Operator::Loop { .. } => (HEAVY + values, 1),
        Operator::If { .. } => (1 + values, 2),
        Operator::Else | Operator::End => (1 + values, 0),
        Operator::Br { .. }
        | Operator::BrIf { .. }
        | Operator::BrOnNull { .. }
        | Operator::BrOnNonNull { .. } => (1, 1),
        Operator::BrTable { targets } => (1, u64::from(targets.len()) + 1),
        Operator::Call { .. } | Operator::ReturnCall { .. } => (1 + values, 0),
        Operator::CallIndirect { .. }
        | Operator::ReturnCallIndirect { .. }
        | Operator::CallRef { .. }
        | Operator::ReturnCallRef { .. } => (HEAVY + values, 2),
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
        operator => {
            let checked = values.saturating_sub(FEW_VALUES) + checked(operator, values, module);
            (1 + checked, 0)
        }
    };
    Weight {
        instructions,
        branches,
        taken,
    }
}

/// Values that an operator takes and gives. Nothing for one that is invalid, which is found
/// out before anything is checked of those.
fn arity(operator: &Operator<'_>, module: &impl ModuleArity) -> (u64, u64) {
    let arity = operator.operator_arity(module).unwrap_or_default();
    (arity.0.into(), arity.1.into())
}

/// What a validator checks beside the operands of an operator, which takes and gives so many
/// values: of operators that only a validator sees, because the engine runs none of them.
fn checked(operator: &Operator<'_>, values: u64, module: &impl ModuleArity) -> u64 {
    let label = |relative_depth| arity(&Operator::Br { relative_depth }, module).0;
    let tag = |tag| arity(&Operator::Suspend { tag_index: tag }, module);
    match operator {
        Operator::TryTable { try_table } => {
            let labels = try_table.catches.iter().map(|catch| match *catch {
                Catch::One { label, .. }
                | Catch::OneRef { label, .. }
                | Catch::All { label }
                | Catch::AllRef { label } => label,
            });
            labels.map(|depth| 1 + label(depth)).sum()
        }
        Operator::Resume { resume_table, .. }
        | Operator::ResumeThrow { resume_table, .. }
        | Operator::ResumeThrowRef { resume_table, .. } => {
            let handlers = resume_table.handlers.iter().map(|handle| match *handle {
                Handle::OnLabel { tag: of, label: to } => 1 + values + tag(of).1 + label(to),
                Handle::OnSwitch { .. } => 1 + values,
            });
            handlers.sum()
        }
        // Each field is looked at, as if it was given.
        &Operator::StructNewDefault { struct_type_index }
        | &Operator::StructNewDefaultDesc { struct_type_index } => {
            arity(&Operator::StructNew { struct_type_index }, module).0
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
