//! Resume tokens of a watch: a delta goes to a token that was handed out to this kind of watcher,
//! everything else gets a snapshot.

use std::sync::Arc;

use cluster::Service;
use registry::{
    feed::{Event, Feed},
    snapshot::Filter,
    store::Identity,
};
use uuid::Uuid;

use crate::Target;

/// See the module.
pub const TARGET: Target = Target {
    name: "resume_token",
    check,
    words: &[
        b".",
        b"0",
        b"1",
        b"2",
        b"3",
        b"00",
        b"-1",
        b"+1",
        b"ffffffff",
        b"18446744073709551616",
        b"00000000-0000-0000-0000-000000000001",
        b" ",
    ],
    executions: 20_000,
};

/// Fixed, so that the corpus can hold tokens that are valid.
const IDENTITY: Identity = Identity { cluster_id: Uuid::from_u128(1), epoch: 1 };
const INCARNATION: Uuid = Uuid::from_u128(2);

fn check(bytes: &[u8]) {
    let Ok(token) = std::str::from_utf8(bytes) else { return };
    for services in [&[][..], &[Service::ProxyNode], &[Service::Balancer, Service::Registry]] {
        let filter = Filter::of(services);
        let feed = Feed::new(IDENTITY, INCARNATION);
        feed.reset(vec![], vec![]);
        let mut handed_out = vec![said(&feed, filter, "").1];
        for name in ["proxy-node-1", "proxy-node-2"] {
            feed.publish(vec![], &[(Service::ProxyNode, name.to_owned())], vec![]);
            handed_out.push(said(&feed, filter, "").1);
        }
        let (event, next) = said(&feed, filter, token);
        let known = handed_out.iter().any(|one| one == token);
        assert_eq!(
            matches!(event, Event::Delta(_)),
            known,
            "a delta for what was handed out, a snapshot for the rest"
        );
        assert_eq!(Some(&next), handed_out.last(), "either way the watcher stands at the end");
    }
}

/// What a watcher with this token hears first, and its token afterwards.
fn said(feed: &Arc<Feed>, filter: Filter, token: &str) -> (Event, String) {
    let step = feed.reader(filter, token).read();
    (step.event(), step.resume_token())
}
