//! The functions that a component exports, and whether values fit them, so that a caller's
//! mistake is told apart from a guest's and costs no instance.

use wasm_wave::wasm::{DisplayType, WasmValue};
use wasmtime::Engine;
use wasmtime::component::types::{ComponentFunc, ComponentItem, Type};
use wasmtime::component::{Component, ComponentExportIndex, ResourceAny, ResourceType, Val};

use wasm_core::text::shortened;

/// What no instance can use.
pub(crate) const FOREIGN_RESOURCE: &str = "a resource of another instance, or of one that is gone";

/// Enough to recognize a type by.
const SHOWN_TYPE_CHARS: usize = 500;

/// A resource among arguments.
#[derive(Debug)]
pub(crate) struct Passed {
    pub(crate) resource: ResourceAny,
    /// Whose resources the function takes there.
    pub(crate) ty: ResourceType,
    /// Whether the caller keeps it.
    pub(crate) is_lent: bool,
    /// Which argument, as errors name it.
    pub(crate) place: String,
}

/// The resources among arguments that fit the function.
pub(crate) fn passed(function: &ComponentFunc, args: &[Val]) -> Vec<Passed> {
    let mut passed = Vec::new();
    for (place, ((name, ty), value)) in (1_usize..).zip(function.params().zip(args)) {
        fits(value, &ty, &mut |resource, ty, is_lent| {
            passed.push(Passed {
                resource,
                ty,
                is_lent,
                place: format!("argument {place} (`{name}`)"),
            });
        });
    }
    passed
}

/// What does not fit, for people.
pub(crate) fn check_arguments(function: &ComponentFunc, args: &[Val]) -> Result<(), String> {
    let params = function.params();
    if params.len() != args.len() {
        return Err(format!(
            "takes {} argument{}, not {}",
            params.len(),
            if params.len() == 1 { "" } else { "s" },
            args.len()
        ));
    }
    for (place, ((name, ty), value)) in params.zip(args).enumerate() {
        if !fits(value, &ty, &mut |_, _, _| {}) {
            return Err(format!(
                "takes {} as argument {} (`{name}`), not {}",
                shortened(SHOWN_TYPE_CHARS, DisplayType(&ty)),
                place + 1,
                value.kind()
            ));
        }
    }
    Ok(())
}

/// What is done with a resource that is found, its type there, and whether it is lent.
type Visit<'a> = &'a mut dyn FnMut(ResourceAny, ResourceType, bool);

fn fits(value: &Val, ty: &Type, visit: Visit<'_>) -> bool {
    match (value, ty) {
        (Val::Bool(_), Type::Bool)
        | (Val::S8(_), Type::S8)
        | (Val::U8(_), Type::U8)
        | (Val::S16(_), Type::S16)
        | (Val::U16(_), Type::U16)
        | (Val::S32(_), Type::S32)
        | (Val::U32(_), Type::U32)
        | (Val::S64(_), Type::S64)
        | (Val::U64(_), Type::U64)
        | (Val::Float32(_), Type::Float32)
        | (Val::Float64(_), Type::Float64)
        | (Val::Char(_), Type::Char)
        | (Val::String(_), Type::String) => true,
        (Val::Resource(resource), Type::Own(of) | Type::Borrow(of)) => {
            visit(*resource, *of, matches!(ty, Type::Borrow(_)));
            true
        }
        (Val::List(values), Type::List(list)) => values.iter().all(|v| fits(v, &list.ty(), visit)),
        (Val::Tuple(values), Type::Tuple(tuple)) => {
            values.len() == tuple.types().len()
                && values
                    .iter()
                    .zip(tuple.types())
                    .all(|(v, t)| fits(v, &t, visit))
        }
        (Val::Record(values), Type::Record(record)) => {
            values.len() == record.fields().len()
                && values
                    .iter()
                    .zip(record.fields())
                    .all(|((name, v), field)| name == field.name && fits(v, &field.ty, visit))
        }
        (Val::Variant(case, payload), Type::Variant(variant)) => variant
            .cases()
            .find(|c| c.name == case)
            .is_some_and(|c| payload_fits(payload.as_deref(), c.ty.as_ref(), visit)),
        (Val::Enum(case), Type::Enum(cases)) => cases.names().any(|name| name == case),
        (Val::Option(payload), Type::Option(option)) => payload
            .as_deref()
            .is_none_or(|value| fits(value, &option.ty(), visit)),
        (Val::Result(Ok(payload)), Type::Result(result)) => {
            payload_fits(payload.as_deref(), result.ok().as_ref(), visit)
        }
        (Val::Result(Err(payload)), Type::Result(result)) => {
            payload_fits(payload.as_deref(), result.err().as_ref(), visit)
        }
        (Val::Flags(set), Type::Flags(flags)) => set
            .iter()
            .all(|name| flags.names().any(|flag| flag == name)),
        _ => false,
    }
}

fn payload_fits(value: Option<&Val>, ty: Option<&Type>, visit: Visit<'_>) -> bool {
    match (value, ty) {
        (Some(value), Some(ty)) => fits(value, ty, visit),
        (None, None) => true,
        _ => false,
    }
}

/// The resources that a value holds, in order.
pub fn resources_in(value: &Val) -> Vec<ResourceAny> {
    let mut found = Vec::new();
    collect_resources(value, &mut found);
    found
}

fn collect_resources(value: &Val, found: &mut Vec<ResourceAny>) {
    let mut collect = |value: &Val| collect_resources(value, found);
    match value {
        Val::Resource(resource) => found.push(*resource),
        Val::List(values) | Val::Tuple(values) => values.iter().for_each(collect),
        Val::Record(fields) => fields.iter().for_each(|(_, value)| collect(value)),
        Val::Variant(_, payload) | Val::Option(payload) => {
            payload.iter().for_each(|value| collect(value));
        }
        Val::Result(Ok(payload) | Err(payload)) => payload.iter().for_each(|value| collect(value)),
        _ => {}
    }
}

/// The item that an export's full name stands for: `function` or
/// `interface#function`.
pub(crate) fn find_function(
    component: &Component,
    export: &str,
) -> Option<(ComponentFunc, ComponentExportIndex)> {
    let (interface, function) = match export.split_once('#') {
        Some((interface, function)) => {
            (Some(component.get_export_index(None, interface)?), function)
        }
        None => (None, export),
    };
    match component.get_export(interface.as_ref(), function)? {
        (ComponentItem::ComponentFunc(ty), index) => Some((ty, index)),
        _ => None,
    }
}

/// Full names of all functions that a component exports, in order.
pub(crate) fn function_names(component: &Component, engine: &Engine) -> Vec<String> {
    let mut names = Vec::new();
    for (name, item) in component.component_type().exports(engine) {
        match item.ty {
            ComponentItem::ComponentFunc(_) => names.push(name.to_owned()),
            ComponentItem::ComponentInstance(interface) => names.extend(
                interface
                    .exports(engine)
                    .filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentFunc(_)))
                    .map(|(function, _)| format!("{name}#{function}")),
            ),
            _ => {}
        }
    }
    names.sort_unstable();
    names
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn a_large_type_is_shown_in_part() {
        let fields = "u8 ".repeat(1000);
        let text = format!("(component (import \"f\" (func (param \"p\" (tuple {fields})))))");
        let engine = Engine::default();
        let component = Component::new(&engine, wat::parse_str(text).unwrap()).unwrap();
        let ty = component.component_type();
        let Some((_, import)) = ty.imports(&engine).next() else {
            panic!("it imports a function");
        };
        let ComponentItem::ComponentFunc(function) = import.ty else {
            panic!("{:?}", import.ty);
        };
        let said = check_arguments(&function, &[Val::U8(1)]).unwrap_err();
        let (shown, _) = said.split_once('…').unwrap();
        assert_eq!(shown.chars().count(), "takes ".len() + 500);
    }

    /// A type that is written like this.
    pub(crate) fn type_of(text: &str) -> Type {
        let engine = Engine::default();
        let text = format!(
            "(component
               (type $made {text})
               (import \"t\" (type $t (eq $made)))
               (import \"f\" (func (param \"p\" $t))))"
        );
        let component = Component::new(&engine, wat::parse_str(text).unwrap()).unwrap();
        let ty = component.component_type();
        let function = ty.imports(&engine).find_map(|(_, import)| match import.ty {
            ComponentItem::ComponentFunc(function) => Some(function),
            _ => None,
        });
        function.unwrap().params().next().unwrap().1
    }

    fn some(value: Val) -> Option<Box<Val>> {
        Some(Box::new(value))
    }

    #[test]
    fn values_fit_a_type_if_all_that_is_in_them_does() {
        let (one, text) = (|| Val::U8(1), || Val::String("one".to_owned()));
        let field = |name: &str, value| (name.to_owned(), value);
        for (ty, fitting, others) in [
            (
                "(list u8)",
                vec![Val::List(vec![]), Val::List(vec![one(), one()])],
                vec![Val::List(vec![one(), text()]), one()],
            ),
            (
                "(tuple u8 string)",
                vec![Val::Tuple(vec![one(), text()])],
                vec![
                    Val::Tuple(vec![one()]),
                    Val::Tuple(vec![one(), text(), one()]),
                    Val::Tuple(vec![text(), text()]),
                    Val::Tuple(vec![one(), one()]),
                ],
            ),
            (
                "(record (field \"a\" u8) (field \"b\" string))",
                vec![Val::Record(vec![field("a", one()), field("b", text())])],
                vec![
                    Val::Record(vec![field("a", one())]),
                    Val::Record(vec![field("a", one()), field("c", text())]),
                    Val::Record(vec![field("a", one()), field("b", one())]),
                ],
            ),
            (
                "(variant (case \"none\") (case \"one\" u8))",
                vec![
                    Val::Variant("none".to_owned(), None),
                    Val::Variant("one".to_owned(), some(one())),
                ],
                vec![
                    Val::Variant("none".to_owned(), some(one())),
                    Val::Variant("one".to_owned(), None),
                    Val::Variant("one".to_owned(), some(text())),
                    Val::Variant("two".to_owned(), some(one())),
                ],
            ),
            (
                "(enum \"red\" \"green\")",
                vec![Val::Enum("red".to_owned()), Val::Enum("green".to_owned())],
                vec![
                    Val::Enum("blue".to_owned()),
                    Val::Variant("red".to_owned(), None),
                ],
            ),
            (
                "(option u8)",
                vec![Val::Option(None), Val::Option(some(one()))],
                vec![Val::Option(some(text())), one()],
            ),
            (
                "(result u8 (error string))",
                vec![Val::Result(Ok(some(one()))), Val::Result(Err(some(text())))],
                vec![
                    Val::Result(Ok(some(text()))),
                    Val::Result(Err(some(one()))),
                    Val::Result(Ok(None)),
                    Val::Result(Err(None)),
                ],
            ),
            (
                "(result)",
                vec![Val::Result(Ok(None)), Val::Result(Err(None))],
                vec![Val::Result(Ok(some(one()))), Val::Result(Err(some(one())))],
            ),
            (
                "(flags \"read\" \"write\")",
                vec![
                    Val::Flags(vec![]),
                    Val::Flags(vec!["write".to_owned(), "read".to_owned()]),
                ],
                vec![Val::Flags(vec!["read".to_owned(), "execute".to_owned()])],
            ),
        ] {
            let ty = type_of(ty);
            for (values, expected) in [(fitting, true), (others, false)] {
                for value in values {
                    let found = fits(&value, &ty, &mut |_, _, _| {});
                    assert_eq!(found, expected, "{value:?} as {}", DisplayType(&ty));
                }
            }
        }
    }
}
