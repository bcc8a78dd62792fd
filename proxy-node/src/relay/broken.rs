//! What becomes of a client whose request failed on the way.

use dataplane::connection::ConnectionEnd;
use relay::{
    exchange::{self, Side},
    fault::Fault,
    framing::BodyFraming,
    retry,
    stream::Stream,
};

use crate::{
    respond::Error,
    transaction::{Request, Transaction},
};

/// How far an exchange had come, and with whom.
#[derive(Clone, Copy)]
pub(super) struct Progress {
    /// The response's head had come, and its body goes to the client in this framing.
    pub(super) answered: Option<BodyFraming>,
    /// It was a parent proxy that was asked.
    pub(super) parent: bool,
}

/// Ends a transaction whose exchange failed.
pub(super) async fn failed(
    transaction: &mut Transaction,
    stream: &mut Stream,
    request: &Request,
    failure: exchange::Error,
    progress: Progress,
) -> ConnectionEnd {
    tracing::debug!(request_id = %transaction.id, %failure, "exchange failed");
    // After interim responses alone, a refusal is still an answer.
    if progress.answered.is_some() && failure.phase == retry::Phase::ResponseRelayed {
        transaction.record.aborted = true;
        return match failure.side {
            Side::Client => ConnectionEnd::Abort,
            Side::Upstream => ConnectionEnd::Cut(progress.answered.unwrap_or_default()),
        };
    }
    let reason = match (failure.side, failure.fault) {
        (Side::Client, Fault::Malformed(malformed)) => Error::Malformed(malformed),
        (Side::Client, Fault::Timeout(_)) => Error::RequestTimeout,
        (Side::Client, _) => {
            transaction.record.aborted = true;
            return ConnectionEnd::Abort;
        }
        (Side::Upstream, Fault::Closed | Fault::Reset) if progress.answered.is_some() => {
            Error::Incomplete
        }
        (Side::Upstream, fault) => Error::exchanging(&fault),
    };
    let reason =
        if progress.parent && failure.side == Side::Upstream { reason.of_parent() } else { reason };
    transaction.refuse(stream, request, reason, None).await
}
