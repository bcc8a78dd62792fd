//! Nodes that are one cache: an object has one owner, which asks the origin once for all clients of
//! all nodes, and whose death costs nobody anything.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use nix::sys::signal::Signal;
use testkit::{
    client::{self, Connection},
    lab::{Lab, Options},
    origin::Origin,
    wait,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::watch,
};

const CLIENTS: usize = 1000;
/// Requests of each client while an owner goes.
const EACH: usize = 250;
const VICTIM: &str = "proxy-node-2";

/// A lab whose nodes own what there is, and leave nobody who is slow.
async fn lab(arguments: &[&str]) -> Lab {
    let arguments = arguments.iter().map(ToString::to_string).collect();
    let lab = Lab::start(Options { arguments, ..Options::default() }).await;
    let bundle = lab.data_dir().join("bundle");
    let main = bundle.join("cluster.yaml");
    let before = std::fs::read_to_string(&main).expect("cluster.yaml");
    let after =
        before.replace("collapsed_forwarding: true ", "owners: true\n    follow_timeout: 1m ");
    assert_ne!(before, after);
    std::fs::write(&main, after).expect("write cluster.yaml");
    lab.ok(&["config", "apply", bundle.to_str().expect("UTF-8")]).await;
    lab
}

/// An origin that answers once the gate is open, and how often it was asked.
async fn gated() -> (String, watch::Sender<bool>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/wanted", listener.local_addr().expect("an address"));
    let (gate, opened) = watch::channel(false);
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut opened, counted) = (opened.clone(), counted.clone());
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read(&mut byte).await.unwrap_or(0) == 0 {
                        return;
                    }
                    head.push(byte[0]);
                }
                counted.fetch_add(1, Ordering::SeqCst);
                drop(opened.wait_for(|open| *open).await);
                let answer = "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\n\
                    Connection: close\r\nContent-Length: 6\r\n\r\nwanted";
                drop(stream.write_all(answer.as_bytes()).await);
            });
        }
    });
    (url, gate, asked)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_clients_of_three_nodes_ask_the_origin_once() {
    let lab = lab(&["--nodes=3", "--balancers=1"]).await;
    let (url, gate, asked) = gated().await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = Connection::open(lab.frontend()).await.expect("the frontend");
        let host = url.split('/').nth(2).unwrap_or_default();
        let head = format!("GET {url} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        client.send(head.as_bytes()).await.expect("sent");
        clients.push(client);
    }
    wait::until("all of them have reached the nodes", || async {
        let stats = lab.json(&["cache", "stats"]).await;
        let requests = |node: &serde_json::Value| node["requests"].as_u64();
        let all: u64 = stats["nodes"].as_array()?.iter().filter_map(requests).sum();
        (all >= CLIENTS as u64).then_some(())
    })
    .await;
    gate.send_replace(true);
    for client in &mut clients {
        let answer = client.answer("GET").await.expect("an answer");
        assert_eq!((answer.status(), answer.body.as_slice()), (200, b"wanted".as_slice()));
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1, "requests at the origin");

    // The next ones are hits, wherever they come in.
    for _ in 0..6 {
        let answer = client::once(lab.frontend(), "GET", &url, &[], b"").await.expect("an answer");
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let log = lab.json(&["logs", "--lines", "1000"]).await.to_string();
    assert!(log.contains("OWNER_HIT") || log.contains("OWNER_MISS"), "{log}");
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_is_killed_or_stopped_costs_no_request() {
    let lab = lab(&["--nodes=3", "--balancers=1", "--no-restart"]).await;
    let origin = Origin::start().await;
    for (signal, what) in [(Signal::SIGSTOP, "stopped"), (Signal::SIGKILL, "killed")] {
        // Every request is for another object, and one in three of them is the victim's.
        let (answered, frontend) = (Arc::new(AtomicUsize::new(0)), lab.frontend());
        let clients = (0..8).map(|client| {
            let (answered, origin) = (answered.clone(), origin.address());
            tokio::spawn(async move {
                let mut failed = Vec::new();
                for number in 0..EACH {
                    let url = format!("http://{origin}/cacheable/10?{what}-{client}-{number}");
                    match client::once(frontend, "GET", &url, &[], b"").await {
                        Ok(answer) if answer.status() == 200 => {}
                        Ok(answer) => failed.push(format!("{url}: {}", answer.status())),
                        Err(error) => failed.push(format!("{url}: {error}")),
                    }
                    answered.fetch_add(1, Ordering::SeqCst);
                }
                failed
            })
        });
        let clients: Vec<_> = clients.collect();
        let reach = |count: usize| {
            let answered = answered.clone();
            wait::until("requests are answered", move || {
                let reached = answered.load(Ordering::SeqCst) >= count;
                async move { reached.then_some(()) }
            })
        };
        reach(EACH).await;
        lab.signal(VICTIM, signal);
        for client in clients {
            let failed = client.await.expect("a client");
            assert!(failed.is_empty(), "the owner is {what}: {failed:#?}");
        }
        // What it owned belongs to the others.
        wait::until("nobody owns what was its", || async {
            let url = origin.url(&format!("/cacheable/10?{what}"));
            let told = lab.json(&["explain", &url]).await;
            let nodes = told["nodes"].as_array()?.clone();
            let alive = nodes.iter().filter(|it| it["name"] != VICTIM && it["failure"].is_null());
            alive.into_iter().all(|it| it["owner"] != VICTIM).then_some(())
        })
        .await;
        if signal == Signal::SIGSTOP {
            lab.signal(VICTIM, Signal::SIGCONT);
            lab.until_state(VICTIM, "usable").await;
        }
    }
    lab.stop().await;
}
