//! Tells a program of this host what became of an instance, as keepalived's `notify` does:
//! `PROGRAM INSTANCE NAME MASTER|BACKUP|FAULT|STOP PRIORITY`. For clouds whose addresses move by a
//! call to their API.
//!
//! Which program that is, the host's operator says with a flag of the process, never the bundle:
//! whoever may write a bundle could else run anything on every balancer's host. It runs directly,
//! without a shell, with a short environment, one at a time for each instance; of several changes
//! that come meanwhile the last one counts. At the end of its time it is killed with all that it
//! began.

use std::{path::PathBuf, process::Stdio, time::Duration};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{process::Command, sync::watch};

/// How long it may take.
const WITHIN: Duration = Duration::from_secs(10);

/// What it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// MASTER, BACKUP, FAULT or STOP.
    pub state: &'static str,
    pub priority: u8,
}

/// Runs the program for every change, until nobody tells any more.
pub async fn follow(program: PathBuf, instance: String, mut told: watch::Receiver<Option<Told>>) {
    loop {
        let Some(now) = *told.borrow_and_update() else {
            if told.changed().await.is_err() {
                return;
            }
            continue;
        };
        if let Err(why) = run(&program, &instance, now, WITHIN).await {
            tracing::warn!(instance, state = now.state, "{}: {why}", program.display());
        }
        if told.changed().await.is_err() {
            return;
        }
    }
}

async fn run(
    program: &PathBuf,
    instance: &str,
    told: Told,
    within: Duration,
) -> Result<(), String> {
    let mut command = Command::new(program);
    command
        .args(["INSTANCE", instance, told.state, &told.priority.to_string()])
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("cannot be run: {error}"))?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    match tokio::time::timeout(within, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("ended with {status}")),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => {
            let killed = group.map(|group| killpg(group, Signal::SIGKILL));
            let reaped = child.wait().await;
            tracing::debug!(?killed, ?reaped, "killed");
            Err(format!("did not end within {} s and was killed", within.as_secs()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn script(directory: &std::path::Path, body: &str) -> PathBuf {
        let path = directory.join("notify");
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[tokio::test]
    async fn it_is_told_as_keepalived_tells_it() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("out");
        let body = format!("echo \"$@ ${{HOME-none}}\" >> {}", out.display());
        let program = script(directory.path(), &body);
        let master = Told { state: "MASTER", priority: 100 };
        let (tell, told) = watch::channel(Some(master));
        let following = tokio::spawn(follow(program, "VI_1".to_owned(), told));
        while std::fs::read_to_string(&out).unwrap_or_default().is_empty() {
            tokio::task::yield_now().await;
        }
        tell.send_replace(Some(Told { state: "STOP", priority: 100 }));
        drop(tell);
        following.await.unwrap();
        let said = std::fs::read_to_string(&out).unwrap();
        assert_eq!(said, "INSTANCE VI_1 MASTER 100 none\nINSTANCE VI_1 STOP 100 none\n");
    }

    #[tokio::test]
    async fn one_that_hangs_is_killed_with_what_it_began() {
        let directory = tempfile::tempdir().unwrap();
        let pid = directory.path().join("pid");
        let body = format!("sleep 1000 & echo $! > {}; wait", pid.display());
        let program = script(directory.path(), &body);
        let told = Told { state: "MASTER", priority: 1 };
        let error = run(&program, "VI_1", told, Duration::from_secs(3)).await.unwrap_err();
        assert!(error.contains("killed"), "{error}");
        let child = std::fs::read_to_string(&pid).expect("it had begun");
        let gone = || {
            let status = std::fs::read_to_string(format!("/proc/{}/stat", child.trim()));
            status.map_or(true, |it| it.contains(") Z "))
        };
        while !gone() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn one_that_fails_or_is_not_there_is_told_of() {
        let directory = tempfile::tempdir().unwrap();
        let told = Told { state: "FAULT", priority: 1 };
        let failing = script(directory.path(), "exit 3");
        assert!(run(&failing, "VI_1", told, WITHIN).await.unwrap_err().contains("exit status: 3"));
        let missing = directory.path().join("none");
        assert!(
            run(&missing, "VI_1", told, WITHIN).await.unwrap_err().starts_with("cannot be run")
        );
    }
}
