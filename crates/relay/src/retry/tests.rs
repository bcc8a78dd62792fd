use super::*;

/// Every row of the table.
#[test]
fn table() {
    use Body::{Gone, Replayable};
    use Cause::{AnswerCut, Hedge, Malformed, NodeAnswered, NodeLost, Status, Timeout};
    use Method::{Connect, Delete, Get, Other, Patch, Post, Put};
    use Phase::{NothingWritten, ResponseRelayed, Written};
    let retry = Decision::Retry;
    let no = Decision::GiveUp;
    let cases = [
        (NothingWritten, NodeLost, Get, Replayable, retry),
        (NothingWritten, NodeLost, Post, Replayable, retry),
        (NothingWritten, NodeLost, Connect, Replayable, retry),
        (NothingWritten, Timeout, Post, Replayable, retry),
        (NothingWritten, NodeLost, Post, Gone, no(Reason::BodyGone)),
        (Written, NodeLost, Get, Replayable, retry),
        (Written, NodeLost, Put, Replayable, retry),
        (Written, NodeLost, Delete, Replayable, retry),
        (Written, NodeLost, Connect, Replayable, retry),
        (Written, NodeLost, Put, Gone, no(Reason::BodyGone)),
        (Written, NodeLost, Post, Replayable, no(Reason::NotIdempotent)),
        (Written, NodeLost, Patch, Replayable, no(Reason::NotIdempotent)),
        (Written, NodeLost, Other, Replayable, no(Reason::NotIdempotent)),
        (Written, NodeAnswered, Get, Replayable, retry),
        (Written, NodeAnswered, Post, Replayable, no(Reason::NotIdempotent)),
        (Written, Timeout, Get, Replayable, no(Reason::StillWorking)),
        (Written, Timeout, Connect, Replayable, no(Reason::StillWorking)),
        (Written, Malformed, Get, Replayable, retry),
        (Written, Malformed, Post, Replayable, no(Reason::NotIdempotent)),
        (Written, Status(503), Get, Replayable, no(Reason::NotAsked)),
        (Written, Hedge, Get, Replayable, retry),
        (Written, Hedge, Put, Gone, no(Reason::BodyGone)),
        (Written, Hedge, Post, Replayable, no(Reason::NotIdempotent)),
        (Written, Hedge, Connect, Replayable, no(Reason::NotIdempotent)),
        (ResponseRelayed, Hedge, Get, Replayable, no(Reason::ResponseBegun)),
        (Written, AnswerCut, Get, Replayable, no(Reason::AnswerCut)),
        (ResponseRelayed, NodeLost, Get, Replayable, no(Reason::ResponseBegun)),
        (ResponseRelayed, NodeAnswered, Connect, Replayable, no(Reason::ResponseBegun)),
        (ResponseRelayed, Timeout, Post, Gone, no(Reason::ResponseBegun)),
    ];
    let on = Conditions::usual();
    for (phase, cause, method, body, expected) in cases {
        let attempt = Attempt { phase, cause, method, body, on, number: 1, of: 3 };
        assert_eq!(decide(&attempt, &mut Budget::new(20)), expected, "{attempt:?}");
        if expected == Decision::Retry {
            let last = Attempt { number: 3, ..attempt };
            assert_eq!(
                decide(&last, &mut Budget::new(20)),
                Decision::GiveUp(Reason::Attempts),
                "{last:?}"
            );
            let unbudgeted =
                if cause == NodeLost { Decision::Retry } else { Decision::GiveUp(Reason::Budget) };
            assert_eq!(decide(&attempt, &mut Budget::new(0)), unbudgeted, "{attempt:?}");
        }
    }
}

#[test]
fn a_lost_node_costs_no_budget() {
    let mut budget = Budget::new(20);
    let attempt = Attempt {
        phase: Phase::Written,
        cause: Cause::NodeLost,
        on: Conditions::usual(),
        method: Method::Get,
        body: Body::Replayable,
        number: 1,
        of: 2,
    };
    for _ in 0..1000 {
        assert_eq!(decide(&attempt, &mut budget), Decision::Retry);
    }
    assert_eq!(budget, Budget::new(20));
}

#[test]
fn the_budget_is_a_share_of_requests() {
    let mut budget = Budget::new(20);
    let mut retries = 0;
    for _ in 0..10_000 {
        budget.deposit();
        retries += u32::from(budget.withdraw());
    }
    assert!((2000..=2000 + Budget::BURST).contains(&retries), "{retries}");
}

/// What is left out of the conditions is not tried again, and what is added may be, where the table
/// allows it.
#[test]
fn conditions() {
    use Cause::{AnswerCut, Malformed, NodeAnswered, NodeLost, Status, Timeout};
    use Phase::{NothingWritten, ResponseRelayed, Written};
    let none = Conditions::none();
    let on = |change: fn(&mut Conditions)| {
        let mut on = none;
        change(&mut on);
        on
    };
    let all = on(|on| {
        (on.connect_failure, on.reset, on.junk_response) = (true, true, true);
        (on.node_error, on.timeout) = (true, true);
        STATUSES.iter().for_each(|status| on.add_status(*status));
    });
    let cases = [
        (NothingWritten, NodeLost, on(|on| on.connect_failure = true)),
        (NothingWritten, Timeout, on(|on| on.connect_failure = true)),
        (Written, NodeLost, on(|on| on.reset = true)),
        (Written, Malformed, on(|on| on.junk_response = true)),
        (Written, NodeAnswered, on(|on| on.node_error = true)),
        (Written, Timeout, on(|on| on.timeout = true)),
        (Written, Status(503), on(|on| on.add_status(503))),
        (Written, Status(404), on(|on| on.add_status(404))),
    ];
    let decide = |phase, cause, on, method, body| {
        let attempt = Attempt { phase, cause, on, method, body, number: 1, of: 2 };
        decide(&attempt, &mut Budget::new(20)) == Decision::Retry
    };
    let (get, post) = (Method::Get, Method::Post);
    for (index, (phase, cause, only)) in cases.into_iter().enumerate() {
        let may = |on, method, body| decide(phase, cause, on, method, body);
        assert!(may(only, get, Body::Replayable) && may(all, get, Body::Replayable), "{index}");
        assert!(!may(none, get, Body::Replayable), "{index}");
        assert!(!may(all, get, Body::Gone), "{index}: {cause:?}");
        assert_eq!(may(all, post, Body::Replayable), phase == NothingWritten, "{index}");
        assert!(!decide(ResponseRelayed, cause, all, get, Body::Replayable), "{index}");
        for (other, (phase, cause, _)) in cases.into_iter().enumerate() {
            let same = other == index || (other < 2 && index < 2);
            assert_eq!(decide(phase, cause, only, get, Body::Replayable), same, "{index} {other}");
        }
    }
    assert!(!decide(Written, AnswerCut, all, get, Body::Replayable));
    assert!(!decide(Written, Status(418), all, get, Body::Replayable), "not a status to retry");
}
