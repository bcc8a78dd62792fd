//! `shoal doctor`: silent about a healthy cluster, and on a broken one it names every fault with
//! what to do about it.

use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::Value;
use testkit::{
    lab::{Lab, Options, binary},
    machine::WallClock,
    wait,
};

/// The report, and the exit code.
async fn doctor(lab: &Lab) -> (Value, Option<i32>) {
    let output = lab.shoal(&["doctor", "-o", "json"]).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let report = serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr))
    });
    (report, output.status.code())
}

/// Whether somebody of this name has a finding with these words, and a remedy.
fn finds(report: &Value, severity: &str, subject: &str, words: &str) -> bool {
    report["findings"].as_array().expect("findings").iter().any(|finding| {
        let text = |key: &str| finding[key].as_str().expect("a text");
        let subjects = finding["subjects"].as_array().expect("subjects");
        text("severity") == severity
            && subjects.iter().any(|it| it == subject)
            && text("finding").contains(words)
            && !text("remedy").is_empty()
    })
}

/// How many findings of one check there are about somebody.
fn about(report: &Value, subject: &str, check: &str) -> usize {
    let findings = report["findings"].as_array().expect("findings");
    let concerns = |finding: &&Value| {
        finding["check"] == check
            && finding["subjects"].as_array().is_some_and(|all| all.iter().any(|it| it == subject))
    };
    findings.iter().filter(concerns).count()
}

async fn until_found(lab: &Lab, severity: &str, subject: &str, words: &str) -> Value {
    wait::until(format!("doctor finds {words:?} at {subject}"), || async {
        let (report, code) = doctor(lab).await;
        let found = finds(&report, severity, subject, words);
        if found {
            assert_eq!(code, Some(if report["worst"] == "critical" { 2 } else { 1 }), "{report:#}");
        }
        found.then_some(report)
    })
    .await
}

async fn until_healthy(lab: &Lab) {
    // A cluster that has just started has opinions to form.
    wait::until("doctor finds nothing to do", || async {
        let (report, code) = doctor(lab).await;
        let calm =
            report["findings"].as_array()?.iter().all(|finding| finding["severity"] == "info");
        assert_eq!(code == Some(0), calm, "{report:#}");
        calm.then_some(())
    })
    .await;
}

/// Replaces the certificate of a lab's process by one that was made a hundred days ago for a
/// hundred and one.
async fn almost_expired(lab: &Lab, name: &str) {
    let clock = WallClock::right();
    clock.set("-8640000");
    let directory = lab.data_dir().join("pki");
    let scratch = lab.data_dir().join("old");
    copy(&directory, &scratch);
    for ending in ["crt", "key"] {
        std::fs::remove_file(scratch.join(format!("{name}.{ending}")))
            .expect("the certificate that is replaced");
    }
    let mut command = tokio::process::Command::new(binary());
    command
        .args(["pki", "issue", "proxy-node", name, "--validity", "2424h", "--dir"])
        .arg(&scratch)
        .envs(clock.environment());
    let output = command.output().await.expect("run shoal");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The key first: a pair that does not fit is refused, and the old one stays in use until both
    // are there.
    for ending in ["key", "crt"] {
        let file = format!("{name}.{ending}");
        std::fs::rename(scratch.join(&file), directory.join(&file))
            .expect("put the certificate in place");
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            std::fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copy a file");
        }
    }
}

/// Applies a bundle that is valid and that no balancer can apply: a port that somebody else holds.
async fn refused_revision(lab: &Lab) -> std::net::TcpListener {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let bundle = lab.data_dir().join("bundle");
    let file = bundle.join("cluster.yaml");
    let yaml = std::fs::read_to_string(&file).expect("cluster.yaml");
    std::fs::write(&file, yaml.replace("${node.listen.frontend}", &address))
        .expect("write cluster.yaml");
    let output = lab.shoal(&["config", "apply", bundle.to_str().expect("a path")]).await;
    assert!(!output.status.success(), "a revision that no balancer can apply was rolled out");
    taken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_healthy_cluster_has_nothing_to_be_mended() {
    let lab = Lab::start(Options::default()).await;
    until_healthy(&lab).await;
    let text = lab.ok(&["doctor"]).await;
    assert!(text.contains("0 critical, 0 warnings") || text.contains("Nothing found"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_is_found_with_its_remedy() {
    let lab = Lab::start(Options {
        arguments: vec!["--no-restart".into(), "--nodes".into(), "4".into()],
        ..Options::default()
    })
    .await;
    until_healthy(&lab).await;

    let _taken = refused_revision(&lab).await;
    let report = until_found(&lab, "warning", "config-service", "failed").await;
    let refused = ["balancer-1", "balancer-2"]
        .iter()
        .any(|name| finds(&report, "warning", name, "it has refused"));
    assert!(refused, "{report:#}");

    almost_expired(&lab, "proxy-node-3").await;
    until_found(&lab, "critical", "proxy-node-3", "certificate expires in").await;

    let clock = WallClock::right();
    lab.signal("proxy-node-2", Signal::SIGKILL);
    let _node = lab.restart_with("proxy-node-2", &clock.environment());
    lab.until_state("proxy-node-2", "usable").await;
    clock.set("+30");
    until_found(&lab, "warning", "proxy-node-2", "ahead of the others").await;

    lab.signal("health-checker-2", Signal::SIGKILL);
    until_found(&lab, "critical", "health-checker-2", "does not answer").await;

    lab.signal("proxy-node-1", Signal::SIGSTOP);
    let report = until_found(&lab, "critical", "proxy-node-1", "its lease lapsed at").await;
    assert!(finds(&report, "critical", "proxy-node-1", "does not answer"), "{report:#}");
    assert_eq!(
        about(&report, "proxy-node-1", "processes"),
        1,
        "one fault, one finding: {report:#}"
    );

    lab.signal("config-service-1", Signal::SIGKILL);
    let report = until_found(&lab, "critical", "config-service", "nothing can be changed").await;
    // What was found before is found still.
    for (severity, subject, words) in [
        ("critical", "config-service-1", "does not answer"),
        ("critical", "proxy-node-1", "does not answer"),
        ("critical", "proxy-node-3", "certificate expires in"),
        ("warning", "proxy-node-2", "ahead of the others"),
    ] {
        assert!(
            finds(&report, severity, subject, words),
            "{subject}: {words} is missing: {report:#}"
        );
    }

    // Without the registry there is nobody to say who should be there, but in a lab it is known,
    // and the rest is looked at.
    lab.signal("registry-1", Signal::SIGKILL);
    let report = until_found(&lab, "critical", "registry", "the registry does not answer").await;
    assert!(finds(&report, "critical", "proxy-node-1", "does not answer"), "{report:#}");
    let text = String::from_utf8_lossy(&lab.shoal(&["doctor"]).await.stdout).into_owned();
    assert!(
        text.contains("critical  proxy-node-1 (processes)") && text.contains("\n => "),
        "{text}"
    );

    // On a real cluster nobody but the registry knows who is there: then nothing is said of
    // anybody.
    let registry = lab.process("registry-1").endpoints["grpc"].clone();
    let operator = &lab.description.operator;
    let [ca, cert, key] =
        [&operator.ca, &operator.cert, &operator.key].map(|path| path.to_str().expect("a path"));
    let output = lab
        .shoal(&[
            "doctor",
            "-o",
            "json",
            "--registry",
            &registry,
            "--ca",
            ca,
            "--cert",
            cert,
            "--key",
            key,
        ])
        .await;
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        finds(&report, "critical", "registry", "it alone knows who else is there"),
        "{report:#}"
    );
    assert_eq!(report["findings"].as_array().map(Vec::len), Some(1), "{report:#}");
    lab.signal("proxy-node-1", Signal::SIGCONT);
}

/// Applies the lab's bundle with a parent at which nobody listens, and has clients ask for
/// something.
async fn dead_parent(lab: &Lab) -> tempfile::TempDir {
    let scratch = tempfile::tempdir().expect("a directory");
    let bundle = scratch.path().join("bundle");
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .arg(lab.data_dir().join("bundle"))
        .arg(&bundle)
        .status()
        .expect("cp");
    assert!(copied.success());
    let file = bundle.join("cluster.yaml");
    let text = std::fs::read_to_string(&file).expect("the bundle");
    assert!(text.contains("parents: []"), "the lab's bundle has no parents to be replaced");
    std::fs::write(&file, text.replace("parents: []", "parents: [{address: \"127.0.0.1:9\"}]"))
        .expect("write the bundle");
    lab.ok(&["config", "apply", bundle.to_str().expect("a path")]).await;
    for _ in 0..20 {
        let answer = testkit::client::once(lab.frontend(), "GET", "http://192.0.2.1/", &[], b"")
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 502);
    }
    scratch
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_that_look_like_something_else_are_named() {
    let lab =
        Lab::start(Options { arguments: vec!["--no-restart".into()], ..Options::default() }).await;
    until_healthy(&lab).await;
    lab.ok(&["backup", "create"]).await;

    // Every request fails, and every process is well.
    let _bundle = dead_parent(&lab).await;
    until_found(&lab, "critical", "proxy-node-1", "failed (502); they go to parent 127.0.0.1:9")
        .await;

    // The registry and the checkers find it usable; it gets no request.
    let file = lab.data_dir().join("pki/cluster.key");
    let right = std::fs::read(&file).expect("the cluster key");
    lab.signal("proxy-node-3", Signal::SIGKILL);
    std::fs::write(&file, format!("{}\n", "5".repeat(64))).expect("another key");
    let _node = lab.restart("proxy-node-3");
    let report = until_found(&lab, "critical", "proxy-node-3", "another cluster key").await;
    assert!(
        finds(&report, "critical", "proxy-node-3", "every balancer finds it unwell"),
        "{report:#}"
    );
    assert!(lab.log("proxy-node-3").contains("another cluster key"), "{}", lab.log("proxy-node-3"));
    std::fs::write(&file, right).expect("the right key");
    let status = lab.json(&["status"]).await;
    assert_eq!(status["shunned"], serde_json::json!(["proxy-node-3"]), "{status:#}");
    let text = lab.ok(&["status"]).await;
    assert!(text.contains("every balancer finds it unwell"), "{text}");
    let top = lab.json(&["top", "--once"]).await;
    assert_eq!(
        (&top["total"]["nodes_usable"], &top["total"]["nodes"]),
        (&2.into(), &3.into()),
        "{top:#}"
    );

    // Nobody asked for a drain: it was stopped.
    lab.signal("console-1", Signal::SIGTERM);
    let report = until_found(&lab, "warning", "console-1", "it was stopped and is not back").await;
    assert_eq!(about(&report, "console-1", "processes"), 1, "{report:#}");

    // A registry without its database is another cluster's.
    lab.signal("registry-1", Signal::SIGKILL);
    std::fs::remove_dir_all(lab.data_dir().join("registry-1")).expect("the registry's data dir");
    let _registry = lab.restart("registry-1");
    let report = until_found(&lab, "critical", "registry", "its database was lost").await;
    let remedies = report["findings"]
        .as_array()
        .expect("findings")
        .iter()
        .map(|finding| finding["remedy"].as_str().expect("a remedy"));
    assert!(
        remedies.into_iter().any(|remedy| remedy.contains("`shoal backup restore latest`")),
        "{report:#}"
    );
    for name in ["backup-service-1", "config-service-1"] {
        lab.until_state(name, "usable").await;
    }
    lab.ok(&["backup", "restore", "latest", "--yes"]).await;
    wait::until("doctor is content with the registry", || async {
        let (report, _) = doctor(&lab).await;
        (!finds(&report, "critical", "registry", "its database was lost")).then_some(())
    })
    .await;
}
