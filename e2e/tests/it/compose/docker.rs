//! The `docker` command, and the image that these tests run: made from the local binary on a base
//! that is made on the spot, so that nothing is pulled from anywhere but the Debian mirror that apt
//! is configured with.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex, PoisonError, Weak},
};

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started: the message says what to install.
pub fn run(command: &mut Command) -> Output {
    let started = command.stdin(Stdio::null()).output();
    started.unwrap_or_else(|error| {
        panic!(
            "{}: {error}: apt-get install docker.io docker-compose mmdebstrap, and start the \
             Docker daemon",
            command.get_program().display()
        )
    })
}

/// The same, which has to succeed; its standard output without white space around it.
pub fn ok(command: &mut Command) -> String {
    let output = run(command);
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}\n{}",
        output.status,
        shown(&output.stdout),
        shown(&output.stderr)
    );
    shown(&output.stdout)
}

/// `docker ARGUMENTS`, which has to succeed.
pub fn docker(arguments: &[&str]) -> String {
    ok(Command::new("docker").args(arguments))
}

/// The program under test beside the product: docker-compose 1.29, or what SHOAL_E2E_COMPOSE names,
/// such as a Compose v2.
pub fn docker_compose() -> PathBuf {
    std::env::var_os("SHOAL_E2E_COMPOSE").map_or_else(|| "docker-compose".into(), PathBuf::from)
}

/// `docker inspect` of a container, as JSON.
pub fn inspect(container: &str) -> serde_json::Value {
    inspect_all(&[container.to_owned()]).remove(0)
}

/// The same of several.
pub fn inspect_all(containers: &[String]) -> Vec<serde_json::Value> {
    let names: Vec<_> = containers.iter().map(String::as_str).collect();
    serde_json::from_str(&docker(&[&["inspect"], &names[..]].concat()))
        .expect("docker inspect prints JSON")
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository")
}

/// The images of these tests; dropping the last handle removes them.
#[derive(Debug)]
pub struct Images {
    /// A small Debian, with busybox for peers.
    pub base: String,
    /// The product's.
    pub shoal: String,
}

impl Images {
    /// Makes them, or takes those that another test of this process has made.
    pub fn get() -> Arc<Self> {
        static MADE: Mutex<Weak<Images>> = Mutex::new(Weak::new());
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        made.upgrade().unwrap_or_else(|| {
            let images = Arc::new(Self::make());
            *made = Arc::downgrade(&images);
            images
        })
    }

    fn make() -> Self {
        docker(&["version"]);
        let root = repository();
        assert_eq!(
            testkit::lab::binary().canonicalize().expect("the shoal binary"),
            root.join("target/release/shoal"),
            "the image is made from target/release/shoal: run these tests with --release and \
             without another target directory"
        );
        let images = Self {
            base: format!("shoal-e2e-{}-base", std::process::id()),
            shoal: format!("shoal-e2e-{}", std::process::id()),
        };
        docker(&["import", &base_tar(&root).display().to_string(), &images.base]);
        // The way that docs/deploy-docker.md shows.
        ok(Command::new(docker_compose())
            .args(["-f", "docker-compose.yml", "build", "init"])
            .current_dir(&root)
            .env("SHOAL_IMAGE", &images.shoal)
            .env("SHOAL_BUILD", "local")
            .env("SHOAL_RUNTIME_IMAGE", &images.base));
        images
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        // Also after a failure, which must not be hidden by another one.
        for image in [&self.shoal, &self.base] {
            drop(run(Command::new("docker").args(["image", "rm", "--force", image])));
        }
    }
}

/// A root file system with Debian's essential packages, kept between runs.
fn base_tar(root: &Path) -> PathBuf {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .unwrap_or("stable")
        .to_owned();
    // The binary needs the libc that it was linked with, so it is this machine's release.
    let kept = root.join(format!("target/e2e-compose/{codename}.tar"));
    if kept.exists() {
        return kept;
    }
    std::fs::create_dir_all(kept.parent().expect("a directory"))
        .expect("a directory for the base image");
    let scratch = kept.with_extension(format!("{}.tar", std::process::id()));
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--variant=minbase", "--include=busybox,ca-certificates"]);
    for left_out in ["doc", "man", "locale", "info"] {
        command.arg(format!("--dpkgopt=path-exclude=/usr/share/{left_out}/*"));
    }
    ok(command.arg(&codename).arg(&scratch).args(mirror(&codename)));
    std::fs::rename(&scratch, &kept).expect("keep the base image");
    kept
}

/// The Debian mirror that apt is configured with; none when it is not known, and then mmdebstrap
/// takes its own.
fn mirror(codename: &str) -> Option<String> {
    let format = "$(REPO_URI) $(CODENAME) $(COMPONENT) $(ORIGIN)";
    let targets = run(Command::new("apt-get").args([
        "indextargets",
        "--format",
        format,
        "Created-By: Packages",
    ]));
    let targets = String::from_utf8_lossy(&targets.stdout).into_owned();
    let wanted = |line: &&str| line.split(' ').skip(1).eq([codename, "main", "Debian"]);
    targets.lines().find(wanted).and_then(|line| line.split(' ').next()).map(str::to_owned)
}
