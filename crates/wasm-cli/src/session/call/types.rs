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

/// What resources a value can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resources {
    None,
    /// At most one, of this type.
    One(ResourceType),
    Several,
}

/// What resources values of this type can hold.
pub(super) fn resources(ty: &Type) -> Resources {
    match ty {
        Type::Own(of) | Type::Borrow(of) => Resources::One(*of),
        Type::List(list) => match resources(&list.ty()) {
            Resources::None => Resources::None,
            _ => Resources::Several,
        },
        ty => {
            let mut found = Resources::None;
            for part in parts(ty) {
                found = match (found, resources(&part)) {
                    (found, Resources::None) => found,
                    (Resources::None, of) => of,
                    _ => return Resources::Several,
                };
            }
            found
        }
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
