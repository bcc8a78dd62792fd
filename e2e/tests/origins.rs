//! Evidence against a node is the node's own failure, never the origin's.

use testkit::{
    blackhole::Blackhole,
    client,
    lab::{Lab, Options},
    load::{Kind, Load, Plan},
    origin::Origin,
};

/// Nobody was ejected: every node is usable and no balancer counts an ejection.
async fn assert_nobody_ejected(lab: &Lab) {
    for node in ["proxy-node-1", "proxy-node-2", "proxy-node-3"] {
        assert_eq!(lab.state(node).await.as_deref(), Some("usable"), "{node}");
    }
    for log in ["balancer-1", "balancer-2"] {
        let text = std::fs::read_to_string(lab.data_dir().join("logs").join(format!("{log}.log"))).expect("the balancer's log");
        assert!(!text.contains("ejected"), "{log} ejected a node:\n{}", lab.log(log));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_origin_ejects_nobody_and_is_asked_once() {
    let lab = Lab::start(Options::default()).await;
    let (slow, quick) = (Origin::start().await, Origin::start().await);
    let frontend = lab.frontend();
    let ask = |method: &'static str, id: &'static str| {
        let url = slow.url("/delay/20000");
        async move { client::once(frontend, method, &url, &[("x-test-id", id)], if method == "POST" { b"once" } else { b"" }).await }
    };
    let plan = Plan {
        frontends: vec![frontend],
        origin: quick.address().to_string(),
        path: "/bytes/1024".into(),
        kind: Kind::Get,
        clients: 4,
        requests: 10_000,
    };
    let load = Load::start(plan);
    let (get, post, second) = tokio::join!(ask("GET", "slow-get"), ask("POST", "slow-post"), ask("GET", "slow-get-2"));
    for (answer, id) in [(get, "slow-get"), (post, "slow-post"), (second, "slow-get-2")] {
        assert_eq!(answer.expect("an answer").status(), 200, "{id}");
        assert_eq!(slow.arrivals(id), 1, "{id}");
    }
    let outcome = load.finish().await;
    outcome.print("a_slow_origin_ejects_nobody_and_is_asked_once");
    assert_eq!(outcome.failed, 0, "{:#?}", outcome.failures);
    assert_nobody_ejected(&lab).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_black_hole_origin_ejects_nobody_and_is_asked_once() {
    let lab = Lab::start(Options::default()).await;
    let (hole, quick) = (Blackhole::start(), Origin::start().await);
    let frontend = lab.frontend();
    let plan = Plan {
        frontends: vec![frontend],
        origin: quick.address().to_string(),
        path: "/bytes/1024".into(),
        kind: Kind::Get,
        clients: 4,
        requests: 10_000,
    };
    let load = Load::start(plan);
    let url = format!("http://{}/", hole.address());
    // Nobody answers within the client's patience, or the cluster answers 504: either is right, a second arrival is not.
    for method in ["GET", "POST"] {
        let asked = tokio::time::timeout(std::time::Duration::from_secs(8), client::once(frontend, method, &url, &[], b"x")).await;
        if let Ok(Ok(answer)) = asked {
            assert_eq!(answer.status(), 504, "{method}: {}", String::from_utf8_lossy(&answer.body));
        }
        assert_eq!(hole.arrivals(), 1, "{method}");
    }
    let outcome = load.finish().await;
    outcome.print("a_black_hole_origin_ejects_nobody_and_is_asked_once");
    assert_eq!(outcome.failed, 0, "{:#?}", outcome.failures);
    assert_nobody_ejected(&lab).await;
}
