//! What is left of a transaction when it ends.

use std::time::Instant;

use dataplane::trace::Trace;

use crate::{
    local::Local,
    record::{Outcome, Record},
};

/// What is counted and written down when a request ends.
pub struct Account {
    pub record: Record,
    /// Whether anybody wants to know.
    pub(super) written: bool,
    /// A health-checker's, or another node's, which counts there.
    pub(super) uncounted: bool,
    /// Its span, if it is sampled.
    pub(super) trace: Option<Trace>,
    pub(super) started: Instant,
    pub(super) now: u64,
}

impl Account {
    /// It has ended; the client was sent so many bytes.
    pub fn close(mut self, local: &Local, sent: u64) {
        local.node.metrics.bytes_to_clients.add(sent);
        let took = relay::clock::since(self.started);
        if !self.uncounted {
            let timed = self.record.outcome != Outcome::Tunnel;
            local
                .node
                .answers
                .of(local.worker.index())
                .note(self.record.status, timed.then_some(took));
        }
        if !self.written && self.trace.is_none() {
            return;
        }
        self.record.bytes = sent;
        self.record.elapsed = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.record.ended_at = self.now + self.record.elapsed;
        if let (Some(trace), Some(tracer)) = (&self.trace, &local.node.tracer) {
            self.record.trace(trace, tracer, took);
        }
        if self.written {
            local.node.recorder.record(self.record);
        }
    }
}
