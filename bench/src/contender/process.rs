//! A contender that is one command with a directory of its own.

use std::{
    fs::{self, File, Permissions},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Result, bail};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::cpu;

/// Lines of each file that are shown of a command that does not start.
const LAST_WORDS: usize = 20;

/// A running command; dropping it ends it and its descendants.
#[derive(Debug)]
pub struct Process {
    child: Child,
    directory: TempDir,
}

impl Process {
    /// Writes the configuration, starts the command that `configure` makes, and waits until it
    /// accepts connections.
    pub async fn start(
        listen: SocketAddr,
        configure: impl FnOnce(&Path) -> Result<Command>,
    ) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("shoal-bench-").tempdir()?;
        // Started by root, most of them change to a user of their own, who has to write here.
        fs::set_permissions(directory.path(), Permissions::from_mode(0o777))?;
        let mut command = configure(directory.path())?;
        let (output, error) = (
            File::create(directory.path().join("stdout"))?,
            File::create(directory.path().join("stderr"))?,
        );
        let child = command.stdin(Stdio::null()).stdout(output).stderr(error).spawn()?;
        let mut process = Self { child, directory };
        let begun = std::time::Instant::now();
        while tokio::net::TcpStream::connect(listen).await.is_err() {
            let ended = process.child.try_wait()?;
            if ended.is_some() || begun.elapsed() > testkit::wait::PATIENCE {
                let state = ended.map_or_else(
                    || "it runs".to_owned(),
                    |status| format!("it ended with {status}"),
                );
                bail!("it does not listen on {listen}: {state}{}", last_words(process.directory()));
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

/// Names a command's things outside its directory (`directory`'s name, letters and digits only): no
/// other process of the machine has it.
pub fn own_name(directory: &Path) -> String {
    let own = directory
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>();
    format!("{own}p{}", std::process::id())
}

/// Removes the shared memory that a command left behind which was ended without a chance to do so.
fn remove_shared_memory(directory: &Path) {
    let own = own_name(directory) + "-";
    let left = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    for file in left.filter(|file| file.file_name().to_string_lossy().starts_with(&own)) {
        if let Err(error) = fs::remove_file(file.path()) {
            eprintln!("{} stays: {error}", file.path().display());
        }
    }
}

/// The last lines of all that a command wrote about itself: some say why they end on standard
/// error, others only in a log of their own.
fn last_words(directory: &Path) -> String {
    let written = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let told = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        matches!(name.as_str(), "stdout" | "stderr")
            || name.ends_with(".log") && name != "access.log"
    };
    let mut files: Vec<_> = written.filter(|path| told(path)).collect();
    files.sort();
    let mut words = String::new();
    for file in files {
        let text = fs::read(&file).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        if !lines.is_empty() {
            let last = lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n");
            words.push_str(&format!(
                "\n-- {}:\n{last}",
                file.file_name().unwrap_or_default().to_string_lossy()
            ));
        }
    }
    if words.is_empty() { "; it wrote nothing about itself".to_owned() } else { words }
}

impl Drop for Process {
    fn drop(&mut self) {
        let tree = cpu::tree(self.pid());
        // The parent first, or it would replace what it has lost. What has ended by itself needs no
        // signal.
        drop(self.child.kill());
        drop(self.child.wait());
        for pid in &tree[1..] {
            if let Err(error) = kill(Pid::from_raw(*pid), Signal::SIGKILL)
                && error != Errno::ESRCH
            {
                eprintln!("process {pid} stays: {error}");
            }
        }
        remove_shared_memory(self.directory());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_does_not_start_is_heard() {
        let nobody = crate::contender::free_address().expect("an address");
        let script = "echo on stderr >&2; seq 1 30 > own.log; echo secret > access.log; exit 3";
        let started = Process::start(nobody, |directory| {
            let mut command = Command::new("sh");
            command.args(["-c", script]).current_dir(directory);
            Ok(command)
        });
        let error = started.await.expect_err("it ends").to_string();
        for part in [
            "does not listen on 127.0.0.1:",
            "exit status: 3",
            "-- stderr:\non stderr",
            "-- own.log:\n11\n",
            "\n30",
        ] {
            assert!(error.contains(part), "{part:?} in {error}");
        }
        assert!(!error.contains("secret") && !error.contains("\n10\n"), "{error}");
    }

    #[tokio::test]
    async fn nothing_stays_in_shared_memory() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut left = std::path::PathBuf::new();
        let process = Process::start(listener.local_addr().expect("bound"), |directory| {
            left = Path::new("/dev/shm").join(own_name(directory) + "-cf__metadata.shm");
            fs::write(&left, "x")?;
            let mut command = Command::new("sleep");
            command.arg("600");
            Ok(command)
        });
        let process = process.await.expect("it listens");
        assert!(left.exists());
        drop(process);
        assert!(!left.exists());
    }
}
