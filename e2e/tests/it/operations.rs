//! What operators do to nodes while traffic flows: drain, enable, weigh, add.

use testkit::{
    lab::{Lab, Options},
    load::{Kind, Load, Plan},
    origin::Origin,
    wait,
};

const REQUESTS: u64 = 10_000;

fn plan(lab: &Lab, origin: &Origin, requests: u64) -> Plan {
    Plan {
        frontends: lab.description.frontends.clone(),
        origin: origin.address().to_string(),
        path: "/bytes/1024".into(),
        kind: Kind::Get,
        clients: 8,
        requests,
    }
}

async fn run(lab: &Lab, origin: &Origin, requests: u64) {
    let outcome = Load::start(plan(lab, origin, requests)).finish().await;
    assert_eq!(outcome.failed, 0, "{:#?}", outcome.failures);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_node_gets_nothing_until_it_is_enabled() {
    let lab = Lab::start(Options::default()).await;
    let origin = Origin::start().await;
    let load = Load::start(plan(&lab, &origin, REQUESTS));
    load.reach(2_000).await;
    lab.ok(&["node", "drain", "proxy-node-1"]).await;
    lab.until_state("proxy-node-1", "draining").await;
    let outcome = load.finish().await;
    outcome.print("a_drained_node_gets_nothing_until_it_is_enabled");
    assert_eq!(outcome.failed, 0, "{:#?}", outcome.failures);

    let before = origin.requests_via("proxy-node-1");
    run(&lab, &origin, 500).await;
    assert_eq!(origin.requests_via("proxy-node-1"), before, "a drained node got requests");

    lab.ok(&["node", "enable", "proxy-node-1"]).await;
    wait::until("the enabled node takes requests", || async {
        run(&lab, &origin, 50).await;
        (origin.requests_via("proxy-node-1") > before).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_divide_the_load() {
    let lab = Lab::start(Options::default()).await;
    for (node, weight) in [("proxy-node-1", "3"), ("proxy-node-2", "2"), ("proxy-node-3", "1")] {
        lab.ok(&["node", "weight", node, weight]).await;
    }
    wait::until("both balancers use the weights", || async {
        let origin = Origin::start().await;
        run(&lab, &origin, 120).await;
        let [first, second, third] =
            ["proxy-node-1", "proxy-node-2", "proxy-node-3"].map(|node| origin.requests_via(node));
        (first.abs_diff(60) < 10 && second.abs_diff(40) < 10 && third.abs_diff(20) < 10)
            .then_some(())
    })
    .await;
    let origin = Origin::start().await;
    let outcome = Load::start(plan(&lab, &origin, 6_000)).finish().await;
    outcome.print("weights_divide_the_load");
    assert_eq!(outcome.failed, 0, "{:#?}", outcome.failures);
    for (node, share) in
        [("proxy-node-1", 3_000_u64), ("proxy-node-2", 2_000), ("proxy-node-3", 1_000)]
    {
        let got = origin.requests_via(node);
        assert!(got.abs_diff(share) <= 60, "{node} got {got} of 6,000 instead of about {share}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fourth_node_joins_under_load() {
    let lab = Lab::start(Options::default()).await;
    let origin = Origin::start().await;
    let load = Load::start(plan(&lab, &origin, REQUESTS));
    load.reach(1_000).await;
    let pki = lab.data_dir().join("pki");
    lab.ok(&["pki", "issue", "proxy-node", "proxy-node-4", "--dir", &pki.to_string_lossy()]).await;
    let _fourth = start_another(&lab);
    lab.until_state("proxy-node-4", "usable").await;
    let outcome = load.finish().await;
    outcome.print("a_fourth_node_joins_under_load");
    assert_eq!(outcome.failed, 0, "{:#?}", outcome.failures);
    wait::until("the fourth node takes requests", || async {
        run(&lab, &origin, 50).await;
        (origin.requests_via("proxy-node-4") > 0).then_some(())
    })
    .await;
}

/// One more node, with a certificate and ports of its own.
fn start_another(lab: &Lab) -> tokio::process::Child {
    let third = lab.process("proxy-node-3");
    let mut argv = third.argv.clone();
    let data_dir = lab.data_dir().join("proxy-node-4");
    let set = |argv: &mut Vec<String>, flag: &str, value: &str| {
        let place = argv
            .iter()
            .position(|argument| argument == flag)
            .unwrap_or_else(|| panic!("no {flag} in {third:?}"));
        argv[place + 1] = value.to_owned();
    };
    set(&mut argv, "--name", "proxy-node-4");
    for (flag, file) in [("--cert", "proxy-node-4.crt"), ("--key", "proxy-node-4.key")] {
        set(&mut argv, flag, &lab.data_dir().join("pki").join(file).to_string_lossy());
    }
    set(&mut argv, "--data-dir", &data_dir.to_string_lossy());
    for flag in ["--proxy", "--relay", "--grpc", "--admin"] {
        set(&mut argv, flag, "127.0.0.1:0");
    }
    let log = std::fs::File::create(lab.data_dir().join("logs/proxy-node-4.log")).expect("a log");
    let mut command = tokio::process::Command::new(&argv[0]);
    command
        .args(&argv[1..])
        .envs(&third.env)
        .current_dir(&third.cwd)
        .stdout(log.try_clone().expect("a handle"))
        .stderr(log);
    command.kill_on_drop(true).spawn().expect("start a fourth node")
}

/// Whether a process runs what is assigned to it, and what the config-service says of it.
async fn step(lab: &Lab, name: &str) -> (bool, String) {
    let drift = lab.json(&["config", "drift"]).await;
    let nodes = drift["nodes"].as_array().expect("nodes");
    let node = nodes
        .iter()
        .find(|node| node["name"] == name)
        .unwrap_or_else(|| panic!("no {name} in {drift}"));
    (node["in_step"] == true, node["explanation"].as_str().unwrap_or_default().to_owned())
}

/// Kills it, and waits until the lab has started it again.
async fn kill_and_await(lab: &Lab, name: &str) {
    let before = lab
        .now()
        .processes
        .into_iter()
        .find(|process| process.name == name)
        .expect("the process")
        .pid;
    lab.signal(name, nix::sys::signal::Signal::SIGKILL);
    wait::until(format!("{name} runs again"), || async {
        let again = lab
            .now()
            .processes
            .into_iter()
            .find(|process| process.name == name)
            .is_some_and(|process| process.pid != before);
        (again && lab.state(name).await.as_deref() == Some("usable")).then_some(())
    })
    .await;
}

/// A process that is killed soon after it got a revision cannot know that the revision is not to
/// blame. An operator can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_node_rejected_is_tried_again_when_an_operator_says_so() {
    let lab = Lab::start(Options::default()).await;
    let bundle = lab.data_dir().join("bundle");
    let file = bundle.join("cluster.yaml");
    let before = std::fs::read_to_string(&file).expect("cluster.yaml");
    let after = format!(
        "{before}\noverrides:\n  - {{match: {{service: proxy-node}}, set: {{proxy: {{timeouts: \
         {{connect: 7s}}}}}}}}\n"
    );
    std::fs::write(&file, after).expect("another bundle");
    lab.ok(&["config", "apply", bundle.to_str().expect("UTF-8"), "-m", "another timeout"]).await;
    let nothing = lab.ok(&["config", "retry", "proxy-node-1"]).await;
    assert!(nothing.contains("has rejected nothing"), "{nothing}");
    // A start that is cut off before it has counted itself does not count.
    wait::until("the node has gone back", || async {
        kill_and_await(&lab, "proxy-node-1").await;
        step(&lab, "proxy-node-1").await.1.contains("will not take this again").then_some(())
    })
    .await;
    let said = lab.ok(&["config", "retry", "proxy-node-1"]).await;
    assert!(said.contains("did not survive") && said.contains("runs revision"), "{said}");
    assert!(step(&lab, "proxy-node-1").await.0);
    let audit = lab.json(&["audit", "-n", "1000"]).await.to_string();
    assert!(audit.contains("ForgetRejections"), "{audit}");
}

/// Who only looks goes on without the registry, from what it listed last; who wants to change
/// something is told that it cannot be done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_see_while_the_registry_is_frozen() {
    let lab = Lab::start(Options::default()).await;
    lab.ok(&["status"]).await;
    let registry = lab.process("registry-1");
    lab.signal(&registry.name, nix::sys::signal::Signal::SIGSTOP);
    for command in [
        vec!["status"],
        vec!["explain", "http://example.com/"],
        vec!["logs"],
        vec!["audit"],
        vec!["cache", "stats"],
    ] {
        let output = lab.shoal(&command).await;
        let (said, remarked) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && !said.is_empty(), "{command:?}: {output:?}");
        assert!(
            remarked.contains("is what the registry listed") && remarked.contains(" ago"),
            "{command:?}: {remarked}"
        );
    }
    // The config-service decides for itself: a bundle can be put into force, and taken back, all
    // the same.
    let bundle = lab.data_dir().join("bundle");
    let file = bundle.join("cluster.yaml");
    let before = std::fs::read_to_string(&file).expect("the bundle");
    std::fs::write(&file, format!("{before}# while the registry is frozen\n"))
        .expect("write the bundle");
    for command in [
        vec!["config", "apply", &bundle.display().to_string()],
        vec!["config", "history"],
        vec!["config", "rollback", "1"],
    ] {
        let output = lab.shoal(&command).await;
        let remarked = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {output:?}");
        assert_eq!(
            remarked.matches("is what the registry listed").count(),
            1,
            "{command:?}: {remarked}"
        );
    }
    for command in
        [vec!["node", "drain", "proxy-node-1"], vec!["cache", "purge", "http://example.com/"]]
    {
        let output = lab.shoal(&command).await;
        let remarked = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && remarked.contains("noth") && remarked.contains("registry"),
            "{command:?}: {remarked}"
        );
    }
    lab.signal(&registry.name, nix::sys::signal::Signal::SIGCONT);
    wait::until("the registry is asked again", || async {
        let output = lab.shoal(&["status"]).await;
        (output.status.success() && output.stderr.is_empty()).then_some(())
    })
    .await;
}
