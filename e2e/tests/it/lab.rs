//! `shoal lab` itself: one lab per directory, children that cannot outlive it, ports and state that
//! survive it.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use testkit::{
    client,
    lab::{Description, binary},
    origin::Origin,
    wait,
};
use tokio::process::{Child, Command};

/// A state home of its own, so that the newest lab is the test's.
struct Home {
    directory: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        Self {
            directory: tempfile::Builder::new()
                .prefix("shoal-e2e-")
                .tempdir()
                .expect("a temporary directory"),
        }
    }

    fn data_dir(&self) -> PathBuf {
        self.directory.path().join("shoal/lab")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(arguments)
            .env("XDG_STATE_HOME", self.directory.path())
            .env_remove("SHOAL_CONTEXT")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Exit code and everything printed.
    async fn shoal(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.command(arguments).output().await.expect("run shoal");
        (
            output.status.code(),
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        )
    }

    /// The history of the configuration.
    async fn revisions(&self) -> Value {
        let output =
            self.command(&["config", "history", "-o", "json"]).output().await.expect("run shoal");
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert!(answer["revisions"].is_array(), "{answer:#}");
        answer["revisions"].clone()
    }

    /// Starts a small lab in the usual place and waits until it is ready.
    async fn lab(&self, arguments: &[&str]) -> (Child, Description) {
        let log = std::fs::File::create(self.directory.path().join("lab.out"))
            .expect("a file for the lab's output");
        let small = ["lab", "--nodes", "2", "--balancers", "1", "--checkers", "1"];
        let mut command = self.command(&[&small, arguments].concat());
        let mut child = command
            .stdout(log.try_clone().expect("a handle"))
            .stderr(log)
            .spawn()
            .expect("start a lab");
        let description = wait::until("lab.json", || {
            let ended = child.try_wait().expect("the state of the lab");
            let printed = || {
                std::fs::read_to_string(self.directory.path().join("lab.out")).unwrap_or_default()
            };
            assert!(ended.is_none(), "the lab ended with {ended:?}:\n{}", printed());
            let found = self.description();
            async { found }
        })
        .await;
        (child, description)
    }

    fn description(&self) -> Option<Description> {
        serde_json::from_slice(&std::fs::read(self.data_dir().join("lab.json")).ok()?).ok()
    }
}

fn base_port() -> String {
    testkit::lab::base_port().to_string()
}

fn is_alive(pid: i32) -> bool {
    // A zombie that nobody waits for any more is gone soon, and dead already.
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state
        .rsplit(')')
        .next()
        .is_some_and(|rest| !rest.trim().is_empty() && !rest.trim().starts_with('Z'))
}

async fn serves(description: &Description, origin: &Origin) -> bool {
    client::once(description.frontends[0], "GET", &origin.url("/bytes/10"), &[], b"")
        .await
        .is_ok_and(|answer| answer.status() == 200)
}

async fn until_all_are_dead(description: &Description) {
    wait::until("no child is alive", || {
        let alive = description.processes.iter().any(|process| is_alive(process.pid));
        async move { (!alive).then_some(()) }
    })
    .await;
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().and_then(|pid| i32::try_from(pid).ok()).expect("a running lab"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_and_started_again_it_is_the_same_lab() {
    let home = Home::new();
    let origin = Origin::start().await;
    let (mut first, before) = home.lab(&["--base-port", &base_port()]).await;
    assert!(serves(&before, &origin).await);

    // Another in the same place is refused, and the first does not notice.
    let (code, printed) = home.shoal(&["lab"]).await;
    assert!(
        code == Some(1)
            && printed.contains("already running")
            && printed.contains("shoal lab stop"),
        "{code:?} {printed}"
    );

    // Found without being named.
    let (code, printed) = home.shoal(&["status"]).await;
    assert!(
        code == Some(0) && printed.contains("proxy-node-2") && printed.contains("usable"),
        "{code:?} {printed}"
    );
    let (code, printed) = home.shoal(&["node", "drain", "proxy-node-9"]).await;
    assert!(
        code == Some(1) && printed.contains("proxy-node-9") && printed.contains("proxy-node-1"),
        "{code:?} {printed}"
    );
    let (code, printed) = home.shoal(&["config", "show", "99"]).await;
    assert!(code == Some(1) && printed.contains("99"), "{code:?} {printed}");

    let history = home.revisions().await;
    let (code, printed) = home.shoal(&["lab", "stop"]).await;
    assert_eq!(code, Some(0), "{printed}");
    assert!(first.wait().await.expect("the lab's status").success());
    assert!(home.description().is_none(), "lab.json is still there");
    until_all_are_dead(&before).await;
    let (code, printed) = home.shoal(&["status"]).await;
    assert!(code == Some(1) && printed.contains("no lab is running"), "{code:?} {printed}");

    let (mut second, after) = home.lab(&[]).await;
    assert_eq!(after.frontends, before.frontends);
    let endpoints = |description: &Description| {
        description.processes.iter().map(|process| process.endpoints.clone()).collect::<Vec<_>>()
    };
    assert_eq!(endpoints(&after), endpoints(&before));
    assert_eq!(home.revisions().await, history);
    assert!(serves(&after, &origin).await);

    let (code, printed) = home.shoal(&["lab", "reset"]).await;
    assert_eq!(code, Some(0), "{printed}");
    assert!(second.wait().await.expect("the lab's status").success());
    assert!(!home.data_dir().exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_child_is_started_again_and_none_outlives_the_lab() {
    let home = Home::new();
    let origin = Origin::start().await;
    let (mut lab, before) = home.lab(&["--base-port", &base_port()]).await;
    for process in &before.processes {
        kill(Pid::from_raw(process.pid), Signal::SIGKILL).expect("kill a child");
    }
    let after = wait::until("lab.json names other processes", || {
        let now = home.description().filter(|now| {
            now.processes.iter().zip(&before.processes).all(|(new, old)| new.pid != old.pid)
        });
        async { now }
    })
    .await;
    wait::until("the new processes serve", || async {
        serves(&after, &origin).await.then_some(())
    })
    .await;
    let argv = |description: &Description| {
        description.processes.iter().map(|process| process.argv.clone()).collect::<Vec<_>>()
    };
    assert_eq!(argv(&after), argv(&before));

    kill(pid(&lab), Signal::SIGKILL).expect("kill the lab");
    lab.wait().await.expect("the lab's status");
    until_all_are_dead(&after).await;
    let data_dir = home.data_dir().display().to_string();
    let (code, printed) = home.shoal(&["status", "--data-dir", &data_dir]).await;
    assert!(
        code == Some(1)
            && printed.contains("not running")
            && printed.contains(Path::new(&data_dir).to_str().expect("UTF-8")),
        "{printed}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_cannot_start_shows_its_log() {
    let home = Home::new();
    let data_dir = home.data_dir();
    let (mut lab, _) = home.lab(&["--base-port", &base_port()]).await;
    kill(pid(&lab), Signal::SIGINT).expect("stop the lab");
    assert!(lab.wait().await.expect("the lab's status").success());
    std::fs::write(data_dir.join("registry-1/shoal.json"), "{")
        .expect("damage the registry's data dir");
    let (code, printed) =
        home.shoal(&["lab", "--nodes", "2", "--balancers", "1", "--checkers", "1"]).await;
    assert!(
        code == Some(1)
            && printed.contains("registry-1 did not start")
            && printed.contains("unreadable"),
        "{code:?} {printed}"
    );
    assert!(home.description().is_none());
}
