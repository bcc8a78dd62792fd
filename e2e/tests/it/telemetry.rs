//! What the processes of a cluster tell of themselves: traces that join, and metrics that
//! Prometheus's own tool has nothing to say about.

mod collector;

use std::{io::Write, process::Stdio};

use collector::{Collector, Received};
use testkit::{
    client,
    lab::{Lab, Options},
    origin::Origin,
    wait,
};

const INTERNAL: i32 = 0;

fn is_child(child: &Received, parent: &Received) -> bool {
    child.span.trace_id == parent.span.trace_id && child.span.parent_span_id == parent.span.span_id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_one_trace_and_calls_between_processes_are_joined() {
    let (collector, origin) = (Collector::start().await, Origin::start().await);
    let endpoint = format!("http://{}", collector.address);
    let arguments =
        ["--nodes", "2", "--balancers", "1", "--checkers", "1", "--otlp-endpoint", &endpoint];
    let lab = Lab::start(Options {
        arguments: arguments.map(str::to_owned).to_vec(),
        ..Options::default()
    })
    .await;
    let answer = client::once(lab.frontend(), "GET", &origin.url("/x?secret"), &[], b"")
        .await
        .expect("an answer");
    let id = answer.head.field("shoal-request-id").expect("an id").to_owned();
    let (balancer, node) = wait::until("both spans of the request", || async {
        let received = collector.received();
        let of = |process: &str| {
            received
                .iter()
                .find(|it| {
                    it.process.starts_with(process) && it.attribute("shoal.request_id") == id
                })
                .cloned()
        };
        of("balancer-").zip(of("proxy-node-"))
    })
    .await;
    let trace: String = balancer.span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(trace, id.replace('-', ""), "a trace is found by the request's id");
    // Between the two is the balancer's attempt at the node; the node's own steps are below.
    let (attempt, connect) = wait::until("the attempt and the connection", || async {
        let received = collector.received();
        let below = |parent: &Received, name: &str| {
            received
                .iter()
                .find(|it| {
                    is_child(it, parent) && it.process == parent.process && it.span.name == name
                })
                .cloned()
        };
        below(&balancer, "GET").zip(below(&node, "tcp connect"))
    })
    .await;
    assert!(
        balancer.span.parent_span_id.is_empty() && is_child(&node, &attempt),
        "{balancer:?} {node:?}"
    );
    assert_eq!(
        (attempt.attribute("shoal.server"), attempt.attribute("shoal.attempt.outcome")),
        (node.process.clone(), "relayed".into())
    );
    assert_eq!(connect.attribute("network.peer.address"), "127.0.0.1");
    assert_eq!(balancer.attribute("shoal.server"), node.process);
    for span in [&balancer, &node] {
        assert_eq!(span.attribute("http.request.method"), "GET");
        assert_eq!(span.attribute("http.response.status_code"), answer.status().to_string());
        assert_eq!(span.attribute("url.full"), origin.url("/x?REDACTED"));
        assert!(
            span.span.end_time_unix_nano >= span.span.start_time_unix_nano
                && span.span.kind != INTERNAL
        );
    }

    // A client's own trace goes on.
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    client::once(lab.frontend(), "GET", &origin.url("/bytes/20"), &[("traceparent", parent)], b"")
        .await
        .expect("an answer");
    wait::until("the client's trace", || async {
        let received = collector.received();
        let of = |process: &str| {
            received.iter().find(|it| {
                it.process.starts_with(process) && it.attribute("url.full").ends_with("/bytes/20")
            })
        };
        let (balancer, node) = (of("balancer-")?, of("proxy-node-")?);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let between =
            received.iter().any(|attempt| is_child(attempt, balancer) && is_child(node, attempt));
        (hex(&balancer.span.parent_span_id) == "b7ad6b7169203331" && between).then_some(())
    })
    .await;

    // Any call between two processes: a registration.
    wait::until("a call's two spans", || async {
        let received = collector.received();
        let called = |it: &&Received| {
            it.span.name == "shoal.registry.v1.Registry/Register" && it.process == "registry-1"
        };
        let joined = received.iter().filter(called).any(|server| {
            let caller = |it: &Received| {
                it.process != "registry-1"
                    && it.attribute("rpc.method") == "Register"
                    && is_child(server, it)
            };
            received.iter().any(caller)
        });
        joined.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_as_prometheus_wants_them() {
    let (lab, origin) = (Lab::start(Options::default()).await, Origin::start().await);
    // What is only there once something has happened.
    for path in ["/bytes/10", "/bytes/10", "/status/404"] {
        client::once(lab.frontend(), "GET", &origin.url(path), &[], b"").await.expect("an answer");
    }
    lab.ok(&["node", "drain", "proxy-node-1"]).await;
    lab.ok(&["backup", "create"]).await;
    let documented = include_str!("../../../docs/metrics.md");
    for process in &lab.description.processes {
        let admin = process.endpoints["admin"].parse().expect("an address");
        let text = wait::until(format!("the metrics of {}", process.name), || async {
            let answer = client::Connection::open(admin)
                .await
                .ok()?
                .inside("GET", "/metrics", &[])
                .await
                .ok()?;
            let text = String::from_utf8(answer.body).ok()?;
            let told = match process.service.as_str() {
                "balancer" => text.contains("shoal_balancer_server_head_duration_seconds_bucket{"),
                "proxy-node" => text.contains("shoal_proxy_answers_total{class=\"2xx\"}"),
                _ => true,
            };
            told.then_some(text)
        })
        .await;
        let mut promtool = std::process::Command::new("promtool");
        promtool
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut promtool = promtool.spawn().expect("promtool, of Debian's package prometheus");
        promtool.stdin.take().expect("its input").write_all(text.as_bytes()).expect("written");
        let judged = promtool.wait_with_output().expect("its verdict");
        let said = [judged.stdout, judged.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(judged.status.success() && said.trim().is_empty(), "{}: {said}", process.name);
        let named = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .filter_map(|line| line.split(' ').next());
        let missing: Vec<_> =
            named.filter(|name| !documented.contains(&format!("| `{name}` |"))).collect();
        assert!(
            missing.is_empty(),
            "{} tells {missing:?}, and docs/metrics.md does not know them: a metrics.rs must name \
             them",
            process.name
        );
    }
}
