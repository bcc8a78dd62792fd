//! What may be tried again on another node: the table of §7, and the budget. Pure: inputs in,
//! verdict out.

mod conditions;

use crate::method::Method;

pub use conditions::{Conditions, STATUSES};

/// How far an attempt had come when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Not one byte of the request was written: connecting failed, or the pooled connection was
    /// found closed.
    NothingWritten,
    /// Some of the request was written; no byte of a response went to the client.
    Written,
    /// A response byte went to the client; a 1xx counts.
    ResponseRelayed,
}

/// What ended an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The node is gone: refused, reset, closed without an answer, or ejected while the request
    /// waited on it.
    NodeLost,
    /// A live node answered with a failure of its own (its Proxy-Status names it), and the answer
    /// was held back.
    NodeAnswered,
    /// A live node answered with bytes that are no HTTP.
    Malformed,
    /// A live server answered with this status, and the answer was held back.
    Status(u16),
    /// A live node did not do its part in time.
    Timeout,
    /// Nothing has failed: a live node takes longer than usual, and another one is asked beside it.
    Hedge,
    /// The answer of a live node broke off: what is behind the node cut it, and would be asked once
    /// more for nothing.
    AnswerCut,
}

/// Whether the request's body could be sent once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Body {
    /// All of it (possibly nothing) is in the replay buffer.
    Replayable,
    /// Some of it was not kept, or has not arrived.
    Gone,
}

/// A failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// How far it had come.
    pub phase: Phase,
    /// The request's method.
    pub method: Method,
    /// Its body.
    pub body: Body,
    /// What ended it.
    pub cause: Cause,
    /// What is tried again at all.
    pub on: Conditions,
    /// Which attempt this was, from 1.
    pub number: u32,
    /// How many there may be.
    pub of: u32,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Try another node.
    Retry,
    /// Answer the client, or close if the response had begun.
    GiveUp(Reason),
}

/// Why not to try again; for the log and the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Part of the response is with the client.
    ResponseBegun,
    /// The request may have had its effect, and must not have it twice.
    NotIdempotent,
    /// The body cannot be sent again.
    BodyGone,
    /// A live node has the request and takes its time; the origin is asked once.
    StillWorking,
    /// The origin has been asked, and its answer broke off.
    AnswerCut,
    /// The configuration has what happened not tried again.
    NotAsked,
    /// As many attempts as allowed.
    Attempts,
    /// Too many retries of late that no node's loss explains.
    Budget,
    /// As many retries are under way as may be.
    TooMany,
}

impl Reason {
    /// The label value of this reason.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ResponseBegun => "response_begun",
            Self::NotIdempotent => "not_idempotent",
            Self::BodyGone => "body_gone",
            Self::StillWorking => "still_working",
            Self::AnswerCut => "answer_cut",
            Self::NotAsked => "not_asked",
            Self::Attempts => "attempts",
            Self::Budget => "budget",
            Self::TooMany => "too_many",
        }
    }
}

/// Whether to try another node. Takes a token from `budget` only for a retry that the budget
/// governs.
pub fn decide(attempt: &Attempt, budget: &mut Budget) -> Decision {
    if let Some(reason) = forbidden(attempt) {
        return Decision::GiveUp(reason);
    }
    if attempt.number >= attempt.of {
        return Decision::GiveUp(Reason::Attempts);
    }
    // A node's death may fail hundreds of requests at once; every one of them is worth another
    // attempt.
    if attempt.cause != Cause::NodeLost && !budget.withdraw() {
        return Decision::GiveUp(Reason::Budget);
    }
    Decision::Retry
}

/// The table itself.
fn forbidden(attempt: &Attempt) -> Option<Reason> {
    match (attempt.phase, attempt.cause) {
        (Phase::ResponseRelayed, _) => Some(Reason::ResponseBegun),
        // Bytes of the body that were read from the client and then lost cannot be had again,
        // written or not.
        (Phase::NothingWritten, _) if !attempt.on.includes(attempt) => Some(Reason::NotAsked),
        (Phase::NothingWritten, _) => (attempt.body == Body::Gone).then_some(Reason::BodyGone),
        (Phase::Written, Cause::AnswerCut) => Some(Reason::AnswerCut),
        (Phase::Written, Cause::Timeout) if !attempt.on.includes(attempt) => {
            Some(Reason::StillWorking)
        }
        (Phase::Written, _) if !attempt.on.includes(attempt) => Some(Reason::NotAsked),
        // A tunnel is asked for twice only where the first node is lost: both would stay open.
        (Phase::Written, Cause::Hedge) if attempt.method == Method::Connect => {
            Some(Reason::NotIdempotent)
        }
        (Phase::Written, _) => {
            if !attempt.method.is_idempotent() && attempt.method != Method::Connect {
                Some(Reason::NotIdempotent)
            } else {
                (attempt.body == Body::Gone).then_some(Reason::BodyGone)
            }
        }
    }
}

/// Retries allowed as a share of requests: every request pays in, every governed retry takes one
/// out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Retries in hundredths.
    hundredths: u32,
    percent: u32,
}

impl Budget {
    /// Retries that may follow each other at once, after a quiet time and at the start.
    pub const BURST: u32 = 10;

    /// A full budget that grows by `percent` retries per 100 requests.
    pub const fn new(percent: u32) -> Self {
        Self { hundredths: if percent == 0 { 0 } else { Self::BURST * 100 }, percent }
    }

    /// A request (not a retry) has come.
    pub fn deposit(&mut self) {
        self.hundredths = self.hundredths.saturating_add(self.percent).min(Self::BURST * 100);
    }

    /// Takes one retry, if there is one.
    pub fn withdraw(&mut self) -> bool {
        match self.hundredths.checked_sub(100) {
            Some(rest) => {
                self.hundredths = rest;
                true
            }
            None => false,
        }
    }

    /// One that was taken has turned out not to be governed.
    pub fn give_back(&mut self) {
        self.hundredths = self.hundredths.saturating_add(100).min(Self::BURST * 100);
    }

    /// Retries left.
    pub const fn left(&self) -> u32 {
        self.hundredths / 100
    }
}

#[cfg(test)]
mod tests;
