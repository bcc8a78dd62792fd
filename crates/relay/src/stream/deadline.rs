//! The deadline of one direction: the peer has to make some progress within a time.

use std::task::{Context, Poll};
use std::time::Duration;

use crate::fault::Fault;
use crate::wheel::{Kind, Timer};
use crate::worker::Worker;

/// A timer that is armed at the first wait and stays armed until there is progress.
pub(super) struct Deadline {
    pub(super) timer: Timer,
}

impl Deadline {
    pub(super) fn new(worker: &Worker) -> Self {
        Self { timer: Timer::new(worker.wheel()) }
    }

    pub(super) fn progressed(&self) {
        if self.timer.armed().get() {
            self.timer.disarm();
        }
    }

    pub(super) fn arm(&self, kind: Kind, after: Duration) {
        self.timer.arm(kind, after);
    }

    /// To be called while there is no progress.
    pub(super) fn poll(&self, cx: &mut Context<'_>, kind: Kind, after: Duration) -> Poll<Fault> {
        if !self.timer.armed().get() {
            self.arm(kind, after);
        }
        self.timer.poll(cx).map(|elapsed| {
            self.progressed();
            Fault::from(elapsed)
        })
    }
}
