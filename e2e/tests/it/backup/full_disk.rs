//! A full disk anywhere on the way of a revision, a backup or a restore is called by its name, and
//! what is there stays as it is.

use testkit::{
    lab::{Lab, Options},
    machine::SmallDisk,
};

use super::{edited, refused, state, text};

/// What a command says when it fails.
async fn fails(lab: &Lab, arguments: &[&str]) -> String {
    let output = lab.shoal(arguments).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{arguments:?} did not fail: {said}");
    println!("{said}");
    said
}

fn assert_names(said: &str, disk: &SmallDisk, rest: &[&str]) {
    let place = disk.path().to_str().expect("UTF-8");
    assert!(
        said.contains(&format!("the disk that holds {place}")) && said.contains(" is full"),
        "which disk is full? {said}"
    );
    assert!(said.contains("free some space there, then try again"), "what is to be done? {said}");
    assert!(rest.iter().all(|part| said.contains(part)), "{rest:?} in {said}");
    assert!(
        !said.contains("cannot be reached") && !said.contains("start it again"),
        "it was reached: {said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_named_and_changes_nothing() {
    let (everything, store) = (SmallDisk::mount(96), SmallDisk::mount(8));
    let lab =
        Lab::start(Options { place: Some(everything.path().to_owned()), ..Options::default() })
            .await;
    // The store is on a disk of its own.
    let url = format!("file:{}/archives", store.path().display());
    let bundle = edited(&lab, "file:backups", &url);
    lab.ok(&["config", "apply", bundle.path().join("bundle").to_str().expect("UTF-8")]).await;
    lab.ok(&["backup", "create"]).await;
    let larger = edited(&lab, "file:backups", &url);
    let larger = larger.path().join("bundle");
    let yaml = std::fs::read_to_string(larger.join("cluster.yaml")).expect("the bundle");
    std::fs::write(
        larger.join("cluster.yaml"),
        format!("{yaml}{}", "# a comment that takes room\n".repeat(8_000)),
    )
    .expect("more of it");
    let apply = ["config", "apply", larger.to_str().expect("UTF-8"), "-m", "larger"];
    let processes = lab
        .now()
        .processes
        .into_iter()
        .map(|process| (process.name, process.pid))
        .collect::<Vec<_>>();
    let before = state(&lab).await;

    everything.fill();
    assert_names(
        &fails(&lab, &apply).await,
        &everything,
        &["config.db is full", "nothing was stored and nothing is lost"],
    );
    assert_names(
        &fails(&lab, &["backup", "create"]).await,
        &everything,
        &["the state of the config-service cannot be taken"],
    );
    assert_names(
        &refused(&lab, &["latest", "--yes"]).await,
        &everything,
        &["the archive cannot be unpacked to be looked at"],
    );
    assert_names(
        &fails(&lab, &["node", "drain", "proxy-node-1"]).await,
        &everything,
        &["the registry cannot write its database", "registry.db is full"],
    );
    everything.release();
    assert_eq!(state(&lab).await.0, before.0, "nothing was stored");

    store.fill();
    let said = fails(&lab, &["backup", "create"]).await;
    assert_names(
        &said,
        &store,
        &[&format!("the store {url} cannot be written"), "nothing of this backup is left in it"],
    );
    let left = std::fs::read_dir(store.path().join("archives")).expect("the store").count();
    assert_eq!(left, 2, "an archive and the lock");
    store.release();
    let listed = lab.json(&["backup", "list"]).await;
    assert_eq!(listed["backups"].as_array().map(Vec::len), Some(1), "{listed}");

    lab.ok(&["backup", "create"]).await;
    lab.ok(&apply).await;
    assert_eq!(text(&lab.json(&["config", "history"]).await["revisions"][0]["message"]), "larger");
    let now = lab
        .now()
        .processes
        .into_iter()
        .map(|process| (process.name, process.pid))
        .collect::<Vec<_>>();
    assert_eq!(now, processes, "a process died of a full disk");
}
