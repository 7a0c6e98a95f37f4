//! What a host knows of its components without measuring.

use std::fmt::Write as _;

use wasm_core::ComponentId;
use wasm_host::{ComponentStatus, Phase};

/// Of all components that were added.
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

    /// In the text format of Prometheus.
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
fn line(text: &mut String, name: &str, id: &ComponentId, value: u64) {
    let _ = writeln!(text, "{name}{{component=\"{id}\"}} {value}");
}
