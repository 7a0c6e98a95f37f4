//! Calls as they are written, and what they stand for in a component.

use std::error::Error;
use std::ops::Range;

use wasmtime::component::types::Type;
use wasmtime::component::wasm_wave::ast::Node;
use wasmtime::component::wasm_wave::parser::{ParserError, ParserErrorKind};
use wasmtime::component::wasm_wave::untyped::UntypedFuncCall;
use wasmtime::component::{ResourceType, Val};

use super::exports::{Exports, Function};
use super::names::{Types, given_away};
use super::types::{Resources, has_no_notation, is_resource, resources};
use crate::output::report::{Excerpt, Report};

/// `export(arguments)` or `name = export(arguments)`, not yet matched to a component.
pub(crate) struct Expression {
    text: String,
    /// Under which what it returns is kept.
    name: Option<String>,
    export: String,
    /// Where the parenthesis is.
    name_bytes: usize,
    arguments: UntypedFuncCall<'static>,
}

/// A call of a function that is there, with arguments that fit it.
#[derive(Debug)]
pub(crate) struct Planned {
    /// Under which name the resource that it returns is kept, and of which type that is.
    pub(super) keeps: Option<(String, ResourceType)>,
    /// In full.
    pub(super) function: String,
    pub(super) arguments: Vec<Argument>,
}

#[derive(Debug)]
pub(super) enum Argument {
    Value(Val),
    /// What is kept under a name.
    Named {
        name: String,
        is_given_away: bool,
    },
}

/// Stands for the export's name in what WAVE parses, which knows neither `#` nor
/// the versions that an interface may have.
const STAND_IN: &str = "f";

impl Expression {
    pub(crate) fn parse(text: &str) -> Result<Self, Report> {
        let text = text.trim();
        // As one writes it in a shell, where there is none to take the quotes off.
        let quoted = text
            .strip_prefix('\'')
            .and_then(|text| text.strip_suffix('\''));
        let text = quoted.unwrap_or(text).trim();
        if text.is_empty() {
            return Err(Report::error(
                "what is to be called is missing, as 'add(1, 2)'",
            ));
        }
        let Some(parenthesis) = text.find('(') else {
            return Err(Report::error("an export is called with parentheses")
                .with_excerpt(Excerpt {
                    line: text.to_owned(),
                    number: None,
                    start: text.chars().count(),
                    length: 1,
                    label: "`(` is missing".to_owned(),
                })
                .with_help(format!("'{text}()' calls it without arguments")));
        };
        let (head, arguments) = text.split_at(parenthesis);
        let (name, export) = match head.split_once('=') {
            Some((name, export)) => (Some(parse_name(text, name)?), export),
            None => (None, head),
        };
        if export.trim().is_empty() {
            return Err(
                Report::error("the export that is to be called is missing").with_excerpt(Excerpt {
                    line: text.to_owned(),
                    number: None,
                    start: text[..parenthesis].chars().count(),
                    length: 1,
                    label: "before this".to_owned(),
                }),
            );
        }
        let arguments = format!("{STAND_IN}{arguments}");
        match UntypedFuncCall::parse(&arguments) {
            Ok(parsed) => Ok(Self {
                text: text.to_owned(),
                name,
                export: export.trim().to_owned(),
                name_bytes: parenthesis,
                arguments: parsed.into_owned(),
            }),
            Err(error) => {
                let report = Report::error("this is not a call in WAVE");
                let fault = Fault::of(&error, &arguments);
                let report = match word_before(&arguments, fault.span.start) {
                    Some(word) => report.with_help(format!(
                        "`{word}` is a word of WAVE: a case of that name is written `%{word}`"
                    )),
                    None => report,
                };
                Err(point_at(report, text, parenthesis, fault))
            }
        }
    }

    /// What it stands for in a component; `types` are those of the names that are known by
    /// then, which it may change.
    pub(crate) fn plan(&self, exports: &Exports, types: &mut Types) -> Result<Planned, Report> {
        let (function, receiver) = exports.find(&self.export, types)?;
        check_notation(function)?;
        let arguments = self.arguments(function, receiver, types)?;
        for argument in &arguments {
            if let Argument::Named {
                name,
                is_given_away: true,
            } = argument
            {
                types.insert(name.clone(), None);
            }
        }
        let keeps = match &self.name {
            Some(name) => {
                let ty = self.kept_type(function)?;
                types.insert(name.clone(), Some(ty));
                Some((name.clone(), ty))
            }
            None => None,
        };
        Ok(Planned {
            keeps,
            function: function.name.clone(),
            arguments,
        })
    }

    /// Of the one resource that a name is given to.
    fn kept_type(&self, function: &Function) -> Result<ResourceType, Report> {
        // The component model knows at most one result.
        let result = function.ty.results().next();
        let returned = match result.map_or(Resources::None, |ty| resources(&ty)) {
            Resources::One(one) => return Ok(one),
            Resources::None => "no resource",
            Resources::Several => "several resources",
        };
        Err(Report::error(format!(
            "`{}` returns {returned}, and a name is given to one",
            function.name
        ))
        .with_note(format!("its type is {}", function.signature())))
    }

    fn arguments(
        &self,
        function: &Function,
        receiver: Option<&str>,
        names: &Types,
    ) -> Result<Vec<Argument>, Report> {
        let types: Vec<Type> = function.ty.params().map(|(_, ty)| ty).collect();
        let nodes: Vec<&Node> = match self.arguments.params_node().map(Node::as_tuple) {
            Some(Ok(nodes)) => nodes.collect(),
            _ => Vec::new(),
        };
        if !types.iter().any(is_resource) {
            self.check_overlooked(function, &types, &nodes)?;
            let values = self.arguments.to_wasm_params(&types);
            let values = values.map_err(|error| self.unfit(function, self.fault(&error)))?;
            return Ok(values.into_iter().map(Argument::Value).collect());
        }
        let own = types.iter().skip(usize::from(receiver.is_some()));
        let is_optional = |ty: &Type| matches!(ty, Type::Option(_));
        let needed = own.len() - own.clone().rev().take_while(|ty| is_optional(ty)).count();
        if !(needed..=own.len()).contains(&nodes.len()) {
            return Err(miscounted(function, own.len(), nodes.len()));
        }
        let own: Vec<Type> = own.cloned().collect();
        self.check_overlooked(function, &own, &nodes)?;
        let mut arguments: Vec<Argument> = receiver.into_iter().map(Argument::borrowed).collect();
        for (ty, node) in own.iter().zip(&nodes) {
            arguments.push(match ty {
                Type::Own(of) | Type::Borrow(of) => {
                    let name = &self.arguments.source()[node.span()];
                    if names.get(name) != Some(&Some(*of)) {
                        return Err(not_named(function, name, *of, names));
                    }
                    let is_given_away = matches!(ty, Type::Own(_));
                    if arguments
                        .iter()
                        .any(|other| other.excludes(name, is_given_away))
                    {
                        return Err(Report::error(format!(
                            "`{}` takes `{name}` away, and it is used in the same call once more",
                            function.name
                        )));
                    }
                    Argument::Named {
                        name: name.to_owned(),
                        is_given_away,
                    }
                }
                ty => {
                    let value = node.to_wasm_value(ty, self.arguments.source());
                    Argument::Value(
                        value.map_err(|error| self.unfit(function, self.fault(&error)))?,
                    )
                }
            });
        }
        let left = own.iter().skip(nodes.len());
        arguments.extend(left.map(|_| Argument::Value(Val::Option(None))));
        Ok(arguments)
    }

    fn check_overlooked(
        &self,
        function: &Function,
        types: &[Type],
        nodes: &[&Node],
    ) -> Result<(), Report> {
        let source = self.arguments.source();
        let mut values = types.iter().zip(nodes);
        match values.find_map(|(ty, node)| overlooked(node, ty, source)) {
            Some(fault) => Err(self.unfit(function, fault)),
            None => Ok(()),
        }
    }

    fn fault(&self, error: &ParserError) -> Fault {
        Fault::of(error, self.arguments.source())
    }

    fn unfit(&self, function: &Function, fault: Fault) -> Report {
        let report = Report::error(format!("the arguments do not fit `{}`", function.name));
        point_at(report, &self.text, self.name_bytes, fault)
            .with_note(format!("its type is {}", function.signature()))
    }
}

impl Argument {
    fn borrowed(name: &str) -> Self {
        Self::Named {
            name: name.to_owned(),
            is_given_away: false,
        }
    }

    /// Whether this is the same resource, and one of the two takes it away.
    fn excludes(&self, other: &str, is_given_away: bool) -> bool {
        match self {
            Self::Named {
                name,
                is_given_away: this,
            } => name == other && (*this || is_given_away),
            Self::Value(_) => false,
        }
    }
}

/// Words of WAVE, which are values already.
const WORDS: [&str; 8] = ["true", "false", "inf", "nan", "some", "none", "ok", "err"];

/// A name as WIT writes them.
fn parse_name(text: &str, name: &str) -> Result<String, Report> {
    let name = name.trim_end();
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_word = |word: &str| word.starts_with(|c: char| c.is_ascii_lowercase());
    if name.chars().all(is_part) && name.split('-').all(is_word) && !WORDS.contains(&name) {
        return Ok(name.to_owned());
    }
    Err(
        Report::error("what is kept has a name of a-z, 0-9 and `-`, as in 'cart-1 = cart()'")
            .with_excerpt(Excerpt {
                line: text.to_owned(),
                number: None,
                start: 0,
                length: name.chars().count(),
                label: "this is none".to_owned(),
            }),
    )
}

fn miscounted(function: &Function, taken: usize, found: usize) -> Report {
    let s = if taken == 1 { "" } else { "s" };
    let name = &function.name;
    Report::error(format!(
        "`{name}` takes {taken} argument{s} here, not {found}"
    ))
    .with_note(format!("its type is {}", function.signature()))
}

fn not_named(function: &Function, name: &str, of: ResourceType, names: &Types) -> Report {
    let report = Report::error(match names.get(name) {
        Some(Some(_)) => format!(
            "`{name}` is a resource of another type than `{}` takes",
            function.name
        ),
        Some(None) => given_away(name),
        None => format!(
            "`{}` takes a resource that was kept under a name, and not {name}",
            function.name
        ),
    });
    let fits = names.iter().filter(|(_, ty)| **ty == Some(of));
    let fits: Vec<&str> = fits.map(|(name, _)| name.as_str()).collect();
    match fits.as_slice() {
        [] => report.with_help("'NAME = EXPORT(ARGUMENTS)' keeps the one that is returned"),
        fits => report.with_note(format!("of its type there are {}", fits.join(", "))),
    }
}

/// What is wrong with a part of a text.
struct Fault {
    span: Range<usize>,
    label: String,
}

impl Fault {
    /// As a parser of `text` says it.
    fn of(error: &ParserError, text: &str) -> Self {
        let span = error.span();
        let label = match error.kind() {
            ParserErrorKind::InvalidType => "a value of another type".to_owned(),
            ParserErrorKind::InvalidValue => {
                let number = text.get(span.clone()).unwrap_or_default();
                let digits = number.strip_prefix('-').unwrap_or(number);
                match digits.bytes().all(|b| b.is_ascii_digit()) {
                    true => OUT_OF_RANGE.to_owned(),
                    false => "no whole number".to_owned(),
                }
            }
            ParserErrorKind::WasmValueError | ParserErrorKind::InvalidParams => {
                let source = error.source().map(ToString::to_string);
                let detail = error.detail().map(str::to_owned);
                source
                    .or(detail)
                    .unwrap_or_else(|| error.kind().to_string())
            }
            kind => kind.to_string(),
        };
        Self { span, label }
    }
}

const OUT_OF_RANGE: &str = "out of range";

/// The word of WAVE before a place where another case might go on: only `some` needs a payload,
/// and some cannot have one.
fn word_before(text: &str, place: usize) -> Option<&'static str> {
    let (before, after) = text.split_at_checked(place)?;
    let before = before.trim_end();
    let is_label = |c: char| c.is_alphanumeric() || c == '-' || c == '%';
    let is_last = |word: &str| {
        let rest = before.strip_suffix(word);
        rest.is_some_and(|rest| !rest.ends_with(is_label))
    };
    let mut words = WORDS.into_iter();
    words.find(|word| is_last(word) && (*word == "some" || after.starts_with('(')))
}

/// That a word of WAVE stands where a case of that name is meant.
fn is_no_case<'c>(
    node: &Node,
    text: &str,
    mut cases: impl Iterator<Item = &'c str>,
) -> Option<Fault> {
    let whole = &text[node.span()];
    let word = whole.split('(').next().unwrap_or_default().trim_end();
    let is_meant = WORDS.contains(&word) && cases.any(|case| case == word);
    is_meant.then(|| Fault {
        span: node.span().start..node.span().start + word.len(),
        label: format!("the case of that name is written `%{word}`"),
    })
}

/// What is wrong with a value and nobody else finds, or tells in other words: fields that the
/// type does not have, numbers that would be infinite, and words of WAVE in place of cases.
fn overlooked(node: &Node, ty: &Type, text: &str) -> Option<Fault> {
    let inner = |node: &Node, ty: Option<Type>| overlooked(node, &ty?, text);
    match ty {
        Type::Float32 | Type::Float64 => {
            let number = &text[node.span()];
            let is_infinite = match ty {
                Type::Float32 => number.parse().is_ok_and(f32::is_infinite),
                _ => number.parse().is_ok_and(f64::is_infinite),
            };
            (is_infinite && !number.ends_with("inf")).then(|| Fault {
                span: node.span(),
                label: OUT_OF_RANGE.to_owned(),
            })
        }
        Type::List(list) => {
            let ty = list.ty();
            let mut nodes = node.as_list().ok()?;
            nodes.find_map(|node| overlooked(node, &ty, text))
        }
        Type::Tuple(tuple) => {
            let mut nodes = node.as_tuple().ok()?.zip(tuple.types());
            nodes.find_map(|(node, ty)| overlooked(node, &ty, text))
        }
        Type::Record(record) => node.as_record(text).ok()?.find_map(|(name, node)| {
            match record.fields().find(|field| field.name == name) {
                Some(field) => overlooked(node, &field.ty, text),
                None => Some(Fault {
                    span: node.span(),
                    label: format!("there is no field `{name}`"),
                }),
            }
        }),
        Type::Enum(of) => is_no_case(node, text, of.names()),
        Type::Variant(variant) => {
            let Ok((name, payload)) = node.as_variant(text) else {
                return is_no_case(node, text, variant.cases().map(|case| case.name));
            };
            let case = variant.cases().find(|case| case.name == name)?;
            inner(payload?, case.ty)
        }
        // `some` and `ok` may be left out.
        Type::Option(option) => match node.as_option() {
            Ok(payload) => inner(payload?, Some(option.ty())),
            Err(_) => inner(node, Some(option.ty())),
        },
        Type::Result(result) => match node.as_result() {
            Ok(Ok(payload)) => inner(payload?, result.ok()),
            Ok(Err(payload)) => inner(payload?, result.err()),
            Err(_) => inner(node, result.ok()),
        },
        _ => None,
    }
}

/// Marks what is wrong with arguments that begin after `name_bytes` of `text`; of a long text,
/// what is around it is shown.
fn point_at(report: Report, text: &str, name_bytes: usize, fault: Fault) -> Report {
    let place = |offset: usize| {
        let bytes = (offset + name_bytes).saturating_sub(STAND_IN.len());
        text[..text.floor_char_boundary(bytes)].chars().count()
    };
    let start = place(fault.span.start);
    let length = place(fault.span.end).saturating_sub(start);
    let mut excerpt = Excerpt {
        line: text.to_owned(),
        number: None,
        start,
        length,
        label: fault.label,
    };
    if text.chars().nth(SHOWN_CHARS).is_some() {
        let skipped = start.saturating_sub(SHOWN_CHARS / 2);
        let shown = text.chars().skip(skipped).take(SHOWN_CHARS);
        excerpt.line = ['…'].into_iter().chain(shown).chain(['…']).collect();
        excerpt.start = start - skipped + 1;
        excerpt.length = length.min(SHOWN_CHARS - (start - skipped));
    }
    report.with_excerpt(excerpt)
}

/// Of a long text.
const SHOWN_CHARS: usize = 100;

/// Resources can be given by their names, and be anywhere in what is returned.
fn check_notation(function: &Function) -> Result<(), Report> {
    let mut params = function.ty.params().map(|(_, ty)| ty);
    let mut results = function.ty.results();
    let odd_param = params.any(|ty| !is_resource(&ty) && has_no_notation(&ty, true));
    if odd_param || results.any(|ty| has_no_notation(&ty, false)) {
        return Err(Report::error(format!(
            "`{}` takes or returns what has no notation in WAVE, such as a list of resources or \
             a stream",
            function.name
        ))
        .with_note(format!("its type is {}", function.signature())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_error(text: &str) -> String {
        let report = Expression::parse(text).err().unwrap().to_string();
        anstream::adapter::strip_str(&report).to_string()
    }

    #[test]
    fn a_call_has_a_name_and_arguments() {
        let expression = Expression::parse(" acme:calc/ops@1.0.0-rc.1#add (1, 2) ").unwrap();
        assert_eq!(expression.export, "acme:calc/ops@1.0.0-rc.1#add");
        assert_eq!(expression.arguments.params_node().map(|_| ()), Some(()));
        let expression = Expression::parse("'hello()'").unwrap();
        assert_eq!(expression.export, "hello");
        assert!(expression.arguments.params_node().is_none());
    }

    #[test]
    fn points_at_what_is_not_a_value() {
        assert_eq!(
            parse_error("hello"),
            "error: an export is called with parentheses
  |
  | hello
  |      ^ `(` is missing
  = help: 'hello()' calls it without arguments
"
        );
        assert_eq!(
            parse_error("größer(1, )x"),
            "error: this is not a call in WAVE
  |
  | größer(1, )x
  |            ^ trailing characters after value
"
        );
    }
}
