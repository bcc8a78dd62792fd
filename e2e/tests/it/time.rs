//! A clock that is set by an hour, there and back: leases, verdicts and caches go by the time that
//! has passed, not by what the wall says.

use std::time::Duration;

use testkit::{
    client,
    lab::{Lab, Options},
    load::{Kind, Load, Outcome, Plan},
    machine::WallClock,
    origin::Origin,
    wait,
};
use tokio::time::Instant;

const REQUESTS: u64 = 10_000;
const JUMPS: [&str; 4] = ["+3600", "+0", "-3600", "+0"];
/// Longer than a lease (6 s), so that a wrong decision after a jump has the time to be made.
const OBSERVED: Duration = Duration::from_secs(8);

fn load(lab: &Lab, origin: &Origin) -> Load {
    let frontends = lab.description.frontends.clone();
    let path = "/bytes/1024".into();
    Load::open_ended(Plan {
        frontends,
        origin: origin.address().to_string(),
        path,
        kind: Kind::Get,
        clients: 8,
        requests: REQUESTS,
    })
}

fn assert_none_failed(test: &str, outcome: &Outcome) {
    outcome.print(test);
    assert!(outcome.sent >= REQUESTS, "{outcome:?}");
    assert_eq!(outcome.failed, 0, "{:#?}", outcome.failures);
}

/// Names and states of all instances.
async fn states(lab: &Lab) -> Vec<(String, String)> {
    let status = lab.json(&["status"]).await;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    status["instances"]
        .as_array()
        .expect("instances")
        .iter()
        .map(|it| (text(&it["name"]), text(&it["state"])))
        .collect()
}

/// Everybody is listed, those that keep the registry waiting too, and well.
async fn all_usable(lab: &Lab) {
    for process in &lab.description.processes {
        lab.until_state(&process.name, "usable").await;
    }
}

/// Sets the clock there and back, and sees nobody lost at any moment.
async fn nobody_is_lost(lab: &Lab, clock: &WallClock, load: &Load) {
    let before = states(lab).await;
    assert!(before.len() >= 5 && before.iter().all(|(_, state)| state == "usable"), "{before:?}");
    for jump in JUMPS {
        clock.set(jump);
        let set = Instant::now();
        while set.elapsed() < OBSERVED {
            assert_eq!(
                states(lab).await,
                before,
                "{:?} after the clock was set to {jump}",
                set.elapsed()
            );
            load.reach(load.succeeded() + 100).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_whose_clock_jumps_loses_nobody() {
    let lab =
        Lab::start(Options { arguments: vec!["--no-restart".into()], ..Options::default() }).await;
    let (origin, clock) = (Origin::start().await, WallClock::right());
    lab.signal("registry-1", nix::sys::signal::Signal::SIGKILL);
    let _registry = lab.restart_with("registry-1", &clock.environment());
    all_usable(&lab).await;
    let load = load(&lab, &origin);
    nobody_is_lost(&lab, &clock, &load).await;
    assert_none_failed("a_registry_whose_clock_jumps_loses_nobody", &load.enough().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_whose_clock_jumps_loses_nobody() {
    let clock = WallClock::right();
    let lab = Lab::start(Options { environment: clock.environment(), ..Options::default() }).await;
    let origin = Origin::start().await;
    all_usable(&lab).await;
    let load = load(&lab, &origin);
    nobody_is_lost(&lab, &clock, &load).await;
    assert_none_failed("a_cluster_whose_clock_jumps_loses_nobody", &load.enough().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_clock_jumps_serves_nothing_stale() {
    let lab =
        Lab::start(Options { arguments: vec!["--no-restart".into()], ..Options::default() }).await;
    let (origin, clock) = (Origin::start().await, WallClock::right());
    lab.signal("proxy-node-2", nix::sys::signal::Signal::SIGKILL);
    let _node = lab.restart_with("proxy-node-2", &clock.environment());
    all_usable(&lab).await;
    let load = load(&lab, &origin);
    let proxy = lab.process("proxy-node-2").endpoints["proxy"].parse().expect("an address");
    let kept = Origin::start().await;
    let url = kept.url("/fresh/2");
    // Until its lease lapses, the registry takes the one that was killed for the one that starts.
    wait::until("the node that was started again answers", || async {
        client::once(proxy, "GET", &url, &[], b"").await.ok()
    })
    .await;
    for jump in ["+0", "+3600", "+0", "-3600", "+0"] {
        let ask = || async { client::once(proxy, "GET", &url, &[], b"").await.expect("an answer") };
        assert_eq!(ask().await.status(), 200);
        let before = kept.requests();
        clock.set(jump);
        // What lives two seconds is not kept for an hour because the clock was set back by one.
        wait::until(format!("the origin is asked again after a jump to {jump}"), || async {
            let answer = ask().await;
            let age: u64 = answer.head.field("age").map_or(0, |age| age.parse().expect("an age"));
            assert!(answer.status() == 200 && age <= 2, "{jump}: {:?}", answer.head);
            (kept.requests() > before).then_some(())
        })
        .await;
        load.reach(load.succeeded() + 1_000).await;
    }
    assert_none_failed("a_node_whose_clock_jumps_serves_nothing_stale", &load.enough().await);
    lab.until_state("proxy-node-2", "usable").await;
}
