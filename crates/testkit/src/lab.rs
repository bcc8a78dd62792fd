//! A cluster of real processes: `shoal lab` in a directory of its own.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr as Name, UnixDatagram},
    },
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::{Mutex, PoisonError},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::Deserialize;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::wait;

/// What `lab.json` says.
#[derive(Clone, Debug, Deserialize)]
pub struct Description {
    /// Addresses for clients.
    pub frontends: Vec<SocketAddr>,
    /// Every child.
    pub processes: Vec<Process>,
    /// The operator's credentials.
    pub operator: Operator,
}

/// One child of the lab.
#[derive(Clone, Debug, Deserialize)]
pub struct Process {
    /// Name of the instance.
    pub name: String,
    /// Its service.
    pub service: String,
    /// Process id.
    pub pid: i32,
    /// How it was started.
    pub argv: Vec<String>,
    /// What was added to its environment.
    pub env: BTreeMap<String, String>,
    /// Where it was started.
    pub cwd: PathBuf,
    /// Addresses by purpose.
    pub endpoints: BTreeMap<String, String>,
}

/// Files that make a client an operator.
#[derive(Clone, Debug, Deserialize)]
pub struct Operator {
    /// The cluster's CA.
    pub ca: PathBuf,
    /// Certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// How to start a lab.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// More arguments of `shoal lab`.
    pub arguments: Vec<String>,
    /// More environment.
    pub environment: Vec<(String, String)>,
    /// Where its directory is made; the system's place for temporary files when none.
    pub place: Option<PathBuf>,
}

/// A running lab; dropping it ends its processes.
#[derive(Debug)]
pub struct Lab {
    binary: PathBuf,
    directory: tempfile::TempDir,
    child: Child,
    /// What `lab.json` said when it was ready.
    pub description: Description,
}

/// The `shoal` binary beside the test's own.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let found = test
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join("shoal"))
        .find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("no shoal beside {}: build it first with `cargo build --release`", test.display())
    })
}

/// A base port with room for four balancers from it on, which is this process's from now on: below
/// those that labs choose themselves (`cli/src/lab/ports.rs`), and marked for other tests by a
/// socket in the abstract namespace, as nobody listens there yet.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn base_port() -> u16 {
    const BALANCERS: u16 = 4;
    static MINE: Mutex<Vec<UnixDatagram>> = Mutex::new(Vec::new());
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let claim = |base: &u16| {
        let name =
            Name::from_abstract_name(format!("shoal-test-base-{base}")).expect("a short name");
        let claim = UnixDatagram::bind_addr(&name).ok()?;
        MINE.lock().unwrap_or_else(PoisonError::into_inner).push(claim);
        Some(*base)
    };
    let mut free = (8_200..10_000)
        .step_by(usize::from(BALANCERS))
        .filter(|base| (*base..base + BALANCERS).all(|port| is_free(&port)));
    free.find_map(|base| claim(&base)).expect("free ports for the frontends")
}

impl Lab {
    /// Starts a lab and waits until it says that it is ready.
    ///
    /// # Panics
    /// When it does not become ready; the message ends with what it printed.
    pub async fn start(options: Options) -> Self {
        let binary = binary();
        let place = options.place.unwrap_or_else(std::env::temp_dir);
        let directory = tempfile::Builder::new()
            .prefix("shoal-e2e-")
            .tempdir_in(place)
            .expect("a temporary directory");
        let output = std::fs::File::create(directory.path().join("lab.out"))
            .expect("a file for the lab's output");
        let errors = output.try_clone().expect("a second handle of the lab's output");
        let mut command = Command::new(&binary);
        command.arg("lab").arg("--data-dir").arg(directory.path().join("data"));
        if !options.arguments.iter().any(|argument| argument == "--base-port") {
            command.arg("--base-port").arg(base_port().to_string());
        }
        command.args(&options.arguments).envs(options.environment);
        command.stdin(Stdio::null()).stdout(output).stderr(errors).kill_on_drop(true);
        let mut child = command.spawn().expect("start shoal lab");
        let file = directory.path().join("data/lab.json");
        let printed = directory.path().join("lab.out");
        let description = wait::until("lab.json", || {
            let ended = child.try_wait().expect("the state of the lab");
            let text = || std::fs::read_to_string(&printed).unwrap_or_default();
            assert!(ended.is_none(), "the lab ended with {ended:?}:\n{}", text());
            let found = read(&file);
            async { found }
        })
        .await;
        Self { binary, directory, child, description }
    }

    /// Its data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// The first frontend.
    #[must_use]
    pub fn frontend(&self) -> SocketAddr {
        self.description.frontends[0]
    }

    /// What `lab.json` says now: pids change when a child is started again.
    ///
    /// # Panics
    /// When the file is gone.
    #[must_use]
    pub fn now(&self) -> Description {
        read(&self.data_dir().join("lab.json")).expect("a running lab keeps lab.json")
    }

    /// A child by name.
    ///
    /// # Panics
    /// When there is none of that name.
    #[must_use]
    pub fn process(&self, name: &str) -> Process {
        self.now()
            .processes
            .into_iter()
            .find(|process| process.name == name)
            .unwrap_or_else(|| panic!("no process {name} in this lab"))
    }

    /// Sends a signal to a child of the lab.
    ///
    /// # Panics
    /// When it is gone already.
    pub fn signal(&self, name: &str, signal: Signal) {
        let pid = self.process(name).pid;
        kill(Pid::from_raw(pid), signal)
            .unwrap_or_else(|error| panic!("{signal} to {name} ({pid}): {error}"));
    }

    /// Kills all children of the control plane.
    pub fn kill_control_plane(&self) {
        for process in self.now().processes {
            if !matches!(process.service.as_str(), "balancer" | "proxy-node") {
                self.signal(&process.name, Signal::SIGKILL);
            }
        }
    }

    /// Starts a dead child again as the lab would have, detached from the lab: for labs with
    /// `--no-restart`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn restart(&self, name: &str) -> Child {
        self.restart_with(name, &[])
    }

    /// The same with more environment.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn restart_with(&self, name: &str, environment: &[(String, String)]) -> Child {
        until_dead(self.process(name).pid);
        self.start_beside(name, environment)
    }

    /// Starts a process as the lab did, although the one before may run.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start_beside(&self, name: &str, environment: &[(String, String)]) -> Child {
        let process = self.process(name);
        let log = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.data_dir().join("logs").join(format!("{name}.log")));
        let log = log.expect("the child's log");
        let mut command = Command::new(&process.argv[0]);
        command
            .args(&process.argv[1..])
            .envs(&process.env)
            .envs(environment.iter().cloned())
            .current_dir(&process.cwd);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a handle"))
            .stderr(log)
            .kill_on_drop(true);
        command.spawn().unwrap_or_else(|error| panic!("restart {name}: {error}"))
    }

    /// The arguments of a process of the lab, for another one of this name beside it, with a
    /// certificate and a data directory of its own. `addresses`: the flags for where it listens.
    ///
    /// # Panics
    /// When it has none of these flags.
    pub async fn argv_beside(&self, of: &str, name: &str, addresses: &[&str]) -> Vec<String> {
        let (process, pki) = (self.process(of), self.data_dir().join("pki"));
        self.ok(&["pki", "issue", &process.service, name, "--dir", &pki.to_string_lossy()]).await;
        let mut argv = process.argv.clone();
        let mut set = |flag: &str, value: &str| {
            let place = argv.iter().position(|argument| argument == flag);
            argv[place.unwrap_or_else(|| panic!("no {flag} in {:?}", process.argv)) + 1] =
                value.to_owned();
        };
        set("--name", name);
        set("--data-dir", &self.data_dir().join(name).to_string_lossy());
        set("--cert", &pki.join(format!("{name}.crt")).to_string_lossy());
        set("--key", &pki.join(format!("{name}.key")).to_string_lossy());
        for flag in addresses {
            set(flag, "127.0.0.1:0");
        }
        argv
    }

    /// Runs `shoal` with these arguments against this lab.
    ///
    /// # Panics
    /// When it cannot be started.
    pub async fn shoal(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            .env("SHOAL_CONTEXT", self.data_dir())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command.output().await.expect("run shoal")
    }

    /// The same, which has to succeed; its standard output.
    ///
    /// # Panics
    /// When it fails.
    pub async fn ok(&self, arguments: &[&str]) -> String {
        let output = self.shoal(arguments).await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "shoal {arguments:?}: {}\n{text}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    /// The same with `-o json`, parsed.
    ///
    /// # Panics
    /// When it fails or prints something else.
    pub async fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let text = self.ok(&[arguments, &["-o", "json"]].concat()).await;
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("shoal {arguments:?} printed no JSON ({error}): {text}"))
    }

    /// The state of an instance as `shoal status` shows it; none when it is not listed or the
    /// registry does not answer.
    pub async fn state(&self, name: &str) -> Option<String> {
        let output = self.shoal(&["status", "-o", "json"]).await;
        // What is remembered of a registry that does not answer says so on stderr.
        if String::from_utf8_lossy(&output.stderr).contains("is what the registry listed") {
            return None;
        }
        let value: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        let instance =
            value["instances"].as_array()?.iter().find(|instance| instance["name"] == name)?;
        Some(instance["state"].as_str()?.to_owned())
    }

    /// Waits until an instance is in a state.
    pub async fn until_state(&self, name: &str, state: &str) {
        wait::until(format!("{name} is {state}"), || async {
            (self.state(name).await? == state).then_some(())
        })
        .await;
    }

    /// The last lines of a child's log.
    #[must_use]
    pub fn log(&self, name: &str) -> String {
        let text =
            std::fs::read_to_string(self.data_dir().join("logs").join(format!("{name}.log")))
                .unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Asks the lab to stop and waits for its end.
    ///
    /// # Panics
    /// When it does not end well.
    pub async fn stop(mut self) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).expect("a running lab");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("stop the lab");
        let ended = tokio::time::timeout(wait::PATIENCE, self.child.wait())
            .await
            .expect("the lab ends")
            .expect("the lab's status");
        assert!(ended.success(), "the lab ended with {ended}");
    }
}

/// A process that was killed holds its ports and locks for another moment.
fn until_dead(pid: i32) {
    let begun = Instant::now();
    // A zombie has let go of everything, but for what it shares with threads that are still on
    // their way out: descriptors, and so locks.
    let lives = || {
        let is_zombie =
            std::fs::read_to_string(format!("/proc/{pid}/stat")).map(|stat| stat.contains(") Z "));
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map(Iterator::count);
        matches!((is_zombie, threads), (Ok(is_zombie), Ok(threads)) if !is_zombie || threads > 1)
    };
    while lives() {
        assert!(begun.elapsed() < wait::PATIENCE, "{pid} was killed and lives on");
        std::thread::yield_now();
    }
}

fn read(file: &Path) -> Option<Description> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}
