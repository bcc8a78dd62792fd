//! SIGTERM drains; a second one ends at once. In a child, because signals are the whole process's.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use chassis::Error;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::support::World;

const SPEED: &str = "CHASSIS_TEST_SPEED";

/// Not a test of its own: what the child does. Its closing step takes for ever when it is asked to
/// be slow.
#[test]
#[ignore = "run as a child by the tests below"]
fn child() {
    let Ok(slow) = std::env::var(SPEED) else { return };
    let world = World::new();
    let mut options = world.options("node-1", None, &[]);
    options.drain_timeout = Duration::from_secs(600);
    let result: Result<(), Error> = chassis::run("proxy-node", &options, |process| async move {
        println!("\nrunning");
        let closing = async move {
            println!("\ndraining");
            if slow == "slow" {
                std::future::pending::<()>().await;
            }
        };
        process.drain(closing).await
    });
    result.unwrap();
}

fn spawn(speed: &str) -> (Child, impl FnMut(&str)) {
    let program = std::env::current_exe().unwrap();
    let arguments = ["signals::child", "--exact", "--ignored", "--nocapture"];
    let mut child = Command::new(Path::new(&program))
        .args(arguments)
        .env(SPEED, speed)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, move |wanted: &str| {
        assert!(lines.any(|line| line.unwrap() == wanted), "never said {wanted}")
    })
}

fn terminate(child: &Child) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
}

#[test]
fn one_signal_drains_and_ends_well() {
    let (mut child, mut said) = spawn("quick");
    said("running");
    terminate(&child);
    said("draining");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_second_signal_ends_a_drain_that_does_not_end() {
    let (mut child, mut said) = spawn("slow");
    said("running");
    terminate(&child);
    said("draining");
    assert!(child.try_wait().unwrap().is_none(), "it drains");
    terminate(&child);
    assert!(!child.wait().unwrap().success());
}
