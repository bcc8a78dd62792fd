//! A service manager as a process sees it: sockets from descriptor 3 on, `LISTEN_PID`, a datagram
//! socket to report to, SIGTERM at the end.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    path::{Path, PathBuf},
    process::Stdio,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use testkit::wait;
use tokio::process::{Child, Command};

/// A socket that the manager keeps open.
pub struct Passed {
    /// `FileDescriptorName=`
    pub name: &'static str,
    /// What is passed on.
    pub socket: TcpListener,
}

/// Runs one unit.
pub struct Manager {
    reports: UnixDatagram,
    path: PathBuf,
    argv: Vec<String>,
    passed: Vec<Passed>,
    child: Option<Child>,
    /// The main process since a reload.
    successor: Option<Pid>,
    /// Lines that the running process has reported.
    said: Vec<String>,
    /// What the process finds in its environment beside the usual.
    pub environment: BTreeMap<String, String>,
}

/// A command that takes what it runs as its arguments, and passes `count` of its standard
/// descriptors on from 3 on: the process id that systemd would set is the shell's, which becomes
/// the process.
pub fn shell(names: &[String], count: usize) -> Command {
    assert!(count <= 2, "standard input and output");
    let passing = ["", "exec 3<&0; ", "exec 3<&0 4<&1; "][count];
    let script =
        format!("{passing}exec 0</dev/null 1>&2; LISTEN_PID=$$ WATCHDOG_PID=$$ exec \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh"]).kill_on_drop(true);
    if count > 0 {
        command.env("LISTEN_FDS", count.to_string()).env("LISTEN_FDNAMES", names.join(":"));
    }
    command
}

impl Manager {
    /// A unit that does not run yet; it reports to `path`.
    pub fn new(path: PathBuf, argv: Vec<String>, passed: Vec<Passed>) -> Self {
        let reports = UnixDatagram::bind(&path).expect("a socket for reports");
        reports.set_nonblocking(true).expect("a socket that does not block");
        Self {
            reports,
            path,
            argv,
            passed,
            child: None,
            successor: None,
            said: Vec::new(),
            environment: BTreeMap::new(),
        }
    }

    /// Starts the process.
    pub fn start(&mut self) {
        self.said.clear();
        let names: Vec<_> = self.passed.iter().map(|passed| passed.name.to_owned()).collect();
        let mut command = shell(&names, self.passed.len());
        let mut sockets = self.passed.iter().map(|passed| {
            Stdio::from(OwnedFd::from(passed.socket.try_clone().expect("a duplicate")))
        });
        command
            .stdin(sockets.next().unwrap_or_else(Stdio::null))
            .stdout(sockets.next().unwrap_or_else(Stdio::null));
        let log = std::fs::File::create(self.log()).expect("a log");
        command
            .stderr(log)
            .env("NOTIFY_SOCKET", &self.path)
            .env("WATCHDOG_USEC", "1000000")
            .envs(&self.environment);
        self.child = Some(command.args(&self.argv).spawn().expect("start the process"));
    }

    fn log(&self) -> PathBuf {
        self.path.with_extension("log")
    }

    /// What the process has reported since its start.
    pub fn said(&mut self) -> &[String] {
        let mut message = [0; 4096];
        while let Ok(length) = self.reports.recv(&mut message) {
            self.said
                .extend(String::from_utf8_lossy(&message[..length]).lines().map(str::to_owned));
        }
        &self.said
    }

    /// Waits until it has reported a line that begins like this.
    pub async fn until(&mut self, what: &str) {
        let log = self.log();
        wait::until(format!("{what} is reported"), || {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().expect("its state"));
            assert!(ended.is_none(), "the process ended with {ended:?}:\n{}", tail(&log));
            let said = self.said().iter().any(|line| line.starts_with(what));
            async move { said.then_some(()) }
        })
        .await;
    }

    /// `systemctl reload`, where that sends SIGUSR2: returns when another process is the main one
    /// and the first one has ended, which has to be a good end.
    pub async fn reload(&mut self) {
        let pid = self.child.as_ref().and_then(Child::id).expect("a running process");
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGUSR2).expect("a signal");
        self.until("MAINPID=").await;
        let main = self.said().iter().find_map(|line| line.strip_prefix("MAINPID="));
        let main: i32 = main.and_then(|it| it.parse().ok()).expect("a process id");
        assert_ne!(main, pid.cast_signed(), "another process");
        self.successor = Some(Pid::from_raw(main));
        let mut child = self.child.take().expect("a running process");
        let ended = tokio::time::timeout(wait::PATIENCE, child.wait()).await;
        let ended = ended.expect("the first process ends").expect("its status");
        assert!(ended.success(), "the process ended with {ended}:\n{}", tail(&self.log()));
    }

    /// Asks the process that has come with a reload to stop, and waits until it is gone.
    pub async fn stop_successor(&mut self) {
        let successor = self.successor.take().expect("a successor");
        kill(successor, Signal::SIGTERM).expect("stop the process");
        wait::until("the successor is gone", || async {
            kill(successor, None).is_err().then_some(())
        })
        .await;
    }

    /// Asks the process to stop and waits for its end, which has to be a good one.
    pub async fn stop(&mut self) {
        let mut child = self.child.take().expect("a running process");
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).expect("a running process");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("stop the process");
        let ended = tokio::time::timeout(wait::PATIENCE, child.wait())
            .await
            .expect("the process ends")
            .expect("its status");
        assert!(ended.success(), "the process ended with {ended}:\n{}", tail(&self.log()));
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{:?}\n{}", self.said, tail(&self.log()));
        }
        if let Some(successor) = self.successor {
            kill(successor, Signal::SIGKILL).unwrap_or_default();
        }
    }
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
