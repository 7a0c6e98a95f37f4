//! How large component types are when everything that they refer to is written out:
//! wasmtime does so where a compact type is used, and a type can refer to another many
//! times.

use std::collections::HashMap;

use wasmparser::component_types::{
    ComponentAnyTypeId, ComponentDefinedType, ComponentDefinedTypeId, ComponentEntityType,
    ComponentFuncTypeId, ComponentInstanceTypeId, ComponentValType,
};
use wasmparser::types::TypesRef;

/// Sizes of types that were looked at, each once.
#[derive(Default)]
pub(super) struct TypeSizes {
    values: HashMap<ComponentDefinedTypeId, u64>,
    instances: HashMap<ComponentInstanceTypeId, u64>,
}

impl TypeSizes {
    /// Values in parameters and result, those of their fields, cases and elements included.
    pub(super) fn function(&mut self, types: TypesRef<'_>, id: ComponentFuncTypeId) -> u64 {
        let function = &types[id];
        let params = function.params.iter().map(|(_, ty)| *ty);
        let values: Vec<_> = params.chain(function.result).collect();
        self.values(types, values)
    }

    /// Exports, those of exported instances included.
    pub(super) fn instance(&mut self, types: TypesRef<'_>, id: ComponentInstanceTypeId) -> u64 {
        if let Some(size) = self.instances.get(&id) {
            return *size;
        }
        // wasmparser bounds how deep types are nested.
        let sizes = types[id].exports.values().map(|export| match export.ty {
            ComponentEntityType::Instance(instance) => self.instance(types, instance),
            _ => 1,
        });
        let size = sizes.fold(1, u64::saturating_add);
        self.instances.insert(id, size);
        size
    }

    /// Of an exported type, the values in it.
    pub(super) fn exported(&mut self, types: TypesRef<'_>, ty: &ComponentEntityType) -> u64 {
        match *ty {
            ComponentEntityType::Instance(instance) => self.instance(types, instance),
            ComponentEntityType::Func(function) => self.function(types, function),
            ComponentEntityType::Type {
                referenced: ComponentAnyTypeId::Defined(defined),
                ..
            } => self.defined(types, defined),
            _ => 1,
        }
    }

    fn values(
        &mut self,
        types: TypesRef<'_>,
        values: impl IntoIterator<Item = ComponentValType>,
    ) -> u64 {
        let sizes = values.into_iter().map(|value| match value {
            ComponentValType::Primitive(_) => 1,
            ComponentValType::Type(id) => self.defined(types, id),
        });
        sizes.fold(1, u64::saturating_add)
    }

    fn defined(&mut self, types: TypesRef<'_>, id: ComponentDefinedTypeId) -> u64 {
        if let Some(size) = self.values.get(&id) {
            return *size;
        }
        let size = match &types[id] {
            ComponentDefinedType::Record(record) => {
                self.values(types, record.fields.values().copied())
            }
            ComponentDefinedType::Variant(variant) => {
                let cases = variant.cases.len() as u64;
                let payloads = variant.cases.values().filter_map(|case| case.ty);
                let payloads: Vec<_> = payloads.collect();
                self.values(types, payloads).saturating_add(cases)
            }
            ComponentDefinedType::Tuple(tuple) => self.values(types, tuple.types.iter().copied()),
            ComponentDefinedType::List { element, .. } => self.values(types, [*element]),
            ComponentDefinedType::FixedLengthList {
                element, length, ..
            } => self
                .values(types, [*element])
                .saturating_mul(u64::from(*length)),
            ComponentDefinedType::Map { key, value, .. } => self.values(types, [*key, *value]),
            ComponentDefinedType::Option { ty, .. } => self.values(types, [*ty]),
            ComponentDefinedType::Result { ok, err, .. } => {
                self.values(types, ok.iter().chain(err).copied())
            }
            ComponentDefinedType::Flags(names) | ComponentDefinedType::Enum(names) => {
                names.len() as u64
            }
            _ => 1,
        };
        self.values.insert(id, size);
        size
    }
}
