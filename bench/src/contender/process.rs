//! A contender that is one command with a directory of its own.

use std::{
    fs::{self, File, Permissions},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::cpu;

/// A running command; dropping it ends it and its descendants.
#[derive(Debug)]
pub struct Process {
    child: Child,
    directory: TempDir,
}

impl Process {
    /// Writes the configuration, starts the command that `configure` makes, and waits until it accepts connections.
    pub async fn start(listen: SocketAddr, configure: impl FnOnce(&Path) -> Result<Command>) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("shoal-bench-").tempdir()?;
        // Started by root, most of them change to a user of their own, who has to write here.
        fs::set_permissions(directory.path(), Permissions::from_mode(0o777))?;
        let mut command = configure(directory.path())?;
        let errors = directory.path().join("stderr");
        let (output, error) = (File::create(directory.path().join("stdout"))?, File::create(&errors)?);
        let child = command.stdin(Stdio::null()).stdout(output).stderr(error).spawn()?;
        let mut process = Self { child, directory };
        let begun = std::time::Instant::now();
        while tokio::net::TcpStream::connect(listen).await.is_err() {
            if process.child.try_wait()?.is_some() || begun.elapsed() > testkit::wait::PATIENCE {
                bail!("it does not listen: {}", fs::read_to_string(&errors).context("its errors")?);
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Ok(process)
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its id.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let tree = cpu::tree(self.pid());
        // The parent first, or it would replace what it has lost. What has ended by itself needs no signal.
        drop(self.child.kill());
        drop(self.child.wait());
        for pid in &tree[1..] {
            if let Err(error) = kill(Pid::from_raw(*pid), Signal::SIGKILL)
                && error != Errno::ESRCH
            {
                eprintln!("process {pid} stays: {error}");
            }
        }
    }
}
