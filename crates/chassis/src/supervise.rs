//! A task that panics is counted, logged and restarted, and never takes the process along.
//!
//! [`run`] is a plain future: it works on any runtime and in a `LocalSet`, and asks nothing to be
//! `Send`.

use std::{any::Any, future::Future, panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;

use crate::{backoff::Backoff, lifecycle::StopSignal, metrics};

/// A task that ran for so long before it panicked starts its backoff anew.
const STEADY: Duration = Duration::from_secs(60);

/// Runs the future that `factory` makes until it ends; makes another one, after a pause, whenever
/// it panics. Ends at once between two runs when `stop` says so; a running future has to listen to
/// `stop` itself.
pub async fn run<F, T>(name: &'static str, stop: StopSignal, factory: F)
where
    F: Fn() -> T,
    T: Future<Output = ()>,
{
    let mut backoff = Backoff::seeded(Duration::from_millis(50), Duration::from_secs(10));
    loop {
        let started = tokio::time::Instant::now();
        // The factory runs inside, because it may panic too.
        let Err(panic) = AssertUnwindSafe(async { factory().await }).catch_unwind().await else {
            return;
        };
        metrics::task_panicked(name);
        if started.elapsed() > STEADY {
            backoff.reset();
        }
        let pause = backoff.pause();
        tracing::error!(
            task = name,
            pause_ms = pause.as_millis(),
            "task panicked and is started again: {}",
            message(&*panic)
        );
        tokio::select! {
            () = stop.wait() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Runs a future that cannot be made again (it owns a stream, a lock, a child). A panic ends it, is
/// counted and logged, and goes no further: whoever waits cleans up as after any other end. False:
/// it panicked.
pub async fn once(name: &'static str, future: impl Future<Output = ()>) -> bool {
    let Err(panic) = AssertUnwindSafe(future).catch_unwind().await else { return true };
    metrics::task_panicked(name);
    tracing::error!(task = name, "task panicked and has ended: {}", message(&*panic));
    false
}

/// What a panic said.
pub(crate) fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
}

/// Starts supervised tasks on one runtime.
#[derive(Clone, Debug)]
pub struct Supervisor {
    runtime: tokio::runtime::Handle,
    stop: StopSignal,
}

impl Supervisor {
    /// Tasks run on `runtime`; none is started again once `stop` says so.
    #[must_use]
    pub const fn new(runtime: tokio::runtime::Handle, stop: StopSignal) -> Self {
        Self { runtime, stop }
    }

    /// The runtime of these tasks.
    #[must_use]
    pub const fn runtime(&self) -> &tokio::runtime::Handle {
        &self.runtime
    }

    /// Starts a task under [`run`]: a panic is counted, logged and followed by another run; the
    /// task is over when its future ends.
    pub fn spawn<F, T>(&self, name: &'static str, factory: F) -> tokio::task::JoinHandle<()>
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        self.runtime.spawn(run(name, self.stop.clone(), factory))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_panicking_task_is_started_again_until_it_ends() {
        let runs = AtomicU32::new(0);
        run("test", StopSignal::default(), || async {
            assert!(runs.fetch_add(1, Ordering::Relaxed) >= 2, "not yet");
        })
        .await;
        assert_eq!(runs.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn what_runs_once_ends_with_its_panic() {
        assert!(once("test", async {}).await);
        assert!(!once("test", async { panic!("expected by this test") }).await);
    }

    #[tokio::test]
    async fn a_panicking_factory_counts_and_a_stop_ends_it() {
        let stop = StopSignal::default();
        let runs = AtomicU32::new(0);
        run("test", stop.clone(), || {
            if runs.fetch_add(1, Ordering::Relaxed) == 1 {
                stop.raise();
            }
            assert!(runs.load(Ordering::Relaxed) > 9, "factory");
            std::future::ready(())
        })
        .await;
        assert_eq!(runs.load(Ordering::Relaxed), 2);
    }
}
