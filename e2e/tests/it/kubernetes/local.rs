//! Pods as processes of this machine: the arguments of the manifests, with volumes as directories
//! and every port a free one of loopback.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use testkit::wait;
use tokio::process::{Child, Command};

use super::{
    manifests::{Manifests, list, text},
    serving,
};

/// Who has a certificate.
const HOLDERS: [&str; 8] = [
    "registry",
    "config-service",
    "health-checker",
    "backup-service",
    "console",
    "proxy-node",
    "balancer",
    "operator",
];
/// Whose certificate's name the pods of a Deployment continue, as Kubernetes names them.
const SUFFIX: &str = "7d4b9c6f5d";

/// What Kubernetes makes of an argument.
pub fn expand(argument: &str, pod: &str) -> String {
    argument.replace("$(POD_NAME)", pod).replace("$(POD_IP)", "127.0.0.1")
}

/// Where a service listens unless it is told otherwise.
pub fn default_port(component: &str, port: &str) -> u64 {
    let control = match component {
        "registry" => 7001,
        "proxy-node" => 7101,
        "balancer" => 7201,
        "config-service" => 7301,
        "health-checker" => 7401,
        "backup-service" => 7501,
        _ => 7601,
    };
    match port {
        "grpc" => control,
        "admin" => control + 1,
        "target" => 7403,
        "proxy" => 3128,
        "relay" => 3129,
        "frontend" => 8080,
        "console" => 7000,
        _ => panic!("{component} has no port {port}"),
    }
}

/// Makes an authority and fills a directory for each process, as the documentation says.
pub async fn provision(place: &Path) {
    let directories: Vec<PathBuf> = HOLDERS.iter().map(|holder| place.join(holder)).collect();
    directories.iter().for_each(|directory| fs::create_dir(directory).expect("a directory"));
    let mut command = Command::new(testkit::lab::binary());
    let output = command
        .args(["pki", "provision", "--dir"])
        .arg(place.join("authority"))
        .args(&directories)
        .output()
        .await
        .expect("run shoal");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Running pods.
pub struct Cluster {
    place: tempfile::TempDir,
    registry: SocketAddr,
    /// Where clients come in.
    pub frontend: SocketAddr,
    pods: Vec<(String, Child)>,
}

impl Cluster {
    /// Starts what carries traffic, and what that needs.
    pub async fn start(manifests: &Manifests) -> Self {
        let place = tempfile::tempdir().expect("a temporary directory");
        provision(place.path()).await;
        bundle(manifests, &place.path().join("bundle"));
        let mut cluster = Self { place, registry: free(), frontend: free(), pods: Vec::new() };
        for (component, suffix) in [
            ("registry", "0"),
            ("config-service", "0"),
            ("health-checker", "a"),
            ("proxy-node", "a"),
            ("proxy-node", "b"),
            ("balancer", "a"),
        ] {
            cluster.run(manifests, component, suffix);
        }
        cluster
    }

    fn run(&mut self, manifests: &Manifests, component: &str, suffix: &str) {
        let template = manifests.template(component);
        let container = serving(&template).expect("a container that serves");
        let pod = if template.owner.starts_with("StatefulSet") {
            format!("{component}-{suffix}")
        } else {
            format!("{component}-{SUFFIX}-{suffix}")
        };
        let arguments: Vec<_> = list(&container["args"])
            .iter()
            .map(|argument| self.localise(&expand(text(argument), &pod), component, &pod))
            .collect();
        let mut command = Command::new(testkit::lab::binary());
        command.args(&arguments);
        for port in list(&container["ports"])
            .iter()
            .map(|port| text(&port["name"]))
            .filter(|port| *port != "target")
        {
            let address = match (component, port) {
                ("registry", "grpc") => self.registry,
                ("balancer", "frontend") => self.frontend,
                _ => SocketAddr::from(([127, 0, 0, 1], 0)),
            };
            command.arg(format!("--{port}")).arg(address.to_string());
        }
        let log = fs::File::create(self.log(&pod)).expect("a log");
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a handle"))
            .stderr(log)
            .kill_on_drop(true);
        self.pods.push((pod, command.spawn().expect("start a pod")));
    }

    fn log(&self, pod: &str) -> PathBuf {
        self.place.path().join(format!("{pod}.log"))
    }

    /// An argument with the volumes of the pod where they are on this machine, and the registry's
    /// name resolved.
    fn localise(&self, argument: &str, component: &str, pod: &str) -> String {
        let place = |path: &str| self.place.path().join(path).display().to_string();
        argument
            .replace("/var/lib/shoal", &place(&format!("{pod}.state")))
            .replace("/etc/shoal/pki", &place(component))
            .replace("/etc/shoal/bundle", &place("bundle"))
            .replace("/etc/shoal/console", &place("console-users"))
            .replace("registry:7001", &self.registry.to_string())
            .replace("--target=0.0.0.0:7403", "--target=127.0.0.1:0")
    }

    /// What `shoal status` says, with the certificate and the settings of the operator's pod.
    pub async fn status(&self) -> Option<Value> {
        let file = |name: &str| self.place.path().join("operator").join(name);
        let mut command = Command::new(testkit::lab::binary());
        command.args(["status", "-o", "json"]).env("SHOAL_REGISTRY", self.registry.to_string());
        command
            .env("SHOAL_CA", file("ca.crt"))
            .env("SHOAL_CERT", file("tls.crt"))
            .env("SHOAL_KEY", file("tls.key"));
        serde_json::from_slice(&command.output().await.expect("run shoal").stdout).ok()
    }

    /// Ends the pods as Kubernetes does, the data plane first; each has to end by itself.
    pub async fn stop(mut self) {
        while let Some((pod, mut child)) = self.pods.pop() {
            let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).expect("a running pod");
            kill(Pid::from_raw(pid), Signal::SIGTERM).expect("stop a pod");
            let ended = tokio::time::timeout(wait::PATIENCE, child.wait())
                .await
                .expect("the pod ends")
                .expect("its status");
            assert!(
                ended.success(),
                "{pod} ended with {ended}:\n{}",
                fs::read_to_string(self.log(&pod)).unwrap_or_default()
            );
        }
    }
}

/// A port for somebody who is told its number.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
}

/// The volume of the ConfigMap, with the links that the kubelet makes, and with this machine's
/// clients and origins let in.
fn bundle(manifests: &Manifests, place: &Path) {
    let data = place.join("..2025_11_22");
    let template = manifests.template("config-service");
    let volume = list(&template.spec["volumes"])
        .iter()
        .find(|volume| volume.get("configMap").is_some())
        .expect("the bundle's volume");
    let map = manifests
        .kind("ConfigMap")
        .find(|map| map["metadata"]["name"] == volume["configMap"]["name"])
        .expect("the bundle");
    for item in list(&volume["configMap"]["items"]) {
        let file = data.join(text(&item["path"]));
        fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
        let content = text(&map["data"][text(&item["key"])]);
        let (clients, rules) = ("\"fc00::/7\"]", "    rules: ");
        assert!(
            !file.ends_with("cluster.yaml")
                || (content.contains(clients) && content.contains(rules)),
            "the bundle's access rules"
        );
        let egress =
            format!("    egress: {{allow: [{{to: [loopback], clients: [127.0.0.0/8]}}]}}\n{rules}");
        fs::write(
            &file,
            content.replace(clients, "\"fc00::/7\", 127.0.0.0/8]").replacen(rules, &egress, 1),
        )
        .expect("a file of the bundle");
    }
    symlink("..2025_11_22", place.join("..data")).expect("a link");
    for entry in
        fs::read_dir(&data).expect("the bundle").map(|entry| entry.expect("an entry").file_name())
    {
        symlink(Path::new("..data").join(&entry), place.join(&entry)).expect("a link");
    }
}
