pub(crate) mod exports;
pub(crate) mod expression;
pub(crate) mod names;
mod types;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use wasmtime::component::wasm_wave::writer::WriterError;
use wasmtime::component::{Val, wasm_wave};

use wasm_core::text::PathText as _;
use wasm_core::{ComponentHandle, WasmError};
use wasm_runtime::{WasmtimeEngine, resources_in};

use self::exports::Exports;
use self::expression::{Argument, Expression, Planned};
use self::names::{Names, SharedNames};
use crate::input::flags::Flags;
use crate::input::source::{Place, Source};
use crate::output;
use crate::output::outcome::{Stop, block_on, end, unless_interrupted};
use crate::output::report::Report;

const EXAMPLES: &str = "\
Examples:
  airssys-wasm call examples/hello 'hello()'
  airssys-wasm call examples/echo 'metadata()'
  airssys-wasm call calc/Component.toml 'acme:calc/ops@1.0.0#add(1, 2)'
  airssys-wasm call calc.wasm 'add(1, 2)' \\
      --memory 1MiB --fuel 1_000_000 --timeout 1s
  airssys-wasm call shop 'mine = cart(\"me\")' 'mine.add(\"tea\", 2)' 'mine.total()'";

const DETAILS: &str = "\
Arguments and the result are in WAVE, the notation of the component model for
values: 42, \"text\", 'c', true, [1, 2], (1, \"a\"), {name: \"x\", age: 7}, some(1),
none, ok(1), err(\"no\"), a-case(1). Optional arguments at the end may be left
out.

A function of an interface can be called by its short name if no other function
has it. An answer such as err(\"no\") is a result like any other.

Several calls are made of one instance, one after the other. A resource that one
of them returns can be given a name, by which later ones call its methods and
take it as an argument: 'mine = cart(\"me\")', 'mine.total()', 'checkout(mine)'. A
constructor or static function goes by the name of its resource: cart(\"me\"),
cart.merge(mine, yours).

Exit codes:
  0  the calls returned
  1  a call failed; those after it were not made
  2  bad input: nothing was called";

/// Load a component and call its exports
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DETAILS}"))]
pub(crate) struct Call {
    /// Folder with a Component.toml, a manifest, or a bare .wasm with its limits as flags
    #[arg(value_name = "PATH")]
    path: PathBuf,

    /// What to call, such as 'hello()', 'add(1, 2)' or 'mine = cart()'
    #[arg(value_name = "EXPORT(ARGUMENTS)", required = true)]
    calls: Vec<String>,

    #[command(flatten)]
    flags: Flags,
}

impl Call {
    pub(crate) fn execute(self) -> Result<ExitCode, Stop> {
        block_on(self.run())
    }

    async fn run(self) -> Result<ExitCode, Stop> {
        let parsed = self.calls.iter().map(|call| Expression::parse(call));
        let expressions = parsed.collect::<Result<Vec<_>, _>>()?;
        let source = Source::read(Place::of(&self.path)?, &self.flags).await?;
        let engine = source.engine()?;
        let load = engine.load_component(&source.id, source.bytes.clone(), source.config.clone());
        let handle = load.await.map_err(|error| source.explain(&error))?;
        let calls = make(&expressions, &engine, &handle, &source);
        let outcome = unless_interrupted(calls).await;
        end(&engine, &handle, &outcome).await;
        outcome.map(|()| ExitCode::SUCCESS)
    }
}

/// All are looked at before the first is made.
async fn make(
    expressions: &[Expression],
    engine: &WasmtimeEngine,
    handle: &ComponentHandle,
    source: &Source,
) -> Result<(), Stop> {
    let exports = Exports::of(engine, handle).map_err(|error| source.explain(&error))?;
    let mut names = Names::default();
    let mut types = names.types();
    let planned = expressions.iter().map(|expression| {
        let planned = expression.plan(&exports, &mut types);
        planned.map_err(|report| report.at(source.file.escaped()))
    });
    let planned = planned.collect::<Result<Vec<_>, _>>()?;
    for call in planned {
        let outcome = call.make(engine, handle, &mut names).await;
        let result = outcome.map_err(|error| {
            let report = source.explain(&error);
            match error.fails_instance() {
                true => Stop::Failed(report),
                false => report.into(),
            }
        })?;
        if let Some(mut result) = result.map_err(Stop::Failed)? {
            result.push('\n');
            output::print(result).await?;
        }
    }
    Ok(())
}

/// What a call comes to that was made: the result in WAVE, unless there is none to show.
pub(crate) type Called = Result<Option<String>, Report>;

impl Expression {
    /// Plans the call and makes it, in its turn among those that share the names.
    pub(crate) async fn make(
        self,
        engine: &WasmtimeEngine,
        handle: ComponentHandle,
        shared: &SharedNames,
    ) -> Result<Called, WasmError> {
        let exports = Exports::of(engine, &handle)?;
        let mut names = shared.take(&handle);
        let called = match self.plan(&exports, &mut names.types()) {
            Ok(planned) => planned.make(engine, &handle, &mut names).await,
            Err(report) => Ok(Err(report)),
        };
        shared.put(handle, names);
        called
    }
}

impl Planned {
    /// What is not kept is dropped.
    pub(crate) async fn make(
        self,
        engine: &WasmtimeEngine,
        handle: &ComponentHandle,
        names: &mut Names,
    ) -> Result<Called, WasmError> {
        let mut given_away = Vec::new();
        let mut arguments = Vec::with_capacity(self.arguments.len());
        for argument in self.arguments {
            arguments.push(match argument {
                Argument::Value(value) => value,
                Argument::Named {
                    name,
                    is_given_away,
                } => {
                    let Some(resource) = names.get(&name) else {
                        return Ok(Err(Report::error(format!("nothing is kept as `{name}`"))));
                    };
                    if is_given_away {
                        given_away.push(name);
                    }
                    Val::Resource(resource)
                }
            });
        }
        let results = engine.call_export(handle, &self.function, &arguments);
        let results = results.await?;
        for name in given_away {
            names.forget(&name);
        }
        let resources: Vec<_> = results.iter().flat_map(resources_in).collect();
        let is_kept = match (self.keeps, resources.as_slice()) {
            (Some((name, ty)), [resource]) => {
                if let Some(before) = names.keep(name, ty, *resource) {
                    engine.drop_resource(handle, before).await?;
                }
                true
            }
            (Some((name, _)), _) => {
                let shown = results.first().map(wave);
                let shown = shown.and_then(Result::ok).unwrap_or_default();
                return Ok(Err(Report::error(format!(
                    "`{}` returned {shown}: there is nothing to keep as `{name}`",
                    self.function
                ))));
            }
            (None, resources) => {
                for resource in resources {
                    engine.drop_resource(handle, *resource).await?;
                }
                false
            }
        };
        // The component model knows at most one. Of a resource alone its name says all.
        let is_shown = |result: &&Val| !is_kept || !matches!(result, Val::Resource(_));
        let result = results.first().filter(is_shown).map(wave).transpose();
        Ok(result.map_err(|error| unwritten(&self.function, &error)))
    }
}

fn unwritten(function: &str, error: &WriterError) -> Report {
    Report::error(format!(
        "the result of `{function}` cannot be written in WAVE: {error}"
    ))
}

/// A value in WAVE; resources, for which it has no notation, are just said to be there.
fn wave(value: &Val) -> Result<String, WriterError> {
    wasm_wave::to_string(&without_resources(value.clone()))
}

fn without_resources(value: Val) -> Val {
    let all = |values: Vec<Val>| values.into_iter().map(without_resources).collect();
    let inner = |payload: Box<Val>| Box::new(without_resources(*payload));
    match value {
        Val::Resource(_) => Val::Enum("resource".to_owned()),
        Val::List(values) => Val::List(all(values)),
        Val::Tuple(values) => Val::Tuple(all(values)),
        Val::Record(fields) => {
            let fields = fields.into_iter();
            Val::Record(
                fields
                    .map(|(name, value)| (name, without_resources(value)))
                    .collect(),
            )
        }
        Val::Variant(case, payload) => Val::Variant(case, payload.map(inner)),
        Val::Option(payload) => Val::Option(payload.map(inner)),
        Val::Result(Ok(payload)) => Val::Result(Ok(payload.map(inner))),
        Val::Result(Err(payload)) => Val::Result(Err(payload.map(inner))),
        value => value,
    }
}
