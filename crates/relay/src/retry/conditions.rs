//! What is tried again at all, in the words of HAProxy's `retry-on`. Whether it may be is the
//! table's to say.

use super::{Attempt, Cause, Phase};

/// Statuses that can be asked for.
pub const STATUSES: [u16; 12] = [401, 403, 404, 408, 421, 425, 429, 500, 501, 502, 503, 504];

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conditions {
    /// Nothing was written: no connection, or a pooled one that was closed.
    pub connect_failure: bool,
    /// The connection ended before an answer, or the node was ejected.
    pub reset: bool,
    /// The answer was no HTTP.
    pub junk_response: bool,
    /// A node's own error, by its Proxy-Status.
    pub node_error: bool,
    /// No answer in time.
    pub timeout: bool,
    /// Bits, by the place in [`STATUSES`].
    statuses: u16,
}

impl Conditions {
    /// Nothing.
    pub const fn none() -> Self {
        Self {
            connect_failure: false,
            reset: false,
            junk_response: false,
            node_error: false,
            timeout: false,
            statuses: 0,
        }
    }

    /// What is the server's own failure, and no origin's.
    pub const fn usual() -> Self {
        Self {
            connect_failure: true,
            reset: true,
            junk_response: true,
            node_error: true,
            ..Self::none()
        }
    }

    /// An answer with this status too, if it is one of [`STATUSES`].
    pub fn add_status(&mut self, status: u16) {
        if let Some(place) = STATUSES.iter().position(|it| *it == status) {
            self.statuses |= 1 << place;
        }
    }

    /// Whether an answer with this status is tried again.
    pub fn has_status(&self, status: u16) -> bool {
        self.statuses != 0
            && STATUSES
                .iter()
                .position(|it| *it == status)
                .is_some_and(|place| self.statuses & (1 << place) != 0)
    }

    /// Whether what ended an attempt is among them.
    pub(super) fn includes(&self, attempt: &Attempt) -> bool {
        match (attempt.phase, attempt.cause) {
            (Phase::NothingWritten, _) => self.connect_failure,
            (_, Cause::NodeLost) => self.reset,
            (_, Cause::NodeAnswered) => self.node_error,
            (_, Cause::Malformed) => self.junk_response,
            (_, Cause::Timeout) => self.timeout,
            (_, Cause::Status(status)) => self.has_status(status),
            (_, Cause::Hedge) => true,
            (_, Cause::AnswerCut) => false,
        }
    }
}
