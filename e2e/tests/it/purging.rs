//! Purges of a cluster: every node does them and says so, and one that was away does them before it
//! trusts what it stored.

use nix::sys::signal::Signal;
use serde_json::Value;
use testkit::{
    client,
    lab::{Lab, Options},
    origin::Origin,
    wait,
};

const NODES: [&str; 3] = ["proxy-node-1", "proxy-node-2", "proxy-node-3"];

async fn lab() -> Lab {
    let arguments = vec!["--nodes=3".into(), "--balancers=1".into()];
    Lab::start(Options { arguments, ..Options::default() }).await
}

/// Through one node, past the balancer.
async fn get(lab: &Lab, node: &str, url: &str) -> client::Answer {
    let address = lab.process(node).endpoints["proxy"].parse().expect("an address");
    client::once(address, "GET", url, &[], b"").await.expect("an answer")
}

fn is_hit(answer: &client::Answer) -> bool {
    answer.head.field("cache-status").is_some_and(|status| status.contains("; hit; "))
}

/// What `cache purge` said, whether it succeeded or not, and on stderr.
async fn purge(lab: &Lab, arguments: &[&str]) -> (bool, Value, String) {
    let all = [&["cache", "purge", "-o", "json"], arguments].concat();
    let output = lab.shoal(&all).await;
    let said = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), said, stderr)
}

fn of<'a>(said: &'a Value, node: &str) -> &'a Value {
    let nodes = said["nodes"].as_array().expect("nodes");
    nodes.iter().find(|it| it["name"] == node).expect("the node")
}

/// How far a node is in the log.
async fn applied(lab: &Lab, node: &str) -> u64 {
    let said = lab.json(&["cache", "purges"]).await;
    of(&said, node)["applied"].as_u64().expect("a position")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_does_it_and_who_was_away_does_it_before_it_trusts_what_it_has() {
    let lab = lab().await;
    let origin = Origin::start().await;
    let url = |number: u32| origin.url(&format!("/cacheable/{}", 5000 + number));
    for node in NODES {
        for number in 0..3 {
            get(&lab, node, &url(number)).await;
            assert!(is_hit(&get(&lab, node, &url(number)).await), "{node} {number}");
        }
    }

    // One URL, everywhere.
    let (done, said, stderr) = purge(&lab, &["--reason", "a typo", &url(0)]).await;
    assert!(done, "{said} {stderr}");
    for node in NODES {
        assert_eq!(
            (&of(&said, node)["done"], &of(&said, node)["removed"]),
            (&true.into(), &1.into())
        );
    }
    let listed = lab.json(&["cache", "purges"]).await;
    assert_eq!(listed["purges"][0]["what"], url(0).as_str(), "{listed}");
    assert_eq!(listed["purges"][0]["reason"], "a typo");
    let told = lab.ok(&["explain", &url(0)]).await;
    assert!(told.contains("purged") && told.contains("s ago"), "{told}");
    let audit = lab.ok(&["audit"]).await;
    assert!(audit.contains("Registry/Purge") && audit.contains("a typo"), "{audit}");

    // A client may not, unless the bundle says so; and nobody sends it on.
    let asked = origin.requests();
    let denied = client::once(lab.frontend(), "PURGE", &url(1), &[], b"").await;
    assert_eq!(denied.expect("an answer").status(), 403);
    assert_eq!(origin.requests(), asked);

    // A node is frozen: it is named, and does it when it goes on.
    lab.signal("proxy-node-2", Signal::SIGSTOP);
    let (done, said, stderr) = purge(&lab, &["--within", "2s", "--prefix", &origin.url("/")]).await;
    lab.signal("proxy-node-2", Signal::SIGCONT);
    assert!(!done && stderr.contains("proxy-node-2 has not done it within 2 s"), "{stderr}");
    assert_eq!(of(&said, "proxy-node-1")["done"], true, "{said}");
    assert_eq!(of(&said, "proxy-node-2")["done"], false, "{said}");
    let position = said["position"].as_u64().expect("a position");
    wait::until("it has done it too", || async {
        (applied(&lab, "proxy-node-2").await >= position).then_some(())
    })
    .await;
    for node in NODES {
        assert!(!is_hit(&get(&lab, node, &url(1)).await), "{node}");
    }

    // A node is killed, and what it has on its disk is purged while it is not there.
    let before = lab.process("proxy-node-3").pid;
    for number in 0..3 {
        get(&lab, "proxy-node-3", &url(number)).await;
    }
    wait::until("all are on its disk", || async {
        let stats = lab.json(&["cache", "stats", "--node", "proxy-node-3"]).await;
        (stats["nodes"][0]["disk"]["objects"].as_u64() >= Some(3)).then_some(())
    })
    .await;
    // Stopped first, so that it is not there again before the purge.
    lab.signal("proxy-node-3", Signal::SIGSTOP);
    let (done, _, stderr) = purge(&lab, &["--within", "1s", "--host", "127.0.0.1"]).await;
    assert!(!done && stderr.contains("proxy-node-3"), "{stderr}");
    lab.signal("proxy-node-3", Signal::SIGKILL);
    wait::until("the node is another process", || async {
        let processes = lab.now().processes;
        let again = |it: &testkit::lab::Process| it.name == "proxy-node-3" && it.pid != before;
        processes.iter().any(again).then_some(())
    })
    .await;
    lab.until_state("proxy-node-3", "usable").await;
    let asked = origin.requests();
    for number in 0..3 {
        let answer = get(&lab, "proxy-node-3", &url(number)).await;
        assert!(answer.status() == 200 && !is_hit(&answer), "{number}");
    }
    assert!(origin.requests() >= asked + 3, "what was purged was asked again");
    let (done, said, stderr) = purge(&lab, &["--all", "--soft"]).await;
    assert!(done, "{said} {stderr}");
}
