//! Clients that people already have: curl, apt, pip, and a gRPC client in another language.

use std::{
    path::{Path, PathBuf},
    process::Output,
};

use testkit::{
    lab::{Lab, Options},
    origin::Origin,
};
use tokio::process::Command;

async fn run(program: &str, arguments: &[String]) -> Output {
    let mut command = Command::new(program);
    for name in [
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "no_proxy",
        "NO_PROXY",
        "CURL_CA_BUNDLE",
        "REQUESTS_CA_BUNDLE",
    ] {
        command.env_remove(name);
    }
    let started = command.args(arguments).env("LC_ALL", "C").kill_on_drop(true).output().await;
    started.unwrap_or_else(|error| {
        panic!(
            "{program}: {error}: run the test command of README.md, which installs what is missing"
        )
    })
}

async fn ok(program: &str, arguments: &[&str]) -> String {
    let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let output = run(program, &arguments).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// What the nodes logged of requests to an address.
async fn access_log(lab: &Lab, address: &str) -> Vec<String> {
    testkit::wait::until(format!("access log lines of {address}"), || async {
        let mut lines = Vec::new();
        for node in ["proxy-node-1", "proxy-node-2", "proxy-node-3"] {
            let process = lab.process(node);
            let place = process.argv.iter().position(|argument| argument == "--data-dir")?;
            let log =
                std::fs::read_to_string(Path::new(&process.argv[place + 1]).join("access.log"))
                    .unwrap_or_default();
            lines.extend(log.lines().filter(|line| line.contains(address)).map(str::to_owned));
        }
        (!lines.is_empty()).then_some(lines)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_reaches_http_and_https_origins() {
    let lab = Lab::start(Options::default()).await;
    let files = tempfile::tempdir().expect("a directory");
    std::fs::write(files.path().join("hello.txt"), "hello from the origin\n").expect("a file");
    let (plain, secure) =
        (Origin::with_files(files.path()).await, Origin::with_tls(files.path()).await);
    let ca = files.path().join("origin.pem");
    std::fs::write(&ca, secure.certificate().expect("a certificate")).expect("a file");
    let proxy = format!("http://{}", lab.frontend());
    let got = ok("curl", &["-sS", "--fail", "-x", &proxy, &plain.url("/file/hello.txt")]).await;
    assert_eq!(got, "hello from the origin\n");
    let url = format!("https://localhost:{}/file/hello.txt", secure.address().port());
    let got = ok("curl", &["-sS", "--fail", "-x", &proxy, "--cacert", text(&ca), &url]).await;
    assert_eq!(got, "hello from the origin\n");

    let lines = access_log(&lab, &plain.address().to_string()).await;
    assert!(
        lines.iter().any(|line| line.contains("TCP_MISS/200")
            && line.contains(" GET ")
            && line.contains("HIER_DIRECT/127.0.0.1")),
        "{lines:?}"
    );
    let lines = access_log(&lab, &format!("localhost:{}", secure.address().port())).await;
    assert!(
        lines.iter().any(|line| line.contains("TCP_TUNNEL/200") && line.contains(" CONNECT ")),
        "{lines:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apt_updates_and_downloads_over_http() {
    let lab = Lab::start(Options::default()).await;
    let home = tempfile::tempdir().expect("a directory");
    let repository = home.path().join("repository");
    build_package(home.path(), &repository).await;
    let origin = Origin::with_files(&repository).await;
    let state = home.path().join("apt");
    for directory in
        ["lists/partial", "cache/archives/partial", "etc/preferences.d", "etc/trusted.gpg.d"]
    {
        std::fs::create_dir_all(state.join(directory)).expect("a directory");
    }
    std::fs::write(state.join("status"), "").expect("a file");
    std::fs::write(
        state.join("sources.list"),
        format!("deb [trusted=yes] {} ./\n", origin.url("/file")),
    )
    .expect("a file");
    let set = |name: &str, value: &str| format!("{name}={value}");
    let place = |name: &str| text(&state.join(name)).to_owned();
    let options = [
        set("Acquire::http::Proxy", &format!("http://{}/", lab.frontend())),
        set("Acquire::Retries", "0"),
        set("APT::Architecture", "amd64"),
        set("APT::Sandbox::User", ""),
        set("Dir::Etc", &place("etc")),
        set("Dir::Etc::sourcelist", &place("sources.list")),
        set("Dir::Etc::sourceparts", "-"),
        set("Dir::State::lists", &place("lists")),
        set("Dir::State::status", &place("status")),
        set("Dir::Cache", &place("cache")),
    ];
    let arguments = |words: &[&str]| {
        let mut all: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        options.iter().for_each(|option| all.extend(["-o".to_owned(), option.clone()]));
        all
    };
    for words in [vec!["update"], vec!["install", "--download-only", "-y", "shoal-demo"]] {
        let output = run("apt-get", &arguments(&words)).await;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "apt-get {words:?}: {printed}");
    }
    let archives = std::fs::read_dir(state.join("cache/archives")).expect("archives");
    let downloaded = archives
        .filter(|entry| {
            entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().ends_with(".deb"))
        })
        .count();
    assert_eq!(downloaded, 1);
    assert!(origin.last().expect("requests").field("via").is_some(), "apt went around the proxy");
}

/// A package of one file and an index of it, in the flat form of a repository.
async fn build_package(home: &Path, repository: &Path) {
    let tree = home.join("tree");
    std::fs::create_dir_all(tree.join("DEBIAN")).expect("a directory");
    std::fs::create_dir_all(tree.join("usr/share/shoal-demo")).expect("a directory");
    std::fs::create_dir_all(repository).expect("a directory");
    let control = "Package: shoal-demo\nVersion: 1.0\nArchitecture: all\nMaintainer: Shoal \
        <shoal@example.org>\nDescription: a test\n";
    std::fs::write(tree.join("DEBIAN/control"), control).expect("a file");
    std::fs::write(tree.join("usr/share/shoal-demo/data"), vec![b'd'; 200_000]).expect("a file");
    let package = repository.join("shoal-demo_1.0_all.deb");
    ok("dpkg-deb", &["--build", "--root-owner-group", text(&tree), text(&package)]).await;
    let sum = ok("sha256sum", &[text(&package)]).await;
    let sum = sum.split_whitespace().next().expect("a sum");
    let size = std::fs::metadata(&package).expect("the package").len();
    let index =
        format!("{control}Filename: ./shoal-demo_1.0_all.deb\nSize: {size}\nSHA256: {sum}\n\n");
    std::fs::write(repository.join("Packages"), index).expect("a file");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pip_downloads_through_a_tunnel() {
    let lab = Lab::start(Options::default()).await;
    let home = tempfile::tempdir().expect("a directory");
    let index = home.path().join("site/simple/shoal-demo");
    std::fs::create_dir_all(&index).expect("a directory");
    let make = "import sys, zipfile\n\
        with zipfile.ZipFile(sys.argv[1], 'w') as wheel:\n\
        \x20   info = 'shoal_demo-1.0.dist-info/'\n\
        \x20   wheel.writestr('shoal_demo.py', 'answer = 42\\n' * 20000)\n\
        \x20   wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: \
        shoal-demo\\nVersion: 1.0\\n')\n\
        \x20   wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nGenerator: \
        test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n\
        \x20   wheel.writestr(info + 'RECORD', '')\n";
    ok("python3", &["-c", make, text(&index.join("shoal_demo-1.0-py3-none-any.whl"))]).await;
    let page = "<!DOCTYPE html><html><body><a \
        href=\"shoal_demo-1.0-py3-none-any.whl\">shoal_demo-1.0-py3-none-any.whl</a></body></html>";
    std::fs::write(index.join("index.html"), page).expect("a file");
    let origin = Origin::with_tls(&home.path().join("site")).await;
    let ca = home.path().join("origin.pem");
    std::fs::write(&ca, origin.certificate().expect("a certificate")).expect("a file");
    let (proxy, url) = (
        format!("http://{}", lab.frontend()),
        format!("https://localhost:{}/file/simple/", origin.address().port()),
    );
    let target = home.path().join("downloaded");
    let python = python();
    let arguments = [
        "-m",
        "pip",
        "--isolated",
        "download",
        "--no-deps",
        "--no-cache-dir",
        "--disable-pip-version-check",
        "--retries",
        "0",
    ];
    let wanted = [
        "--proxy",
        &proxy,
        "--cert",
        text(&ca),
        "--index-url",
        &url,
        "-d",
        text(&target),
        "shoal-demo",
    ];
    ok(text(&python), &[&arguments[..], &wanted[..]].concat()).await;
    assert!(target.join("shoal_demo-1.0-py3-none-any.whl").exists());
    access_log(&lab, &format!("localhost:{}", origin.address().port())).await;
}

/// The Python that the test command set up.
pub fn python() -> PathBuf {
    let python = testkit::lab::binary()
        .parent()
        .and_then(Path::parent)
        .expect("a target directory")
        .join("e2e-python/bin/python");
    assert!(
        python.exists(),
        "{} is missing: run the test command of README.md, which sets it up",
        python.display()
    );
    python
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_python_client_speaks_to_the_registry() {
    let lab = Lab::start(Options::default()).await;
    let registry = lab.process("registry-1");
    let node = lab.process("proxy-node-1");
    let file = |flag: &str| {
        let place = node
            .argv
            .iter()
            .position(|argument| argument == flag)
            .unwrap_or_else(|| panic!("no {flag} in {node:?}"));
        node.argv[place + 1].clone()
    };
    let operator = &lab.description.operator;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/client.py");
    let (cert, key) = (file("--cert"), file("--key"));
    let arguments = [
        text(&script),
        &registry.endpoints["grpc"],
        text(&operator.ca),
        text(&operator.cert),
        text(&operator.key),
        "proxy-node-1",
        &cert,
        &key,
    ];
    let printed = ok(text(&python()), &arguments).await;
    let found: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(found["health"], "SERVING", "{found}");
    let services = found["services"].as_array().expect("services");
    for service in ["shoal.registry.v1.Registry", "grpc.health.v1.Health"] {
        assert!(services.iter().any(|found| found == service), "{service} is not in {found}");
    }
    let instances = found["instances"].as_array().expect("instances");
    for name in ["registry-1", "config-service-1", "balancer-2", "proxy-node-3", "health-checker-3"]
    {
        assert!(instances.iter().any(|found| found == name), "{name} is not in {found}");
    }
    assert_eq!((&found["drained"], &found["ready"]), (&2.into(), &1.into()), "{found}");
    assert_eq!(found["unknown_node"], "NOT_FOUND", "{found}");
    assert_eq!(found["as_a_node"], "PERMISSION_DENIED", "{found}");
    assert_eq!(found["without_certificate"], "UNAVAILABLE", "{found}");
}
