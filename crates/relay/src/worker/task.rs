//! Tasks that are counted while they live, and whose panics are.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::{Worker, bump};

pin_project! {
    /// A task that is counted while it lives. An `async` block around it would hold room for it
    /// twice.
    pub(super) struct Counted<F> {
        #[pin]
        task: F,
        live: Live,
    }
}

impl<F> Counted<F> {
    pub(super) fn new(task: F, worker: Worker) -> Self {
        bump(&worker.meter().live, 1);
        Self { task, live: Live(worker) }
    }
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // A panic in `poll` does not unwind through the fields: the runtime drops them later, and
        // quietly.
        let panicked = Panicked(this.live);
        let poll = this.task.poll(cx);
        drop(panicked);
        poll
    }
}

/// Counts a panic when it is unwound.
struct Panicked<'a>(&'a Live);

impl Drop for Panicked<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            bump(&self.0.0.meter().panics, 1);
        }
    }
}

/// A connection task that is alive.
struct Live(Worker);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.ended();
    }
}
