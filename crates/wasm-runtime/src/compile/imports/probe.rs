//! Components that import a few items of another and are nothing else: the form in
//! which a linker can be asked about them.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::hash::{Hash, Hasher};
use std::mem;

use wasm_encoder::{
    Alias, ComponentBuilder, ComponentExportKind, ComponentOuterAliasKind, ComponentTypeEncoder,
    ComponentTypeRef, ComponentValType, InstanceType, ModuleType, PrimitiveValType, TypeBounds,
};
use wasmtime::Engine;
use wasmtime::component::ResourceType;
use wasmtime::component::types::{ComponentFunc, ComponentInstance, ComponentItem, Type};

/// Parts of the type of one function. Those of WASI have fewer than 300; a type is
/// counted as a tree, which may be a million times what is stored of it.
pub(super) const MAX_TYPE_PARTS: usize = 1000;

/// Parts of all types of one probe.
const MAX_PROBE_PARTS: usize = 50_000;

/// What an import takes from the host.
pub(super) enum Need {
    Function(ComponentFunc),
    Resource(ResourceType),
    Interface(ComponentInstance),
    Module,
}

/// One thing that is imported: an import that is no interface, or what an imported
/// interface has.
pub(super) struct Item<'a> {
    /// Which import it belongs to, in the component's order.
    pub(super) import: usize,
    /// The name of that.
    pub(super) name: &'a str,
    /// The name within the interface.
    pub(super) member: Option<&'a str>,
    pub(super) need: Need,
    /// The items that introduce the resources of its type, or nothing when its type is
    /// too large.
    pub(super) uses: Option<Vec<usize>>,
}

/// Something for each of many resources. All that wasmtime tells of two of them is whether
/// they are the same.
#[derive(Default)]
pub(super) struct ByResource<V>(HashMap<ResourceKey, V>);

impl<V: Copy> ByResource<V> {
    pub(super) fn get(&self, resource: ResourceType) -> Option<V> {
        self.0.get(&ResourceKey(resource)).copied()
    }

    pub(super) fn insert(&mut self, resource: ResourceType, value: V) {
        self.0.insert(ResourceKey(resource), value);
    }
}

#[derive(PartialEq, Eq)]
struct ResourceKey(ResourceType);

impl Hash for ResourceKey {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        // It is the same text for those that are the same.
        let _ = write!(TextHasher(hasher), "{:?}", self.0);
    }
}

struct TextHasher<'a, H>(&'a mut H);

impl<H: Hasher> fmt::Write for TextHasher<'_, H> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

/// The resources that a function's type mentions, as often as it does; `None` if the type is
/// too large.
pub(super) fn resources_of(function: &ComponentFunc) -> Option<Vec<ResourceType>> {
    let mut parts = Parts {
        left: MAX_TYPE_PARTS,
        resources: Vec::new(),
    };
    for (_, ty) in function.params() {
        parts.add(&ty)?;
    }
    for ty in function.results() {
        parts.add(&ty)?;
    }
    Some(parts.resources)
}

/// Whether a type has at most so many parts.
pub(super) fn is_small(ty: &Type, max_parts: usize) -> bool {
    let mut parts = Parts {
        left: max_parts,
        resources: Vec::new(),
    };
    parts.add(ty).is_some()
}

struct Parts {
    left: usize,
    resources: Vec<ResourceType>,
}

impl Parts {
    fn add(&mut self, ty: &Type) -> Option<()> {
        self.left = self.left.checked_sub(1)?;
        match ty {
            Type::List(list) => self.add(&list.ty()),
            Type::Record(record) => record.fields().try_for_each(|field| self.add(&field.ty)),
            Type::Tuple(tuple) => tuple.types().try_for_each(|ty| self.add(&ty)),
            Type::Variant(variant) => variant.cases().try_for_each(|case| match &case.ty {
                Some(ty) => self.add(ty),
                None => self.spend(1),
            }),
            Type::Enum(cases) => self.spend(cases.names().len()),
            Type::Flags(flags) => self.spend(flags.names().len()),
            Type::Option(option) => self.add(&option.ty()),
            Type::Result(result) => {
                let sides = [result.ok(), result.err()];
                sides.iter().flatten().try_for_each(|ty| self.add(ty))
            }
            Type::Own(resource) | Type::Borrow(resource) => {
                self.resources.push(*resource);
                Some(())
            }
            _ => Some(()),
        }
    }

    fn spend(&mut self, parts: usize) -> Option<()> {
        self.left = self.left.checked_sub(parts)?;
        Some(())
    }
}

/// A component that imports these of the items, with the resources that they use.
///
/// `None` if that would be too large, or cannot be written.
pub(super) fn of(
    items: &[Item<'_>],
    asked: impl Iterator<Item = usize>,
    engine: &Engine,
) -> Option<Vec<u8>> {
    let mut wanted = Vec::new();
    for index in asked {
        wanted.extend(items[index].uses.as_ref()?);
        wanted.push(index);
    }
    wanted.sort_unstable();
    wanted.dedup();
    let mut probe = Probe {
        engine,
        parts_left: MAX_PROBE_PARTS,
        types_named: 0,
    };
    let mut root = Root::default();
    let mut wanted = wanted.into_iter().map(|index| &items[index]).peekable();
    while let Some(first) = wanted.next() {
        if first.member.is_none() {
            probe.import(&mut root, first)?;
            continue;
        }
        let mut interface = Interface::within(&mut root);
        let mut members = vec![first];
        while let Some(next) = wanted.next_if(|next| next.import == first.import) {
            members.push(next);
        }
        for item in &members {
            probe.export(&mut interface, item)?;
        }
        root.import_interface(first.name, interface);
    }
    Some(root.component.finish())
}

/// A component that imports a name, or what an interface has under it, as a function of
/// no parameters.
pub(super) fn function_of(name: &str, member: Option<&str>) -> Vec<u8> {
    const NO_PARAMS: [(&str, ComponentValType); 0] = [];
    let mut component = ComponentBuilder::default();
    match member {
        None => {
            let (index, mut ty) = component.type_function(None);
            ty.params(NO_PARAMS).result(None);
            component.import(name, ComponentTypeRef::Func(index));
        }
        Some(member) => {
            let mut interface = InstanceType::new();
            interface.ty().function().params(NO_PARAMS).result(None);
            interface.export(member, ComponentTypeRef::Func(0));
            let index = component.type_instance(None, &interface);
            component.import(name, ComponentTypeRef::Instance(index));
        }
    }
    component.finish()
}

/// A component that imports a name as a resource.
pub(super) fn resource(name: &str) -> Vec<u8> {
    let mut component = ComponentBuilder::default();
    component.import(name, ComponentTypeRef::Type(TypeBounds::SubResource));
    component.finish()
}

/// A component that imports a name as a core module that needs and has nothing.
pub(super) fn module(name: &str) -> Vec<u8> {
    let mut component = ComponentBuilder::default();
    import_module(&mut component, name);
    component.finish()
}

/// A component that exports empty interfaces by these names.
pub(super) fn exporting<'a>(names: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut component = ComponentBuilder::default();
    let empty = component.component(None, ComponentBuilder::default());
    let none: [(&str, ComponentExportKind, u32); 0] = [];
    for name in names {
        let instance = component.instantiate(None, empty, none);
        component.export(name, ComponentExportKind::Instance, instance, None);
    }
    component.finish()
}

fn import_module(component: &mut ComponentBuilder, name: &str) {
    let (index, ty) = component.core_type(None);
    ty.module(&ModuleType::new());
    component.import(name, ComponentTypeRef::Module(index));
}

/// Where types are being defined, and names given to them: only named types may
/// appear in what is imported.
trait Scope {
    fn define(&mut self) -> (u32, ComponentTypeEncoder<'_>);
    fn name(&mut self, name: &str, index: u32) -> u32;
    fn resource(&mut self, resource: ResourceType) -> Option<u32>;
}

/// The component itself.
#[derive(Default)]
struct Root {
    component: ComponentBuilder,
    resources: ByResource<u32>,
}

impl Root {
    fn import_interface(&mut self, name: &str, interface: Interface<'_>) {
        self.resources = interface.outer;
        let ty = self.component.type_instance(None, &interface.ty);
        let instance = self.component.import(name, ComponentTypeRef::Instance(ty));
        for (name, introduced) in interface.introduced {
            let kind = ComponentExportKind::Type;
            let index = self.component.alias_export(instance, name, kind);
            self.resources.insert(introduced, index);
        }
    }
}

impl Scope for Root {
    fn define(&mut self) -> (u32, ComponentTypeEncoder<'_>) {
        self.component.ty(None)
    }

    fn name(&mut self, name: &str, index: u32) -> u32 {
        let bounds = TypeBounds::Eq(index);
        self.component.import(name, ComponentTypeRef::Type(bounds))
    }

    fn resource(&mut self, resource: ResourceType) -> Option<u32> {
        self.resources.get(resource)
    }
}

/// The type of an interface.
#[derive(Default)]
struct Interface<'a> {
    ty: InstanceType,
    /// Those of the component around it, borrowed from there.
    outer: ByResource<u32>,
    resources: ByResource<u32>,
    /// By the names that it gives them.
    introduced: Vec<(&'a str, ResourceType)>,
}

impl Interface<'_> {
    fn within(root: &mut Root) -> Self {
        Self {
            outer: mem::take(&mut root.resources),
            ..Self::default()
        }
    }
}

impl Scope for Interface<'_> {
    fn define(&mut self) -> (u32, ComponentTypeEncoder<'_>) {
        (self.ty.type_count(), self.ty.ty())
    }

    fn name(&mut self, name: &str, index: u32) -> u32 {
        let named = self.ty.type_count();
        let bounds = TypeBounds::Eq(index);
        self.ty.export(name, ComponentTypeRef::Type(bounds));
        named
    }

    fn resource(&mut self, resource: ResourceType) -> Option<u32> {
        if let Some(index) = self.resources.get(resource) {
            return Some(index);
        }
        let index = self.outer.get(resource)?;
        let local = self.ty.type_count();
        self.ty.alias(Alias::Outer {
            kind: ComponentOuterAliasKind::Type,
            count: 1,
            index,
        });
        self.resources.insert(resource, local);
        Some(local)
    }
}

struct Probe<'a> {
    engine: &'a Engine,
    parts_left: usize,
    types_named: usize,
}

impl Probe<'_> {
    /// What stands for itself.
    fn import(&mut self, root: &mut Root, item: &Item<'_>) -> Option<()> {
        match &item.need {
            Need::Function(function) => {
                let index = self.function(root, function)?;
                let ty = ComponentTypeRef::Func(index);
                root.component.import(item.name, ty);
            }
            Need::Resource(resource) => match root.resource(*resource) {
                Some(index) => {
                    root.name(item.name, index);
                }
                None => {
                    let ty = ComponentTypeRef::Type(TypeBounds::SubResource);
                    let index = root.component.import(item.name, ty);
                    root.resources.insert(*resource, index);
                }
            },
            Need::Module => import_module(&mut root.component, item.name),
            Need::Interface(_) => return None,
        }
        Some(())
    }

    /// What an interface has.
    fn export<'a>(&mut self, interface: &mut Interface<'a>, item: &Item<'a>) -> Option<()> {
        let name = item.member?;
        match &item.need {
            Need::Function(function) => {
                let index = self.function(interface, function)?;
                interface.ty.export(name, ComponentTypeRef::Func(index));
            }
            Need::Resource(resource) => match interface.resource(*resource) {
                Some(index) => {
                    interface.name(name, index);
                }
                None => {
                    let index = interface.ty.type_count();
                    let ty = ComponentTypeRef::Type(TypeBounds::SubResource);
                    interface.ty.export(name, ty);
                    interface.resources.insert(*resource, index);
                    interface.introduced.push((name, *resource));
                }
            },
            Need::Interface(nested) => {
                let mut inner = Interface::default();
                self.members(&mut inner, nested)?;
                let index = interface.ty.type_count();
                interface.ty.ty().instance(&inner.ty);
                interface.ty.export(name, ComponentTypeRef::Instance(index));
            }
            Need::Module => {
                let index = interface.ty.core_type_count();
                interface.ty.core_type().module(&ModuleType::new());
                interface.ty.export(name, ComponentTypeRef::Module(index));
            }
        }
        Some(())
    }

    /// An interface within an interface, as far as it has functions of plain types.
    fn members(&mut self, inner: &mut Interface<'_>, nested: &ComponentInstance) -> Option<()> {
        for (name, member) in nested.exports(self.engine) {
            self.spend()?;
            match member.ty {
                ComponentItem::ComponentFunc(function) => {
                    let index = self.function(inner, &function)?;
                    inner.ty.export(name, ComponentTypeRef::Func(index));
                }
                ComponentItem::Type(_) => {}
                _ => return None,
            }
        }
        Some(())
    }

    fn function(&mut self, scope: &mut impl Scope, function: &ComponentFunc) -> Option<u32> {
        let mut params = Vec::new();
        for (name, ty) in function.params() {
            params.push((name, self.value(scope, &ty)?));
        }
        let result = match function.results().next() {
            Some(ty) => Some(self.value(scope, &ty)?),
            None => None,
        };
        let (index, ty) = scope.define();
        ty.function()
            .async_(function.async_())
            .params(params)
            .result(result);
        Some(index)
    }

    fn spend(&mut self) -> Option<()> {
        self.parts_left = self.parts_left.checked_sub(1)?;
        Some(())
    }

    fn value(&mut self, scope: &mut impl Scope, ty: &Type) -> Option<ComponentValType> {
        self.spend()?;
        let index = match ty {
            Type::Bool => return primitive(PrimitiveValType::Bool),
            Type::S8 => return primitive(PrimitiveValType::S8),
            Type::U8 => return primitive(PrimitiveValType::U8),
            Type::S16 => return primitive(PrimitiveValType::S16),
            Type::U16 => return primitive(PrimitiveValType::U16),
            Type::S32 => return primitive(PrimitiveValType::S32),
            Type::U32 => return primitive(PrimitiveValType::U32),
            Type::S64 => return primitive(PrimitiveValType::S64),
            Type::U64 => return primitive(PrimitiveValType::U64),
            Type::Float32 => return primitive(PrimitiveValType::F32),
            Type::Float64 => return primitive(PrimitiveValType::F64),
            Type::Char => return primitive(PrimitiveValType::Char),
            Type::String => return primitive(PrimitiveValType::String),
            Type::List(list) => {
                let element = self.value(scope, &list.ty())?;
                let (index, ty) = scope.define();
                ty.defined_type().list(element);
                index
            }
            Type::Tuple(tuple) => {
                let types: Option<Vec<_>> =
                    tuple.types().map(|ty| self.value(scope, &ty)).collect();
                let types = types?;
                let (index, ty) = scope.define();
                ty.defined_type().tuple(types);
                index
            }
            Type::Option(option) => {
                let some = self.value(scope, &option.ty())?;
                let (index, ty) = scope.define();
                ty.defined_type().option(some);
                index
            }
            Type::Result(result) => {
                let ok = self.optional(scope, result.ok())?;
                let err = self.optional(scope, result.err())?;
                let (index, ty) = scope.define();
                ty.defined_type().result(ok, err);
                index
            }
            Type::Record(record) => {
                let mut fields = Vec::new();
                for field in record.fields() {
                    fields.push((field.name, self.value(scope, &field.ty)?));
                }
                let (index, ty) = scope.define();
                ty.defined_type().record(fields);
                self.named(scope, index)
            }
            Type::Variant(variant) => {
                let mut cases = Vec::new();
                for case in variant.cases() {
                    cases.push((case.name, self.optional(scope, case.ty)?));
                }
                let (index, ty) = scope.define();
                ty.defined_type().variant(cases);
                self.named(scope, index)
            }
            Type::Enum(cases) => {
                let (index, ty) = scope.define();
                ty.defined_type().enum_type(cases.names());
                self.named(scope, index)
            }
            Type::Flags(flags) => {
                let (index, ty) = scope.define();
                ty.defined_type().flags(flags.names());
                self.named(scope, index)
            }
            Type::Own(resource) => {
                let resource = scope.resource(*resource)?;
                let (index, ty) = scope.define();
                ty.defined_type().own(resource);
                index
            }
            Type::Borrow(resource) => {
                let resource = scope.resource(*resource)?;
                let (index, ty) = scope.define();
                ty.defined_type().borrow(resource);
                index
            }
            // The engine does not run what has these.
            Type::FixedLengthList(_)
            | Type::Map(_)
            | Type::Future(_)
            | Type::Stream(_)
            | Type::ErrorContext => return None,
        };
        Some(ComponentValType::Type(index))
    }

    /// The outer layer is for what cannot be written.
    fn optional(
        &mut self,
        scope: &mut impl Scope,
        ty: Option<Type>,
    ) -> Option<Option<ComponentValType>> {
        match ty {
            Some(ty) => Some(Some(self.value(scope, &ty)?)),
            None => Some(None),
        }
    }

    fn named(&mut self, scope: &mut impl Scope, index: u32) -> u32 {
        self.types_named += 1;
        scope.name(&format!("type-of-probe-n{}", self.types_named), index)
    }
}

fn primitive(ty: PrimitiveValType) -> Option<ComponentValType> {
    Some(ComponentValType::Primitive(ty))
}

#[cfg(test)]
mod tests {
    use wasmtime::component::Component;

    use super::*;
    use crate::compile::exports::tests::type_of;

    #[test]
    fn a_type_has_as_many_parts_as_are_in_it() {
        for (text, parts) in [
            ("u8", 1),
            ("string", 1),
            ("(list u8)", 2),
            ("(tuple u8 u8)", 3),
            ("(option (list u8))", 3),
            ("(result)", 1),
            ("(result u8)", 2),
            ("(result u8 (error (list u8)))", 4),
            ("(record (field \"a\" u8) (field \"b\" (list u8)))", 4),
            // A case is a part, whether or not it holds something.
            ("(variant (case \"a\") (case \"b\" (list u8)))", 4),
            ("(enum \"a\" \"b\" \"c\")", 4),
            ("(flags \"a\" \"b\")", 3),
        ] {
            let ty = type_of(text);
            assert!(is_small(&ty, parts), "{text}");
            assert!(!is_small(&ty, parts - 1), "{text}");
        }
    }

    /// A function that takes a tuple of so many numbers.
    fn function(engine: &Engine, numbers: usize) -> ComponentFunc {
        let numbers = "u8 ".repeat(numbers);
        let text = format!("(component (import \"f\" (func (param \"p\" (tuple {numbers})))))");
        let component = Component::new(engine, wat::parse_str(text).unwrap()).unwrap();
        let ty = component.component_type();
        let import = ty.imports(engine).next().map(|(_, import)| import.ty);
        match import {
            Some(ComponentItem::ComponentFunc(function)) => function,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_type_that_is_asked_about_has_so_many_parts() {
        let engine = Engine::default();
        for (numbers, fits) in [(999, true), (1000, false)] {
            let resources = resources_of(&function(&engine, numbers));
            assert_eq!(resources, fits.then(Vec::new), "{numbers}");
        }
    }

    #[test]
    fn what_is_asked_about_at_once_has_so_many_parts() {
        let engine = Engine::default();
        let function = function(&engine, 900);
        let names: Vec<_> = (0..56).map(|number| format!("f{number}")).collect();
        let items: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(import, name)| Item {
                import,
                name,
                member: None,
                need: Need::Function(function.clone()),
                uses: Some(Vec::new()),
            })
            .collect();
        assert!(of(&items, 0..55, &engine).is_some());
        assert_eq!(of(&items, 0..56, &engine), None);
    }
}
