//! What is asked of types.

use wasmtime::component::ResourceType;
use wasmtime::component::types::Type;

pub(super) fn is_resource(ty: &Type) -> bool {
    matches!(ty, Type::Own(_) | Type::Borrow(_))
}

/// Whether WAVE has no notation for values of this type, also if they hold `resources`.
pub(super) fn has_no_notation(ty: &Type, resources: bool) -> bool {
    match ty {
        Type::Own(_) | Type::Borrow(_) => resources,
        Type::Stream(_)
        | Type::Future(_)
        | Type::ErrorContext
        | Type::Map(_)
        | Type::FixedLengthList(_) => true,
        ty => parts(ty)
            .iter()
            .any(|part| has_no_notation(part, resources)),
    }
}

/// Of all resources that a value of this type holds at most; those of a list are many.
pub(super) fn resource_types(ty: &Type, found: &mut Vec<ResourceType>) {
    match ty {
        Type::Own(of) | Type::Borrow(of) => found.push(*of),
        Type::List(list) => {
            resource_types(&list.ty(), found);
            resource_types(&list.ty(), found);
        }
        ty => parts(ty)
            .iter()
            .for_each(|part| resource_types(part, found)),
    }
}

/// What a type is made of.
fn parts(ty: &Type) -> Vec<Type> {
    match ty {
        Type::List(list) => vec![list.ty()],
        Type::Record(record) => record.fields().map(|field| field.ty).collect(),
        Type::Tuple(tuple) => tuple.types().collect(),
        Type::Variant(variant) => variant.cases().filter_map(|case| case.ty).collect(),
        Type::Option(option) => vec![option.ty()],
        Type::Result(result) => result.ok().into_iter().chain(result.err()).collect(),
        _ => Vec::new(),
    }
}
