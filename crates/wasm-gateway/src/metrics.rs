//! What is measured, for Prometheus.

use std::fmt::Write as _;
use std::sync::Arc;

use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use thiserror::Error;

use wasm_host::{ComponentStatus, Phase};

/// Upper bounds of durations in histograms, in seconds: a call of a guest may take microseconds,
/// and a wait in a mailbox seconds.
pub const DURATION_BUCKETS: &[f64] = &[
    0.000_01, 0.000_03, 0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0,
];

/// The recorder that keeps what is measured in this process until it is asked for.
#[derive(Clone)]
pub struct Metrics(Arc<PrometheusHandle>);

/// There is another recorder of metrics in this process already.
#[derive(Debug, Error)]
#[error("metrics are recorded by something else in this process already")]
pub struct RecorderTaken;

impl Metrics {
    /// Takes in all that is measured in this process from now on, through the facade
    /// `metrics`. It is to be called before a host is started.
    ///
    /// # Errors
    /// [`RecorderTaken`], if something else does so.
    pub fn install() -> Result<Self, RecorderTaken> {
        let handle = builder().install_recorder().map_err(|_| RecorderTaken)?;
        Ok(Self(Arc::new(handle)))
    }

    /// The same with its recorder, which takes in what is measured once it is installed: for
    /// those who install others beside it.
    #[must_use]
    pub fn with_recorder() -> (Self, PrometheusRecorder) {
        let recorder = builder().build_recorder();
        (Self(Arc::new(recorder.handle())), recorder)
    }

    /// In the text format of Prometheus.
    pub(crate) fn render(&self) -> String {
        // What was recorded since it was last asked for is summed up first.
        self.0.run_upkeep();
        self.0.render()
    }

    /// Sums up what was recorded, which takes memory until then.
    pub(crate) fn sum_up(&self) {
        self.0.run_upkeep();
    }
}

fn builder() -> PrometheusBuilder {
    let durations = Matcher::Suffix("_seconds".to_owned());
    PrometheusBuilder::new()
        .set_buckets_for_metric(durations, DURATION_BUCKETS)
        .expect("there are buckets")
}

/// What a host knows of its components without measuring.
#[derive(Default)]
pub(crate) struct Gauges {
    phases: [u64; Phase::ALL.len()],
    waiting: String,
    memory: String,
    fuel: String,
}

impl Gauges {
    pub(crate) fn add(&mut self, status: &ComponentStatus) {
        if let Some(place) = Phase::ALL.iter().position(|phase| *phase == status.phase) {
            self.phases[place] += 1;
        }
        let id = &status.id;
        line(
            &mut self.waiting,
            "wasm_mailbox_messages",
            id,
            status.waiting as u64,
        );
        if let Some(usage) = &status.usage {
            line(
                &mut self.memory,
                "wasm_memory_bytes",
                id,
                usage.memory_bytes,
            );
            line(&mut self.fuel, "wasm_fuel_total", id, usage.total_fuel);
        }
    }

    /// `of` is how many of the components there are were added.
    pub(crate) fn render(&self) -> String {
        let mut text = String::from(
            "# HELP wasm_components Components by what they are doing.\n\
             # TYPE wasm_components gauge\n",
        );
        for (phase, count) in Phase::ALL.iter().zip(self.phases) {
            // Writing to a text does not fail.
            let _ = writeln!(text, "wasm_components{{phase=\"{phase}\"}} {count}");
        }
        for (name, kind, help, lines) in [
            (
                "wasm_mailbox_messages",
                "gauge",
                "Messages that wait for a component.",
                &self.waiting,
            ),
            (
                "wasm_memory_bytes",
                "gauge",
                "Memories and tables of a component.",
                &self.memory,
            ),
            (
                "wasm_fuel_total",
                "counter",
                "Fuel of all calls of a component.",
                &self.fuel,
            ),
        ] {
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{lines}");
        }
        text
    }
}

/// An id has no character that would have to be escaped.
fn line(text: &mut String, name: &str, id: &wasm_core::ComponentId, value: u64) {
    let _ = writeln!(text, "{name}{{component=\"{id}\"}} {value}");
}
