//! Requests that are tried again, on another server.

use super::super::Context;
use crate::{
    document::balancer::{Retry, RetryOn},
    schema::balancer as schema,
};

pub(super) fn compile(context: &mut Context, written: schema::Retry, path: &str) -> Retry {
    let path = format!("{path}/retry");
    let on: Vec<RetryOn> = written.on.into_vec().into_iter().map(|on| on.value).collect();
    let lost = [RetryOn::ConnectFailure, RetryOn::Reset];
    if written.attempts > 1 && !lost.iter().all(|lost| on.contains(lost)) {
        context.warning(
            &format!("{path}/on"),
            "requests fail with the server that they were at: its death is not tried again",
            "add connect_failure and reset",
        );
    }
    if written.budget.value == 0 && (written.hedge.is_some() || governed(&on)) {
        context.warning(
            &format!("{path}/budget"),
            "retries after answers and timeouts, and hedges, need a budget, and this is none",
            "write a share of the requests, as in 20%",
        );
    }
    if let Some(percentile) = written.hedge.as_ref().and_then(|hedge| hedge.percentile.as_ref())
        && !(50..=99).contains(&percentile.value)
    {
        context.error(
            &format!("{path}/hedge/percentile"),
            "a second server is asked for more than half of the requests, or for none",
            "write 50% to 99%, as in 95%",
        );
    }
    Retry {
        attempts: written.attempts,
        budget: written.budget.value,
        on,
        hedge: written.hedge.map(Into::into),
    }
}

fn governed(on: &[RetryOn]) -> bool {
    on.iter().any(|on| matches!(on, RetryOn::Timeout | RetryOn::Status(_)))
}
