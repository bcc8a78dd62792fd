//! Invariant 9: a stop is a drain. Every process is stopped and started again in turn, and no
//! client notices.

use nix::sys::signal::Signal;
use testkit::{
    lab::{Lab, Options},
    load::{Kind, Load, Outcome, Plan},
    origin::Origin,
    wait,
};

const REQUESTS: u64 = 10_000;

fn load(lab: &Lab, origin: &Origin, kind: Kind, clients: usize, requests: u64) -> Load {
    let frontends = lab.description.frontends.clone();
    let path = if kind == Kind::Post { "/echo" } else { "/bytes/1024" };
    Load::open_ended(Plan {
        frontends,
        origin: origin.address().to_string(),
        path: path.into(),
        kind,
        clients,
        requests,
    })
}

/// What clients do at the same time: most of it GETs; POSTs, which nobody may send twice; tunnels.
struct Traffic {
    gets: Load,
    posts: Load,
    tunnels: Load,
}

impl Traffic {
    async fn start(lab: &Lab, origin: &Origin) -> Self {
        let traffic = Self {
            gets: load(lab, origin, Kind::Get, 8, REQUESTS),
            posts: load(lab, origin, Kind::Post, 4, 2_000),
            tunnels: load(lab, origin, Kind::Connect, 2, 500),
        };
        traffic.gets.reach(500).await;
        traffic
    }

    async fn assert_none_failed(self, test: &str, origin: &Origin) {
        let outcomes = [
            ("gets", self.gets.enough().await),
            ("posts", self.posts.enough().await),
            ("tunnels", self.tunnels.enough().await),
        ];
        let mut sum = Outcome::default();
        for (_, outcome) in &outcomes {
            sum.add(outcome);
        }
        sum.print(test);
        for (kind, outcome) in &outcomes {
            assert_eq!(
                (outcome.failed, outcome.cut_tunnels),
                (0, 0),
                "{kind}: {:#?}",
                outcome.failures
            );
        }
        assert_eq!(origin.repeated(), [], "requests that reached the origin more than once");
    }
}

/// Asks a process to stop, waits until the lab has started it again, and until it serves.
async fn restart(lab: &Lab, name: &str) {
    let before = lab.process(name).pid;
    lab.signal(name, Signal::SIGTERM);
    wait::until(format!("{name} runs again"), || async {
        (lab.process(name).pid != before).then_some(())
    })
    .await;
    lab.until_state(name, "usable").await;
}

async fn rolling(test: &str, service: impl Fn(&str) -> bool) {
    let lab = Lab::start(Options::default()).await;
    let origin = Origin::start().await;
    let traffic = Traffic::start(&lab, &origin).await;
    let names: Vec<_> = lab
        .now()
        .processes
        .into_iter()
        .filter(|process| service(&process.service))
        .map(|process| process.name)
        .collect();
    assert!(!names.is_empty());
    for name in &names {
        restart(&lab, name).await;
        // The others have to take it up again before the next one goes, as they would between two
        // steps of an operator's.
        let reached = traffic.gets.succeeded();
        traffic.gets.reach(reached + 500).await;
    }
    traffic.assert_none_failed(test, &origin).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_the_nodes_fails_nothing() {
    rolling("a_rolling_restart_of_the_nodes_fails_nothing", |service| service == "proxy-node")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_the_balancers_fails_nothing() {
    rolling("a_rolling_restart_of_the_balancers_fails_nothing", |service| service == "balancer")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_the_control_plane_fails_nothing() {
    rolling("a_rolling_restart_of_the_control_plane_fails_nothing", |service| {
        !matches!(service, "proxy-node" | "balancer")
    })
    .await;
}
