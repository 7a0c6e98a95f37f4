//! Types as WIT writes them.

use std::cell::Cell;
use std::collections::HashMap;

use wasmparser::collections::IndexSet;
use wasmparser::component_types::{
    AliasableResourceId, ComponentAnyTypeId, ComponentDefinedType, ComponentDefinedTypeId,
    ComponentEntityType, ComponentFuncTypeId, ComponentValType, ResourceId, VariantType,
};
use wasmparser::names::KebabString;
use wasmparser::types::TypesRef;

/// Longer types are not read by anybody. Valid types are bounded, too, but may have
/// a million parts.
const MAX_TYPE_BYTES: usize = 2000;
/// Of one component, ten times what all interfaces of WASI take.
pub(crate) const MAX_DESCRIPTION_BYTES: usize = 1 << 20;
/// For what a valid component does not have.
const UNKNOWN: &str = "?";

/// What is imported or exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// Its members by name, types with their definition and functions with their
    /// type, in the order of the interface.
    Interface {
        types: Vec<(String, String)>,
        functions: Vec<(String, String)>,
    },
    /// With its type.
    Function(String),
    /// With its definition.
    Type(String),
    /// Something that WIT has no words for.
    Other(&'static str),
    /// It was not asked, or too much was said of others.
    Untold,
}

impl Content {
    /// The names of an interface's types and functions.
    pub(crate) fn members(&self) -> impl Iterator<Item = &str> {
        let (types, functions) = match self {
            Self::Interface { types, functions } => (types.as_slice(), functions.as_slice()),
            _ => (&[][..], &[][..]),
        };
        types.iter().chain(functions).map(|(name, _)| name.as_str())
    }
}

/// Writes the types of one component, by the names under which it imports or
/// exports them.
pub(crate) struct Describer<'a> {
    types: TypesRef<'a>,
    names: HashMap<ComponentDefinedTypeId, &'a str>,
    resources: HashMap<ResourceId, &'a str>,
    /// Bytes that may still be written.
    left: Cell<usize>,
}

impl<'a> Describer<'a> {
    pub(crate) fn new<'i>(
        types: TypesRef<'a>,
        items: impl Iterator<Item = &'i (&'a str, ComponentEntityType)>,
    ) -> Self
    where
        'a: 'i,
    {
        let mut describer = Self {
            types,
            names: HashMap::new(),
            resources: HashMap::new(),
            left: Cell::new(MAX_DESCRIPTION_BYTES),
        };
        for (name, ty) in items {
            describer.learn(name, *ty);
            if let Some(members) = describer.members(*ty) {
                for (name, ty) in members {
                    describer.learn(name, ty);
                }
            }
        }
        describer
    }

    fn learn(&mut self, name: &'a str, ty: ComponentEntityType) {
        let ComponentEntityType::Type { created, .. } = ty else {
            return;
        };
        match created {
            ComponentAnyTypeId::Defined(id) => {
                self.names.insert(id, name);
            }
            ComponentAnyTypeId::Resource(id) => {
                self.resources.entry(id.resource()).or_insert(name);
            }
            _ => {}
        }
    }

    fn members(
        &self,
        ty: ComponentEntityType,
    ) -> Option<impl Iterator<Item = (&'a str, ComponentEntityType)> + use<'a>> {
        let ComponentEntityType::Instance(id) = ty else {
            return None;
        };
        let interface = self.types.get(id)?;
        Some(
            interface
                .exports
                .iter()
                .map(|(name, item)| (name.as_str(), item.ty)),
        )
    }

    /// Whether all was said that may be: what is left is not described.
    pub(crate) fn is_full(&self) -> bool {
        self.left.get() == 0
    }

    fn spend(&self, bytes: usize) {
        self.left.set(self.left.get().saturating_sub(bytes));
    }

    pub(crate) fn content(&self, ty: ComponentEntityType) -> Content {
        if self.is_full() {
            return Content::Untold;
        }
        match ty {
            ComponentEntityType::Instance(_) => {
                let (mut types, mut functions) = (Vec::new(), Vec::new());
                for (name, member) in self.members(ty).into_iter().flatten() {
                    self.spend(name.len());
                    match self.content(member) {
                        Content::Function(ty) => functions.push((name.to_owned(), ty)),
                        Content::Type(definition) => types.push((name.to_owned(), definition)),
                        Content::Other(_) | Content::Interface { .. } => {}
                        Content::Untold => break,
                    }
                }
                Content::Interface { types, functions }
            }
            ComponentEntityType::Func(id) => Content::Function(self.function(id)),
            ComponentEntityType::Type { referenced, .. } => match referenced {
                ComponentAnyTypeId::Defined(id) => Content::Type(self.definition(id)),
                ComponentAnyTypeId::Resource(_) => Content::Type("resource".to_owned()),
                _ => Content::Other("type"),
            },
            ComponentEntityType::Module(_) => Content::Other("core module"),
            ComponentEntityType::Value(_) => Content::Other("value"),
            ComponentEntityType::Component(_) => Content::Other("component"),
        }
    }

    fn function(&self, id: ComponentFuncTypeId) -> String {
        let Some(function) = self.types.get(id) else {
            return UNKNOWN.to_owned();
        };
        let mut text = Text::default();
        text.push_str(if function.async_ { "async " } else { "" });
        text.push_str("func(");
        let params = function
            .params
            .iter()
            .map(|(name, ty)| (name.as_str(), *ty));
        self.fields(params, &mut text);
        text.push_str(")");
        if let Some(result) = function.result {
            text.push_str(" -> ");
            self.value(result, &mut text);
        }
        self.spend(text.0.len());
        text.0
    }

    fn definition(&self, id: ComponentDefinedTypeId) -> String {
        let mut text = Text::default();
        match self.name(id) {
            Some(name) => text.push_str(name),
            None => self.structure(id, &mut text),
        }
        self.spend(text.0.len());
        text.0
    }

    /// The name of the type or of what it is another name for.
    fn name(&self, mut id: ComponentDefinedTypeId) -> Option<&'a str> {
        loop {
            if let Some(name) = self.names.get(&id) {
                return Some(name);
            }
            id = self.types.peel_alias(id)?;
        }
    }

    fn value(&self, ty: ComponentValType, text: &mut Text) {
        match ty {
            ComponentValType::Primitive(primitive) => text.push_str(&primitive.to_string()),
            ComponentValType::Type(id) => match self.name(id) {
                Some(name) => text.push_str(name),
                None => self.structure(id, text),
            },
        }
    }

    fn structure(&self, id: ComponentDefinedTypeId, text: &mut Text) {
        // A type may refer to another many times, which is not followed for nothing.
        if text.is_full() {
            return;
        }
        let Some(ty) = self.types.get(id) else {
            text.push_str(UNKNOWN);
            return;
        };
        match ty {
            ComponentDefinedType::Primitive(primitive) => text.push_str(&primitive.to_string()),
            ComponentDefinedType::Record(record) => {
                let fields = record.fields.iter().map(|(name, ty)| (name.as_str(), *ty));
                text.push_str("record { ");
                self.fields(fields, text);
                text.push_str(" }");
            }
            ComponentDefinedType::Variant(variant) => self.variant(variant, text),
            ComponentDefinedType::Flags(names) => {
                alternatives("flags", names, text);
            }
            ComponentDefinedType::Enum(names) => {
                alternatives("enum", names, text);
            }
            ComponentDefinedType::Tuple(tuple) => {
                self.generic("tuple<", tuple.types.iter().copied().map(Some), ">", text);
            }
            ComponentDefinedType::List { element, .. } => {
                self.generic("list<", [Some(*element)], ">", text);
            }
            ComponentDefinedType::FixedLengthList {
                element, length, ..
            } => {
                self.generic("list<", [Some(*element)], &format!(", {length}>"), text);
            }
            ComponentDefinedType::Map { key, value, .. } => {
                self.generic("map<", [Some(*key), Some(*value)], ">", text);
            }
            ComponentDefinedType::Option { ty, .. } => {
                self.generic("option<", [Some(*ty)], ">", text);
            }
            ComponentDefinedType::Result { ok, err, .. } => match (ok, err) {
                (None, None) => text.push_str("result"),
                (Some(ok), None) => self.generic("result<", [Some(*ok)], ">", text),
                (ok, err) => self.generic("result<", [*ok, *err], ">", text),
            },
            ComponentDefinedType::Future { ty, .. } => self.payload("future", *ty, text),
            ComponentDefinedType::Stream { ty, .. } => self.payload("stream", *ty, text),
            ComponentDefinedType::Own(resource) => text.push_str(self.resource(*resource)),
            ComponentDefinedType::Borrow(resource) => {
                text.push_str("borrow<");
                text.push_str(self.resource(*resource));
                text.push_str(">");
            }
        }
    }

    fn variant(&self, variant: &VariantType, text: &mut Text) {
        text.push_str("variant { ");
        for (i, (name, case)) in variant.cases.iter().enumerate() {
            text.push_str(if i == 0 { "" } else { ", " });
            text.push_str(name);
            if let Some(ty) = case.ty {
                self.generic("(", [Some(ty)], ")", text);
            }
        }
        text.push_str(" }");
    }

    fn resource(&self, id: AliasableResourceId) -> &'a str {
        self.resources
            .get(&id.resource())
            .copied()
            .unwrap_or(UNKNOWN)
    }

    fn fields<'n>(
        &self,
        fields: impl Iterator<Item = (&'n str, ComponentValType)>,
        text: &mut Text,
    ) {
        for (i, (name, ty)) in fields.enumerate() {
            text.push_str(if i == 0 { "" } else { ", " });
            text.push_str(name);
            text.push_str(": ");
            self.value(ty, text);
        }
    }

    /// `_` stands for a type that is not there.
    fn generic(
        &self,
        open: &str,
        types: impl IntoIterator<Item = Option<ComponentValType>>,
        close: &str,
        text: &mut Text,
    ) {
        text.push_str(open);
        for (i, ty) in types.into_iter().enumerate() {
            text.push_str(if i == 0 { "" } else { ", " });
            match ty {
                Some(ty) => self.value(ty, text),
                None => text.push_str("_"),
            }
        }
        text.push_str(close);
    }

    fn payload(&self, name: &str, ty: Option<ComponentValType>, text: &mut Text) {
        match ty {
            Some(ty) => self.generic(&format!("{name}<"), [Some(ty)], ">", text),
            None => text.push_str(name),
        }
    }
}

/// `enum { a, b }`
fn alternatives(kind: &str, names: &IndexSet<KebabString>, text: &mut Text) {
    text.push_str(kind);
    text.push_str(" { ");
    for (i, name) in names.iter().enumerate() {
        text.push_str(if i == 0 { "" } else { ", " });
        text.push_str(name);
    }
    text.push_str(" }");
}

/// What is said of one type, which is cut where it is long: names have no bound of their own,
/// and a compact type may use one of them thousands of times.
#[derive(Default)]
struct Text(String);

impl Text {
    fn is_full(&self) -> bool {
        self.0.len() > MAX_TYPE_BYTES
    }

    fn push_str(&mut self, part: &str) {
        if self.is_full() {
            return;
        }
        let room = MAX_TYPE_BYTES - self.0.len();
        if part.len() <= room {
            self.0.push_str(part);
        } else {
            self.0.push_str(&part[..part.floor_char_boundary(room)]);
            self.0.push('…');
        }
    }
}

#[cfg(test)]
mod tests {
    use wasmparser::{Validator, WasmFeatures};

    use super::*;

    fn import(text: &str) -> Content {
        let bytes = wat::parse_str(format!("(component (import \"i\" {text}))")).unwrap();
        let types = Validator::new_with_features(WasmFeatures::all())
            .validate_all(&bytes)
            .unwrap();
        let types = types.as_ref();
        let item = ("i", types.component_item_for_import("i").unwrap().ty);
        Describer::new(types, [&item].into_iter()).content(item.1)
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn every_type_is_written_as_in_wit() {
        for (ty, written) in [
            ("u8", "u8"),
            ("(list (tuple string f32))", "list<tuple<string, f32>>"),
            ("(option char)", "option<char>"),
            ("(result)", "result"),
            ("(result u8)", "result<u8>"),
            ("(result (error u8))", "result<_, u8>"),
            ("(result u8 (error s64))", "result<u8, s64>"),
            ("(list u8 4)", "list<u8, 4>"),
            ("(stream u8)", "stream<u8>"),
            ("(future)", "future"),
        ] {
            let function = import(&format!("(func (param \"p\" {ty}))"));
            assert_eq!(function, Content::Function(format!("func(p: {written})")));
        }
        assert_eq!(
            import("(func async (result bool))"),
            Content::Function("async func() -> bool".into())
        );
    }

    #[test]
    fn named_types_go_by_their_name() {
        let content = import(
            r#"(instance
                (type $c' (record (field "r" u8) (field "g" (option u8))))
                (export "colour" (type $c (eq $c')))
                (type $v' (variant (case "one" $c) (case "none")))
                (export "choice" (type $v (eq $v')))
                (type $e' (enum "a" "b"))
                (export "letter" (type $e (eq $e')))
                (type $f' (flags "x" "y"))
                (export "axes" (type $f (eq $f')))
                (export "again" (type $again (eq $c)))
                (export "file" (type $file (sub resource)))
                (export "paint" (func (param "c" (list $c)) (param "with" (borrow $file))
                    (result (own $file)))))"#,
        );
        let types = pairs(&[
            ("colour", "record { r: u8, g: option<u8> }"),
            ("choice", "variant { one(colour), none }"),
            ("letter", "enum { a, b }"),
            ("axes", "flags { x, y }"),
            ("again", "colour"),
            ("file", "resource"),
        ]);
        let functions = pairs(&[("paint", "func(c: list<colour>, with: borrow<file>) -> file")]);
        assert_eq!(content, Content::Interface { types, functions });
    }

    #[test]
    fn what_is_no_interface_has_no_type() {
        assert_eq!(import("(core module)"), Content::Other("core module"));
        assert_eq!(import("(component)"), Content::Other("component"));
        assert_eq!(
            import("(type (sub resource))"),
            Content::Type("resource".into())
        );
    }

    #[test]
    fn a_type_without_end_is_cut() {
        let mut ty = "(type $t0 (list u8))".to_owned();
        for i in 1..16 {
            let below = i - 1;
            ty += &format!("(type $t{i} (tuple $t{below} $t{below}))");
        }
        let content = import(&format!(
            "(instance {ty} (export \"f\" (func (param \"p\" $t15))))"
        ));
        let Content::Interface { functions, .. } = content else {
            panic!("{content:?}");
        };
        let text = &functions[0].1;
        assert!(text.contains('…') && text.len() < 6000, "{}", text.len());
    }
}
