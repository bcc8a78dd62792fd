//! How a server is picked: each algorithm with real requests over real sockets.

use std::collections::{BTreeMap, BTreeSet};

use cluster::AdminState;
use proto::balancer::{ExplainPickRequest, Standing, balancer_server::Balancer as _};
use serde_json::json;
use testkit::wait::until;

use crate::support::{Cluster, Mode, by, status};

/// Which node answers each of these requests, a connection for each.
async fn answered(cluster: &Cluster, requests: &[(String, Vec<(&str, &str)>)]) -> Vec<String> {
    let mut nodes = Vec::new();
    for (target, fields) in requests {
        let mut client = cluster.open().await;
        let answer = client.request("GET", target, fields, b"").await.expect("an answer");
        assert_eq!(answer.status(), 200);
        nodes.push(by(&answer));
    }
    nodes
}

fn objects(count: usize) -> Vec<(String, Vec<(&'static str, &'static str)>)> {
    (0..count).map(|number| (format!("http://h{number}.example/{number}"), Vec::new())).collect()
}

async fn explained(cluster: &Cluster, target: &str) -> (String, String) {
    let question = ExplainPickRequest {
        target: target.to_owned(),
        client_address: "127.0.0.1".to_owned(),
        ..ExplainPickRequest::default()
    };
    let told = cluster.face("r1").explain_pick(tonic::Request::new(question)).await;
    let told = told.expect("an explanation").into_inner();
    (told.server, told.explanation.join("\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_lives_on_one_node_and_moves_only_with_it() {
    for balance in ["uri_hash", "host_hash"] {
        let cluster = Cluster::with(4, json!({"balance": balance})).await;
        let objects = objects(40);
        let first = answered(&cluster, &objects).await;
        assert_eq!(answered(&cluster, &objects).await, first, "twice the same");
        assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 4, "everybody has some");
        for (object, node) in objects.iter().zip(&first) {
            let (server, words) = explained(&cluster, &object.0).await;
            assert!(server == *node && words.contains("by host"), "{server}: {words}");
        }
        let mut statuses: Vec<_> = cluster.nodes.iter().map(status).collect();
        statuses[0].admin_state = AdminState::Drain;
        cluster.list(&statuses);
        cluster.until_standing("node-1", Standing::Excluded).await;
        for (before, after) in first.iter().zip(answered(&cluster, &objects).await) {
            assert!(after == *before || before == "node-1", "{before} → {after}");
            assert_ne!(after, "node-1");
        }
        cluster.list_all();
        cluster.until_standing("node-1", Standing::Usable).await;
        assert_eq!(answered(&cluster, &objects).await, first, "and back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_starts_slowly() {
    for balance in ["round_robin", "least_connections", "random", "uri_hash"] {
        let settings = json!({"balance": balance, "slow_start": "10m", "hash_bound": null});
        let cluster = Cluster::with(2, settings).await;
        let whole = cluster.server("node-1").expect("a server");
        assert_eq!(whole.percent, 100, "they came together");
        let mut statuses: Vec<_> = cluster.nodes.iter().map(status).collect();
        statuses[0].admin_state = AdminState::Maintenance;
        cluster.list(&statuses);
        cluster.until_standing("node-1", Standing::Excluded).await;
        cluster.list_all();
        cluster.until_standing("node-1", Standing::Usable).await;
        let back = cluster.server("node-1").expect("a server");
        assert_eq!(back.percent, 1, "{balance}");
        assert_eq!(back.reasons[0], "slow start: 1 % of its weight for now");
        let nodes = answered(&cluster, &objects(100)).await;
        let share = nodes.iter().filter(|node| *node == "node-1").count();
        // One at most for each worker; a draw may be lucky, and so may an object.
        assert!(share <= 10, "{balance}: {share}");
        let (_, words) = explained(&cluster, "http://o/").await;
        assert!(words.contains("node-1 1/101, node-2 100/101"), "{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_names_backups() {
    let discover = json!({
        "service": "proxy-node", "tags": [], "datacenter": null, "backup_tags": ["standby"],
    });
    let cluster = Cluster::with(2, json!({"discover": discover})).await;
    let mut statuses: Vec<_> = cluster.nodes.iter().map(status).collect();
    statuses[1].instance.tags = vec!["edge".to_owned(), "standby".to_owned()];
    cluster.list(&statuses);
    cluster.until_standing("node-2", Standing::Last).await;
    assert!(cluster.server("node-2").is_some_and(|it| it.backup));
    assert!(answered(&cluster, &objects(10)).await.iter().all(|node| node == "node-1"));
    cluster.nodes[0].kill().await;
    assert!(answered(&cluster, &objects(10)).await.iter().all(|node| node == "node-2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_near_come_first_while_enough_of_them_are_usable() {
    let prefer = json!({"prefer": {"order": ["zone", "datacenter"], "spill_over": 60}});
    let cluster = Cluster::with(4, prefer).await;
    let mut statuses: Vec<_> = cluster.nodes.iter().map(status).collect();
    for (status, (datacenter, zone)) in statuses.iter_mut().zip([
        ("beijing", "a"),
        ("beijing", "a"),
        ("beijing", "b"),
        ("shanghai", "a"),
    ]) {
        status.instance.datacenter = datacenter.to_owned();
        status.instance.zone = zone.to_owned();
    }
    cluster.list(&statuses);
    let level = |name: &str| cluster.server(name).map(|it| it.level);
    until("levels", || async {
        (level("node-4") == Some(2) && level("node-1") == Some(0)).then_some(())
    })
    .await;
    let names = |nodes: Vec<String>| nodes.into_iter().collect::<BTreeSet<_>>();
    let near = names(answered(&cluster, &objects(12)).await);
    assert_eq!(near.iter().collect::<Vec<_>>(), ["node-1", "node-2"]);
    let (_, words) = explained(&cluster, "http://o/").await;
    assert!(words.contains("node-1, node-2; then node-3; then node-4"), "{words}");
    // Half of the zone is too little; two thirds of the datacenter are enough.
    statuses[0].state = cluster::State::Suspect;
    cluster.list(&statuses);
    cluster.until_standing("node-1", Standing::Last).await;
    let wider = names(answered(&cluster, &objects(12)).await);
    assert_eq!(wider.iter().collect::<Vec<_>>(), ["node-2", "node-3"]);
    // A usable server far away comes before a suspect one in the same zone.
    for status in &mut statuses[1..3] {
        status.state = cluster::State::Suspect;
    }
    cluster.list(&statuses);
    cluster.until_standing("node-3", Standing::Last).await;
    let far = names(answered(&cluster, &objects(12)).await);
    assert_eq!(far.iter().collect::<Vec<_>>(), ["node-4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hot_object_spills_over_to_others() {
    let cluster = std::sync::Arc::new(
        Cluster::with(3, json!({"balance": "uri_hash", "hash_bound": 125})).await,
    );
    cluster.nodes.iter().for_each(|node| node.set(Mode::SlowOrigin));
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let cluster = std::sync::Arc::clone(&cluster);
        running.spawn(async move { cluster.get("GET", b"").await.status() });
    }
    until("all of them are under way", || async { (cluster.arrivals().len() == 12).then_some(()) })
        .await;
    let shares: Vec<_> = cluster.nodes.iter().map(|node| node.arrivals().len()).collect();
    // 125 % of a third of twelve, and one for what two workers do at the same time.
    assert!(shares.iter().all(|share| (1..=6).contains(share)), "{shares:?}");
    cluster.nodes.iter().for_each(crate::support::Node::open_gate);
    assert!(running.join_all().await.into_iter().all(|status| status == 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_stays_with_its_node() {
    let cluster = Cluster::with(4, json!({"balance": "ip_hash"})).await;
    let nodes: BTreeSet<_> = answered(&cluster, &objects(20)).await.into_iter().collect();
    assert_eq!(nodes.len(), 1);
    assert_eq!(nodes.first(), Some(&explained(&cluster, "http://o/").await.0));
    let by_user = json!({"balance": {"header_hash": {"header": "X-User"}}});
    let cluster = Cluster::with(4, by_user).await;
    let users = ["anna", "bert", "carl", "dora", "emil", "fred"];
    let asks: Vec<_> = (0..60)
        .map(|number| (format!("http://o/{number}"), vec![("x-user", users[number % 6])]))
        .collect();
    let mut nodes: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (node, (_, fields)) in answered(&cluster, &asks).await.into_iter().zip(&asks) {
        nodes.entry(fields[0].1).or_default().insert(node);
    }
    assert!(nodes.len() == 6 && nodes.values().all(|nodes| nodes.len() == 1), "{nodes:?}");
    let without: BTreeSet<_> = answered(&cluster, &objects(16)).await.into_iter().collect();
    assert_eq!(without.len(), 4, "who has no such field is given to whose turn it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_busy_get_less() {
    for balance in ["least_connections", "random", "response_time"] {
        let cluster = std::sync::Arc::new(Cluster::with(2, json!({"balance": balance})).await);
        let (_, words) = explained(&cluster, "http://o/").await;
        assert!(words.contains("among the usable servers"), "{words}");
        cluster.nodes[0].set(Mode::SlowOrigin);
        let mut running = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let cluster = std::sync::Arc::clone(&cluster);
            running.spawn(async move { cluster.get("GET", b"").await.status() });
        }
        until("all have arrived", || async { (cluster.arrivals().len() == 40).then_some(()) })
            .await;
        // Those that it still owes keep it from getting more.
        let before = cluster.nodes[0].arrivals().len();
        let quick = answered(&cluster, &objects(20)).await;
        let slow = cluster.nodes[0].arrivals().len() - before;
        assert_eq!((quick.len(), slow), (20, 0), "{balance}");
        cluster.nodes[0].open_gate();
        assert!(running.join_all().await.into_iter().all(|status| status == 200));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_takes_everything_while_it_can() {
    let cluster = Cluster::with(3, json!({"balance": "first"})).await;
    assert!(answered(&cluster, &objects(10)).await.iter().all(|node| node == "node-1"));
    let mut statuses: Vec<_> = cluster.nodes.iter().map(status).collect();
    statuses[0].admin_state = AdminState::Maintenance;
    cluster.list(&statuses);
    cluster.until_standing("node-1", Standing::Excluded).await;
    assert!(answered(&cluster, &objects(10)).await.iter().all(|node| node == "node-2"));
}
