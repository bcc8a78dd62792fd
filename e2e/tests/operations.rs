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
        let [first, second, third] = ["proxy-node-1", "proxy-node-2", "proxy-node-3"].map(|node| origin.requests_via(node));
        (first.abs_diff(60) < 10 && second.abs_diff(40) < 10 && third.abs_diff(20) < 10).then_some(())
    })
    .await;
    let origin = Origin::start().await;
    let outcome = Load::start(plan(&lab, &origin, 6_000)).finish().await;
    outcome.print("weights_divide_the_load");
    assert_eq!(outcome.failed, 0, "{:#?}", outcome.failures);
    for (node, share) in [("proxy-node-1", 3_000_u64), ("proxy-node-2", 2_000), ("proxy-node-3", 1_000)] {
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
    let _fourth = start_another(&lab);
    lab.until_state("proxy-node-3-b", "usable").await;
    let outcome = load.finish().await;
    outcome.print("a_fourth_node_joins_under_load");
    assert_eq!(outcome.failed, 0, "{:#?}", outcome.failures);
    wait::until("the fourth node takes requests", || async {
        run(&lab, &origin, 50).await;
        (origin.requests_via("proxy-node-3-b") > 0).then_some(())
    })
    .await;
}

/// One more node, with the certificate of the third and ports of its own.
fn start_another(lab: &Lab) -> tokio::process::Child {
    let third = lab.process("proxy-node-3");
    let mut argv = third.argv.clone();
    let data_dir = lab.data_dir().join("proxy-node-3-b");
    let set = |argv: &mut Vec<String>, flag: &str, value: &str| {
        let place = argv.iter().position(|argument| argument == flag).unwrap_or_else(|| panic!("no {flag} in {third:?}"));
        argv[place + 1] = value.to_owned();
    };
    set(&mut argv, "--name", "proxy-node-3-b");
    set(&mut argv, "--data-dir", &data_dir.to_string_lossy());
    for flag in ["--proxy", "--relay", "--grpc", "--admin"] {
        set(&mut argv, flag, "127.0.0.1:0");
    }
    let log = std::fs::File::create(lab.data_dir().join("logs/proxy-node-3-b.log")).expect("a log");
    let mut command = tokio::process::Command::new(&argv[0]);
    command.args(&argv[1..]).envs(&third.env).current_dir(&third.cwd).stdout(log.try_clone().expect("a handle")).stderr(log);
    command.kill_on_drop(true).spawn().expect("start a fourth node")
}
