//! Invariant 3: no request fails because one node died, if its response had not begun.

use nix::sys::signal::Signal;
use testkit::{
    lab::{Lab, Options},
    load::{Kind, Load, Outcome, Plan},
    origin::Origin,
};

const REQUESTS: u64 = 10_000;

fn plan(lab: &Lab, origin: &Origin, kind: Kind) -> Plan {
    let path = if kind == Kind::Post { "/echo" } else { "/bytes/1024" };
    let frontends = lab.description.frontends.clone();
    Plan {
        frontends,
        origin: origin.address().to_string(),
        path: path.into(),
        kind,
        clients: 8,
        requests: REQUESTS,
    }
}

/// Sends the load, hits a node with `signal` after a third of it, and gives the counts.
async fn under_load(lab: &Lab, origin: &Origin, kind: Kind, signal: Signal) -> Outcome {
    let load = Load::start(plan(lab, origin, kind));
    load.reach(REQUESTS / 3).await;
    lab.signal("proxy-node-2", signal);
    load.finish().await
}

fn assert_none_failed(outcome: &Outcome) {
    assert_eq!(outcome.sent, REQUESTS);
    assert_eq!(outcome.failed, 0, "{:#?}", outcome.failures);
}

/// A POST that was on the node already may fail; none may reach the origin twice.
fn assert_posts(outcome: &Outcome, origin: &Origin) {
    assert_eq!(outcome.sent, REQUESTS);
    assert_eq!(origin.repeated(), [], "POSTs that reached the origin more than once");
    // At most one request of each client was on its way when the node died, and one more while the
    // kernel was closing its sockets one by one.
    assert!(outcome.failed <= 16, "{} POSTs failed: {:#?}", outcome.failed, outcome.failures);
    for failure in &outcome.failures {
        assert!(
            failure.contains("proxy-node-2"),
            "a POST failed that was not on the node: {failure}"
        );
    }
    let unsent: Vec<_> = outcome.failed_ids.iter().filter(|id| origin.arrivals(id) == 0).collect();
    println!(
        "e2e posts on the node when it died: {} failed, {} of them never reached the origin",
        outcome.failed,
        unsent.len()
    );
}

macro_rules! node_fault {
    ($name:ident, $kind:expr, $signal:expr) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let lab = Lab::start(Options::default()).await;
            let origin = Origin::start().await;
            let outcome = under_load(&lab, &origin, $kind, $signal).await;
            outcome.print(stringify!($name));
            if $kind == Kind::Post {
                assert_posts(&outcome, &origin)
            } else {
                assert_none_failed(&outcome)
            }
            if $signal == Signal::SIGSTOP {
                lab.signal("proxy-node-2", Signal::SIGCONT);
            }
            lab.until_state("proxy-node-2", "usable").await;
        }
    };
}

node_fault!(a_killed_node_fails_no_get, Kind::Get, Signal::SIGKILL);
node_fault!(a_killed_node_fails_no_post_twice, Kind::Post, Signal::SIGKILL);
node_fault!(a_killed_node_fails_no_connect, Kind::Connect, Signal::SIGKILL);
node_fault!(a_frozen_node_fails_no_get, Kind::Get, Signal::SIGSTOP);
node_fault!(a_frozen_node_fails_no_post_twice, Kind::Post, Signal::SIGSTOP);
node_fault!(a_frozen_node_fails_no_connect, Kind::Connect, Signal::SIGSTOP);
