//! What is measured, for Prometheus.

pub(crate) mod gauges;
pub(crate) mod recorder;
mod series;
mod text;
pub(crate) mod value;

use std::time::Instant;

use thiserror::Error;

use wasm_core::{ComponentId, RuntimeEngine};
use wasm_host::Host;

use crate::metrics::recorder::PrometheusRecorder;

/// What is measured in this process, until it is asked for.
///
/// A metric with the label `component` is about a component of the gateway's host. It is kept as
/// long as that has the component, or somebody has a handle of it; afterwards it is shown until
/// ten minutes after something was measured of the component, and at the first scrape after them.
/// Where more than 10,000 components sleep or are gone, it is forgotten of those of
/// which nothing was measured for the longest time. What is about no component is kept for good.
///
/// Histograms whose names end with `_seconds` have the bounds of
/// [`DURATION_BUCKETS`](crate::DURATION_BUCKETS), and others none.
#[derive(Clone)]
pub struct Metrics(PrometheusRecorder);

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
        let (metrics, recorder) = Self::with_recorder();
        metrics::set_global_recorder(recorder).map_err(|_| RecorderTaken)?;
        Ok(metrics)
    }

    /// The same with its recorder, which takes in what is measured once it is installed: for
    /// those who install others beside it.
    #[must_use]
    pub fn with_recorder() -> (Self, PrometheusRecorder) {
        let recorder = PrometheusRecorder::default();
        (Self(recorder.clone()), recorder)
    }

    /// In the text format of Prometheus.
    pub(crate) fn render<E: RuntimeEngine + ?Sized + 'static>(
        &self,
        host: &Host<E>,
        now: Instant,
    ) -> String {
        let is_there = |id: &str| {
            let id = id.parse::<ComponentId>();
            id.is_ok_and(|id| host.permissions(&id).is_some())
        };
        self.0.render(is_there, now)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use metrics::set_default_local_recorder;

    use wasm_core::{ComponentConfig, HostServices, ResourceLimits};
    use wasm_host::{Component, HostBuilder};
    use wasm_testkit::ModelEngine;
    use wasm_testkit::wasm_fixtures::ECHO;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How often it has answered.
    fn answered(text: &str, id: &ComponentId) -> Option<u64> {
        let labels = format!("component=\"{id}\",kind=\"request\",outcome=\"answered\"");
        let line = format!("wasm_messages_total{{{labels}}} ");
        let count = text.lines().find_map(|it| it.strip_prefix(&line))?;
        Some(count.parse().unwrap())
    }

    #[tokio::test]
    async fn components_are_measured_that_are_there_and_for_a_while_those_that_are_gone() {
        let (metrics, recorder) = Metrics::with_recorder();
        let _recorded = set_default_local_recorder(&recorder);
        let model = |services: HostServices| Ok::<_, String>(Arc::new(ModelEngine::new(services)));
        let host = HostBuilder::new().start(model).unwrap();
        let id = |name: &str| ComponentId::new("demo", name, "main").unwrap();
        let ask = async |name: &str| {
            let limits = ResourceLimits::new(1 << 20, SECOND, None).unwrap();
            let config = ComponentConfig::new(limits);
            let component = Component::new(id(name), ECHO.wasm, config);
            host.load(component).await.unwrap();
            host.request(&id(name), "hello", SECOND).await.unwrap();
        };
        ask("stays").await;
        host.drain(SECOND).await.unwrap();
        let alone = metrics.render(&host, Instant::now());
        let names: Vec<_> = (0..100).map(|number| format!("a{number}")).collect();
        for name in &names {
            ask(name).await;
            host.unload(&id(name)).await.unwrap();
        }
        // Less than ten minutes after all of them were measured, and more.
        let now = Instant::now();
        for later in [now, now + 500 * SECOND, now + 601 * SECOND] {
            let text = metrics.render(&host, later);
            assert!(
                names
                    .iter()
                    .all(|name| answered(&text, &id(name)) == Some(1))
            );
        }
        assert_eq!(answered(&alone, &id("stays")), Some(1));
        assert_eq!(metrics.render(&host, now + 601 * SECOND), alone);
        host.stop().await;
    }
}
