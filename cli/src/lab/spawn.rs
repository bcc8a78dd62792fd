//! Starting one child so that it cannot outlive the lab.

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
    process::Stdio,
};

use nix::{
    sys::{prctl, signal::Signal},
    unistd::{Pid, getppid},
};
use tokio::process::{Child as Process, Command};

use super::plan::{Child, is_inherited};

/// Starts `child` in a process group of its own (a terminal's Ctrl-C is for the lab alone), with
/// its output appended to its log.
///
/// Has to be called on a thread that lives as long as the lab: the parent-death signal follows the
/// thread.
///
/// # Errors
/// The log cannot be written or the program cannot be started.
pub fn spawn(child: &Child) -> io::Result<Process> {
    let log = OpenOptions::new().create(true).append(true).open(&child.log)?;
    let mut command = Command::new(&child.argv[0]);
    command
        .args(&child.argv[1..])
        .current_dir(&child.cwd)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    for (name, _) in std::env::vars_os().filter(|(name, _)| !is_inherited(name)) {
        command.env_remove(name);
    }
    command.envs(&child.env).process_group(0).kill_on_drop(true);
    die_with_parent(&mut command);
    command.spawn()
}

fn die_with_parent(command: &mut Command) {
    let parent = Pid::this();
    let before_exec = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The lab may have died between fork and prctl; then nobody would send the signal any more.
        if getppid() == parent { Ok(()) } else { Err(io::Error::other("the lab is gone")) }
    };
    // SAFETY: the closure runs between fork and exec and makes two system calls, both
    // async-signal-safe; it allocates only on failure, where the child does nothing but report and
    // exit.
    unsafe {
        command.pre_exec(before_exec);
    }
}

/// The last `count` lines that `log` got after its first `from` bytes.
#[must_use]
pub fn tail(log: &Path, from: u64, count: usize) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(from.max(length.saturating_sub(64 * 1024)).min(length)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log() {
        let scratch = tempfile::tempdir().unwrap();
        let log = scratch.path().join("x.log");
        std::fs::write(&log, "old\none\ntwo\nthree\n").unwrap();
        assert_eq!(tail(&log, 0, 2), "two\nthree");
        assert_eq!(tail(&log, 4, 20), "one\ntwo\nthree");
        assert_eq!(tail(&log, 4000, 20), "");
        assert_eq!(tail(&scratch.path().join("none.log"), 0, 20), "");
    }
}
