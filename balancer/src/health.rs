//! Whether this balancer serves, for whoever asks a frontend itself: a load balancer in front
//! (HAProxy asks `OPTIONS /` or `OPTIONS *` by default), a name server with checks, a person. Which
//! requests these are is in [`crate::route`]. Nothing of it is counted as a request.

use std::time::Duration;

use relay::{
    head::RequestHead, method::Method, respond::Canned, rewrite::Persistence, stream::Stream,
};

use crate::{
    local::{Backend, Local},
    tunnel::ConnectionEnd,
};

/// What is said of a balancer that is leaving, or has nobody to ask.
#[must_use]
pub fn verdict(leaving: bool, has_servers: bool) -> (u16, &'static [u8]) {
    match (leaving, has_servers) {
        (true, _) => (503, b"draining\n"),
        (false, false) => (503, b"no server\n"),
        (false, true) => (200, b"ready\n"),
    }
}

pub async fn answer(
    local: &Local,
    backend: &Backend,
    head: &RequestHead,
    client: &mut Stream,
    within: Duration,
    out: &mut Vec<u8>,
) -> ConnectionEnd {
    let leaving = local.worker().leaving();
    let (status, body) = verdict(leaving, backend.pool.plan.has_servers());
    // A body is not read, and would be taken for the next request.
    let stays = head.persistent() && head.framing().is_empty() && !leaving;
    let canned = Canned {
        status,
        now: relay::clock::wall(),
        content_type: "text/plain",
        fields: &[
            ("Cache-Control", "no-store"),
            ("Allow", "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH, CONNECT"),
        ],
        body,
        persistence: Persistence::of(stays, head.version()),
    };
    out.clear();
    if head.method() == Method::Head {
        canned.write_head(out);
    } else {
        canned.write(out);
    }
    match client.write_all(&[out], within).await {
        Ok(()) => ConnectionEnd::answered(stays, head.is_last() && client.input().is_empty()),
        Err(_) => ConnectionEnd::Abort,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        assert_eq!(
            [verdict(false, true).0, verdict(false, false).0, verdict(true, true).0],
            [200, 503, 503]
        );
    }
}
