//! Bad input: one clear sentence with the remedy, a non-zero exit code, and nothing changed. Runs
//! the real binary.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use chassis::{Role, pki};
use cluster::Service;

/// A place with everything that can be wrong, and a copy of its content.
struct Scene {
    root: tempfile::TempDir,
    taken: TcpListener,
    _locks: [File; 2],
}

impl Scene {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a temporary directory");
        let place = |path: &str| root.path().join(path);
        for directory in ["empty", "foreign", "running", "stopped", "busy", "bad-bundle"] {
            fs::create_dir(place(directory)).expect("a directory");
        }
        fs::write(place("file"), "a file").expect("a file");
        fs::write(place("foreign/thesis.tex"), "years of work").expect("a file");
        fs::write(place("running/lab.lock"), "4711\n").expect("a file");
        fs::write(place("stopped/lab.lock"), "").expect("a file");
        fs::write(
            place("bad-bundle/cluster.yaml"),
            "version: 1\nproxy:\n  cashe: {memory: 256 bananas}\n",
        )
        .expect("a bundle");
        fs::write(
            place("garbage.pem"),
            "-----BEGIN CERTIFICATE-----\nnope\n-----END CERTIFICATE-----\n",
        )
        .expect("a file");
        let locks = [place("running/lab.lock"), place("busy")]
            .map(|path| File::open(path).expect("something to lock"));
        locks.iter().for_each(|lock| lock.try_lock().expect("nobody else has the lock"));
        let (day, now) = (Duration::from_secs(24 * 3600), chassis::Clock::system().now());
        let registry = (Role::Service(Service::Registry), "registry-1".to_owned());
        pki::init(&place("good"), std::slice::from_ref(&registry), now, 30 * day).expect("a PKI");
        pki::init(&place("expired"), &[registry], now - 40 * day, 30 * day).expect("a PKI");
        Self { root, taken: TcpListener::bind("127.0.0.1:0").expect("a port"), _locks: locks }
    }

    fn path(&self, path: &str) -> String {
        self.root.path().join(path).display().to_string()
    }

    /// All files with their content.
    fn content(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let mut content = BTreeMap::new();
        walk(self.root.path(), &mut content);
        content
    }

    /// Runs `shoal` with the arguments, in which `@/` stands for the scene and `{port}` for a port
    /// in use.
    fn shoal(&self, arguments: &str) -> Output {
        let port = self.taken.local_addr().expect("an address").port().to_string();
        let root = self.root.path().display().to_string();
        let arguments = arguments
            .split_whitespace()
            .map(|argument| argument.replace("{port}", &port).replace("@/", &format!("{root}/")));
        let mut command = Command::new(env!("CARGO_BIN_EXE_shoal"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SHOAL_")) {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .env("XDG_STATE_HOME", self.path("empty"))
            .output()
            .expect("run shoal")
    }
}

fn walk(directory: &Path, content: &mut BTreeMap<PathBuf, Option<Vec<u8>>>) {
    for entry in fs::read_dir(directory).expect("a readable directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            walk(&path, content);
            content.insert(path, None);
        } else {
            let bytes = fs::read(&path).expect("a readable file");
            content.insert(path, Some(bytes));
        }
    }
}

/// Arguments, exit code, what stderr has to contain.
const CASES: &[(&str, i32, &[&str])] = &[
    // Flags.
    ("", 2, &["Usage"]),
    ("labb", 2, &["labb", "lab"]),
    ("lab --nodez 3", 2, &["--nodez", "--nodes"]),
    ("lab --nodes 0", 2, &["--nodes", "1..=64"]),
    ("lab --nodes many", 2, &["many"]),
    ("lab --base-port 99999", 2, &["99999"]),
    ("serve squid", 2, &["squid"]),
    ("node weight proxy-node-1 300", 2, &["300", "0..=256"]),
    ("node accept-losses squid", 2, &["squid", "proxy-node"]),
    ("status -o xml", 2, &["xml", "json"]),
    ("status --registry 127.0.0.1:7001", 2, &["--ca", "--cert", "--key"]),
    ("completions tcsh", 2, &["tcsh", "bash"]),
    ("explain example.com/x", 1, &["not an absolute URL", "http://example.com/x"]),
    ("explain http://a.test/ --client nowhere", 2, &["nowhere"]),
    (
        "lab --data-dir @/new --parent https://proxy.test:3128",
        1,
        &["plain http", "http://proxy.corp.example:3128"],
    ),
    ("lab --data-dir @/new --parent proxy.test", 1, &["no port"]),
    ("ready ftp://127.0.0.1:7002", 1, &["http://127.0.0.1:7102"]),
    ("ready http://127.0.0.1:1", 1, &["does not answer"]),
    ("ready", 1, &["process 1 is no service of Shoal", "http://127.0.0.1:7102"]),
    // No cluster.
    ("status", 1, &["no lab is running", "shoal lab", "--registry"]),
    ("lab stop", 1, &["no lab is running"]),
    ("lab stop --data-dir @/stopped", 1, &["not running"]),
    ("status --data-dir @/stopped", 1, &["not running", "shoal lab --data-dir"]),
    ("status --data-dir @/running", 1, &["not ready yet"]),
    ("node drain proxy-node-1 --data-dir @/foreign", 1, &["not a lab's data directory"]),
    // Ports and data directories.
    ("lab --data-dir @/new --base-port {port}", 1, &["in use", "--base-port"]),
    ("lab --data-dir @/stopped --base-port {port}", 1, &["in use", "--base-port"]),
    ("lab --data-dir @/running", 1, &["already running", "4711", "shoal lab stop"]),
    ("lab --data-dir @/foreign", 1, &["not a lab's", "--data-dir"]),
    ("lab --data-dir @/file", 1, &["--data-dir"]),
    ("lab --data-dir /proc/nowhere", 1, &["/proc/nowhere", "--data-dir"]),
    ("lab reset --data-dir @/foreign", 1, &["not a lab's"]),
    // Bundles.
    ("config validate @/nowhere", 1, &["not a directory", "cluster.yaml"]),
    ("config validate @/empty", 1, &["holds no cluster.yaml", "directory of a bundle"]),
    ("config validate @/bad-bundle", 1, &["error", "correct"]),
    ("config apply @/bad-bundle", 1, &["cluster.yaml:3:", "cashe"]),
    ("lab --data-dir @/new --config @/bad-bundle", 1, &["cluster.yaml:3:", "cashe"]),
    // Certificates.
    (
        "status --registry 127.0.0.1:1 --ca @/nowhere.pem --cert @/garbage.pem --key @/garbage.pem",
        1,
        &["nowhere.pem"],
    ),
    (
        "status --registry 127.0.0.1:1 --ca @/garbage.pem --cert @/garbage.pem --key @/garbage.pem",
        1,
        &["garbage.pem"],
    ),
    (
        "status --registry 127.0.0.1:1 --ca @/expired/ca.crt --cert @/expired/operator.crt --key \
         @/expired/operator.key",
        1,
        &["expired at", "shoal pki issue"],
    ),
    (
        "status --registry 127.0.0.1:1 --ca @/good/ca.crt --cert @/expired/operator.crt --key \
         @/expired/operator.key",
        1,
        &["operator.crt"],
    ),
    (
        "status --registry 127.0.0.1:1 --ca @/good/ca.crt --cert @/good/operator.crt --key \
         @/good/registry-1.key",
        1,
        &["does not belong"],
    ),
    (
        "status --registry 127.0.0.1:1 --ca @/good/ca.crt --cert @/good/operator.crt --key \
         @/good/operator.key",
        1,
        &["127.0.0.1:1", "check that it runs"],
    ),
    ("pki init @/good", 1, &["exists already", "another"]),
    ("pki issue proxy-node ../up --dir @/good", 1, &["cannot be a name"]),
    ("pki issue squid squid-1 --dir @/good", 2, &["squid", "proxy-node"]),
    ("pki issue proxy-node node-1 --dir @/empty", 1, &["ca.crt", "shoal pki init"]),
    ("pki renew node-9 --dir @/good", 1, &["node-9.crt is not there", "--dir"]),
    ("pki provision --dir @/new @/empty", 1, &["not named after a service", "such as registry"]),
    (
        "pki provision --dir @/good @/nowhere/registry",
        1,
        &["nowhere/registry", "make the directory"],
    ),
    // Hosts that are to join.
    (
        "node enrol squid node-4 --address 10.0.0.17 --registry 10.0.0.5 --pki @/good --archive \
         @/node.tar",
        2,
        &["squid", "proxy-node"],
    ),
    (
        "node enrol proxy-node node-4 --address 10.0.0.17 --registry 10.0.0.5 --pki @/empty \
         --archive @/node.tar",
        1,
        &["no authority", "--pki"],
    ),
    (
        "node enrol proxy-node node-4 --address 10.0.0.17 --registry 10.0.0.5 --pki @/good \
         --archive @/file",
        1,
        &["exists already", "--archive"],
    ),
    (
        "node enrol proxy-node node-4 --address 10.0.0.17 --registry 10.0.0.5 --pki @/good \
         --archive @/nowhere/node.tar",
        1,
        &["nowhere/node.tar"],
    ),
    (
        "node enrol proxy-node registry-1 --address 10.0.0.17 --registry 10.0.0.5 --pki @/good \
         --archive @/node.tar",
        1,
        &["registry-1 is taken already", "another name", "shoal pki renew registry-1"],
    ),
    (
        "node enrol proxy-node node-4 --address 10.0.0.17:3128 --registry 10.0.0.5 --pki @/good \
         --archive @/node.tar",
        2,
        &["without a port"],
    ),
    (
        "node enrol proxy-node node-4 --address 10.0.0.17 --pki @/good --archive @/node.tar",
        1,
        &["where the registry is", "--registry"],
    ),
    // Services.
    ("serve registry --data-dir @/new", 2, &["--ca, --cert, --key", "shoal pki"]),
    (
        "serve registry --data-dir @/foreign --ca @/good/ca.crt --cert @/good/registry-1.crt --key \
         @/good/registry-1.key",
        1,
        &["holds other files", "--data-dir"],
    ),
    (
        "serve registry --data-dir @/new --ca @/good/ca.crt --cert @/good/operator.crt --key \
         @/good/operator.key",
        1,
        &["operator", "registry"],
    ),
    (
        "serve registry --data-dir @/new --ca @/expired/ca.crt --cert @/expired/registry-1.crt \
         --key @/expired/registry-1.key",
        1,
        &["expired at"],
    ),
    (
        "serve registry --data-dir @/new --ca @/good/ca.crt --cert @/garbage.pem --key \
         @/good/registry-1.key",
        1,
        &["garbage.pem"],
    ),
    (
        "serve registry --data-dir @/new --ca @/good/ca.crt --cert @/good/registry-1.crt --key \
         @/good/registry-1.key --grpc 127.0.0.1:{port}",
        1,
        &["in use", "--grpc"],
    ),
    (
        "serve registry --data-dir @/busy --ca @/good/ca.crt --cert @/good/registry-1.crt --key \
         @/good/registry-1.key",
        1,
        &["in use by another process", "--data-dir"],
    ),
];

#[test]
fn bad_input_is_refused_and_changes_nothing() {
    let scene = Scene::new();
    let before = scene.content();
    let mut wrong = Vec::new();
    for (arguments, code, parts) in CASES {
        let output = scene.shoal(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        let missing: Vec<_> = parts.iter().filter(|part| !stderr.contains(**part)).collect();
        if output.status.code() != Some(*code) || !missing.is_empty() || stderr.contains("panicked")
        {
            wrong.push(format!(
                "shoal {arguments}\n  ended with {}, lacks {missing:?}: {stderr}",
                output.status
            ));
        }
        assert!(scene.content() == before, "shoal {arguments} changed something");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
