//! Whether another parent is asked after one has answered in vain, or has failed. Pure, but for the
//! budget of the worker.

use relay::{
    exchange,
    fault::Fault,
    head::Response,
    method::Method,
    proxy_status,
    retry::{self, Budget, Cause, Conditions, Decision, Phase},
};

use super::account::Account;

/// Whether the answer of a parent says that it could not do what it was asked (RFC 9110 §15.6.3 to
/// §15.6.5; Squid says 503 where it cannot connect), and not that the origin said so (RFC 9209
/// §2.1.4).
#[must_use]
pub fn is_in_vain(answer: Response<'_>) -> bool {
    matches!(answer.status(), 502..=504) && !proxy_status::was_received(answer.lines())
}

/// Whether a request that a parent answered in vain may go to another one: by the retry table, as
/// far as the worker's budget goes, so that an origin which is down is not asked by every parent
/// for every request.
#[must_use]
pub fn may_ask_another_after_answer(
    method: Method,
    replayable: bool,
    phase: Phase,
    account: &Account,
) -> bool {
    let body = if replayable { retry::Body::Replayable } else { retry::Body::Gone };
    let (cause, on) = (Cause::NodeAnswered, Conditions::usual());
    let attempt = retry::Attempt { phase, method, body, cause, on, number: 1, of: 2 };
    retry::decide(&attempt, &mut account.retries.borrow_mut()) == Decision::Retry
}

/// Whether a request that a parent failed may go to another one: the retry table, where parents are
/// the nodes.
#[must_use]
pub fn may_ask_another(method: Method, replayable: bool, failure: &exchange::Error) -> bool {
    let cause = match failure.fault {
        Fault::Timeout(_) => Cause::Timeout,
        Fault::Malformed(_) => Cause::NodeAnswered,
        _ => Cause::NodeLost,
    };
    let body = if replayable { retry::Body::Replayable } else { retry::Body::Gone };
    let (phase, on) = (failure.phase, Conditions::usual());
    let attempt = retry::Attempt { phase, method, body, cause, on, number: 1, of: 2 };
    // Without a budget: what cannot be understood may be the origin's, and would be understood no
    // better.
    failure.side == exchange::Side::Upstream
        && retry::decide(&attempt, &mut Budget::new(0)) == Decision::Retry
}

/// As [`may_ask_another`], of a request without a body that was written as a whole.
#[must_use]
pub fn may_ask_another_for(method: Method, fault: Fault) -> bool {
    may_ask_another(
        method,
        true,
        &exchange::Error { side: exchange::Side::Upstream, fault, phase: Phase::Written },
    )
}
