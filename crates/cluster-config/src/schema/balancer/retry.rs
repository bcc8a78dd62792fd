//! Requests that are tried again, on another server.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    super::{
        notation::{Duration, Percent, RetryOn},
        proxy::OneOrMany,
    },
    duration, percent,
};
use crate::document::balancer as document;

/// Retries on another server.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// Attempts per request, the first included.
    #[schemars(range(min = 1, max = 16))]
    pub attempts: u32,
    /// Share of the requests that may be retried after an answer or timeout of a live server, or
    /// asked of a second one.
    pub budget: Percent,
    /// What is tried again, as HAProxy's `retry-on`: `connect_failure`, `reset`, `junk_response`,
    /// `node_error` (a proxy-node's own), `timeout`, or a status. Once something was written, only
    /// idempotent requests whose body is still known are tried again, and never after a byte of an
    /// answer went to the client.
    pub on: OneOrMany<RetryOn>,
    /// Asks a second server while the first one is silent, for requests without a body that are
    /// idempotent; the first good answer is the client's, and the other request is cut. An origin
    /// may be asked twice. Absent: nobody does.
    pub hedge: Option<Hedge>,
}

/// When a second server is asked.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Hedge {
    /// After this time at the earliest.
    pub after: Duration,
    /// And not before what so many percent of the latest requests needed: with `95%` one of twenty
    /// is asked twice. Absent: after that time.
    pub percentile: Option<Percent>,
}

impl Default for Retry {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "constants, all read by the tests")]
        let read = |on: document::RetryOn| RetryOn::parse(&on.to_string()).expect("a constant");
        Self {
            attempts: 3,
            budget: percent("20%"),
            on: OneOrMany::Many(document::RetryOn::usual().into_iter().map(read).collect()),
            hedge: None,
        }
    }
}

impl Default for Hedge {
    fn default() -> Self {
        Self { after: duration("100ms"), percentile: None }
    }
}

impl From<Hedge> for document::Hedge {
    fn from(written: Hedge) -> Self {
        Self {
            after: written.after.value,
            percentile: written.percentile.map(|percentile| percentile.value),
        }
    }
}
