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
        let text = std::fs::read_to_string(lab.data_dir().join("logs").join(format!("{log}.log")))
            .expect("the balancer's log");
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
        async move {
            client::once(
                frontend,
                method,
                &url,
                &[("x-test-id", id)],
                if method == "POST" { b"once" } else { b"" },
            )
            .await
        }
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
    let (get, post, second) =
        tokio::join!(ask("GET", "slow-get"), ask("POST", "slow-post"), ask("GET", "slow-get-2"));
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
    // Nobody answers within the client's patience, or the cluster answers 504: either is right, a
    // second arrival is not.
    for method in ["GET", "POST"] {
        let asked = tokio::time::timeout(
            std::time::Duration::from_secs(8),
            client::once(frontend, method, &url, &[], b"x"),
        )
        .await;
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

/// The lab's bundle, with this certificate as an authority for origins.
fn trusting(lab: &Lab, certificate: &str) -> std::path::PathBuf {
    let bundle = lab.data_dir().join("bundle");
    std::fs::create_dir(bundle.join("authorities")).expect("a directory");
    std::fs::write(bundle.join("authorities/test.pem"), certificate).expect("the authority");
    let main = bundle.join("cluster.yaml");
    let before = std::fs::read_to_string(&main).expect("cluster.yaml");
    let after = before.replace(
        "\n  hierarchy:\n",
        "\n  origin_tls: {ca_file: test, system_ca: false}\n  hierarchy:\n",
    );
    assert_ne!(before, after, "the edit changes nothing");
    std::fs::write(main, after).expect("write cluster.yaml");
    bundle
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https_in_absolute_form_goes_through_both_hops_and_is_verified() {
    let lab = Lab::start(Options::default()).await;
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("page"), "over TLS").expect("a page");
    let origin = Origin::with_tls(directory.path()).await;
    let url = |path: &str| origin.url(path).replace("http://", "https://");
    let page = url("/file/page");
    // Nobody whom the nodes trust vouches for it. That is no node's fault, so no other node is
    // asked.
    let refused = client::once(lab.frontend(), "GET", &page, &[("x-test-id", "refused")], b"")
        .await
        .expect("an answer");
    let status = refused.head.field("proxy-status").unwrap_or_default().to_owned();
    assert!(refused.status() == 502 && status.contains("error=tls_certificate_error"), "{status}");
    let said = lab.json(&["logs", "--status", "502"]).await.to_string();
    assert!(said.contains(&page) && origin.arrivals("refused") == 0, "{said}");
    let bundle = trusting(&lab, origin.certificate().expect("TLS"));
    lab.ok(&["config", "apply", bundle.to_str().expect("UTF-8")]).await;
    let mut client = client::Connection::open(lab.frontend()).await.expect("a connection");
    let page = client.request("GET", &page, &[], b"").await.expect("an answer");
    assert_eq!((page.status(), page.body.as_slice()), (200, &b"over TLS"[..]));
    for _ in 0..9 {
        let kept = client
            .request("GET", &url("/cacheable/1000"), &[("x-test-id", "kept")], b"")
            .await
            .expect("an answer");
        assert_eq!((kept.status(), kept.body.len()), (200, 1000));
    }
    assert!(origin.arrivals("kept") <= 3, "each node keeps it: {}", origin.arrivals("kept"));
    let posted = client
        .request("POST", &url("/echo"), &[("x-test-id", "post")], b"body")
        .await
        .expect("an answer");
    assert_eq!((posted.status(), origin.arrivals("post")), (200, 1));
    let head = client.request("HEAD", &url("/bytes/1000"), &[], b"").await.expect("an answer");
    assert_eq!((head.status(), head.head.field("content-length")), (200, Some("1000")));
    let told =
        lab.ok(&["explain", &url("/echo"), "--method", "GET", "--client", "127.0.0.1"]).await;
    assert!(told.contains("certificate for 127.0.0.1 by one of 1 authorities"), "{told}");
    assert_nobody_ejected(&lab).await;
}
