//! What is tried again because the bundle wants it, what is asked twice, and who is asked last.

use balancer::stats::BackendCounts;
use dataplane::count::Count;
use proto::balancer::Standing;
use serde_json::{Value, json};
use testkit::wait::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Cluster, Mode, by};

fn retry(on: &[&str], budget: u8, extra: &Value) -> Value {
    let mut settings = json!({"retry": {"attempts": 3, "budget": budget, "on": on}});
    for (key, value) in extra.as_object().into_iter().flatten() {
        match key.as_str() {
            "hedge" => settings["retry"]["hedge"] = value.clone(),
            _ => settings[key] = value.clone(),
        }
    }
    settings
}

const USUAL: [&str; 4] = ["connect_failure", "reset", "junk_response", "node_error"];

fn counted(cluster: &Cluster, count: fn(&BackendCounts) -> &Count) -> u64 {
    cluster.view.snapshot().pools[0].servers[0].server.backend.sum(count)
}

async fn arrived(cluster: &Cluster, node: usize, count: usize) {
    until(format!("{count} at node {node}"), || async {
        (cluster.nodes[node].arrivals().len() >= count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_is_tried_again_where_it_may_be() {
    let mut on = USUAL.to_vec();
    on.push("503");
    let cluster = Cluster::with(2, retry(&on, 100, &json!({"balance": "first"}))).await;
    cluster.nodes[0].set(Mode::Unavailable);
    let answer = cluster.get("GET", b"").await;
    assert_eq!((answer.status(), by(&answer).as_str()), (200, "node-2"));
    // With its body, which is still known.
    let answer = cluster.get("PUT", b"twice").await;
    assert_eq!((answer.status(), by(&answer).as_str()), (200, "node-2"));
    assert_eq!(cluster.nodes[1].arrivals().last().expect("arrived").body, b"twice");
    // One that may have had its effect has it once, and the answer is what was said.
    let answer = cluster.get("POST", b"once").await;
    assert_eq!((answer.status(), answer.body.as_slice()), (503, b"sorry".as_slice()));
    assert_eq!(cluster.nodes[1].arrivals().len(), 2);
    // Not what nobody asked for.
    cluster.nodes[0].set(Mode::OriginError);
    assert_eq!(cluster.get("GET", b"").await.status(), 502);
    // Everybody says it: so does the balancer.
    cluster.nodes.iter().for_each(|node| node.set(Mode::Unavailable));
    let answer = cluster.get("GET", b"").await;
    assert_eq!((answer.status(), answer.body.as_slice()), (503, b"sorry".as_slice()));
    assert_eq!(cluster.frontend_stats().failed, 0, "a server has answered each");
}

/// Half of the nodes answer 503: what is asked twice is a share of what is asked.
#[tokio::test(flavor = "multi_thread")]
async fn retries_are_no_flood() {
    const REQUESTS: u64 = 600;
    let mut on = USUAL.to_vec();
    on.push("503");
    let cluster = Cluster::with(4, retry(&on, 20, &json!({}))).await;
    cluster.nodes[1].set(Mode::Unavailable);
    cluster.nodes[3].set(Mode::Unavailable);
    let mut client = cluster.open().await;
    let mut refused = 0;
    for _ in 0..REQUESTS {
        let answer = client.request("GET", "http://o/", &[], b"").await.expect("an answer");
        refused += u64::from(answer.status() == 503);
    }
    let arrived = cluster.arrivals().len() as u64;
    let (retries, over) =
        (counted(&cluster, |it| &it.retries), counted(&cluster, |it| &it.over_budget));
    assert_eq!(arrived, REQUESTS + retries);
    // 20 % of them, and what a quiet time had saved.
    assert!(retries <= REQUESTS / 5 + 10, "{retries}");
    assert!(retries >= REQUESTS / 5, "{retries}");
    assert!(refused > 0 && over >= refused, "{refused} {over}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_out_is_not_tried_again() {
    let cluster = Cluster::with(2, retry(&["connect_failure"], 20, &json!({}))).await;
    cluster.nodes[0].set(Mode::CloseUnanswered);
    let mut statuses = Vec::new();
    for _ in 0..2 {
        statuses.push(cluster.get("GET", b"").await.status());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 502]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_too_long_is_given_up_where_that_is_wanted() {
    let mut on = USUAL.to_vec();
    on.push("timeout");
    let timeouts = json!({"connect": "5s", "server": "300ms", "tunnel_idle": "1h"});
    let extra = json!({"balance": "first", "timeouts": timeouts});
    let cluster = Cluster::with(2, retry(&on, 20, &extra)).await;
    cluster.nodes[0].set(Mode::Deserted);
    assert_eq!(by(&cluster.get("GET", b"").await), "node-2");
    assert_eq!(cluster.get("POST", b"x").await.status(), 504);
}

fn hedged(after: &str, budget: u8) -> Value {
    retry(&USUAL, budget, &json!({"balance": "first", "hedge": {"after": after}}))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quicker_of_two_serves_and_the_other_is_cut() {
    let cluster = Cluster::with(2, hedged("20ms", 100)).await;
    cluster.nodes[0].set(Mode::Deserted);
    cluster.nodes[1].set(Mode::Large);
    for number in 1..=3 {
        let mut client = cluster.open().await;
        // The second goes over the connection on which the first one's answer came.
        for _ in 0..2 {
            let answer = client.request("GET", "http://o/", &[], b"").await.expect("an answer");
            assert_eq!((answer.status(), by(&answer).as_str()), (200, "node-2"));
            assert!(answer.body.len() == 1_000_000 && answer.body.iter().all(|it| *it == b'x'));
        }
        until("the slower ones are cut", || async {
            (cluster.nodes[0].left() == 2 * number).then_some(())
        })
        .await;
    }
    assert_eq!(counted(&cluster, |it| &it.hedges), 6);
    assert_eq!(counted(&cluster, |it| &it.hedges_won), 6);
    assert_eq!(counted(&cluster, |it| &it.active), 0);
    assert_eq!(cluster.counters("node-1").failures, 0, "to be slow is no failure");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_may_be_the_quicker_one() {
    let cluster = Cluster::with(2, hedged("20ms", 100)).await;
    cluster.nodes[0].set(Mode::SlowOrigin);
    cluster.nodes[1].set(Mode::Deserted);
    let (answer, ()) = tokio::join!(cluster.get("GET", b""), async {
        arrived(&cluster, 1, 1).await;
        cluster.nodes[0].open_gate();
    });
    assert_eq!(by(&answer), "node-1");
    until("the second is cut", || async { (cluster.nodes[1].left() == 1).then_some(()) }).await;
    let won = (counted(&cluster, |it| &it.hedges), counted(&cluster, |it| &it.hedges_won));
    assert_eq!(won, (1, 0));
}

/// The second one's failure is nobody's answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_that_fails_is_not_heard() {
    for mode in [Mode::OwnError, Mode::Unavailable, Mode::CloseUnanswered] {
        let cluster = Cluster::with(2, hedged("20ms", 100)).await;
        cluster.nodes[0].set(Mode::SlowOrigin);
        cluster.nodes[1].set(mode);
        let (answer, ()) = tokio::join!(cluster.get("GET", b""), async {
            arrived(&cluster, 1, 1).await;
            cluster.nodes[0].open_gate();
        });
        assert_eq!(by(&answer), "node-1", "{mode:?}");
    }
}

/// Without a budget, for a body, for what is not idempotent, and once an answer has begun, one
/// server is asked.
#[tokio::test(flavor = "multi_thread")]
async fn not_everything_is_asked_twice() {
    for (method, body, budget) in [("GET", "", 0), ("POST", "", 100), ("PUT", "x", 100)] {
        let cluster = Cluster::with(2, hedged("20ms", budget)).await;
        cluster.nodes[0].set(Mode::SlowOrigin);
        let (answer, ()) = tokio::join!(cluster.get(method, body.as_bytes()), async {
            arrived(&cluster, 0, 1).await;
            if budget == 0 {
                until("it was wanted", || async {
                    (counted(&cluster, |it| &it.over_budget) == 1).then_some(())
                })
                .await;
            } else {
                // It is late enough for a probe, which comes after any hedge.
                until("it is late", || async { (cluster.nodes[0].probes() > 1).then_some(()) })
                    .await;
            }
            cluster.nodes[0].open_gate();
        });
        assert_eq!(by(&answer), "node-1", "{method}");
        assert_eq!(cluster.nodes[1].arrivals().len(), 0, "{method}");
    }
}

/// A server that says sorry, once.
async fn sorry() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                while let Ok(1..) = stream.read(&mut bytes).await {
                    let answer =
                        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Node: sorry\r\n\r\nsorry";
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_resort_comes_after_backups_and_before_a_refusal() {
    let server = |name: &str, port: u16, key: &str| {
        json!({"name": name, "host": "127.0.0.1", "port": port, "weight": 1,
            "backup": key == "backup", "last_resort": key == "last_resort"})
    };
    let (spare, last) = (sorry().await, sorry().await);
    let mut cluster = Cluster::with(1, json!({})).await;
    let settings = |spare: u16| {
        json!({"servers": [
            server("a-sorry", last.port(), "last_resort"), server("spare", spare, "backup"),
        ]})
    };
    cluster.apply(settings(spare.port())).expect("a good configuration");
    cluster.until_applied().await;
    cluster.until_standing("a-sorry", Standing::Last).await;
    let asked = |cluster: &Cluster, name: &str| cluster.counters(name).requests;
    assert_eq!(by(&cluster.get("GET", b"").await), "node-1");
    cluster.nodes[0].kill().await;
    cluster.until_standing("node-1", Standing::Unwell).await;
    assert_eq!(cluster.get("GET", b"").await.status(), 200);
    assert_eq!((asked(&cluster, "spare"), asked(&cluster, "a-sorry")), (1, 0));
    // The backup is out of turn as well: nobody listens there.
    cluster.apply(settings(1)).expect("a good configuration");
    cluster.until_applied().await;
    cluster.until_standing("spare", Standing::Unwell).await;
    let answer = cluster.get("GET", b"").await;
    assert_eq!((answer.status(), by(&answer).as_str()), (200, "sorry"));
    assert_eq!(asked(&cluster, "a-sorry"), 1);
    let reasons = cluster.server("a-sorry").expect("listed").reasons;
    assert!(reasons[0].contains("named as the last resort"), "{reasons:?}");
}
