//! Hosts on one Ethernet, as network namespaces: a bridge with the control plane, an origin and
//! clients, and hosts for balancers and keepalived, each with an `eth0`.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use tokio::process::{Child, Command as Spawn};

use crate::wait;

/// What clients connect to.
pub const VIRTUAL: &str = "10.77.0.100";
/// The same in IPv6.
pub const VIRTUAL_V6: &str = "fd77::100";

/// Several networks may exist at a time.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A network; dropping it ends its processes and takes it away.
pub struct Network {
    prefix: String,
    hosts: Vec<String>,
    /// Where everything of it is kept.
    pub directory: tempfile::TempDir,
    control: Vec<Child>,
}

/// The program under test.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn shoal() -> PathBuf {
    crate::lab::binary()
}

/// Answers every GET with 200 and a text, or where there is none with the address of whoever asks.
const SERVER: &str = "import sys\n\
    from http.server import *\n\
    address, port, text = sys.argv[1:]\n\
    class H(BaseHTTPRequestHandler):\n  \
      protocol_version = 'HTTP/1.1'\n  \
      def do_GET(self):\n    \
        body = (text or self.client_address[0]).encode()\n    \
        self.send_response(200); self.send_header('Content-Length', str(len(body)))\n    \
        self.end_headers(); self.wfile.write(body)\n  \
      def log_message(self, *a): pass\n\
    ThreadingHTTPServer((address, int(port)), H).serve_forever()\n";

/// Waits until something is so.
pub async fn holds(what: &str, mut is: impl FnMut() -> bool) {
    wait::until(what, || {
        let is = is();
        async move { is.then_some(()) }
    })
    .await;
}

/// Runs a command to its end; it has to succeed.
pub fn run(words: &[&str]) -> String {
    let Output { status, stdout, stderr } = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}; see ./test packages", words[0]));
    let told = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{words:?}: {status} {told}");
    String::from_utf8_lossy(&stdout).into_owned()
}

impl Network {
    /// With these hosts, at .11 and so on, and an empty control plane.
    pub fn new(hosts: &[&str]) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "network namespaces need root");
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("v{}x{number}", std::process::id() % 100_000);
        let network = Self {
            prefix,
            hosts: hosts.iter().map(|&it| it.to_owned()).collect(),
            directory: tempfile::tempdir().expect("a directory"),
            control: Vec::new(),
        };
        network.make();
        network
    }

    fn make(&self) {
        let center = self.space("c");
        run(&["ip", "netns", "add", &center]);
        self.without_duplicates("c");
        run(&["ip", "-n", &center, "link", "set", "lo", "up"]);
        run(&["ip", "-n", &center, "link", "add", "br0", "type", "bridge"]);
        run(&["ip", "-n", &center, "address", "add", "10.77.0.1/24", "dev", "br0"]);
        run(&["ip", "-n", &center, "address", "add", "fd77::1/64", "dev", "br0"]);
        run(&["ip", "-n", &center, "link", "set", "br0", "up"]);
        for (index, host) in self.hosts.iter().enumerate() {
            let (space, port) = (self.space(host), format!("p{host}"));
            let address = format!("10.77.0.{}/24", 11 + index);
            let address_v6 = format!("fd77::{}/64", 11 + index);
            run(&["ip", "netns", "add", &space]);
            self.without_duplicates(host);
            run(&["ip", "-n", &space, "link", "set", "lo", "up"]);
            run(&[
                "ip", "-n", &center, "link", "add", &port, "type", "veth", "peer", "name", "eth0",
                "netns", &space,
            ]);
            run(&["ip", "-n", &center, "link", "set", &port, "master", "br0"]);
            run(&["ip", "-n", &center, "link", "set", &port, "up"]);
            for address in [&address, &address_v6] {
                run(&["ip", "-n", &space, "address", "add", address, "dev", "eth0"]);
            }
            run(&["ip", "-n", &space, "link", "set", "eth0", "up"]);
        }
    }

    /// Nobody tries whether an address of IPv6 is somebody else's, which takes a second or two.
    fn without_duplicates(&self, host: &str) {
        for of in ["all", "default"] {
            self.on(host, &["sysctl", "-qw", &format!("net.ipv6.conf.{of}.accept_dad=0")]);
        }
    }

    /// The namespace of a host; `c` is the center.
    pub fn space(&self, host: &str) -> String {
        format!("{}{host}", self.prefix)
    }

    /// A file of this network.
    pub fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// Runs a command on a host to its end.
    pub fn on(&self, host: &str, words: &[&str]) -> String {
        let space = self.space(host);
        run(&[&["ip", "netns", "exec", &space], words].concat())
    }

    /// Starts a command on a host; what it says goes to a file of its name.
    pub fn spawn(&self, host: &str, name: &str, words: &[&str]) -> Child {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path(&format!("{name}.log")))
            .expect("a log");
        Spawn::new("ip")
            .args(["netns", "exec", &self.space(host)])
            .args(words)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a descriptor"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("ip netns exec: {error}; see ./test packages"))
    }

    /// Hosts that have the virtual address.
    pub fn holders(&self) -> Vec<&str> {
        self.holders_of(VIRTUAL)
    }

    /// Hosts that have this address.
    pub fn holders_of(&self, address: &str) -> Vec<&str> {
        let has = |host: &&String| {
            let space = self.space(host);
            run(&["ip", "-n", &space, "-o", "address", "show", "eth0"])
                .contains(&format!(" {address}/"))
        };
        self.hosts.iter().filter(has).map(String::as_str).collect()
    }

    /// Waits until these hosts have the virtual address, and no others.
    pub async fn until_held_by(&self, hosts: &[&str]) {
        self.until_one_is_held_by(VIRTUAL, hosts).await;
    }

    /// Waits until these hosts have an address, and no others.
    pub async fn until_one_is_held_by(&self, address: &str, hosts: &[&str]) {
        let held = || self.holders_of(address) == hosts;
        holds(&format!("{address} is on {hosts:?} alone"), held).await;
    }

    /// Starts a control plane and puts this section `vrrp` into force, for balancers over an origin
    /// at 10.77.0.1:8000.
    pub async fn control(&mut self, vrrp: &str) {
        let shoal = shoal();
        let shoal = shoal.to_str().expect("a path");
        let pki = self.path("pki");
        run(&[shoal, "pki", "init", &pki]);
        for service in ["registry", "config-service"] {
            run(&[shoal, "pki", "issue", service, service, "--dir", &pki]);
        }
        for host in &self.hosts {
            run(&[shoal, "pki", "issue", "balancer", host, "--dir", &pki]);
        }
        self.web_server("c", "10.77.0.1", 8000, "");
        let serve = |service: &str, port: u16| {
            let mut words = vec![shoal.to_owned(), "serve".into(), service.into()];
            words.extend(self.identity(service));
            words.extend(["--data-dir".to_owned(), self.path(service)]);
            words.extend(["--grpc".to_owned(), format!("10.77.0.1:{port}")]);
            words.extend(["--admin".to_owned(), format!("127.0.0.1:{}", port + 1)]);
            if service != "registry" {
                words.extend(["--registry".to_owned(), "10.77.0.1:7001".to_owned()]);
            }
            self.spawn("c", service, &words.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let services = [serve("registry", 7001), serve("config-service", 7301)];
        self.control.extend(services);
        self.apply(vrrp).await;
    }

    /// Starts a server of HTTP on a host that says this text, or nothing else than who asks.
    pub fn web_server(&mut self, host: &str, address: &str, port: u16, says: &str) {
        let port = port.to_string();
        let words = ["python3", "-c", SERVER, address, &port, says];
        let child = self.spawn(host, "web-server", &words);
        self.control.push(child);
    }

    /// Flags that say who a process is.
    fn identity(&self, name: &str) -> Vec<String> {
        let file = |name: &str| self.path(&format!("pki/{name}"));
        let (certificate, key) = (file(&format!("{name}.crt")), file(&format!("{name}.key")));
        ["--ca", &file("ca.crt"), "--cert", &certificate, "--key", &key].map(str::to_owned).to_vec()
    }

    /// What an operator's command says, if it succeeds.
    pub fn operator(&self, words: &[&str]) -> Option<String> {
        let output = Command::new("ip")
            .args(["netns", "exec", &self.space("c")])
            .arg(shoal())
            .args(words)
            .args(["--registry", "10.77.0.1:7001"])
            .args(self.identity("operator"))
            .stdin(Stdio::null())
            .output()
            .expect("ip netns exec");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Puts this section `vrrp` into force.
    pub async fn apply(&self, vrrp: &str) {
        let bundle = self.directory.path().join("bundle");
        std::fs::create_dir_all(&bundle).expect("a directory");
        let v6 = format!("[{VIRTUAL_V6}]");
        let moves = if vrrp.contains(VIRTUAL_V6) { &v6 } else { VIRTUAL };
        let text = format!(
            "version: 1\nbalancer:\n  frontends: \
             [{{name: f, bind: \"0.0.0.0:8080\", backend: b}}, \
             {{name: g, bind: \"{moves}:8081\", backend: b}}]\n  backends: [{{name: b, \
             servers: {{static: [{{name: o, address: \"10.77.0.1:8000\"}}]}}, \
             check: {{inter: 200ms, rise: 1, fall: 2}}}}]\n  vrrp:\n{vrrp}"
        );
        std::fs::write(bundle.join("cluster.yaml"), text).expect("a bundle");
        let bundle = bundle.display().to_string();
        let applied = || self.operator(&["config", "apply", &bundle]).is_some();
        holds("the configuration is in force", applied).await;
    }

    /// Starts the balancer of a host, in front of which these words are put.
    pub fn balancer(&self, host: &str, before: &[&str]) -> Child {
        let mut words: Vec<String> = before.iter().map(|&it| it.to_owned()).collect();
        words.extend([shoal().display().to_string(), "serve".into(), "balancer".into()]);
        words.extend(self.identity(host));
        let flags = [
            ("--cluster-key", self.path("pki/cluster.key")),
            ("--name", host.to_owned()),
            ("--registry", "10.77.0.1:7001".to_owned()),
            ("--data-dir", self.path(host)),
            ("--grpc", "0.0.0.0:7201".to_owned()),
            ("--admin", "0.0.0.0:7202".to_owned()),
            ("--secrets", self.path("secrets")),
            ("--drain-propagation", "1s".to_owned()),
        ];
        words.extend(flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
        let notify = self.path("notify");
        if Path::new(&notify).exists() {
            words.extend(["--vrrp-notify".to_owned(), notify]);
        }
        self.spawn(host, host, &words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// What `shoal status` says of the instance `V` on a host.
    pub fn status(&self, host: &str) -> Option<serde_json::Value> {
        let status = self.operator(&["status", "-o", "json"])?;
        let status: serde_json::Value = serde_json::from_str(&status).ok()?;
        let rows = status["virtual_routers"].as_array()?;
        rows.iter().find(|row| row["balancer"] == host).cloned()
    }

    /// Whether a client gets an answer at an address within a while.
    pub fn answers(&self, address: &str) -> bool {
        self.answers_at(&format!("{address}:8080"))
    }

    /// The same with a port.
    pub fn answers_at(&self, address: &str) -> bool {
        let proxy = format!("http://{address}");
        let told = Command::new("ip")
            .args(["netns", "exec", &self.space("c"), "curl", "-s", "-o", "/dev/null"])
            .args(["-w", "%{http_code}", "--max-time", "0.3", "-x", &proxy, "http://o.test/"])
            .output()
            .expect("curl");
        told.stdout == b"200"
    }

    /// Says what passes the bridge, one packet a line, until it is dropped.
    pub fn capture(&self, name: &str, filter: &str) -> Capture {
        let words = ["tcpdump", "-l", "-n", "-tt", "-i", "br0", filter];
        let child = self.spawn("c", name, &words);
        Capture { child, path: self.path(&format!("{name}.log")) }
    }
}

/// What tcpdump has seen.
pub struct Capture {
    child: Child,
    path: String,
}

impl Capture {
    /// Waits until it listens.
    pub async fn ready(self) -> Self {
        holds("tcpdump listens", || self.text().contains("listening on")).await;
        self
    }

    /// Everything so far.
    pub fn text(&self) -> String {
        std::fs::read_to_string(&self.path).unwrap_or_default()
    }

    /// What comes from now on.
    pub fn mark(&self) -> usize {
        self.text().len()
    }

    /// Packets since a mark that say all of this.
    pub fn since(&self, mark: usize, words: &[&str]) -> usize {
        let text = self.text();
        let lines = text.get(mark..).unwrap_or_default().lines();
        lines.filter(|line| words.iter().all(|word| line.contains(word))).count()
    }

    /// Ends it.
    pub async fn end(mut self) {
        self.child.kill().await.expect("killed");
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for host in &self.hosts {
                let log = std::fs::read_to_string(self.path(&format!("{host}.log")));
                let log = log.unwrap_or_default();
                let last: Vec<_> = log.lines().rev().take(12).collect();
                eprintln!("{host}:");
                last.iter().rev().for_each(|line| eprintln!("  {line}"));
            }
        }
        for host in self.hosts.iter().map(String::as_str).chain(["c"]) {
            // What still runs there is ours alone.
            let space = self.space(host);
            if let Ok(output) = Command::new("ip").args(["netns", "pids", &space]).output() {
                for pid in String::from_utf8_lossy(&output.stdout).lines() {
                    if let Ok(pid) = pid.trim().parse() {
                        let pid = nix::unistd::Pid::from_raw(pid);
                        let _ended = nix::sys::signal::kill(pid, nix::sys::signal::SIGKILL);
                    }
                }
            }
            let _gone = Command::new("ip").args(["netns", "delete", &space]).status();
        }
    }
}
