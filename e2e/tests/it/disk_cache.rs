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
async fn lab(more: &[&str]) -> Lab {
    let arguments = ["--nodes=1"].iter().chain(more).map(|it| (*it).to_owned()).collect();
    Lab::start(Options { arguments, ..Options::default() }).await
}

/// What the node says of its disk; nothing while it starts.
async fn disk(lab: &Lab) -> serde_json::Value {
    disk_of(lab, "proxy-node-1").await
}

async fn disk_of(lab: &Lab, node: &str) -> serde_json::Value {
    let output = lab.shoal(&["cache", "stats", "-o", "json"]).await;
    let stats: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let nodes = stats["nodes"].as_array().cloned().unwrap_or_default();
    nodes.into_iter().find(|it| it["name"] == node).unwrap_or_default()["disk"].clone()
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
    let lab = lab(&[]).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_nodes_with_one_directory_the_second_takes_over_when_the_first_is_gone() {
    let lab = lab(&["--no-restart", "--balancers=1"]).await;
    let origin = Origin::start().await;
    let url = |number: usize| origin.url(&format!("/cacheable/{}", 1000 + number));
    for number in 0..OBJECTS {
        assert_eq!(get(&lab, &url(number)).await.status(), 200);
    }
    until_written(&lab, OBJECTS as u64).await;
    let directory = lab.data_dir().join("proxy-node-1").join("cache");
    let mut argv = lab
        .argv_beside("proxy-node-1", "proxy-node-b", &["--relay", "--proxy", "--grpc", "--admin"])
        .await;
    argv.extend(["--cache-dir".to_owned(), directory.to_string_lossy().into_owned()]);
    let second = tokio::process::Command::new(&argv[0])
        .args(&argv[1..])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("a second node");
    wait::until("the second one says that the directory is not its own", || async {
        let problem = disk_of(&lab, "proxy-node-b").await["problem"].as_str()?.to_owned();
        problem.contains("another process").then_some(())
    })
    .await;
    // It serves all the same.
    wait::until("the balancer uses both", || async {
        get(&lab, &url(OBJECTS)).await;
        let stats = lab.json(&["cache", "stats"]).await;
        let nodes = stats["nodes"].as_array()?;
        nodes.iter().all(|it| it["requests"].as_u64() > Some(0)).then_some(())
    })
    .await;
    lab.signal("proxy-node-1", Signal::SIGKILL);
    wait::until("the second one has the directory", || async {
        let disk = disk_of(&lab, "proxy-node-b").await;
        (disk["problem"] == "" && disk["objects"].as_u64() >= Some(OBJECTS as u64)).then_some(())
    })
    .await;
    wait::until("the balancer uses the second one", || async {
        (get(&lab, &url(OBJECTS)).await.status() == 200).then_some(())
    })
    .await;
    let asked = origin.requests();
    for number in 0..OBJECTS {
        assert_eq!(get(&lab, &url(number)).await.body.len(), 1000 + number);
    }
    // Which purges the other process had done before it wrote this, the second one does not know:
    // it asks before it believes any of it.
    assert_eq!(origin.requests(), asked + OBJECTS as u64);
    drop(second);
}
