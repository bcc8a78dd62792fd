//! One cluster of `docker-compose.yml`: a project name, a subnet and ports of its own, and
//! everything gone at its end.

use std::{
    collections::BTreeSet,
    fs::Permissions,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Output},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU16, AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use testkit::wait;

use super::docker::{Images, docker, docker_compose, inspect, inspect_all, ok, repository, run};

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
    /// Where the frontends are published. Not any free ports: a balancer that is made again keeps
    /// its own.
    ports: [u16; 2],
    directory: tempfile::TempDir,
    images: Arc<Images>,
    /// A container that asks questions as the operator.
    operator: OnceLock<String>,
}

impl Project {
    /// Prepares one; nothing runs yet.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let images = Images::get();
        let name = format!("{}-{}", images.shoal, COUNT.fetch_add(1, Ordering::Relaxed));
        let prefix = free_prefix();
        let directory =
            tempfile::Builder::new().prefix("shoal-e2e-").tempdir().expect("a temporary directory");
        let project = Self {
            name,
            prefix,
            ports: [free_port(), free_port()],
            directory,
            images,
            operator: OnceLock::new(),
        };
        project.copy("docker-compose.yml", "docker-compose.yml", |text| text);
        for file in ["cluster.yaml", "lists/blocked_sites.txt", "pages/blocked.html"] {
            // Who is let in is the network of this project.
            let own = format!("{}.0/24", project.prefix);
            project.copy(
                &format!("deploy/docker/bundle/{file}"),
                &format!("bundle/{file}"),
                |text| text.replace("172.30.80.0/24", &own),
            );
        }
        // What somebody types who follows the documentation. The program of that name is the next
        // one in the path.
        let typed = format!(
            "#!/bin/sh\nPATH={:?} exec {:?} --project-name {} --project-directory {:?} --file {:?} \
             \"$@\"\n",
            std::env::var("PATH").unwrap_or_default(),
            docker_compose(),
            project.name,
            repository(),
            project.file("docker-compose.yml"),
        );
        std::fs::create_dir(project.file("bin")).expect("a directory");
        std::fs::write(project.file("bin/docker-compose"), typed).expect("a file");
        std::fs::set_permissions(project.file("bin/docker-compose"), Permissions::from_mode(0o755))
            .expect("permissions");
        project
    }

    /// Copies a file of the repository, changed, to where containers can read it.
    fn copy(&self, from: &str, to: &str, change: impl FnOnce(String) -> String) {
        let (from, to) = (repository().join(from), self.directory.path().join(to));
        let text = std::fs::read_to_string(&from)
            .unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        let folder = to.parent().expect("a directory");
        std::fs::create_dir_all(folder).expect("a directory");
        std::fs::write(&to, change(text)).expect("a file");
        for readable in [self.directory.path(), folder] {
            std::fs::set_permissions(readable, Permissions::from_mode(0o755)).expect("permissions");
        }
    }

    /// Changes this project's `docker-compose.yml`.
    pub fn edit(&self, from: &str, to: &str) {
        let file = self.file("docker-compose.yml");
        let text = std::fs::read_to_string(&file).expect("docker-compose.yml");
        assert!(text.contains(from), "docker-compose.yml has no {from:?} to change");
        std::fs::write(&file, text.replace(from, to)).expect("docker-compose.yml");
    }

    /// Adds to a file of this project.
    pub fn append(&self, file: &str, more: &str) {
        let file = self.file(file);
        let text = std::fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        std::fs::write(&file, text + more).expect("a file");
    }

    /// A command that means this project when it calls docker-compose.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.file("bin").display()));
        command
            .env("SHOAL_IMAGE", &self.images.shoal)
            .env("SHOAL_SUBNET", format!("{}.0/24", self.prefix));
        command.env("SHOAL_BUNDLE", self.file("bundle"));
        command
            .env("SHOAL_PORT_1", self.ports[0].to_string())
            .env("SHOAL_PORT_2", self.ports[1].to_string());
        command.env("SHOAL_PORT_CONSOLE", "0").current_dir(self.directory.path());
        command
    }

    fn file(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// `docker-compose ARGUMENTS`, which has to succeed; what it prints.
    pub fn compose(&self, arguments: &[&str]) -> String {
        ok(self.command(&self.file("bin/docker-compose").display().to_string()).args(arguments))
    }

    /// `docker-compose ARGUMENTS`, however it ends.
    pub fn try_compose(&self, arguments: &[&str]) -> Output {
        run(self.command(&self.file("bin/docker-compose").display().to_string()).args(arguments))
    }

    /// `docker-compose run --rm cli ARGUMENTS`.
    pub fn cli(&self, arguments: &[&str]) -> String {
        self.compose(&[&["run", "--rm", "-T", "cli"], arguments].concat())
    }

    /// Types lines of the documentation; each of them has to succeed.
    pub fn type_in(&self, lines: &str) -> String {
        ok(self.command("bash").args(["-euo", "pipefail", "-c", lines]))
    }

    /// The same, however it ends, in a container that stays: to start one for each question takes
    /// its time.
    pub fn ask(&self, arguments: &[&str]) -> Output {
        let operator = self.operator.get_or_init(|| {
            let papers = format!("{}_operator-pki:/etc/shoal:ro", self.name);
            let files = [
                "SHOAL_CA=/etc/shoal/ca.crt",
                "SHOAL_CERT=/etc/shoal/tls.crt",
                "SHOAL_KEY=/etc/shoal/tls.key",
            ];
            let mut options = vec![
                "--detach",
                "--volume",
                &papers,
                "--env",
                "SHOAL_REGISTRY=registry:7001",
                "--entrypoint",
                "sleep",
            ];
            options.extend(files.iter().flat_map(|variable| ["--env", variable]));
            self.run_peer(&options, &self.images.shoal, &["infinity"])
        });
        run(Command::new("docker").args(["exec", operator, "/opt/shoal/shoal"]).args(arguments))
    }

    /// Instances as `status` lists them; none when the registry does not answer.
    pub fn instances(&self) -> Vec<Value> {
        let output = self.ask(&["status", "-o", "json"]);
        // What is remembered of a registry that does not answer says so on stderr.
        if String::from_utf8_lossy(&output.stderr).contains("is what the registry listed") {
            return Vec::new();
        }
        let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        value["instances"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until exactly these instances are usable and no others are listed as such.
    pub async fn until_usable(&self, names: &[&str]) {
        let wanted: BTreeSet<_> = names.iter().map(|&name| name.to_owned()).collect();
        wait::within(PATIENCE, format!("{names:?} are usable"), || async {
            let usable =
                self.instances().into_iter().filter(|instance| instance["state"] == "usable");
            let usable: BTreeSet<_> =
                usable.filter_map(|instance| Some(instance["name"].as_str()?.to_owned())).collect();
            (usable == wanted).then_some(())
        })
        .await;
    }

    /// Ids of the containers of these services, in their order; of all that stay up when there are
    /// none.
    pub fn containers(&self, services: &[&str]) -> Vec<String> {
        let label = |name| format!("{{{{.Label \"com.docker.compose.{name}\"}}}}");
        let format = format!(
            "{} {} {} {{{{.ID}}}}",
            label("service"),
            label("container-number"),
            label("oneoff")
        );
        let project = format!("label=com.docker.compose.project={}", self.name);
        let listed =
            docker(&["ps", "--all", "--no-trunc", "--filter", &project, "--format", &format]);
        let mut found: Vec<(usize, u32, String)> = Vec::new();
        for line in listed.lines() {
            let [service, number, oneoff, id] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("docker ps says {line:?}")
            };
            let place = if services.is_empty() {
                Some(0)
            } else {
                services.iter().position(|&wanted| wanted == service)
            };
            if let Some(place) = place.filter(|_| oneoff == "False" && service != "init") {
                found.push((place, number.parse().expect("a number"), id.to_owned()));
            }
        }
        found.sort();
        found.into_iter().map(|(_, _, id)| id).collect()
    }

    /// Waits until Docker holds the containers of these services for healthy.
    pub async fn until_healthy(&self, services: &[&str]) {
        let containers = self.containers(services);
        wait::within(PATIENCE, format!("{services:?} are healthy"), || async {
            inspect_all(&containers)
                .iter()
                .all(|all| all["State"]["Health"]["Status"] == "healthy")
                .then_some(())
        })
        .await;
    }

    /// The same, asked at once and not when Docker asks again.
    pub async fn until_ready(&self, containers: &[String]) {
        for container in containers {
            wait::within(PATIENCE, format!("{} is ready", short(container)), || async {
                run(Command::new("docker").args(["exec", container, "/opt/shoal/shoal", "ready"]))
                    .status
                    .success()
                    .then_some(())
            })
            .await;
        }
    }

    /// What a service logged.
    pub fn logs(&self, service: &str) -> String {
        self.compose(&["logs", "--no-color", service])
    }

    /// The metrics of the process in a container, on the network or off it.
    pub fn metrics(&self, container: &str, port: u16) -> String {
        docker(&[
            "exec",
            container,
            "busybox",
            "wget",
            "-q",
            "-O",
            "-",
            &format!("http://127.0.0.1:{port}/metrics"),
        ])
    }

    /// Where the frontends are published.
    pub fn frontends(&self) -> Vec<SocketAddr> {
        self.ports.map(|port| (Ipv4Addr::LOCALHOST, port).into()).into()
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
        docker(&[
            "network",
            "connect",
            "--alias",
            label.as_str().expect("a service"),
            &self.network(),
            container,
        ]);
    }

    /// Runs a container of the base image in the network: a peer of the cluster.
    pub fn peer(&self, options: &[&str], script: &str) -> String {
        self.run_peer(options, &self.images.base, &["sh", "-c", script])
    }

    fn run_peer(&self, options: &[&str], image: &str, command: &[&str]) -> String {
        let (network, label) = (self.network(), format!("{PEER}={}", self.name));
        docker(
            &[&["run", "--network", &network, "--label", &label], options, &[image], command]
                .concat(),
        )
    }

    /// Runs a script that sees one of the project's volumes as `/volume`.
    pub fn in_volume(&self, volume: &str, script: &str) -> String {
        self.in_volumes(&[volume], &format!("ln -s /volumes/{volume} /volume; {script}"))
    }

    /// Runs a script that sees volumes of the project in `/volumes`.
    pub fn in_volumes(&self, volumes: &[&str], script: &str) -> String {
        let mounts: Vec<_> = volumes
            .iter()
            .map(|volume| format!("--volume={}_{volume}:/volumes/{volume}", self.name))
            .collect();
        let mounts: Vec<_> = mounts.iter().map(String::as_str).collect();
        docker(
            &[
                &["run", "--rm", "--network", "none"],
                &mounts[..],
                &[&self.images.base, "sh", "-c", script],
            ]
            .concat(),
        )
    }

    /// Names of the project's volumes, without the project's.
    pub fn volumes(&self) -> Vec<String> {
        let label = format!("label=com.docker.compose.project={}", self.name);
        let listed = docker(&["volume", "ls", "--quiet", "--filter", &label]);
        listed
            .lines()
            .filter_map(|volume| volume.strip_prefix(&format!("{}_", self.name)))
            .map(str::to_owned)
            .collect()
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

    /// Removes members of the network that are no service of the file: it cannot be removed before
    /// them.
    pub fn remove_peers(&self) {
        let label = format!("label={PEER}={}", self.name);
        let peers =
            run(Command::new("docker").args(["ps", "--all", "--quiet", "--filter", &label]));
        for container in String::from_utf8_lossy(&peers.stdout).lines() {
            drop(run(Command::new("docker").args(["rm", "--force", "--volumes", container])));
        }
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = self.try_compose(&["logs", "--no-color", "--tail", "15"]);
            println!("{}", String::from_utf8_lossy(&logs.stdout));
        }
        self.remove_peers();
        drop(self.try_compose(&["down", "--volumes", "--remove-orphans", "--timeout", "1"]));
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
    let taken: String =
        networks.lines().map(|network| docker(&["network", "inspect", network])).collect();
    let begin = std::process::id() % 200;
    std::iter::repeat_with(|| {
        format!("10.211.{}", (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % 256)
    })
    .take(256)
    .find(|prefix| !taken.contains(&format!("{prefix}.")))
    .expect("a subnet that no network of Docker has")
}

/// A port that nobody has, below those that the kernel gives to whoever asks for any.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = u16::try_from(std::process::id() % 8_000).expect("less than 8000");
    std::iter::repeat_with(|| 12_000 + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % 8_000)
        .take(1_000)
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .expect("a free port")
}
