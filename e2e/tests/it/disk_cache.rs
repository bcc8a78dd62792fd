//! The disk tier of a real node: warm after kill -9, and what was purged stays away.

use nix::sys::signal::Signal;
use testkit::{
    client,
    lab::{Lab, Options},
    origin::Origin,
    wait,
};

const OBJECTS: usize = 40;

/// A lab of one node. Its bundle gives that a disk.
async fn lab() -> Lab {
    let arguments = vec!["--nodes=1".into()];
    Lab::start(Options { arguments, ..Options::default() }).await
}

/// What the node says of its disk; nothing while it starts.
async fn disk(lab: &Lab) -> serde_json::Value {
    let output = lab.shoal(&["cache", "stats", "-o", "json"]).await;
    let stats: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    stats["nodes"][0]["disk"].clone()
}

async fn until_written(lab: &Lab, objects: u64) {
    wait::until("all are written", || async {
        let disk = disk(lab).await;
        (disk["objects"].as_u64() >= Some(objects) && disk["problem"] == "").then_some(())
    })
    .await;
}

async fn get(lab: &Lab, url: &str) -> client::Answer {
    client::once(lab.frontend(), "GET", url, &[], b"").await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_is_as_warm_as_before_and_what_was_purged_stays_away() {
    let lab = lab().await;
    let origin = Origin::start().await;
    let url = |number: usize| origin.url(&format!("/cacheable/{}", 1000 + number * 20_000));
    for number in 0..OBJECTS {
        assert_eq!(get(&lab, &url(number)).await.status(), 200);
    }
    until_written(&lab, OBJECTS as u64).await;
    lab.ok(&["cache", "purge", &url(7)]).await;
    let asked = origin.requests();

    let before = lab.process("proxy-node-1").pid;
    lab.signal("proxy-node-1", Signal::SIGKILL);
    wait::until("the node is another process", || async {
        (lab.now().processes.iter().any(|it| it.name == "proxy-node-1" && it.pid != before))
            .then_some(())
    })
    .await;
    lab.until_state("proxy-node-1", "usable").await;
    until_written(&lab, OBJECTS as u64 - 1).await;
    wait::until("the balancer uses it", || async {
        (get(&lab, &url(0)).await.status() == 200).then_some(())
    })
    .await;
    let told = lab.ok(&["explain", &url(1)]).await;
    assert!(told.contains("hit on the disk"), "{told}");
    let held = lab.json(&["cache", "lookup", &url(1)]).await;
    assert_eq!(held["nodes"][0]["variants"][0]["tier"], "disk", "{held}");
    for number in (0..OBJECTS).filter(|number| *number != 7) {
        let answer = get(&lab, &url(number)).await;
        assert_eq!(answer.body.len(), 1000 + number * 20_000);
    }
    assert_eq!(origin.requests(), asked, "nothing was asked again");
    get(&lab, &url(7)).await;
    assert_eq!(origin.requests(), asked + 1, "what was purged was asked again");
    let disk = disk(&lab).await;
    let (objects, load) = (&disk["objects"], &disk["load_seconds"]);
    println!("e2e disk after kill -9: {objects} objects, loaded in {load} s");
    assert_eq!(disk["hits"].as_u64(), Some(OBJECTS as u64 - 1), "{disk}");
}
