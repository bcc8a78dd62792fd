//! All that `/metrics` says: what the recorder counted, what services write themselves, and what
//! the process uses of its machine.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use metrics_exporter_prometheus::PrometheusHandle;

use crate::{clock::Clock, takeover::series, vitals};

/// Renders `/metrics`. Cheap to clone.
#[derive(Clone)]
pub struct Exposition {
    recorder: PrometheusHandle,
    /// Write what the recorder does not have.
    writers: Arc<Mutex<Vec<Arc<Writer>>>>,
    data_dir: Arc<Path>,
    clock: Clock,
}

/// Appends metrics in the exposition format.
type Writer = dyn Fn(&mut String) + Send + Sync;

impl Exposition {
    pub(crate) fn new(recorder: PrometheusHandle, data_dir: &Path, clock: Clock) -> Self {
        Self { recorder, writers: Arc::default(), data_dir: data_dir.into(), clock }
    }

    /// Has `/metrics` end with what `write` appends: whole metrics, with their help. For what is
    /// counted without the recorder, so that counting costs less and nothing is copied while nobody
    /// asks.
    pub fn add(&self, write: impl Fn(&mut String) + Send + Sync + 'static) {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(write));
    }

    /// All of it, as text.
    #[must_use]
    pub fn render(&self) -> String {
        let writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut text = self.recorder.render();
        writers.iter().for_each(|write| write(&mut text));
        text + &vitals::render(&self.data_dir, &self.clock)
    }

    /// What the recorder has counted, by series.
    pub(crate) fn counters(&self) -> BTreeMap<String, u64> {
        series::of(&self.recorder.render())
    }

    /// Bounds what the recorder holds; to be called every few seconds.
    pub(crate) fn run_upkeep(&self) {
        self.recorder.run_upkeep();
    }
}

impl std::fmt::Debug for Exposition {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Exposition").finish_non_exhaustive()
    }
}
