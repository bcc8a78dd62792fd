//! Invariant 2: a bad configuration never takes a node down.

use std::path::{Path, PathBuf};

use testkit::{
    lab::{Lab, Options},
    load::{Kind, Load, Outcome, Plan},
    origin::Origin,
    wait,
};

const REQUESTS: u64 = 10_000;

fn load(lab: &Lab, origin: &Origin) -> Load {
    Load::start(Plan {
        frontends: lab.description.frontends.clone(),
        origin: origin.address().to_string(),
        path: "/bytes/1024".into(),
        kind: Kind::Get,
        clients: 8,
        requests: REQUESTS,
    })
}

fn assert_none_failed(test: &str, outcome: &Outcome) {
    outcome.print(test);
    assert_eq!(outcome.failed, 0, "{:#?}", outcome.failures);
}

/// The lab's bundle with one text replaced by another, in a directory of its own.
fn edited(lab: &Lab, name: &str, edit: impl Fn(&str) -> String) -> PathBuf {
    let (from, to) = (lab.data_dir().join("bundle"), lab.data_dir().join(name));
    copy(&from, &to);
    let file = to.join("cluster.yaml");
    let before = std::fs::read_to_string(&file).expect("cluster.yaml");
    let after = edit(&before);
    assert_ne!(before, after, "the edit changes nothing");
    std::fs::write(file, after).expect("write cluster.yaml");
    to
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("copy a file");
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// The newest revision and whether it is the one that nodes get.
async fn newest(lab: &Lab) -> (String, bool) {
    let history = lab.json(&["config", "history"]).await;
    let newest = &history["revisions"][0];
    (
        newest["id"].as_str().expect("an id").to_owned(),
        newest["released"].as_bool().expect("released"),
    )
}

async fn until_all_run(lab: &Lab, revision: &str) {
    wait::until(format!("every instance of the data plane runs {revision}"), || async {
        let status = lab.json(&["status"]).await;
        let instances = status["instances"].as_array()?.clone();
        let data_plane = instances.iter().filter(|instance| {
            matches!(instance["service"].as_str(), Some("proxy-node" | "balancer"))
        });
        data_plane
            .into_iter()
            .all(|instance| instance["revision"] == revision && instance["state"] == "usable")
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_bundle_is_refused_before_any_node_sees_it() {
    let lab = Lab::start(Options::default()).await;
    let origin = Origin::start().await;
    let (before, _) = newest(&lab).await;
    let load = load(&lab, &origin);
    load.reach(1_000).await;
    let bad = edited(&lab, "bad", |yaml| {
        yaml.replacen("  cache:\n", "  cash: {memory: 12 elephants}\n  cache:\n", 1)
    });
    let output = lab.shoal(&["config", "apply", text(&bad)]).await;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{errors}");
    assert!(errors.contains("cluster.yaml:"), "no place in: {errors}");
    assert!(errors.contains("cash"), "no word about the key in: {errors}");
    assert_none_failed("a_bad_bundle_is_refused_before_any_node_sees_it", &load.finish().await);
    assert_eq!(newest(&lab).await, (before.clone(), true));
    until_all_run(&lab, &before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apply_deny_and_roll_back_under_load() {
    let lab = Lab::start(Options::default()).await;
    let origin = Origin::start().await;
    let (first, _) = newest(&lab).await;
    let load = load(&lab, &origin);
    load.reach(1_000).await;

    let denying = edited(&lab, "denying", |yaml| {
        let acls = yaml.replacen(
            "acls:\n",
            "acls:\n      forbidden: {dstdomain: [forbidden.example]}\n",
            1,
        );
        acls.replacen(
            "      - {deny: [blocked]",
            "      - {deny: [forbidden]}\n      - {deny: [blocked]",
            1,
        )
    });
    let printed =
        lab.ok(&["config", "apply", text(&denying), "-m", "deny forbidden.example"]).await;
    for node in ["proxy-node-1", "proxy-node-2", "proxy-node-3"] {
        assert!(printed.contains(node), "no acknowledgement of {node} in: {printed}");
    }
    let (second, released) = newest(&lab).await;
    assert!(released && second != first);
    until_all_run(&lab, &second).await;
    let ask =
        || testkit::client::once(lab.frontend(), "GET", "http://forbidden.example/", &[], b"");
    let denied = ask().await.expect("an answer");
    let page = String::from_utf8_lossy(&denied.body).into_owned();
    assert_eq!(denied.status(), 403, "{page}");
    assert!(
        page.contains("forbidden") && page.contains(&second) && page.contains("shoal explain"),
        "{page}"
    );
    let explained = lab.ok(&["explain", "http://forbidden.example/"]).await;
    assert!(explained.contains("forbidden"), "{explained}");

    lab.ok(&["config", "rollback", &first]).await;
    let (third, released) = newest(&lab).await;
    assert!(released);
    until_all_run(&lab, &third).await;
    assert_ne!(ask().await.expect("an answer").status(), 403);
    assert_none_failed("apply_deny_and_roll_back_under_load", &load.finish().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_apply_keeps_what_it_has_and_stops_the_rollout() {
    let lab = Lab::start(Options::default()).await;
    let origin = Origin::start().await;
    let (first, _) = newest(&lab).await;
    // A port that somebody else holds: valid in the bundle, impossible on the node.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let load = load(&lab, &origin);
    load.reach(1_000).await;
    let impossible =
        edited(&lab, "impossible", |yaml| yaml.replace("${node.listen.frontend}", &address));
    let output = lab.shoal(&["config", "apply", text(&impossible)]).await;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{errors}");
    assert!(errors.contains("balancer-") && errors.contains(&address), "{errors}");
    assert_none_failed("a_node_that_cannot_apply_keeps_what_it_has", &load.finish().await);
    let (second, released) = newest(&lab).await;
    assert!(second != first && !released, "a rejected revision is not released");
    until_all_run(&lab, &first).await;
    // Once more, it is the same revision that is tried again.
    let output = lab.shoal(&["config", "apply", text(&impossible)]).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        !output.status.success()
            && said.contains("unchanged: revision 2 ")
            && said.contains("not released"),
        "{said}"
    );
    assert_eq!(newest(&lab).await, (second, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unchanged_bundle_makes_no_revision() {
    let lab = Lab::start(Options {
        arguments: ["--nodes", "1", "--balancers", "1"].map(str::to_owned).into(),
        ..Options::default()
    })
    .await;
    let bundle = lab.data_dir().join("bundle");
    let first = newest(&lab).await;
    let said = lab
        .ok(&["config", "apply", text(&bundle), "-m", "every five minutes, by a pipeline"])
        .await;
    assert!(
        said.contains("unchanged: revision 1 ")
            && said.contains("is already released, nothing to do"),
        "{said}"
    );
    let said = lab.ok(&["config", "rollback", "1"]).await;
    assert!(said.contains("unchanged: revision 1 "), "{said}");
    assert_eq!(newest(&lab).await, first);
    let said = lab.ok(&["config", "apply", text(&bundle), "--again"]).await;
    assert!(
        said.contains("committed revision 2 ") && said.contains("revision 2 is in force"),
        "{said}"
    );
    assert_ne!(newest(&lab).await, first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashing_revision_is_booted_from_the_generation_before() {
    let environment = vec![("SHOAL_TEST_CRASH_ON_VISIBLE_HOSTNAME".into(), "crash-me".into())];
    let lab = Lab::start(Options { environment, ..Options::default() }).await;
    let origin = Origin::start().await;
    let (first, _) = newest(&lab).await;
    let load = load(&lab, &origin);
    load.reach(1_000).await;
    let crashing = edited(&lab, "crashing", |yaml| {
        format!(
            "{yaml}\noverrides: [{{match: {{name: proxy-node-3}}, set: {{proxy: \
             {{visible_hostname: crash-me}}}}}}]\n"
        )
    });
    let before = lab.process("proxy-node-3").pid;
    // It applies and is acknowledged, and then the process dies of it: the rollout waits for the
    // node to prove itself, and fails.
    let output = lab.shoal(&["config", "apply", text(&crashing)]).await;
    assert!(!output.status.success(), "a revision that kills its first node was released");
    wait::until("proxy-node-3 serves the generation before", || async {
        let status = lab.json(&["status"]).await;
        let node = status["instances"]
            .as_array()?
            .iter()
            .find(|instance| instance["name"] == "proxy-node-3")?
            .clone();
        (node["revision"] == first.as_str()
            && node["state"] == "usable"
            && lab.process("proxy-node-3").pid != before)
            .then_some(())
    })
    .await;
    let (newer, released) = newest(&lab).await;
    assert!(newer != first && !released, "{newer} is released");
    until_all_run(&lab, &first).await;
    assert_none_failed(
        "a_crashing_revision_is_booted_from_the_generation_before",
        &load.finish().await,
    );
}

/// As in production: clients by their network, Squid's ports, and no word about loopback, which the
/// checkers of a lab are at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lab_with_a_bundle_of_production_finds_its_nodes_well() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/docker/bundle");
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let bundle = scratch.path().join("bundle");
    copy(&shipped, &bundle);
    let main = bundle.join("cluster.yaml");
    let before = std::fs::read_to_string(&main).expect("cluster.yaml");
    let after = before.replace("172.30.80.0/24", "127.0.0.0/8");
    assert_ne!(before, after, "the clients of the bundle");
    std::fs::write(&main, after).expect("write cluster.yaml");
    let lab = Lab::start(Options {
        arguments: vec!["--config".into(), text(&bundle).into()],
        ..Options::default()
    })
    .await;
    for check in ["port", "through-proxy", "through-tunnel"] {
        let found = lab.json(&["check", "run", check]).await;
        let found = found["findings"].as_array().expect("findings").clone();
        assert!(
            found.len() >= 3 && found.iter().all(|finding| finding["outcome"] == "passed"),
            "{check}: {found:#?}"
        );
    }
    // A client has no such way to this machine, and none to ports that are not of the web.
    let origin = Origin::start().await;
    for (method, target, status) in [
        ("GET", origin.url("/bytes/1"), 403),
        ("CONNECT", "192.0.2.1:8443".to_owned(), 403),
        ("GET", "http://192.0.2.1:25/".to_owned(), 403),
    ] {
        let host = target.trim_start_matches("http://").split('/').next().unwrap_or_default();
        let mut connection =
            testkit::client::Connection::open(lab.frontend()).await.expect("a connection");
        connection
            .send(format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
            .await
            .expect("sent");
        assert_eq!(
            connection.answer(method).await.expect("an answer").status(),
            status,
            "{method} {target}"
        );
    }
    lab.stop().await;
}
