//! Upstreams that break every rule, and clients that notice as little as can be.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use cluster::{AdminState, State};
use proto::balancer::Standing;
use serde_json::{Value, json};
use testkit::wait::until;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::{Cluster, Mode, status};

/// What an upstream does after the head of a request on its connection.
#[derive(Clone)]
enum Act {
    Send(Vec<u8>),
    /// Byte by byte.
    Drip(Vec<u8>, Duration),
    /// Over and over.
    Flood(Vec<u8>),
    Reset,
}

/// An upstream: for the n-th request that it gets, what it does; then it closes, unless it is said
/// to go on with the connection.
async fn upstream(
    acts: impl Fn(usize) -> (Vec<Act>, bool) + Send + Sync + 'static,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (acts, asked) = (Arc::new(acts), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acts, asked) = (Arc::clone(&acts), Arc::clone(&count));
            tokio::spawn(async move { serve(stream, &*acts, &asked).await });
        }
    });
    (address, asked)
}

async fn serve(
    mut stream: TcpStream,
    acts: &(dyn Fn(usize) -> (Vec<Act>, bool) + Send + Sync),
    asked: &AtomicUsize,
) {
    while head(&mut stream).await {
        let (acts, goes_on) = acts(asked.fetch_add(1, SeqCst));
        for act in acts {
            let done = match act {
                Act::Send(bytes) => stream.write_all(&bytes).await,
                Act::Drip(bytes, pause) => drip(&mut stream, &bytes, pause).await,
                Act::Flood(bytes) => loop {
                    if let Err(error) = stream.write_all(&bytes).await {
                        break Err(error);
                    }
                },
                Act::Reset => {
                    drop(stream.set_zero_linger());
                    return;
                }
            };
            if done.is_err() {
                return;
            }
        }
        if !goes_on {
            return;
        }
    }
}

async fn head(stream: &mut TcpStream) -> bool {
    let (mut seen, mut byte) = (Vec::new(), [0]);
    while !seen.ends_with(b"\r\n\r\n") {
        if !matches!(stream.read(&mut byte).await, Ok(1)) {
            return false;
        }
        seen.push(byte[0]);
    }
    true
}

async fn drip(stream: &mut TcpStream, bytes: &[u8], pause: Duration) -> std::io::Result<()> {
    for byte in bytes {
        stream.write_all(std::slice::from_ref(byte)).await?;
        tokio::time::sleep(pause).await;
    }
    Ok(())
}

/// A balancer over this upstream alone, which nothing takes out of turn.
async fn over(address: SocketAddr, extra: Value) -> Cluster {
    let mut settings = json!({
        "discover": null,
        "servers": [{
            "name": "origin", "host": "127.0.0.1", "port": address.port(), "weight": 1,
            "backup": false,
        }],
        "check": {"enabled": false, "inter": "1s", "timeout": "1s", "rise": 1, "fall": 3},
        "passive": {"max_fails": 0, "fail_timeout": "30s", "count": []},
        "retry": {"attempts": 1, "budget": 0},
        // One that it is closing just then would be asked for nothing.
        "keepalive": 0,
    });
    for (key, value) in extra.as_object().into_iter().flatten() {
        settings[key] = value.clone();
    }
    Cluster::with(0, settings).await
}

/// Everything that a request on a connection of its own brings.
async fn asked(cluster: &Cluster) -> String {
    let mut stream = TcpStream::connect(cluster.frontend).await.expect("the frontend");
    let request = b"GET http://o/ HTTP/1.1\r\nHost: o\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.expect("sent");
    let mut bytes = Vec::new();
    // What is cut off may end with a reset.
    drop(stream.read_to_end(&mut bytes).await);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn status_of(answer: &str) -> Option<u16> {
    answer.split(' ').nth(1)?.parse().ok()
}

const WHOLE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nwhole";
const CHUNKED: &str =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nwho\r\n2\r\nle\r\n0\r\n\r\n";

/// Broken off after every byte, in order or not: a 502, or an answer whose end is seen to be
/// missing.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_may_end_anywhere() {
    for (answer, ends) in [(WHOLE, "whole"), (CHUNKED, "0\r\n\r\n")] {
        for reset in [false, true] {
            let (address, count) = upstream(move |n| {
                let mut acts = vec![Act::Send(answer.as_bytes()[..n].to_vec())];
                acts.extend(reset.then_some(Act::Reset));
                (acts, false)
            })
            .await;
            let cluster = over(address, json!({})).await;
            for length in 0..answer.len() {
                let got = asked(&cluster).await;
                let cut = status_of(&got) == Some(200) && !got.ends_with(ends);
                assert!(status_of(&got) == Some(502) || cut, "{length} of {answer:?}: {got:?}");
                // A small one is held until it is whole.
                assert!(answer == CHUNKED || !cut, "{length}: {got:?}");
            }
            assert_eq!(count.load(SeqCst), answer.len(), "each was asked for once");
            if !reset {
                let got = asked(&cluster).await;
                assert!(status_of(&got) == Some(200) && got.ends_with(ends), "{got:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_drips_is_whole_and_a_head_that_never_ends_is_given_up() {
    let (address, _) = upstream(|n| match n {
        // It goes on: one that closes may do so while the next request is on its way.
        0 => (vec![Act::Drip(WHOLE.into(), Duration::from_millis(2))], true),
        1 => (vec![Act::Drip(CHUNKED.into(), Duration::from_millis(2))], true),
        _ => {
            let endless = "HTTP/1.1 200 OK\r\nX: ".to_owned() + &"y".repeat(10_000);
            (vec![Act::Drip(endless.into(), Duration::from_millis(20))], false)
        }
    })
    .await;
    let timeouts = json!({"connect": "5s", "server": "900ms", "tunnel_idle": "1h"});
    let cluster = over(address, json!({"timeouts": timeouts})).await;
    for end in ["whole", "3\r\nwho\r\n2\r\nle\r\n0\r\n\r\n"] {
        let got = asked(&cluster).await;
        assert_eq!(status_of(&got), Some(200), "{got:?}");
        let body = got.split_once("\r\n\r\n").expect("a body").1;
        assert!(got.ends_with(end) || body.contains("le"), "{got:?}");
    }
    let got = asked(&cluster).await;
    assert!(status_of(&got) == Some(504) && got.contains("Proxy-Status: "), "{got:?}");
}

/// What comes behind an answer belongs to nobody.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_twice_is_heard_once() {
    let (address, _) = upstream(|n| {
        let answer =
            |text: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        let own = format!("answer {n}");
        let ghost = if n % 2 == 0 { answer("a ghost") } else { "five more".to_owned() };
        (vec![Act::Send((answer(&own) + &ghost).into())], true)
    })
    .await;
    let cluster = over(address, json!({"keepalive": 32})).await;
    let mut client = cluster.open().await;
    for n in 0..6 {
        let answer = client.request("GET", "http://o/", &[], b"").await.expect("an answer");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!((answer.status(), text), (200, format!("answer {n}")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_that_is_a_lie_is_no_whole_answer() {
    let of = |length: usize, body: usize| {
        let body = "x".repeat(body);
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
    };
    let (address, _) = upstream(move |n| {
        let bytes = match n {
            // Small ones are held; a large one breaks off where it did.
            0 => of(10, 9),
            1 => of(100_000, 99_999),
            _ => of(10, 11),
        };
        (vec![Act::Send(bytes)], false)
    })
    .await;
    let cluster = over(address, json!({})).await;
    assert_eq!(status_of(&asked(&cluster).await), Some(502));
    let cut = asked(&cluster).await;
    let body = cut.split_once("\r\n\r\n").expect("a body").1;
    assert!(status_of(&cut) == Some(200) && body.len() < 100_000, "{}", body.len());
    let longer = asked(&cluster).await;
    assert!(longer.ends_with(&("\r\n\r\n".to_owned() + &"x".repeat(10))), "{longer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_without_end_are_refused() {
    let begin = Act::Send(b"HTTP/1.1 200 OK\r\n".to_vec());
    let (address, _) = upstream(move |n| {
        let flood = match n {
            0 => Act::Send(("X: ".to_owned() + &"y".repeat(1 << 20)).into()),
            1 => Act::Flood(b"X: y\r\n".to_vec()),
            _ => Act::Flood(b"y".to_vec()),
        };
        (vec![begin.clone(), flood], false)
    })
    .await;
    let cluster = over(address, json!({})).await;
    for _ in 0..3 {
        let got = asked(&cluster).await;
        assert!(status_of(&got) == Some(502), "{got:?}");
        assert!(got.contains("error=http_protocol_error"), "{got:?}");
    }
}

/// A thousand that are small are let pass; what is larger all together than any answer needs is
/// the server's failure.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_interim_answers() {
    let hint = "HTTP/1.1 103 Early Hints\r\n\r\n";
    let (address, _) = upstream(move |n| {
        let hints = match n {
            0 => hint.repeat(1000),
            _ => "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n".repeat(1000),
        };
        (vec![Act::Send((hints + WHOLE).into())], false)
    })
    .await;
    let cluster = over(address, json!({})).await;
    let got = asked(&cluster).await;
    let interims = got.matches("HTTP/1.1 103 ").count();
    assert!(got.ends_with("whole") && interims == 1000, "{interims}");
    // Those that were let pass are with the client, and so the answer is one that breaks off.
    let got = asked(&cluster).await;
    assert!(!got.contains("whole") && !got.contains("200 OK"), "{got:?}");
    assert!(got.matches("HTTP/1.1 103 ").count() < 1000);
}

/// The registry lists five, and then nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_empties_at_once() {
    let cluster = Cluster::start(5).await;
    cluster.list(&[]);
    until("they are missed", || async {
        let servers = cluster.stats().backends.remove(0).servers;
        let missed = |it: &proto::balancer::Server| {
            it.reasons.iter().any(|reason| reason.contains("does not list it any more"))
        };
        servers.iter().all(missed).then_some(())
    })
    .await;
    // Nobody asked for that: they serve on.
    let mut client = cluster.open().await;
    for _ in 0..20 {
        let answer = client.request("GET", "http://o/", &[], b"").await.expect("an answer");
        assert_eq!(answer.status(), 200);
    }
    // Somebody does.
    let drained: Vec<_> = cluster
        .nodes
        .iter()
        .map(|node| {
            let mut status = status(node);
            (status.admin_state, status.state) = (AdminState::Drain, State::Draining);
            status
        })
        .collect();
    cluster.list(&drained);
    for node in &cluster.nodes {
        cluster.until_standing(node.name(), Standing::Excluded).await;
    }
    cluster.list(&[]);
    until("they have left", || async {
        cluster.stats().backends[0].servers.is_empty().then_some(())
    })
    .await;
    let before = cluster.arrivals().len();
    let answer = cluster.get("GET", b"").await;
    assert_eq!((answer.status(), cluster.arrivals().len()), (503, before));
    let said = answer.head.field("proxy-status").unwrap_or_default();
    assert!(said.contains("error=destination_unavailable"), "{said}");
}

/// Everybody refuses: nothing is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn all_upstreams_down() {
    let cluster = Cluster::start(3).await;
    for node in &cluster.nodes {
        node.kill().await;
    }
    for method in ["GET", "POST"] {
        let answer = cluster.get(method, b"").await;
        assert!(matches!(answer.status(), 502 | 503), "{}", answer.status());
        let said = answer.head.field("proxy-status").unwrap_or_default();
        assert!(said.contains("error=connection_refused"), "{said}");
    }
    let head = cluster.open().await.connect("o:443", &[]).await.expect("an answer");
    assert!(matches!(head.status(), Some(502 | 503)), "{:?}", head.status());
}

/// One of three goes and comes, again and again, by its own doing and by the registry's word: no
/// request fails.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_flaps_costs_no_request() {
    let mut cluster = Cluster::start(3).await;
    let frontend = cluster.frontend;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let stopped = stopped.clone();
            tokio::spawn(async move {
                let mut answered = 0;
                while !*stopped.borrow() {
                    let mut client =
                        testkit::client::Connection::open(frontend).await.expect("the frontend");
                    for _ in 0..5 {
                        let answer = client.request("GET", "http://o/", &[], b"").await;
                        assert_eq!(answer.expect("an answer").status(), 200);
                        answered += 1;
                    }
                }
                answered
            })
        })
        .collect();
    for round in 0..4 {
        if round % 2 == 0 {
            cluster.nodes[1].kill().await;
            cluster.until_standing("node-2", Standing::Unwell).await;
            let back = cluster.nodes[1].restart().await;
            cluster.nodes[1] = back;
        } else {
            cluster.nodes[1].set(Mode::CloseUnanswered);
            cluster.until_standing("node-2", Standing::Unwell).await;
            cluster.nodes[1].set(Mode::Serve);
        }
        let mut statuses: Vec<_> = cluster.nodes.iter().map(status).collect();
        statuses[1].state = State::Lost;
        cluster.list(&statuses);
        cluster.until_standing("node-2", Standing::Usable).await;
        cluster.list_all();
    }
    stop.send_replace(true);
    for client in clients {
        assert!(client.await.expect("no request fails") > 0);
    }
    assert_eq!(cluster.frontend_stats().failed, 0);
}
