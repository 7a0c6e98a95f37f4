//! What a host knows of its components without measuring, as `/metrics` has it.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;

use wasm_host::{ComponentStatus, Host, Phase};
use wasm_runtime::WasmtimeEngine;

use super::metrics::meter;

/// Components of which there are gauges; of more there are only the measurements.
const GAUGED: usize = 10_000;

/// All gauges of one reading are told from one look at the components.
const SAME_LOOK: Duration = Duration::from_secs(1);

/// As long as this is there, a host is looked at whenever metrics are sent.
pub(crate) struct Watched(Arc<Looks>);

impl Drop for Watched {
    fn drop(&mut self) {
        // A host is kept by nobody who only watches it.
        self.0.host().take();
    }
}

struct Looks {
    host: Mutex<Option<Host<WasmtimeEngine>>>,
    last: Mutex<Option<(Instant, Look)>>,
}

type Look = Arc<Vec<ComponentStatus>>;

pub(super) fn watch(host: &Host<WasmtimeEngine>) -> Watched {
    let looks = Arc::new(Looks {
        host: Mutex::new(Some(host.clone())),
        last: Mutex::default(),
    });
    let meter = meter();
    let of = Arc::clone(&looks);
    meter
        .u64_observable_gauge("wasm_components")
        .with_description("Components by what they are doing.")
        .with_callback(move |gauge| {
            let Some(look) = of.look() else { return };
            for phase in Phase::ALL {
                let count = look.iter().filter(|status| status.phase == *phase).count();
                gauge.observe(count as u64, &[KeyValue::new("phase", phase.to_string())]);
            }
        })
        .build();
    let of = Arc::clone(&looks);
    meter
        .u64_observable_gauge("wasm_mailbox_messages")
        .with_description("Messages that wait for a component.")
        .with_callback(move |gauge| {
            of.tell(
                |status| Some(status.waiting as u64),
                |value, of| gauge.observe(value, of),
            );
        })
        .build();
    let of = Arc::clone(&looks);
    meter
        .u64_observable_gauge("wasm_memory_bytes")
        .with_description("Memories and tables of a component.")
        .with_callback(move |gauge| {
            let bytes = |status: &ComponentStatus| Some(status.usage.as_ref()?.memory_bytes);
            of.tell(bytes, |value, of| gauge.observe(value, of));
        })
        .build();
    let of = Arc::clone(&looks);
    meter
        .u64_observable_counter("wasm_fuel_total")
        .with_description("Fuel of all calls of a component.")
        .with_callback(move |counter| {
            let fuel = |status: &ComponentStatus| Some(status.usage.as_ref()?.total_fuel);
            of.tell(fuel, |value, of| counter.observe(value, of));
        })
        .build();
    Watched(looks)
}

impl Looks {
    fn host(&self) -> std::sync::MutexGuard<'_, Option<Host<WasmtimeEngine>>> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells one value of each component that has it.
    fn tell(
        &self,
        value: impl Fn(&ComponentStatus) -> Option<u64>,
        observe: impl Fn(u64, &[KeyValue]),
    ) {
        for status in self.look().iter().flat_map(|look| look.iter()) {
            if let Some(value) = value(status) {
                observe(value, &[KeyValue::new("component", status.id.to_string())]);
            }
        }
    }

    /// `None` once the host is not watched any more.
    fn look(&self) -> Option<Look> {
        let host = self.host().clone()?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, look)) = &*last
            && at.elapsed() < SAME_LOOK
        {
            return Some(Arc::clone(look));
        }
        let ids = host.ids(None, GAUGED);
        let look: Look = Arc::new(
            ids.iter()
                .filter_map(|id| at_once(host.component(id))?)
                .collect(),
        );
        *last = Some((Instant::now(), Arc::clone(&look)));
        Some(look)
    }
}

/// What needs not be waited for.
fn at_once<T>(work: impl Future<Output = T>) -> Option<T> {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}
