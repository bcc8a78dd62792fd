//! One cluster of `docker-compose.yml`: a project name, a subnet and ports of its own, and everything gone at its end.

use std::{
    collections::BTreeSet,
    fs::Permissions,
    net::{IpAddr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use testkit::wait;

use crate::docker::{Images, docker, docker_compose, inspect, ok, repository, run};

/// A dozen containers on a small machine that does other things, too.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// Label of containers that are no service of the file.
const PEER: &str = "shoal-e2e";

/// A project of docker-compose; dropping it removes its containers, networks and volumes.
#[derive(Debug)]
pub struct Project {
    /// Its name, which begins the names of everything that it has.
    pub name: String,
    /// First three parts of its network's addresses.
    prefix: String,
    directory: tempfile::TempDir,
    images: Arc<Images>,
}

impl Project {
    /// Prepares one; nothing runs yet.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let images = Images::get();
        let name = format!("{}-{}", images.shoal, COUNT.fetch_add(1, Ordering::Relaxed));
        let prefix = free_prefix();
        let directory = tempfile::Builder::new().prefix("shoal-e2e-").tempdir().expect("a temporary directory");
        let project = Self { name, prefix, directory, images };
        project.copy("docker-compose.yml", "docker-compose.yml", |text| text);
        for file in ["cluster.yaml", "lists/blocked_sites.txt", "pages/blocked.html"] {
            // Who is let in is the network of this project.
            let own = format!("{}.0/24", project.prefix);
            project.copy(&format!("deploy/docker/bundle/{file}"), &format!("bundle/{file}"), |text| text.replace("172.30.80.0/24", &own));
        }
        project
    }

    /// Copies a file of the repository, changed, to where containers can read it.
    fn copy(&self, from: &str, to: &str, change: impl FnOnce(String) -> String) {
        let (from, to) = (repository().join(from), self.directory.path().join(to));
        let text = std::fs::read_to_string(&from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        let folder = to.parent().expect("a directory");
        std::fs::create_dir_all(folder).expect("a directory");
        std::fs::write(&to, change(text)).expect("a file");
        for readable in [self.directory.path(), folder] {
            std::fs::set_permissions(readable, Permissions::from_mode(0o755)).expect("permissions");
        }
    }

    /// Changes this project's `docker-compose.yml`.
    pub fn edit(&self, from: &str, to: &str) {
        self.copy("docker-compose.yml", "docker-compose.yml", |text| {
            assert!(text.contains(from), "docker-compose.yml has no {from:?} to change");
            text.replace(from, to)
        });
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = docker_compose();
        command.arg("--project-name").arg(&self.name).arg("--project-directory").arg(repository());
        command.arg("--file").arg(self.file("docker-compose.yml")).args(arguments);
        command.env("SHOAL_IMAGE", &self.images.shoal).env("SHOAL_SUBNET", format!("{}.0/24", self.prefix));
        command.env("SHOAL_BUNDLE", self.file("bundle"));
        // Any free ones.
        for port in ["SHOAL_PORT_1", "SHOAL_PORT_2", "SHOAL_PORT_CONSOLE"] {
            command.env(port, "0");
        }
        command
    }

    fn file(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// `docker-compose ARGUMENTS`, which has to succeed; what it prints.
    pub fn compose(&self, arguments: &[&str]) -> String {
        ok(&mut self.command(arguments))
    }

    /// `docker-compose ARGUMENTS`, however it ends.
    pub fn try_compose(&self, arguments: &[&str]) -> Output {
        run(&mut self.command(arguments))
    }

    /// `docker-compose run --rm cli ARGUMENTS`.
    pub fn cli(&self, arguments: &[&str]) -> String {
        self.compose(&[&["run", "--rm", "-T", "cli"], arguments].concat())
    }

    /// Instances as `status` lists them; none when the registry does not answer.
    pub fn instances(&self) -> Vec<Value> {
        let output = self.try_compose(&["run", "--rm", "-T", "cli", "status", "-o", "json"]);
        let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        value["instances"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until exactly these instances are usable and no others are listed as such.
    pub async fn until_usable(&self, names: &[&str]) {
        let wanted: BTreeSet<_> = names.iter().map(|&name| name.to_owned()).collect();
        wait::within(PATIENCE, format!("{names:?} are usable"), || async {
            let usable = self.instances().into_iter().filter(|instance| instance["state"] == "usable");
            let usable: BTreeSet<_> = usable.filter_map(|instance| Some(instance["name"].as_str()?.to_owned())).collect();
            (usable == wanted).then_some(())
        })
        .await;
    }

    /// Ids of the containers of these services; of all that stay up when there are none.
    pub fn containers(&self, services: &[&str]) -> Vec<String> {
        let all = self.compose(&["config", "--services"]);
        let lasting: Vec<_> = all.lines().filter(|service| !matches!(*service, "init" | "cli")).collect();
        let services = if services.is_empty() { &lasting } else { services };
        self.compose(&[&["ps", "-q"], services].concat()).lines().map(str::to_owned).collect()
    }

    /// Waits until the containers of these services are healthy.
    pub async fn until_healthy(&self, services: &[&str]) {
        for container in self.containers(services) {
            wait::within(PATIENCE, format!("{} is healthy", short(&container)), || async {
                (inspect(&container)["State"]["Health"]["Status"] == "healthy").then_some(())
            })
            .await;
        }
    }

    /// What a service logged.
    pub fn logs(&self, service: &str) -> String {
        self.compose(&["logs", "--no-color", service])
    }

    /// Where the frontends are published.
    pub fn frontends(&self) -> Vec<SocketAddr> {
        let published = |balancer| self.compose(&["port", balancer, "8080"]).parse().expect("an address");
        ["balancer-1", "balancer-2"].map(published).into()
    }

    /// The network's name.
    pub fn network(&self) -> String {
        format!("{}_cluster", self.name)
    }

    /// The host's address in the network.
    pub fn gateway(&self) -> IpAddr {
        format!("{}.1", self.prefix).parse().expect("an address")
    }

    /// Takes a container off the network.
    pub fn disconnect(&self, container: &str) {
        docker(&["network", "disconnect", &self.network(), container]);
    }

    /// Puts it back, under its service's name.
    pub fn connect(&self, container: &str) {
        let label = inspect(container)["Config"]["Labels"]["com.docker.compose.service"].take();
        docker(&["network", "connect", "--alias", label.as_str().expect("a service"), &self.network(), container]);
    }

    /// Runs a container of the base image in the network: a peer of the cluster.
    pub fn peer(&self, options: &[&str], script: &str) -> String {
        let (network, label) = (self.network(), format!("{PEER}={}", self.name));
        let fixed = ["run", "--network", &network, "--label", &label];
        docker(&[&fixed, options, &[&self.images.base, "sh", "-c", script]].concat())
    }

    /// Runs a script that sees one of the project's volumes as `/volume`.
    pub fn in_volume(&self, volume: &str, script: &str) -> String {
        let mount = format!("{}_{volume}:/volume", self.name);
        docker(&["run", "--rm", "--network", "none", "--volume", &mount, &self.images.base, "sh", "-c", script])
    }

    /// Names of the project's volumes, without the project's.
    pub fn volumes(&self) -> Vec<String> {
        let label = format!("label=com.docker.compose.project={}", self.name);
        let listed = docker(&["volume", "ls", "--quiet", "--filter", &label]);
        listed.lines().filter_map(|volume| volume.strip_prefix(&format!("{}_", self.name))).map(str::to_owned).collect()
    }

    /// Removes a volume that no container uses any more.
    pub fn remove_volume(&self, volume: &str) {
        docker(&["volume", "rm", &format!("{}_{volume}", self.name)]);
    }

    /// Everything of this project that Docker knows.
    pub fn remains(&self) -> Vec<String> {
        let label = format!("label=com.docker.compose.project={}", self.name);
        let kinds: [&[&str]; 3] = [&["ps", "--all"], &["volume", "ls"], &["network", "ls"]];
        let listed = kinds.map(|kind| docker(&[kind, &["--quiet", "--filter", &label]].concat()));
        listed.iter().flat_map(|list| list.lines()).map(str::to_owned).collect()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = run(&mut self.command(&["logs", "--no-color", "--tail", "15"]));
            println!("{}", String::from_utf8_lossy(&logs.stdout));
        }
        // Members of the network that are no service of the file: it cannot be removed before them.
        let label = format!("label={PEER}={}", self.name);
        let peers = run(Command::new("docker").args(["ps", "--all", "--quiet", "--filter", &label]));
        for container in String::from_utf8_lossy(&peers.stdout).lines() {
            drop(run(Command::new("docker").args(["rm", "--force", "--volumes", container])));
        }
        drop(run(&mut self.command(&["down", "--volumes", "--remove-orphans", "--timeout", "1"])));
    }
}

/// The beginning of a container's id, as people see it.
pub fn short(container: &str) -> &str {
    &container[..container.len().min(12)]
}

/// A /24 that no network of Docker has.
fn free_prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let networks = docker(&["network", "ls", "--quiet"]);
    let taken: String = networks.lines().map(|network| docker(&["network", "inspect", network])).collect();
    let begin = std::process::id() % 200;
    std::iter::repeat_with(|| format!("10.211.{}", (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % 256))
        .take(256)
        .find(|prefix| !taken.contains(&format!("{prefix}.")))
        .expect("a subnet that no network of Docker has")
}
