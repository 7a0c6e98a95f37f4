//! Calls of any export, written as a line: looked up, planned and made.

pub(crate) mod exports;
pub(crate) mod expression;
pub(crate) mod names;
mod types;

use wasmtime::component::wasm_wave::writer::WriterError;
use wasmtime::component::{Val, wasm_wave};

use wasm_core::{ComponentHandle, WasmError};
use wasm_runtime::{WasmtimeEngine, resources_in};

use self::exports::Exports;
use self::expression::{Argument, Expression, Planned};
use self::names::{Names, SharedNames};
use crate::output::report::Report;

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
