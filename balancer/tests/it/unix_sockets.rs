//! Frontends that listen at several places, files among them.

use std::{
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::{Path, PathBuf},
    time::Duration,
};

use relay::proxy_protocol::{self, Addresses};
use serde_json::{Value, json};
use testkit::wait::until;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UnixStream},
};

use crate::support::{Cluster, NO_FILES, document, records};

const REQUEST: &[u8] = b"GET http://a/ HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.9.8.7\r\n\r\n";

/// A cluster of one node whose frontend listens at a file, too.
async fn cluster(extra: Value) -> (Cluster, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory").keep();
    let path = directory.join("http.sock");
    let mut frontend = extra;
    frontend["bind"] = json!(["127.0.0.1:0", format!("unix:{}", path.display())]);
    let cluster = Cluster::with(1, json!({ "frontend": frontend })).await;
    (cluster, path)
}

/// Sends a request, and reads its answer to the end of its body.
async fn ask(stream: &mut UnixStream, bytes: &[u8]) -> std::io::Result<String> {
    stream.write_all(bytes).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) if !head.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let length = length.map_or(0, |length| length.parse().expect("a number"));
    stream.read_exact(&mut vec![0; length]).await?;
    Ok(head)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_a_file_is_of_this_host_and_the_file_goes_with_the_frontend() {
    let (cluster, path) =
        cluster(json!({"unix": {"mode": 0o660, "user": null, "group": null}})).await;
    let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let mut client = UnixStream::connect(&path).await.expect("the frontend");
    for _ in 0..2 {
        let answer = ask(&mut client, REQUEST).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    assert_eq!(cluster.get("GET", b"").await.status(), 200);
    let arrivals = cluster.arrivals();
    let said = |at: usize| arrivals[at].head.field("x-forwarded-for").map(str::to_owned);
    assert_eq!(said(0).as_deref(), Some("0.0.0.0"), "as rules of the nodes name it");
    assert_eq!(said(2).as_deref(), Some("127.0.0.1"));
    let records = records(&cluster, 3).await;
    let of = |client: &str| records.iter().filter(|it| it["client"] == client).count();
    assert_eq!((of("unix"), of("127.0.0.1")), (2, 1));
    let stats = cluster.stats();
    let [frontend] = &stats.frontends[..] else { panic!("one: {stats:?}") };
    assert_eq!(frontend.requests, 3, "all places are counted as one frontend");
    assert!(frontend.address.ends_with(&format!(", unix:{}", path.display())));

    // A tunnel, whose bytes are spliced.
    let connect = b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n";
    let answer = ask(&mut client, connect).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let bytes: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
    let (mut read, mut write) = client.into_split();
    let sent = bytes.clone();
    let sending = tokio::spawn(async move { write.write_all(&sent).await.map(|()| write) });
    let mut echoed = vec![0; bytes.len()];
    tokio::time::timeout(Duration::from_secs(30), read.read_exact(&mut echoed))
        .await
        .expect("in time")
        .expect("what was sent");
    assert!(echoed == bytes, "byte for byte");
    drop(sending.await.expect("sent").expect("taken"));

    // A drain takes who has come, and leaves no file.
    let waiting = UnixStream::connect(&path).await.expect("the frontend");
    cluster.running.drain(Duration::from_secs(5)).await;
    assert!(!path.exists());
    drop(waiting);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_and_go_with_the_configuration_and_a_living_process_keeps_its_own() {
    let (cluster, path) = cluster(json!({})).await;
    let other = path.with_file_name("other.sock");
    let with = |at: &Path| {
        let bind = format!("unix:{}", at.display());
        document(&json!({"frontend": {"bind": bind}}))
    };
    let living = UnixListener::bind(&other).expect("a socket");
    let problems = cluster.engine.apply("r2", &with(&other), NO_FILES).expect_err("in use");
    let named = format!("(process {}) listens there", std::process::id());
    assert!(
        problems.len() == 1
            && problems[0].contains("proxy_frontend")
            && problems[0].contains(&named),
        "{problems:?}"
    );
    let mut client = UnixStream::connect(&path).await.expect("everything is as it was");
    // A dead process's file is replaced.
    drop(living);
    cluster.engine.apply("r3", &with(&other), NO_FILES).expect("it is free");
    until("the file is gone", || async { (!path.exists()).then_some(()) }).await;
    let answer = ask(&mut client, REQUEST).await.expect("connections go on");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let mut client = UnixStream::connect(&other).await.expect("the frontend");
    let answer = ask(&mut client, REQUEST).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_through_a_file_says_whose_it_is_where_that_is_trusted_by_name() {
    let addresses = Addresses {
        source: "192.0.2.1:1000".parse().expect("an address"),
        destination: "192.0.2.9:3128".parse().expect("an address"),
    };
    let mut header = Vec::new();
    proxy_protocol::encode_proxy(&mut header, &addresses, None);
    header.extend_from_slice(REQUEST);
    for (trust, trusted) in [
        (json!({"proxy_protocol_unix": true}), true),
        // No network holds a file.
        (json!({"proxy_protocol": ["0.0.0.0/0"]}), false),
    ] {
        let (cluster, path) = cluster(trust).await;
        let mut client = UnixStream::connect(&path).await.expect("the frontend");
        let answer = ask(&mut client, &header).await.unwrap_or_default();
        assert_eq!(answer.starts_with("HTTP/1.1 200 "), trusted, "{answer}");
        let records = records(&cluster, 1).await;
        assert_eq!(records[0]["client"], if trusted { "192.0.2.1" } else { "unix" });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_by_address_hear_that_the_client_has_none() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = listener.local_addr().expect("bound");
    let servers = json!([{
        "name": "s", "host": "127.0.0.1", "port": server.port(), "weight": 1, "backup": false,
    }]);
    let plain = json!({"discover": null, "servers": servers, "check": {"enabled": false,
        "inter": "1s", "timeout": "2s", "rise": 2, "fall": 3}});
    for (mode, send_proxy) in [("http", "v1"), ("tcp", "v1"), ("tcp", "v2")] {
        let (cluster, path) = cluster(json!({})).await;
        let mut extra = plain.clone();
        extra["send_proxy"] = send_proxy.into();
        extra["mode"] = mode.into();
        extra["frontend"] = json!({"mode": mode, "health_path": null,
            "bind": format!("unix:{}", path.display())});
        cluster.engine.apply("r2", &document(&extra), NO_FILES).expect("good");
        let heard = async {
            loop {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut heard = Vec::new();
                while stream.read_buf(&mut heard).await.is_ok_and(|read| read > 0) {
                    if heard.ends_with(b"\r\n\r\n") && heard.len() > REQUEST.len() {
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                        stream.write_all(answer).await.expect("taken");
                        return heard;
                    }
                }
            }
        };
        let (heard, answer) = tokio::join!(heard, async {
            until("the server is asked", || async {
                let mut client = UnixStream::connect(&path).await.ok()?;
                let answer = ask(&mut client, REQUEST).await.ok()?;
                // Until the change is in force, the node answers.
                let changed = !answer.contains("X-Node: ");
                (changed && answer.starts_with("HTTP/1.1 200 ")).then_some(answer)
            })
            .await
        });
        assert!(answer.starts_with("HTTP/1.1 200 "));
        if send_proxy == "v1" {
            assert!(heard.starts_with(b"PROXY UNKNOWN\r\n"), "{heard:?}");
        } else {
            let (header, _) = proxy_protocol::parse(&heard).expect("a header").expect("whole");
            assert_eq!(header.addresses, None);
        }
        if mode == "http" {
            let heard = String::from_utf8_lossy(&heard).into_owned();
            assert!(heard.contains("\r\nX-Forwarded-For: unknown\r\n"), "{heard}");
        }
    }
}
