//! A backup, a disaster, and the way back: registry and config-service lose everything while
//! requests flow.

mod full_disk;
mod interrupted;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use nix::sys::signal::Signal;
use serde_json::Value;
use testkit::{
    lab::{Lab, Options},
    load::{Kind, Load, Plan},
    origin::Origin,
    wait,
};

const REQUESTS: u64 = 10_000;

fn load(lab: &Lab, origin: &Origin) -> Load {
    Load::open_ended(Plan {
        frontends: lab.description.frontends.clone(),
        origin: origin.address().to_string(),
        path: "/bytes/1024".into(),
        kind: Kind::Get,
        clients: 8,
        requests: REQUESTS,
    })
}

/// The lab's bundle with one text replaced by another, as `bundle` in a directory of its own.
fn edited(lab: &Lab, from: &str, to: &str) -> tempfile::TempDir {
    let scratch = tempfile::tempdir().expect("a directory");
    let bundle = scratch.path().join("bundle");
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .arg(lab.data_dir().join("bundle"))
        .arg(&bundle)
        .status()
        .expect("cp");
    assert!(copied.success());
    let path = bundle.join("cluster.yaml");
    let text = std::fs::read_to_string(&path).expect("the bundle");
    assert!(text.contains(from), "the lab's bundle has no {from:?} now");
    std::fs::write(&path, text.replace(from, to)).expect("write the bundle");
    scratch
}

/// Applies the lab's bundle with another size of the nodes' caches.
async fn apply(lab: &Lab, memory: &str, message: &str) {
    let scratch = edited(lab, "memory: 64MiB", &format!("memory: {memory}"));
    lab.ok(&[
        "config",
        "apply",
        scratch.path().join("bundle").to_str().expect("UTF-8"),
        "-m",
        message,
    ])
    .await;
}

/// Every revision with what is said of it, and what operators want of everybody.
type State = (Value, BTreeMap<String, String>);

/// What has to come back.
async fn state(lab: &Lab) -> State {
    let history = lab.json(&["config", "history"]).await["revisions"].clone();
    let status = lab.json(&["status"]).await;
    let instances = status["instances"].as_array().expect("instances");
    let state = |instance: &Value| (text(&instance["name"]), text(&instance["state"]));
    (history, instances.iter().map(state).collect())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Cluster id and epoch as every process remembers them on its disk, by name.
fn remembered(lab: &Lab) -> BTreeMap<String, (String, u64)> {
    let read = |name: &str| -> Option<(String, u64)> {
        let membership: Value = serde_json::from_slice(
            &std::fs::read(lab.data_dir().join(name).join("membership.json")).ok()?,
        )
        .ok()?;
        Some((text(&membership["cluster_id"]), membership["epoch"].as_u64()?))
    };
    lab.now()
        .processes
        .into_iter()
        .filter_map(|process| Some((process.name.clone(), read(&process.name)?)))
        .collect()
}

/// The same once every process does: the registry alone follows nobody.
async fn all_remembered(lab: &Lab) -> BTreeMap<String, (String, u64)> {
    let followers = lab.now().processes.len() - 1;
    wait::until("everybody remembers who is there", || async {
        Some(remembered(lab)).filter(|all| all.len() == followers)
    })
    .await
}

/// Every revision that some process runs.
async fn running(lab: &Lab) -> BTreeSet<String> {
    let status = lab.json(&["status"]).await;
    let instances = status["instances"].as_array().expect("instances").clone();
    instances
        .iter()
        .map(|instance| text(&instance["revision"]))
        .filter(|revision| !revision.is_empty())
        .collect()
}

/// Stops a process, removes everything it kept, and starts it again.
fn lose(lab: &Lab, name: &str) -> tokio::process::Child {
    lab.signal(name, Signal::SIGKILL);
    let directory = lab.data_dir().join(name);
    std::fs::remove_dir_all(&directory)
        .unwrap_or_else(|error| panic!("remove {}: {error}", directory.display()));
    lab.restart(name)
}

fn archive(lab: &Lab, id: &str) -> PathBuf {
    lab.data_dir().join("backup-service-1/backups").join(format!("shoal-{id}.tar.zst"))
}

/// Has a restore refused; answers what is said.
async fn refused(lab: &Lab, arguments: &[&str]) -> String {
    let output = lab.shoal(&[&["backup", "restore"], arguments].concat()).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "restored: {said}");
    said.lines()
        .find(|line| line.starts_with("error:"))
        .unwrap_or_else(|| panic!("no error in {said}"))
        .to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_control_plane_comes_back_from_a_backup() {
    let lab =
        Lab::start(Options { arguments: vec!["--no-restart".into()], ..Options::default() }).await;
    let origin = Origin::start().await;
    let load = load(&lab, &origin);
    load.reach(500).await;
    apply(&lab, "65MiB", "a little more").await;
    lab.ok(&["node", "drain", "proxy-node-3", "--reason", "new disk"]).await;
    lab.until_state("proxy-node-3", "draining").await;
    let kept = state(&lab).await;
    lab.ok(&["backup", "create"]).await;
    let listed = lab.json(&["backup", "list"]).await;
    let backup = &listed["backups"][0];
    assert_eq!(
        (text(&backup["condition"]), text(&backup["reason"])),
        ("verified".to_owned(), "asked for".to_owned()),
        "{listed}"
    );
    let id = text(&backup["id"]);

    // Life goes on after the backup.
    apply(&lab, "66MiB", "and more").await;
    lab.ok(&["node", "enable", "proxy-node-3"]).await;
    lab.ok(&["node", "drain", "proxy-node-1"]).await;
    lab.until_state("proxy-node-1", "draining").await;
    let (before, released) = (all_remembered(&lab).await, running(&lab).await);
    assert_eq!(released.len(), 1, "{released:?}");

    let _registry = lose(&lab, "registry-1");
    let _config = lose(&lab, "config-service-1");
    for name in lab.now().processes.into_iter().map(|process| process.name) {
        lab.until_state(&name, "usable").await;
    }
    let (empty, _) = state(&lab).await;
    assert_ne!(empty, kept.0, "the history is gone");
    assert_eq!(running(&lab).await, released, "and everybody goes on with what they have");

    let whole = std::fs::read(archive(&lab, &id)).expect("the archive");
    let damaged = whole_or_not(&lab, &id, &whole).await;
    assert_eq!(damaged, 2);
    assert_eq!(state(&lab).await.0, empty, "nothing was touched");

    let said = lab.ok(&["backup", "restore", "latest", "--yes"]).await;
    println!("{said}");
    assert!(
        said.contains("restore config-service")
            && said.contains("restore registry")
            && said.contains("is restored"),
        "{said}"
    );
    wait::until("the same state item by item", || async {
        (state(&lab).await == kept).then_some(())
    })
    .await;
    let epoch = wait::until("everybody hears everything anew, in a later epoch", || async {
        let now = remembered(&lab);
        let epochs: BTreeSet<_> = now.values().cloned().collect();
        let [(cluster_id, epoch)] =
            <[_; 1]>::try_from(epochs.into_iter().collect::<Vec<_>>()).ok()?;
        let same = before.iter().all(|(_, (id, earlier))| *id == cluster_id && *earlier < epoch);
        (same && now.len() == before.len()).then_some(epoch)
    })
    .await;
    assert_eq!(running(&lab).await.len(), 1, "all run one revision");
    assert_ne!(running(&lab).await, released, "and it is that of the backup");
    println!("epoch {epoch} on {} processes", before.len());

    let outcome = load.enough().await;
    outcome.print("a_lost_control_plane_comes_back_from_a_backup");
    assert_eq!(outcome.failed, 0, "{:#?}", outcome.failures);
    assert!(outcome.sent >= REQUESTS);
}

/// Tries to restore what was cut short and what has a flipped bit; answers how many were refused.
async fn whole_or_not(lab: &Lab, id: &str, whole: &[u8]) -> usize {
    let mut flipped = whole.to_vec();
    flipped[whole.len() / 2] ^= 1;
    let mut refusals = 0;
    for bytes in [&whole[..whole.len() - 100], &flipped] {
        std::fs::write(archive(lab, id), bytes).expect("damage the archive");
        let said = refused(lab, &[id, "--yes"]).await;
        assert!(
            said.contains("the archive is damaged") && said.contains("restore another backup"),
            "{said}"
        );
        refusals += 1;
    }
    std::fs::write(archive(lab, id), whole).expect("mend the archive");
    lab.ok(&["backup", "verify", id]).await;
    refusals
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_backups_and_wrong_certificates_are_refused() {
    let lab = Lab::start(Options::default()).await;
    let other = Lab::start(Options {
        arguments: ["--nodes", "1", "--balancers", "1"].map(str::to_owned).into(),
        ..Options::default()
    })
    .await;
    other.ok(&["backup", "create"]).await;
    let foreign = text(&other.json(&["backup", "list"]).await["backups"][0]["id"]);
    let here = all_remembered(&lab).await;
    std::fs::create_dir_all(archive(&lab, &foreign).parent().expect("a directory"))
        .expect("make the store");
    std::fs::copy(archive(&other, &foreign), archive(&lab, &foreign)).expect("bring the archive");
    assert!(
        refused(&lab, &["--on", "backup-service-9"])
            .await
            .contains("choose one of backup-service-1")
    );
    let said = refused(&lab, &["latest", "--yes"]).await;
    assert!(said.contains("and this is cluster") && said.contains("--adopt"), "{said}");
    assert!(refused(&lab, &["20200101", "--yes"]).await.contains("there is no backup 20200101"));
    assert!(
        refused(&lab, &["latest"]).await.contains("and this is cluster"),
        "refused before anybody is asked"
    );
    std::fs::remove_file(archive(&lab, &foreign)).expect("remove the archive");
    assert!(
        refused(&lab, &["latest", "--yes"]).await.contains("make one with `shoal backup create`")
    );
    lab.ok(&["backup", "create"]).await;
    assert!(refused(&lab, &["latest"]).await.contains("there is nobody to ask here"));

    // A node's certificate is a good one, and not an operator's.
    let pki = lab.data_dir().join("pki");
    let file = |name: &str| pki.join(name).to_str().expect("UTF-8").to_owned();
    let registry = lab.process("registry-1").endpoints["grpc"].clone();
    let (ca, cert, key) = (file("ca.crt"), file("proxy-node-1.crt"), file("proxy-node-1.key"));
    for action in [&["create"][..], &["list"], &["verify"], &["restore", "--yes"]] {
        let identity = ["--registry", &registry, "--ca", &ca, "--cert", &cert, "--key", &key];
        let output = lab.shoal(&[&["backup"], action, &identity].concat()).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && said.contains("use an operator's certificate"),
            "{action:?}: {said}"
        );
    }
    assert_eq!(lab.json(&["backup", "list"]).await["backups"].as_array().map(Vec::len), Some(1));
    assert_eq!(remembered(&lab), here, "nothing has changed");
}
