//! The signals of a process's end, and what its end waits for.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::error::Error;

/// Something that happens once: the process is asked to stop, or to close. Works on every runtime;
/// cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct StopSignal(CancellationToken);

impl StopSignal {
    /// Returns once it has been raised.
    pub async fn wait(&self) {
        self.0.cancelled().await;
    }

    /// Whether it has been raised.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Raises it, for good.
    pub fn raise(&self) {
        self.0.cancel();
    }
}

/// How far a process is on its way from the first request to stop to its end. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    stop: StopSignal,
    closing: StopSignal,
    servers_closing: StopSignal,
    stop_reason: Mutex<Option<Error>>,
    registered: OnceLock<()>,
    deregistered: StopSignal,
    handed_over: StopSignal,
    servers: Mutex<Vec<JoinHandle<()>>>,
}

impl Lifecycle {
    /// Raised when the drain begins: answer with `Connection: close`, go on accepting.
    #[must_use]
    pub fn stop(&self) -> StopSignal {
        self.0.stop.clone()
    }

    /// Raised one propagation period later: stop accepting, finish what is under way.
    #[must_use]
    pub fn closing(&self) -> StopSignal {
        self.0.closing.clone()
    }

    /// Raised after the service's own closing step: the gRPC and admin servers close.
    pub(crate) fn servers_closing(&self) -> StopSignal {
        self.0.servers_closing.clone()
    }

    /// Asks the process to drain and then to end with this failure.
    pub fn request_stop(&self, reason: Error) {
        lock(&self.0.stop_reason).get_or_insert(reason);
        self.0.stop.raise();
    }

    /// Another process goes on where this one is: what is left is to drain.
    pub(crate) fn hand_over(&self) {
        self.0.handed_over.raise();
        self.0.servers_closing.raise();
        self.0.stop.raise();
    }

    /// Whether another process goes on where this one is.
    #[must_use]
    pub fn is_handed_over(&self) -> bool {
        self.0.handed_over.is_stopping()
    }

    pub(crate) fn stop_reason(&self) -> Option<Error> {
        lock(&self.0.stop_reason).clone()
    }

    /// Notes that the process registers; false: it did so before.
    pub(crate) fn begin_registration(&self) -> bool {
        self.0.registered.set(()).is_ok()
    }

    /// Whether the process is or was on its way into the registry.
    pub(crate) fn has_registered(&self) -> bool {
        self.0.registered.get().is_some()
    }

    pub(crate) fn mark_deregistered(&self) {
        self.0.deregistered.raise();
    }

    /// Returns once the registry knows that the process leaves; at once if it never registered.
    pub(crate) async fn deregistered(&self) {
        if self.has_registered() {
            self.0.deregistered.wait().await;
        }
    }

    /// Has the drain wait for this server.
    pub(crate) fn add_server(&self, server: JoinHandle<()>) {
        lock(&self.0.servers).push(server);
    }

    pub(crate) async fn close_servers(&self, within: Duration) {
        self.0.servers_closing.raise();
        let servers = std::mem::take(&mut *lock(&self.0.servers));
        if tokio::time::timeout(within, futures::future::join_all(servers)).await.is_err() {
            tracing::debug!("some gRPC or admin connections are cut");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
