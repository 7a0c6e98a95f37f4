use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use wasm_core::ComponentHandle;
use wasm_core::text::PathText as _;
use wasm_runtime::WasmtimeEngine;

use crate::input::flags::Flags;
use crate::input::source::{Place, Source};
use crate::output;
use crate::output::outcome::{Stop, block_on, end, unless_interrupted};
use crate::session::call::exports::Exports;
use crate::session::call::expression::Expression;
use crate::session::call::names::Names;

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
none, ok(1), err(\"no\"), a-case(1). A case that has the name of a word such as
none is written %none. Optional arguments at the end may be left out.

A function of an interface can be called by its short name if no other function
has it. An answer such as err(\"no\") is a result like any other.

Several calls are made of one instance, one after the other, unless the manifest
says that there are several (`instance`, `concurrency`). A resource that one of
them returns can be given a name, by which later ones of the same instance call
its methods and take it as an argument: 'mine = cart(\"me\")', 'mine.total()',
'checkout(mine)'. A constructor or static function goes by the name of its
resource: cart(\"me\"), cart.merge(mine, yours).

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
        let result = outcome.map_err(|error| Stop::Failed(source.explain(&error)))?;
        if let Some(mut result) = result.map_err(Stop::Failed)? {
            result.push('\n');
            output::print(result).await?;
        }
    }
    Ok(())
}
