//! Calls as they are written, and what they stand for in a component.

use std::error::Error;

use wasmtime::component::types::Type;
use wasmtime::component::wasm_wave::ast::Node;
use wasmtime::component::wasm_wave::parser::{ParserError, ParserErrorKind};
use wasmtime::component::wasm_wave::untyped::UntypedFuncCall;
use wasmtime::component::{ResourceType, Val};

use super::exports::{Exports, Function};
use super::names::Types;
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
                Err(point_at(report, text, parenthesis, &error))
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
                types.remove(name);
            }
        }
        let keeps = match &self.name {
            Some(name) => {
                let ty = self.kept_type(function)?;
                types.insert(name.clone(), ty);
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
        if !types.iter().any(is_resource) {
            let values = self.arguments.to_wasm_params(&types);
            let values = values.map_err(|error| self.unfit(function, &error))?;
            return Ok(values.into_iter().map(Argument::Value).collect());
        }
        let nodes: Vec<&Node> = match self.arguments.params_node().map(Node::as_tuple) {
            Some(Ok(nodes)) => nodes.collect(),
            _ => Vec::new(),
        };
        let own = types.iter().skip(usize::from(receiver.is_some()));
        let is_optional = |ty: &Type| matches!(ty, Type::Option(_));
        let needed = own.len() - own.clone().rev().take_while(|ty| is_optional(ty)).count();
        if !(needed..=own.len()).contains(&nodes.len()) {
            return Err(miscounted(function, own.len(), nodes.len()));
        }
        let mut arguments: Vec<Argument> = receiver.into_iter().map(Argument::borrowed).collect();
        for (ty, node) in own.clone().zip(&nodes) {
            arguments.push(match ty {
                Type::Own(of) | Type::Borrow(of) => {
                    let name = &self.arguments.source()[node.span()];
                    if names.get(name) != Some(of) {
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
                    Argument::Value(value.map_err(|error| self.unfit(function, &error))?)
                }
            });
        }
        let left = own.skip(nodes.len());
        arguments.extend(left.map(|_| Argument::Value(Val::Option(None))));
        Ok(arguments)
    }

    fn unfit(&self, function: &Function, error: &ParserError) -> Report {
        let report = Report::error(format!("the arguments do not fit `{}`", function.name));
        point_at(report, &self.text, self.name_bytes, error)
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
    let report = Report::error(match names.contains_key(name) {
        true => format!(
            "`{name}` is a resource of another type than `{}` takes",
            function.name
        ),
        false => format!(
            "`{}` takes a resource that was kept under a name, and not {name}",
            function.name
        ),
    });
    let fits = names.iter().filter(|(_, ty)| **ty == of);
    let fits: Vec<&str> = fits.map(|(name, _)| name.as_str()).collect();
    match fits.as_slice() {
        [] => report.with_help("'NAME = EXPORT(ARGUMENTS)' keeps the one that is returned"),
        fits => report.with_note(format!("of its type there are {}", fits.join(", "))),
    }
}

/// What a parser calls by the names of its tokens, as people write it.
fn in_signs(text: &str) -> String {
    const SIGNS: [(&str, &str); 8] = [
        ("ParenOpen", "`(`"),
        ("ParenClose", "`)`"),
        ("BracketOpen", "`[`"),
        ("BracketClose", "`]`"),
        ("BraceOpen", "`{`"),
        ("BraceClose", "`}`"),
        ("Colon", "`:`"),
        ("Comma", "`,`"),
    ];
    let mut text = text.to_owned();
    for (name, sign) in SIGNS {
        text = text.replace(name, sign);
    }
    text
}

/// Marks what is wrong with arguments that begin after `name_bytes` of `text`.
fn point_at(report: Report, text: &str, name_bytes: usize, error: &ParserError) -> Report {
    let place = |offset: usize| {
        let bytes = (offset + name_bytes).saturating_sub(STAND_IN.len());
        text[..text.floor_char_boundary(bytes)].chars().count()
    };
    let span = error.span();
    let start = place(span.start);
    let label = match error.kind() {
        ParserErrorKind::InvalidType => "a value of another type".to_owned(),
        ParserErrorKind::InvalidValue => "out of range".to_owned(),
        kind => match (error.detail(), error.source()) {
            (Some(detail), _) => in_signs(detail),
            (None, Some(source)) => source.to_string(),
            (None, None) => kind.to_string(),
        },
    };
    report.with_excerpt(Excerpt {
        line: text.to_owned(),
        number: None,
        start,
        length: place(span.end).saturating_sub(start),
        label,
    })
}

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
        let expression = Expression::parse("hello()").unwrap();
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
