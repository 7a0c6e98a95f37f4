use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use wasmtime::component::types::{ComponentFunc, Type};
use wasmtime::component::wasm_wave::parser::{ParserError, ParserErrorKind};
use wasmtime::component::wasm_wave::untyped::UntypedFuncCall;
use wasmtime::component::wasm_wave::wasm::DisplayType;
use wasmtime::component::{Val, wasm_wave};

use wasm_core::text::{PathText as _, shortened};
use wasm_core::{ComponentHandle, WasmError};
use wasm_runtime::WasmtimeEngine;

use crate::flags::Flags;
use crate::outcome::{Stop, block_on, end, unless_interrupted};
use crate::output;
use crate::report::{Excerpt, Report};
use crate::source::{Place, Source};

const EXAMPLES: &str = "\
Examples:
  airssys-wasm call examples/hello 'hello()'
  airssys-wasm call examples/echo 'metadata()'
  airssys-wasm call calc/Component.toml 'acme:calc/ops@1.0.0#add(1, 2)'
  airssys-wasm call calc.wasm 'add(1, 2)' \\
      --memory 1MiB --fuel 1_000_000 --timeout 1s";

const DETAILS: &str = "\
Arguments and the result are in WAVE, the notation of the component model for
values: 42, \"text\", 'c', true, [1, 2], (1, \"a\"), {name: \"x\", age: 7}, some(1),
none, ok(1), err(\"no\"), a-case(1). Optional arguments at the end may be left
out.

A function of an interface can be called by its short name if no other function
has it. An answer such as err(\"no\") is a result like any other.

Exit codes:
  0  the call returned
  1  the call failed
  2  bad input: nothing was called";

/// Load a component and call one of its exports
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DETAILS}"))]
pub(crate) struct Call {
    /// Folder with a Component.toml, a manifest, or a bare .wasm with its limits as flags
    #[arg(value_name = "PATH")]
    path: PathBuf,

    /// What to call, such as 'hello()' or 'add(1, 2)'
    #[arg(value_name = "EXPORT(ARGUMENTS)")]
    call: String,

    #[command(flatten)]
    flags: Flags,
}

impl Call {
    pub(crate) fn execute(self) -> Result<ExitCode, Stop> {
        block_on(self.run())
    }

    async fn run(self) -> Result<ExitCode, Stop> {
        let expression = Expression::parse(&self.call)?;
        let source = Source::read(Place::of(&self.path)?, &self.flags).await?;
        let engine = source.engine()?;
        let load = engine.load_component(&source.id, source.bytes.clone(), source.config.clone());
        let handle = load.await.map_err(|error| source.explain(&error))?;
        let outcome = unless_interrupted(expression.call(&engine, &handle, &source)).await;
        end(&engine, &handle, &outcome).await;
        if let Some(mut result) = outcome? {
            result.push('\n');
            output::print(result).await?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// `export(arguments)`, not yet matched to a component.
struct Expression<'a> {
    text: &'a str,
    /// Where the parenthesis is.
    name_bytes: usize,
    export: &'a str,
    arguments: UntypedFuncCall<'static>,
}

/// Stands for the export's name in what WAVE parses, which knows neither `#` nor
/// the versions that an interface may have.
const STAND_IN: &str = "f";

/// More would hide the error above them.
const SHOWN_EXPORTS: usize = 30;

impl<'a> Expression<'a> {
    fn parse(text: &'a str) -> Result<Self, Report> {
        let text = text.trim();
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
        let (export, arguments) = text.split_at(parenthesis);
        let arguments = format!("{STAND_IN}{arguments}");
        match UntypedFuncCall::parse(&arguments) {
            Ok(parsed) => Ok(Self {
                text,
                name_bytes: parenthesis,
                export: export.trim(),
                arguments: parsed.into_owned(),
            }),
            Err(error) => {
                let report = Report::error("this is not a call in WAVE");
                Err(point_at(report, text, parenthesis, &error))
            }
        }
    }

    /// The result in WAVE; `None` from a function without one.
    async fn call(
        &self,
        engine: &WasmtimeEngine,
        handle: &ComponentHandle,
        source: &Source,
    ) -> Result<Option<String>, Stop> {
        let exports = Exports::of(engine, handle).map_err(|error| source.explain(&error))?;
        let function = exports
            .find(self.export)
            .map_err(|report| report.at(source.file.escaped()))?;
        let arguments = self.arguments(function)?;
        let call = engine.call_export(handle, &function.name, &arguments);
        let results = call.await.map_err(|error| {
            let report = source.explain(&error);
            if error.fails_instance() {
                Stop::Failed(report)
            } else {
                report.into()
            }
        })?;
        // The component model knows at most one.
        let result = results.first().map(wasm_wave::to_string).transpose();
        result.map_err(|error| {
            Stop::Failed(Report::error(format!(
                "the result of `{}` cannot be written in WAVE: {error}",
                function.name
            )))
        })
    }

    fn arguments(&self, function: &Function) -> Result<Vec<Val>, Report> {
        let types: Vec<Type> = function.ty.params().map(|(_, ty)| ty).collect();
        let results: Vec<Type> = function.ty.results().collect();
        if types.iter().chain(&results).any(inexpressible) {
            return Err(Report::error(format!(
                "`{}` takes or returns a resource or something else that has no notation in WAVE",
                function.name
            )));
        }
        self.arguments.to_wasm_params(&types).map_err(|error| {
            let report = Report::error(format!("the arguments do not fit `{}`", function.name));
            point_at(report, self.text, self.name_bytes, &error)
                .with_note(format!("its type is {}", function.signature()))
        })
    }
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
            (Some(detail), _) => detail.to_owned(),
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

/// Whether WAVE has no notation for values of this type.
fn inexpressible(ty: &Type) -> bool {
    match ty {
        Type::List(list) => inexpressible(&list.ty()),
        Type::Record(record) => record.fields().any(|field| inexpressible(&field.ty)),
        Type::Tuple(tuple) => tuple.types().any(|ty| inexpressible(&ty)),
        Type::Variant(variant) => variant
            .cases()
            .any(|case| case.ty.as_ref().is_some_and(inexpressible)),
        Type::Option(option) => inexpressible(&option.ty()),
        Type::Result(result) => [result.ok(), result.err()]
            .iter()
            .flatten()
            .any(inexpressible),
        Type::Own(_)
        | Type::Borrow(_)
        | Type::Stream(_)
        | Type::Future(_)
        | Type::ErrorContext
        | Type::Map(_)
        | Type::FixedLengthList(_) => true,
        _ => false,
    }
}

/// The functions that a component exports.
struct Exports(Vec<Function>);

struct Function {
    /// `function` or `interface#function`.
    name: String,
    ty: ComponentFunc,
}

impl Exports {
    fn of(engine: &WasmtimeEngine, handle: &ComponentHandle) -> Result<Self, WasmError> {
        let names = engine.exports(handle)?.into_iter();
        let functions = names.map(|name| {
            let ty = engine.export_type(handle, &name)?;
            Ok(Function { name, ty })
        });
        functions.collect::<Result<_, _>>().map(Self)
    }

    /// By its full name, or by its short one if no other function has it.
    fn find(&self, wanted: &str) -> Result<&Function, Report> {
        if let Some(function) = self.0.iter().find(|function| function.name == wanted) {
            return Ok(function);
        }
        let mut short = self
            .0
            .iter()
            .filter(|function| function.short_name() == wanted);
        match (short.next(), short.next()) {
            (Some(function), None) => Ok(function),
            (Some(one), Some(other)) => Err(Report::error(format!(
                "`{wanted}` may be `{}` or `{}`",
                one.name, other.name
            ))
            .with_help("write the full name")),
            (None, _) => Err(self.not_found(wanted)),
        }
    }

    fn not_found(&self, wanted: &str) -> Report {
        let report = Report::error(format!("there is no export `{wanted}`"));
        if self.0.is_empty() {
            return report.with_note("it exports no functions at all");
        }
        let mut list = vec!["it exports".to_owned()];
        let functions = self.0.iter().take(SHOWN_EXPORTS);
        list.extend(functions.map(|f| format!("  {}: {}", f.name, f.signature())));
        if self.0.len() > SHOWN_EXPORTS {
            list.push(format!("  and {} more", self.0.len() - SHOWN_EXPORTS));
        }
        let report = report.with_note(list.join("\n"));
        let similar = self
            .0
            .iter()
            .map(|f| (strsim::damerau_levenshtein(f.short_name(), wanted), f))
            .filter(|(distance, f)| *distance <= f.short_name().len() / 3)
            .min_by_key(|(distance, _)| *distance);
        match similar {
            Some((_, function)) => {
                report.with_help(format!("did you mean `{}`?", function.short_name()))
            }
            None => report,
        }
    }
}

/// Enough to see what is meant: a small type can take gigabytes to spell out.
pub(crate) const SHOWN_TYPE_CHARS: usize = 1000;

impl Function {
    /// Without its interface.
    fn short_name(&self) -> &str {
        self.name
            .rsplit_once('#')
            .map_or(&self.name, |(_, name)| name)
    }

    /// With records and variants spelled out, as a caller has to.
    fn signature(&self) -> String {
        let shown = |ty: &Type| shortened(SHOWN_TYPE_CHARS, DisplayType(ty));
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
