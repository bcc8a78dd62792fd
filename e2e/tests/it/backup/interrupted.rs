//! Everybody who takes part in a backup or a restore is killed in the middle of it, and a rollout
//! runs meanwhile: what is there is whole, and the same command again goes to the end.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::SystemTime,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use testkit::{
    lab::{Lab, Options},
    wait,
};
use tokio::time::Instant;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use super::{State, apply, remembered, state, text};

/// So much that writing it takes a while, and that no compressor makes it small.
const BALLAST: usize = 32 << 20;

async fn lab() -> Lab {
    let lab =
        Lab::start(Options { arguments: vec!["--no-restart".into()], ..Options::default() }).await;
    let mut bytes = Vec::with_capacity(BALLAST);
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    while bytes.len() < BALLAST {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        bytes.extend(seed.to_le_bytes());
    }
    // Nothing refers to it, so that no node fetches it.
    std::fs::write(lab.data_dir().join("bundle/lists/ballast.txt"), bytes)
        .expect("write the ballast");
    lab
}

/// A command that goes on beside the test.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(lab: &Lab, arguments: &[&str]) -> Self {
        let mut command = Command::new(testkit::lab::binary());
        command
            .args(arguments)
            .env("SHOAL_CONTEXT", lab.data_dir())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start shoal");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        Self { child, lines }
    }

    /// Reads on until a line has this in it.
    async fn says(&mut self, what: &str) {
        let found = async {
            while let Some(line) = self.lines.next_line().await.expect("its output") {
                println!("{line}");
                if line.contains(what) {
                    return;
                }
            }
            panic!("it ended and never said {what:?}: {}", self.complaint().await);
        };
        tokio::time::timeout(wait::PATIENCE, found)
            .await
            .unwrap_or_else(|_| panic!("it never said {what:?}"));
    }

    async fn complaint(&mut self) -> String {
        let mut said = String::new();
        let stderr = self.child.stderr.as_mut().expect("its complaints");
        tokio::time::timeout(wait::PATIENCE, stderr.read_to_string(&mut said))
            .await
            .expect("it ends")
            .expect("what it says");
        said
    }

    /// It fails; what it says of that.
    async fn refused(mut self) -> String {
        let said = self.complaint().await;
        assert!(!self.child.wait().await.expect("it ends").success(), "it did not fail: {said}");
        println!("{said}");
        said.lines()
            .find(|line| line.starts_with("error:"))
            .unwrap_or_else(|| panic!("no error in {said}"))
            .to_owned()
    }
}

fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten();
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect()
}

/// Without a pause, so that the moment is not missed.
fn at_once(what: &str, reached: impl Fn() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < wait::PATIENCE, "never: {what}");
        std::thread::yield_now();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_service_killed_while_it_writes_leaves_nothing_that_looks_whole() {
    let lab = lab().await;
    apply(&lab, "65MiB", "with ballast").await;
    let stores = lab.data_dir().join("backup-service-1/backups");
    let creating = Running::start(&lab, &["backup", "create"]);
    at_once("an archive is being written", || !files(&stores, ".partial").is_empty());
    lab.signal("backup-service-1", Signal::SIGKILL);
    let said = creating.refused().await;
    assert!(
        said.contains("the backup-service was lost in the middle") && said.contains("make another"),
        "{said}"
    );
    assert_eq!(
        (files(&stores, ".partial").len(), files(&stores, ".tar.zst").len()),
        (1, 0),
        "it was killed too late or too early"
    );

    let _again = lab.restart("backup-service-1");
    wait::until("the backup-service answers", || async {
        let output = lab.shoal(&["backup", "list", "-o", "json"]).await;
        let listed: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        (listed["backups"].as_array()?.is_empty()).then_some(())
    })
    .await;
    assert!(files(&stores, ".partial").is_empty(), "what was never finished is still there");
    lab.ok(&["backup", "create"]).await;
    assert_eq!(text(&lab.json(&["backup", "verify", "latest"]).await["condition"]), "verified");
}

/// To one that was started again, which the lab does not know of.
fn signal(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).expect("it runs");
    kill(Pid::from_raw(pid), signal).expect("a signal");
}

fn modified(path: &Path) -> SystemTime {
    path.metadata()
        .and_then(|metadata| metadata.modified())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

async fn until_all_are_usable(lab: &Lab) {
    for process in lab.now().processes {
        let drained = process.name == "proxy-node-3";
        wait::until(format!("{} is well", process.name), || async {
            let state = lab.state(&process.name).await?;
            (state == "usable" || (drained && state == "draining")).then_some(())
        })
        .await;
    }
}

const RESTORE: [&str; 4] = ["backup", "restore", "latest", "--yes"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_is_killed_anywhere_is_ended_by_the_same_again() {
    let lab = lab().await;
    apply(&lab, "65MiB", "with ballast").await;
    lab.ok(&["node", "drain", "proxy-node-3", "--reason", "new disk"]).await;
    lab.until_state("proxy-node-3", "draining").await;
    let kept = state(&lab).await;
    lab.ok(&["backup", "create"]).await;
    apply(&lab, "66MiB", "and more").await;
    lab.ok(&["node", "enable", "proxy-node-3"]).await;
    lab.until_state("proxy-node-3", "usable").await;
    let later = state(&lab).await;
    let history = async |lab: &Lab| lab.json(&["config", "history"]).await["revisions"].clone();
    assert_ne!(kept, later);

    // The config-service, while it replaces everything in one transaction.
    let log = lab.data_dir().join("config-service-1/config.db-wal");
    let mut restoring = Running::start(&lab, &RESTORE);
    restoring.says("verify it in").await;
    let before = modified(&log);
    at_once("the config-service writes", || modified(&log) != before);
    lab.signal("config-service-1", Signal::SIGKILL);
    let said = restoring.refused().await;
    assert!(said.contains("nothing is restored: the config-service cannot be reached"), "{said}");
    assert!(
        said.contains("it has taken all of it or nothing")
            && said.contains("the same restore can be run again"),
        "{said}"
    );
    let _config = lab.restart("config-service-1");
    until_all_are_usable(&lab).await;
    assert_eq!(state(&lab).await, later, "half of it was restored");

    // The registry, which does not come to it.
    let mut restoring = Running::start(&lab, &RESTORE);
    restoring.says("take the state of registry").await;
    lab.signal("registry-1", Signal::SIGSTOP);
    restoring.says("restore config-service").await;
    lab.signal("registry-1", Signal::SIGKILL);
    let said = restoring.refused().await;
    assert!(
        said.contains(
            "config-service is restored and the registry is not: the registry cannot be reached"
        ),
        "{said}"
    );
    assert!(
        said.contains("Run the same restore again") && said.contains("shoal backup restore 2"),
        "{said}"
    );
    let registry = lab.restart("registry-1");
    until_all_are_usable(&lab).await;
    assert_eq!(history(&lab).await, kept.0, "the one half of it");
    assert_eq!(lab.state("proxy-node-3").await.as_deref(), Some("usable"), "and the other");

    // The backup-service between the two.
    let mut restoring = Running::start(&lab, &RESTORE);
    restoring.says("take the state of registry").await;
    signal(&registry, Signal::SIGSTOP);
    restoring.says("restore config-service").await;
    lab.signal("backup-service-1", Signal::SIGKILL);
    signal(&registry, Signal::SIGCONT);
    let said = restoring.refused().await;
    assert!(
        said.contains("the backup-service was lost in the middle")
            && said.contains("run the same restore again"),
        "{said}"
    );
    let _backup = lab.restart("backup-service-1");
    until_all_are_usable(&lab).await;
    // What it was sent may have been whole already.
    let drained = lab.state("proxy-node-3").await;
    assert!(
        matches!(drained.as_deref(), Some("usable" | "draining")),
        "all of it or nothing: {drained:?}"
    );

    let said = lab.ok(&RESTORE).await;
    assert!(said.contains("is restored"), "{said}");
    let arrived = async |kept: &State| (state(&lab).await == *kept).then_some(());
    wait::until("the state of the backup", || arrived(&kept)).await;
    let later = |(_, epoch): (String, u64)| (epoch > 1).then_some(());
    wait::until("a later epoch everywhere", || async {
        remembered(&lab).into_values().map(later).collect::<Option<()>>()
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_that_runs_is_backed_up_and_not_torn_apart() {
    let lab = Lab::start(Options::default()).await;
    lab.ok(&["backup", "create"]).await;
    // It takes its assignments and never answers.
    lab.signal("balancer-2", Signal::SIGSTOP);
    let bundle = super::edited(&lab, "memory: 64MiB", "memory: 65MiB");
    let keepalive = bundle.path().join("bundle/cluster.yaml");
    let yaml = std::fs::read_to_string(&keepalive).expect("the bundle");
    std::fs::write(&keepalive, yaml.replace("keepalive: 32", "keepalive: 33"))
        .expect("write the bundle");
    let path = bundle.path().join("bundle");
    let applying = Running::start(&lab, &["config", "apply", path.to_str().expect("UTF-8")]);
    let rollout = async || text(&lab.json(&["config", "rollout", "status"]).await["state"]);
    wait::until("the rollout waits for the balancer", || async {
        matches!(&*rollout().await, "trying" | "spreading").then_some(())
    })
    .await;
    lab.ok(&["config", "rollout", "pause"]).await;
    for arguments in [&["--dry-run"][..], &["--yes"]] {
        let said = super::refused(&lab, arguments).await;
        assert!(
            said.contains("the config-service refuses: rollout ")
                && said.contains("is running: wait for it"),
            "{said}"
        );
        assert!(said.contains("`shoal config rollout abort`"), "{said}");
    }
    lab.ok(&["backup", "create"]).await;
    let listed = lab.json(&["backup", "list"]).await;
    assert_eq!(
        listed["backups"].as_array().map(Vec::len),
        Some(2),
        "no backup was made before a restore that is refused: {listed}"
    );
    lab.signal("balancer-2", Signal::SIGCONT);
    lab.ok(&["config", "rollout", "abort"]).await;
    assert!(applying.refused().await.contains("was aborted"));
    assert!(remembered(&lab).into_values().all(|(_, epoch)| epoch == 1), "something was restored");
    // The one that was made in the middle is as good as any.
    lab.ok(&RESTORE).await;
    let status = lab.json(&["config", "rollout", "status"]).await;
    assert_eq!(text(&status["state"]), "failed", "{status}");
    assert!(
        text(&status["explanation"]).contains("restored from a backup that was made then"),
        "{status}"
    );
}
