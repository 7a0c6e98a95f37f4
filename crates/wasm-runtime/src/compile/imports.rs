//! Whether the linker provides what a component imports.
//!
//! A linker does not list what it has, and which release of an interface stands in
//! for which other is its own affair. So it is asked: a component that imports one
//! item and is nothing else is made, and the linker takes it or refuses it.

mod probe;
mod wit;

use std::iter;
use std::sync::Arc;

use wasmparser::{BinaryReader, ComponentImportSectionReader, ComponentTypeRef};
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Engine, Error};

use wasm_core::{Cause, ComponentId, Unmet, UnmetImport, WasmError};

use self::probe::{ByResource, Item, Need};
use self::wit::Words;
use crate::error::{cause, chain};

/// Items that are looked at. WASI and the contract together have fewer than 500.
const MAX_ITEMS: usize = 10_000;

/// Each takes a fraction of a millisecond. A missing item takes at most as many as
/// the number of items has binary digits, a missing interface two.
const MAX_PROBES: usize = 1000;

/// Of all probes together: half a second or so of compiling types. One for all that
/// WASI has takes 20 KiB.
const MAX_PROBE_BYTES: usize = 2 << 20;

/// Releases of one interface that a component may export and be found by. Any export has the
/// name of one if its author says so, and each takes a probe some microseconds.
const MAX_RELEASES: usize = 64;

/// Of the magic number and the version.
const HEADER_BYTES: usize = 8;

/// A name that no linker has: what is said of it is said of what is missing.
const NOTHING: &str = "nothing-has-this-name-in-airssys-wasm";

/// What an engine does not provide of what a component imports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportAudit {
    /// In the order of the component; everything else that was examined is provided.
    pub unmet: Vec<UnmetImport>,
    /// How many imports, in that order, were examined whole; `None` for all of them. A
    /// component that imports many thousand things, few of which are provided, is not
    /// examined to the end.
    pub examined: Option<usize>,
    /// Of the import after those, the members that were not examined, if it has any.
    pub unexamined: Vec<String>,
}

impl ImportAudit {
    fn error(self, id: &ComponentId, source: Cause) -> Option<WasmError> {
        let is_partial = self.examined.is_some();
        let mut error = not_met(id, self.unmet, Some(source))?;
        if let WasmError::ImportNotFound { or_more, .. } = &mut error {
            *or_more = is_partial;
        }
        Some(error)
    }
}

/// Gives a component its imports.
///
/// # Errors
/// [`WasmError::ImportNotFound`]; [`WasmError::InstantiationFailed`] if the linker
/// refuses the component for another reason.
pub(crate) fn link<S: 'static>(
    id: &ComponentId,
    component: &Component,
    linker: &Linker<S>,
) -> Result<InstancePre<S>, WasmError> {
    linker.instantiate_pre(component).map_err(|error| {
        let audit = audit(component, linker);
        let reason = chain(&error);
        let source = cause(error);
        let error = audit.error(id, Arc::clone(&source));
        error.unwrap_or_else(|| WasmError::InstantiationFailed {
            component: id.clone(),
            reason,
            source: Some(source),
        })
    })
}

/// Names the first of these imports, and tells how many others there are.
pub(crate) fn not_met(
    id: &ComponentId,
    unmet: Vec<UnmetImport>,
    source: Option<Cause>,
) -> Option<WasmError> {
    let others = unmet.len().saturating_sub(1);
    let UnmetImport { name, reason } = unmet.into_iter().next()?;
    Some(WasmError::ImportNotFound {
        component: id.clone(),
        import: name,
        reason,
        others,
        or_more: false,
        source,
    })
}

/// The names of all that a component imports.
pub(crate) fn names(component: &Component) -> Vec<Box<str>> {
    let ty = component.component_type();
    ty.imports(component.engine())
        .map(|(name, _)| name.into())
        .collect()
}

/// Names what a component imports where the compiler refused it for that: components
/// cannot be imported.
pub(crate) fn explain(id: &ComponentId, bytes: &[u8], error: WasmError) -> WasmError {
    let audit = match audit_of_uncompiled(bytes) {
        Some(audit) if matches!(error, WasmError::InvalidComponent { .. }) => audit,
        _ => return error,
    };
    let cause = Arc::new(error.clone());
    audit.error(id, cause).unwrap_or(error)
}

/// What can be said of a component that was not compiled because it imports components;
/// `None` if it does not.
pub(crate) fn audit_of_uncompiled(bytes: &[u8]) -> Option<ImportAudit> {
    let mut unmet = Vec::new();
    for section in import_sections(bytes) {
        for import in ComponentImportSectionReader::new(BinaryReader::new(section, 0)).ok()? {
            let import = import.ok()?;
            if let ComponentTypeRef::Component(_) = import.ty
                && unmet.len() < MAX_ITEMS
            {
                unmet.push(UnmetImport {
                    name: import.name.name.to_owned(),
                    reason: Unmet::NoSuchKind {
                        kind: "a component",
                    },
                });
            }
        }
    }
    (!unmet.is_empty()).then_some(ImportAudit {
        unmet,
        examined: Some(0),
        unexamined: Vec::new(),
    })
}

/// Everything that a component imports and the linker does not provide.
pub(crate) fn audit<S: 'static>(component: &Component, linker: &Linker<S>) -> ImportAudit {
    if linker.substituted_component_type(component).is_ok() {
        return ImportAudit::default();
    }
    let engine = linker.engine();
    let ty = component.component_type();
    let imports: Vec<(&str, ComponentItem)> = ty
        .imports(engine)
        .map(|(name, import)| (name, import.ty))
        .collect();
    let mut auditor = Auditor::new(linker, &imports);
    auditor.collect();
    auditor.examine(0, auditor.items.len());
    auditor.examine_by_name();
    auditor.finish()
}

/// The part of a component that imports: everything up to its last import. It is a
/// component of its own, without the code that follows in what toolchains make.
pub(crate) fn imports_only(bytes: &[u8]) -> &[u8] {
    let end = match import_sections(bytes).last() {
        Some(last) => last.as_ptr() as usize + last.len() - bytes.as_ptr() as usize,
        None => HEADER_BYTES.min(bytes.len()),
    };
    &bytes[..end]
}

/// The contents of the outermost component's sections of imports.
fn import_sections(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    const IMPORTS: u8 = 10;
    let mut rest = bytes.get(HEADER_BYTES..).unwrap_or_default();
    let sections = iter::from_fn(move || {
        let (&section, after) = rest.split_first()?;
        let (length, content) = unsigned(after)?;
        let (content, next) = content.split_at_checked(length)?;
        rest = next;
        Some((section, content))
    });
    sections.filter_map(|(section, content)| (section == IMPORTS).then_some(content))
}

/// A number in LEB128, and what follows it.
fn unsigned(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value: u64 = 0;
    for (place, byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, &bytes[place + 1..]));
        }
    }
    None
}

/// Whether one of these exports is found as this interface.
pub(crate) fn exports_interface<'a>(
    engine: &Engine,
    interface: &str,
    exports: impl Iterator<Item = &'a str>,
) -> bool {
    let path = interface.split('@').next().unwrap_or_default();
    let releases = exports.filter(|export| {
        let rest = export.strip_prefix(path);
        rest.is_some_and(|rest| rest.starts_with('@'))
    });
    let releases = releases.take(MAX_RELEASES);
    Component::from_binary(engine, &probe::exporting(releases)).is_ok_and(|component| {
        let found = component.get_export_index(None, interface);
        found.is_some()
    })
}

enum Answer {
    Provided,
    Refused(String),
    /// It cannot be asked.
    Unknown,
}

struct Auditor<'a, S: 'static> {
    linker: &'a Linker<S>,
    engine: &'a Engine,
    imports: &'a [(&'a str, ComponentItem)],
    items: Vec<Item<'a>>,
    /// Of each resource, the item that introduces it.
    resources: ByResource<usize>,
    unmet: Vec<(usize, UnmetImport)>,
    /// Items that need not be asked about, because what they rest on is missing.
    settled: Vec<bool>,
    unknown: Option<usize>,
    probes_left: usize,
    bytes_left: usize,
    /// How many imports were looked at, unless it was all of them.
    collected: Option<usize>,
    /// Items that there were no probes left for.
    unexamined: Vec<usize>,
    /// What the linker says of a function, a resource and a core module that are missing.
    missing: [String; 3],
}

impl<'a, S: 'static> Auditor<'a, S> {
    fn new(linker: &'a Linker<S>, imports: &'a [(&'a str, ComponentItem)]) -> Self {
        let missing = [
            probe::function_of(NOTHING, None),
            probe::resource(NOTHING),
            probe::module(NOTHING),
        ]
        .map(|probe| refusal(linker, &probe).unwrap_or_default());
        Self {
            linker,
            engine: linker.engine(),
            imports,
            items: Vec::new(),
            resources: ByResource::default(),
            unmet: Vec::new(),
            settled: Vec::new(),
            unknown: None,
            probes_left: MAX_PROBES,
            bytes_left: MAX_PROBE_BYTES,
            collected: None,
            unexamined: Vec::new(),
            missing,
        }
    }

    fn collect(&mut self) {
        let imports = self.imports;
        for (import, (name, item)) in imports.iter().enumerate() {
            match item {
                ComponentItem::ComponentInstance(interface) => {
                    for (member, export) in interface.exports(self.engine) {
                        self.add(import, name, Some(member), export.ty);
                    }
                }
                item => self.add(import, name, None, item.clone()),
            }
            if self.items.len() > MAX_ITEMS {
                self.collected = Some(import + 1);
                break;
            }
        }
        self.settled = vec![false; self.items.len()];
    }

    fn add(&mut self, import: usize, name: &'a str, member: Option<&'a str>, item: ComponentItem) {
        let index = self.items.len();
        let mut uses = Some(Vec::new());
        let need = match item {
            ComponentItem::ComponentFunc(function) => {
                uses = self.uses(&function);
                Need::Function(function)
            }
            ComponentItem::Resource(resource) => {
                match self.resources.get(resource) {
                    Some(origin) => uses = Some(vec![origin]),
                    None => self.resources.insert(resource, index),
                }
                Need::Resource(resource)
            }
            ComponentItem::ComponentInstance(interface) => Need::Interface(interface),
            ComponentItem::Module(_) => Need::Module,
            // Types need nothing of the host; components and core functions are not
            // imported by what is compiled.
            _ => return,
        };
        self.items.push(Item {
            import,
            name,
            member,
            need,
            uses,
        });
    }

    /// The items that introduce the resources of a function's type, each once; `None` if it is
    /// too large.
    fn uses(&self, function: &ComponentFunc) -> Option<Vec<usize>> {
        let known = probe::resources_of(function)?.into_iter();
        let introduced = known.filter_map(|used| self.resources.get(used));
        let mut uses: Vec<_> = introduced.collect();
        uses.sort_unstable();
        uses.dedup();
        Some(uses)
    }

    /// Finds what is unmet by halving: what is provided together needs one probe.
    fn examine(&mut self, from: usize, to: usize) {
        if from == to {
            return;
        }
        if self.probes_left == 0 || self.bytes_left == 0 {
            let open = (from..to).filter(|index| !self.settled[*index]);
            self.unexamined.extend(open);
            return;
        }
        let answer = self.ask(from, to);
        match answer {
            Answer::Provided => {}
            _ if to - from > 1 => {
                let middle = from + (to - from) / 2;
                self.examine(from, middle);
                self.examine(middle, to);
            }
            Answer::Refused(said) => self.judge(from, &said),
            Answer::Unknown => {
                self.unknown.get_or_insert(from);
            }
        }
    }

    /// Functions that use a resource that is unmet cannot be asked about with their
    /// type. Whether they are there can be asked all the same.
    fn examine_by_name(&mut self) {
        for index in 0..self.items.len() {
            let Item {
                name, member, need, ..
            } = &self.items[index];
            // The functions of a resource have its name and are as unmet as it is.
            let of_resource = member.unwrap_or(name).starts_with('[');
            if of_resource
                || !matches!(need, Need::Function(_))
                || self.settled[index]
                || !self.is_settled(index)
            {
                continue;
            }
            if self.probes_left == 0 {
                self.unexamined.push(index);
                continue;
            }
            self.probes_left -= 1;
            if let Some(said) = refusal(self.linker, &probe::function_of(name, *member))
                && said == self.missing[0]
            {
                self.judge(index, &said);
            }
        }
    }

    fn ask(&mut self, from: usize, to: usize) -> Answer {
        let open: Vec<usize> = (from..to)
            .filter(|index| !self.is_settled(*index))
            .collect();
        if open.is_empty() {
            return Answer::Provided;
        }
        let Some(probe) = probe::of(&self.items, open.into_iter(), self.engine) else {
            return Answer::Unknown;
        };
        self.probes_left -= 1;
        self.bytes_left = self.bytes_left.saturating_sub(probe.len());
        let Ok(component) = Component::from_binary(self.engine, &probe) else {
            return Answer::Unknown;
        };
        match self.linker.substituted_component_type(&component) {
            Ok(_) => Answer::Provided,
            Err(error) => Answer::Refused(said(&error)),
        }
    }

    fn is_settled(&self, index: usize) -> bool {
        let uses = self.items[index].uses.iter().flatten();
        self.settled[index] || uses.into_iter().any(|used| self.settled[*used])
    }

    /// Tells what is missing from what is of another type.
    fn judge(&mut self, index: usize, said: &str) {
        self.settled[index] = true;
        let Item {
            import,
            name,
            member,
            ..
        } = self.items[index];
        let missing = self.missing.iter().any(|missing| missing == said);
        if missing && member.is_some() && self.has_nothing(name) {
            let rest = index..self.items.len();
            for other in rest.take_while(|other| self.items[*other].import == import) {
                self.settled[other] = true;
            }
            self.report(import, name.to_owned(), Unmet::Missing);
            return;
        }
        let reason = match (&self.items[index].need, missing) {
            (Need::Module, true) => Unmet::NoSuchKind {
                kind: "a core module",
            },
            (_, true) => Unmet::Missing,
            (_, false) => self.other_type(index),
        };
        self.report(import, full_name(name, member), reason);
    }

    /// Whether the linker has nothing at all under the name of an import.
    fn has_nothing(&mut self, name: &str) -> bool {
        self.probes_left = self.probes_left.saturating_sub(1);
        let refusal = refusal(self.linker, &probe::function_of(name, None));
        refusal.is_some_and(|said| said == self.missing[0])
    }

    fn other_type(&self, index: usize) -> Unmet {
        let item = &self.items[index];
        let words = Words::new(self.engine, &self.imports[item.import].1, |resource| {
            let item = &self.items[self.resources.get(resource)?];
            Some(item.member.unwrap_or(item.name))
        });
        match &item.need {
            Need::Function(function) => words.mismatch(item.name, item.member, function),
            Need::Resource(_) => Unmet::OtherType {
                wanted: "resource".to_owned(),
                provided: None,
            },
            Need::Module => Unmet::OtherType {
                wanted: "core module".to_owned(),
                provided: None,
            },
            Need::Interface(_) => Unmet::OtherType {
                wanted: "interface".to_owned(),
                provided: None,
            },
        }
    }

    fn report(&mut self, import: usize, name: String, reason: Unmet) {
        self.unmet.push((import, UnmetImport { name, reason }));
    }

    fn finish(mut self) -> ImportAudit {
        // It was refused for something: for what could not be asked, if for nothing else.
        if let (Some(index), true) = (self.unknown, self.unmet.is_empty()) {
            let item = &self.items[index];
            let (import, name) = (item.import, full_name(item.name, item.member));
            let reason = self.other_type(index);
            self.report(import, name, reason);
        }
        self.unmet.sort_by_key(|(import, _)| *import);
        let unexamined = self.unexamined.iter().map(|index| &self.items[*index]);
        let first = unexamined.clone().map(|item| item.import).min();
        let members = unexamined
            .filter(|item| Some(item.import) == first)
            .filter_map(|item| item.member.map(str::to_owned))
            .collect();
        ImportAudit {
            unmet: self.unmet.into_iter().map(|(_, unmet)| unmet).collect(),
            examined: first.or(self.collected),
            unexamined: members,
        }
    }
}

fn full_name(name: &str, member: Option<&str>) -> String {
    match member {
        Some(member) => format!("{name}#{member}"),
        None => name.to_owned(),
    }
}

/// What the linker says when it refuses a component; `None` when it does not.
fn refusal<S: 'static>(linker: &Linker<S>, probe: &[u8]) -> Option<String> {
    let component = Component::from_binary(linker.engine(), probe).ok()?;
    let refused = linker.substituted_component_type(&component);
    refused.err().map(|error| said(&error))
}

/// Compared with what is said of a thing that is surely missing, and never shown.
fn said(error: &Error) -> String {
    error.root_cause().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_seven_bits_in_each_byte() {
        for (bytes, found) in [
            (&[5, 9][..], Some((5, &[9][..]))),
            (&[0x7f], Some((127, &[]))),
            (&[0x80, 1, 2], Some((128, &[2]))),
            (&[0xe5, 0x8e, 0x26, 7], Some((624_485, &[7]))),
            (&[0x80, 0x80, 0x80, 0x80, 1], Some((1 << 28, &[]))),
            (&[0x80, 0x80, 0x80, 0x80, 0x80, 1], None),
            (&[0x80], None),
            (&[], None),
        ] {
            assert_eq!(unsigned(bytes), found, "{bytes:x?}");
        }
    }

    #[test]
    fn the_imports_of_a_component_are_one() {
        let text = "(component
            (import \"a\" (func))
            (core module (func))
            (import \"b\" (component))
            (core module (func) (func)))";
        let bytes = wat::parse_str(text).unwrap();
        let only = imports_only(&bytes);
        assert!(bytes.starts_with(only) && only.len() < bytes.len());
        let imports = |bytes: &[u8]| -> Vec<String> {
            let readers = import_sections(bytes).map(|section| {
                ComponentImportSectionReader::new(BinaryReader::new(section, 0)).unwrap()
            });
            let names = readers.flat_map(|imports| {
                imports
                    .into_iter()
                    .map(|import| import.unwrap().name.name.to_owned())
            });
            names.collect()
        };
        assert_eq!(imports(&bytes), ["a", "b"]);
        assert_eq!(imports(only), ["a", "b"]);
        // It ends with the section.
        assert_eq!(imports(&only[..only.len() - 1]), ["a"]);
        let none = wat::parse_str("(component (core module (func)))").unwrap();
        assert_eq!(imports_only(&none), &none[..8]);
        assert_eq!(imports_only(b"\0as"), b"\0as");
    }

    #[test]
    fn components_among_imports_are_named_without_compiling_any() {
        let named = |text: &str| {
            let audit = audit_of_uncompiled(&wat::parse_str(text).unwrap())?;
            assert_eq!(audit.examined, Some(0));
            let names = audit.unmet.into_iter().map(|unmet| unmet.name);
            Some(names.collect::<Vec<_>>())
        };
        assert_eq!(named("(component (import \"a\" (func)))"), None);
        let two = "(component (import \"a\" (func)) (import \"b\" (component))
            (import \"c\" (component)))";
        assert_eq!(named(two), Some(vec!["b".to_owned(), "c".to_owned()]));
        let many: String = (0..10_001)
            .map(|n| format!("(import \"c{n}\" (component))"))
            .collect();
        let named = named(&format!("(component {many})")).unwrap();
        assert_eq!(named.len(), 10_000);
    }
}
