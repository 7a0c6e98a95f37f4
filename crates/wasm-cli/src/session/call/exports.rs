//! The functions that a component exports, by the names that people use.

use wasmtime::component::ResourceType;
use wasmtime::component::types::{ComponentFunc, Type};
use wasmtime::component::wasm_wave::wasm::DisplayType;

use wasm_core::text::shortened;
use wasm_core::{ComponentHandle, WasmError};
use wasm_runtime::WasmtimeEngine;

use super::names::{Types, given_away};
use super::types::has_no_notation;
use crate::output::report::Report;

/// More would hide the error above them.
const SHOWN_EXPORTS: usize = 30;
/// Enough to see what is meant: a small type can take gigabytes to spell out.
pub(crate) const SHOWN_TYPE_CHARS: usize = 1000;

/// How a type that WAVE does not know is displayed.
const WITHOUT_NOTATION: &str = "<<UNSUPPORTED>>";

/// The functions that a component exports.
pub(crate) struct Exports(Vec<Function>);

pub(crate) struct Function {
    /// `function` or `interface#function`.
    pub(super) name: String,
    pub(super) ty: ComponentFunc,
}

impl Exports {
    pub(crate) fn of(engine: &WasmtimeEngine, handle: &ComponentHandle) -> Result<Self, WasmError> {
        let names = engine.exports(handle)?.into_iter();
        let functions = names.map(|name| {
            let ty = engine.export_type(handle, &name)?;
            Ok(Function { name, ty })
        });
        functions.collect::<Result<_, _>>().map(Self)
    }

    /// By its full name, or by a short one that no other function has; or a method, and whose.
    pub(super) fn find<'n>(
        &self,
        wanted: &'n str,
        types: &Types,
    ) -> Result<(&Function, Option<&'n str>), Report> {
        if let Some(function) = self.0.iter().find(|function| function.name == wanted) {
            return Ok((function, None));
        }
        let of_name = wanted.split_once('.');
        let of_name = of_name.and_then(|(name, method)| Some((name, *types.get(name)?, method)));
        if let Some((name, Some(ty), method)) = of_name
            && let Some(function) = self.methods(ty).find(|f| f.method_of(ty) == Some(method))
        {
            return Ok((function, Some(name)));
        }
        let mut short = self.0.iter().filter(|function| function.is_called(wanted));
        match (short.next(), short.next()) {
            (Some(function), None) => Ok((function, None)),
            (Some(one), Some(other)) => Err(Report::error(format!(
                "`{wanted}` may be `{}` or `{}`",
                one.name, other.name
            ))
            .with_help("write the full name")),
            (None, _) => Err(match of_name {
                Some((name, Some(ty), method)) => self.no_method(name, ty, method),
                Some((name, None, _)) => Report::error(given_away(name)),
                None => self.not_found(wanted),
            }),
        }
    }

    fn methods(&self, ty: ResourceType) -> impl Iterator<Item = &Function> + Clone {
        let functions = self.0.iter();
        functions.filter(move |function| function.method_of(ty).is_some())
    }

    fn no_method(&self, name: &str, ty: ResourceType, method: &str) -> Report {
        let report = Report::error(format!("`{name}` has no method `{method}`"));
        if self.methods(ty).next().is_none() {
            return report.with_note("it has no methods at all");
        }
        let report = list(report, self.methods(ty));
        let named = self
            .methods(ty)
            .filter_map(|function| function.method_of(ty));
        let similar = named.map(|name| (distance(&words(method), &words(name)), name));
        let similar = similar.filter_map(|(distance, name)| Some((distance?, name)));
        match similar.min() {
            Some((_, name)) => report.with_help(format!("did you mean `{name}`?")),
            None => report,
        }
    }

    fn not_found(&self, wanted: &str) -> Report {
        let report = Report::error(format!("there is no export `{wanted}`"));
        if self.0.is_empty() {
            return report.with_note("it exports no functions at all");
        }
        let report = list(report, self.0.iter());
        if let Some(name) = self.similar(wanted) {
            return report.with_help(format!("did you mean `{name}`?"));
        }
        if let Some((interface, function)) = self.of_interface(wanted) {
            return report.with_help(format!(
                "`{interface}` is an interface: `{function}` is a function of it"
            ));
        }
        match wanted.split_once('.') {
            // In the name of an interface are others besides.
            Some((name, _)) if !name.contains(PARTS) => report.with_help(format!(
                "methods are called by the name that was given to a resource: '{name} = …'"
            )),
            _ => report,
        }
    }

    /// The name that was meant: with its interface, unless a function alone was written.
    fn similar(&self, wanted: &str) -> Option<&str> {
        let parts = words(wanted);
        let similar = self.0.iter().filter_map(|function| {
            let distance = distance(&parts, &words(&function.name))?;
            // Of several releases of an interface, the nearest.
            let version = strsim::damerau_levenshtein(&function.name, wanted);
            Some((distance, version, function))
        });
        let (_, _, function) =
            similar.min_by_key(|(distance, version, _)| (*distance, *version))?;
        let plain = function.plain_name();
        Some(match words(plain).len() < parts.len() {
            true => function.name.as_str(),
            false => plain,
        })
    }

    /// The interface that was written in place of a function, with one of its functions.
    fn of_interface(&self, wanted: &str) -> Option<(&str, &str)> {
        let wanted = words(wanted);
        self.0.iter().find_map(|function| {
            let (interface, _) = function.name.split_once('#')?;
            distance(&wanted, &words(interface))?;
            Some((interface, function.name.as_str()))
        })
    }
}

/// What parts a name, also where another of them belongs.
const PARTS: [char; 5] = [':', '/', '@', '#', '.'];

/// What a name is made of, without versions and without what a function is.
fn words(name: &str) -> Vec<&str> {
    let is_of_version = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit());
    let words = name.split(PARTS).filter(|word| !is_of_version(word));
    let plain = words.map(|word| word.rsplit_once(']').map_or(word, |(_, plain)| plain));
    plain.filter(|word| !word.is_empty()).collect()
}

/// How far apart names are, as far as both go from their ends; `None` if one is not the other
/// with a slip.
fn distance(wanted: &[&str], name: &[&str]) -> Option<usize> {
    if wanted.is_empty() || name.is_empty() {
        return None;
    }
    let mut pairs = wanted.iter().rev().zip(name.iter().rev());
    pairs.try_fold(0, |sum, (wanted, word)| {
        let distance = strsim::damerau_levenshtein(word, wanted);
        (distance <= word.len() / 3).then_some(sum + distance)
    })
}

/// Lists what there is.
fn list<'f>(report: Report, functions: impl Iterator<Item = &'f Function> + Clone) -> Report {
    let mut lines = vec!["it exports".to_owned()];
    let shown = functions.clone().take(SHOWN_EXPORTS);
    lines.extend(shown.map(|f| format!("  {}: {}", f.name, f.signature())));
    let count = functions.count();
    if count > SHOWN_EXPORTS {
        lines.push(format!("  and {} more", count - SHOWN_EXPORTS));
    }
    report.with_note(lines.join("\n"))
}

impl Function {
    /// Without its interface.
    fn short_name(&self) -> &str {
        self.name
            .rsplit_once('#')
            .map_or(&self.name, |(_, name)| name)
    }

    /// Without what it is: `cart` of `[constructor]cart`.
    fn plain_name(&self) -> &str {
        let name = self.short_name();
        name.rsplit_once(']').map_or(name, |(_, name)| name)
    }

    fn is_called(&self, name: &str) -> bool {
        self.short_name() == name || self.plain_name() == name
    }

    /// Its name as a method of resources of this type, if it is one.
    fn method_of(&self, ty: ResourceType) -> Option<&str> {
        let method = self.short_name().strip_prefix("[method]")?;
        let (_, method) = method.split_once('.')?;
        match self.ty.params().next()? {
            (_, Type::Borrow(of)) if of == ty => Some(method),
            _ => None,
        }
    }

    /// With records and variants spelled out, as a caller has to.
    pub(super) fn signature(&self) -> String {
        let shown = |ty: &Type| {
            let text = shortened(SHOWN_TYPE_CHARS, DisplayType(ty)).to_string();
            match has_no_notation(ty, false) {
                true => text,
                false => text.replace(WITHOUT_NOTATION, "resource"),
            }
        };
        let params = self.ty.params();
        let params: Vec<String> = params
            .map(|(name, ty)| format!("{name}: {}", shown(&ty)))
            .collect();
        let results: Vec<String> = self.ty.results().map(|ty| shown(&ty)).collect();
        let arrow = if results.is_empty() { "" } else { " -> " };
        format!("func({}){arrow}{}", params.join(", "), results.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::Engine;
    use wasmtime::component::Component;
    use wasmtime::component::types::ComponentItem;

    use super::*;

    /// Functions that take a tuple of so many numbers.
    fn exports(functions: usize, numbers: usize) -> Exports {
        let numbers = "u8 ".repeat(numbers);
        let text = format!("(component (import \"f\" (func (param \"p\" (tuple {numbers})))))");
        let engine = Engine::default();
        let component = Component::new(&engine, wat::parse_str(text).unwrap()).unwrap();
        let ty = component.component_type();
        let import = ty.imports(&engine).next().map(|(_, import)| import.ty);
        let Some(ComponentItem::ComponentFunc(ty)) = import else {
            panic!("{import:?}");
        };
        let function = |number| Function {
            name: format!("f{number}"),
            ty: ty.clone(),
        };
        Exports((0..functions).map(function).collect())
    }

    #[test]
    fn of_many_exports_some_are_listed() {
        let report = exports(40, 1).not_found("g").to_string();
        assert!(report.contains("f29: func"), "{report}");
        assert!(!report.contains("f30: func"), "{report}");
        assert!(report.contains("and 10 more"), "{report}");
    }

    #[test]
    fn of_a_large_type_the_beginning_is_shown() {
        let signature = exports(1, 1000).0[0].signature();
        let (shown, _) = signature.split_once('…').unwrap();
        assert_eq!(shown.chars().count(), "func(p: ".len() + 1000);
    }
}
