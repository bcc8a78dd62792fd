//! Servers that do worse than the others are put aside for a while.

use proto::balancer::Standing;
use serde_json::{Value, json};
use testkit::wait::until;

use crate::support::{Cluster, Mode, by};

/// Compares often, and takes nobody out for any other reason.
fn settings(ejection: &Value) -> Value {
    let mut all = json!({
        "interval": "300ms", "minimum_requests": 4, "failure_percent": 0, "latency_factor": 0,
        "latency_floor": "20ms", "base_ejection_time": "1s", "max_ejection_time": "10s",
        "max_ejection_percent": 50,
    });
    for (key, value) in ejection.as_object().into_iter().flatten() {
        all[key] = value.clone();
    }
    json!({
        "passive": {"max_fails": 0, "fail_timeout": "30s", "count": []},
        "outlier_ejection": all,
    })
}

/// Requests go on and on until the server stands so.
async fn under_load(cluster: &Cluster, name: &str, standing: Standing) {
    let load = async {
        loop {
            let requests = (0..16).map(|_| cluster.get("GET", b""));
            futures::future::join_all(requests).await;
        }
    };
    tokio::select! {
        () = load => {}
        () = cluster.until_standing(name, standing) => {}
    }
}

fn reason(cluster: &Cluster, name: &str) -> String {
    cluster.server(name).expect("listed").reasons.first().cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fails_oftener_than_may_be_is_put_aside_and_comes_back() {
    let cluster = Cluster::with(3, settings(&json!({"failure_percent": 40}))).await;
    cluster.nodes[1].set(Mode::OwnError);
    under_load(&cluster, "node-2", Standing::Unwell).await;
    let words = reason(&cluster, "node-2");
    assert!(words.contains("outlier") && words.contains("requests failed"), "{words}");
    let said = crate::runtime_socket::said(&cluster, "show stat\n").await;
    let row = said.lines().find(|line| line.starts_with("squid_servers,node-2,")).expect("a row");
    assert!(row.contains(",DOWN,") && row.contains("outlier"), "{row}");
    let snapshot = cluster.view.snapshot();
    let checks = snapshot.pools[0].servers[1].server.tally.checks.totals();
    assert_eq!((checks.outliers, checks.ejections), (1, 1));
    // It is put aside, not refused: with the others gone it is the one that is asked.
    cluster.nodes[1].set(Mode::Serve);
    cluster.until_standing("node-2", Standing::Usable).await;
    let answered: Vec<_> = futures::future::join_all((0..6).map(|_| cluster.get("GET", b""))).await;
    assert!(answered.iter().any(|answer| by(answer) == "node-2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_slow_itself_is_put_aside_and_who_has_a_slow_origin_is_not() {
    let ejection = json!({"latency_factor": 4, "base_ejection_time": "10s"});
    let cluster = Cluster::with(4, settings(&ejection)).await;
    cluster.nodes[1].set(Mode::Takes(150, 0));
    cluster.nodes[2].set(Mode::Takes(150, 150));
    under_load(&cluster, "node-2", Standing::Unwell).await;
    let words = reason(&cluster, "node-2");
    assert!(words.contains("outlier: it takes 1") && words.contains("the others"), "{words}");
    until("an interval more", || async {
        futures::future::join_all((0..8).map(|_| cluster.get("GET", b""))).await;
        let server = cluster.server("node-3").expect("listed");
        assert_eq!(server.standing(), Standing::Usable, "{:?}", server.reasons);
        (server.counters.is_some_and(|it| it.requests > 20)).then_some(())
    })
    .await;
}

/// All fail alike: who is left serves, however badly.
#[tokio::test(flavor = "multi_thread")]
async fn no_more_are_put_aside_than_the_panic_threshold_allows() {
    let ejection = json!({
        "failure_percent": 40, "max_ejection_percent": 100, "base_ejection_time": "10s",
    });
    let cluster = Cluster::with(4, settings(&ejection)).await;
    cluster.nodes.iter().for_each(|node| node.set(Mode::OwnError));
    let load = async {
        loop {
            futures::future::join_all((0..16).map(|_| cluster.get("GET", b""))).await;
        }
    };
    let unwell = || {
        let servers = cluster.stats().backends.remove(0).servers;
        servers.iter().filter(|it| it.standing() == Standing::Unwell).count()
    };
    let seen = async {
        until("two are put aside", || async { (unwell() == 2).then_some(()) }).await;
        let before: u64 = (1..=4).map(|n| cluster.counters(&format!("node-{n}")).requests).sum();
        until("it goes on like this", || async {
            assert_eq!(unwell(), 2);
            let now: u64 = (1..=4).map(|n| cluster.counters(&format!("node-{n}")).requests).sum();
            (now > before + 200).then_some(())
        })
        .await;
    };
    tokio::select! {
        () = load => {}
        () = seen => {}
    }
    assert!(!cluster.stats().backends[0].panic, "ejections are no panic");
}
