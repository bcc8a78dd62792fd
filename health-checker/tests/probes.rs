//! Probes against real sockets: a small proxy, well and unwell.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use chassis::probe::Signer;
use cluster_config::document::checks::{Check, Expect, Probe, ProbeUrl};
use health_checker::{
    builtin,
    probe::{self, Target},
};
use testkit::{blackhole::Blackhole, message::Reader, origin::Origin};
use tokio::{
    io::{AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

/// What the small proxy does to a request.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Forwards,
    Denies,
    /// Answers from somewhere else than the target.
    Lies,
    Resets,
    Stalls,
}

async fn proxy(manner: Manner) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move { drop(serve(stream, manner).await) });
        }
    });
    address
}

async fn serve(stream: TcpStream, manner: Manner) -> std::io::Result<()> {
    let mut client = Reader::new(stream);
    let Some(head) = client.head().await? else { return Ok(()) };
    let (method, target) = head.request();
    match manner {
        Manner::Forwards if method == "CONNECT" => {
            let mut origin = TcpStream::connect(target).await?;
            client.stream().write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
            copy_bidirectional(client.stream(), &mut origin).await.map(drop)
        }
        Manner::Forwards => {
            let rest = target.strip_prefix("http://").unwrap_or(target);
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            let mut origin = TcpStream::connect(authority).await?;
            origin
                .write_all(
                    format!(
                        "GET /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n"
                    )
                    .as_bytes(),
                )
                .await?;
            copy_bidirectional(client.stream(), &mut origin).await.map(drop)
        }
        Manner::Denies => {
            client.stream().write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await
        }
        Manner::Lies if method == "CONNECT" => {
            client.stream().write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            client.head().await?;
            client.stream().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstale").await
        }
        Manner::Lies => {
            client.stream().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstale").await
        }
        Manner::Resets => client.stream().set_zero_linger(),
        Manner::Stalls => std::future::pending().await,
    }
}

async fn target() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(builtin::serve(Arc::new(listener)));
    address
}

/// So long a probe may take that gets an answer.
const LONG: Duration = Duration::from_secs(20);
/// So long one may take that gets none.
const SHORT: Duration = Duration::from_millis(300);

fn check(probe: Probe, timeout: Duration) -> Check {
    Check {
        name: "probe".into(),
        service: "proxy-node".into(),
        endpoint: "proxy".into(),
        probe,
        interval: Duration::from_secs(10),
        timeout,
        rise: 1,
        fall: 1,
    }
}

fn ok() -> Expect {
    Expect { status: vec![(200, 200)] }
}

async fn run(probe: Probe, address: SocketAddr) -> Result<String, String> {
    run_within(LONG, probe, address).await
}

async fn run_within(
    timeout: Duration,
    probe: Probe,
    address: SocketAddr,
) -> Result<String, String> {
    // Several tests share a process; the first one installs it.
    drop(rustls::crypto::ring::default_provider().install_default());
    let target = Target {
        address: address.to_string(),
        builtin: target().await,
        nonce: "0195-nonce".into(),
        signer: Arc::new(Signer::new().expect("a key")),
    };
    probe::run(&check(probe, timeout), &target).await.map_err(|failure| failure.to_string())
}

#[tokio::test]
async fn through_a_proxy_in_every_manner() {
    type Row = (Manner, Result<&'static str, &'static str>, Result<&'static str, &'static str>);
    let rows: [Row; 5] = [
        (Manner::Forwards, Ok("built-in"), Ok("inside the tunnel")),
        (Manner::Denies, Err("status 403"), Err("status 403")),
        (Manner::Lies, Err("not the built-in"), Err("not the built-in")),
        (Manner::Resets, Err(""), Err("")),
        (Manner::Stalls, Err("no answer within 300ms"), Err("no answer within 300ms")),
    ];
    for (manner, get, connect) in rows {
        let address = proxy(manner).await;
        let within = if manner == Manner::Stalls { SHORT } else { LONG };
        let found = tokio::join!(
            run_within(within, Probe::Proxy { url: ProbeUrl::BuiltIn, expect: ok() }, address),
            run_within(within, Probe::Connect { url: ProbeUrl::BuiltIn, expect: ok() }, address)
        );
        for (found, expected) in [(found.0, get), (found.1, connect)] {
            match (&found, expected) {
                (Ok(detail), Ok(words)) | (Err(detail), Err(words)) => {
                    assert!(detail.contains(words), "{words:?} is not in {detail:?}")
                }
                _ => panic!("{found:?} instead of {expected:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_url_of_somebody_else_counts_by_its_status() {
    let (origin, address) = (Origin::start().await, proxy(Manner::Forwards).await);
    let url = || ProbeUrl::Url(origin.url("/bytes/100000"));
    let found = run(Probe::Proxy { url: url(), expect: ok() }, address).await;
    assert_eq!(found.as_deref(), Ok("status 200"));
    let found = run(
        Probe::Connect { url: url(), expect: Expect { status: vec![(300, 399), (404, 404)] } },
        address,
    )
    .await;
    assert_eq!(found.unwrap_err(), "status 200 instead of 300-399, 404");
}

#[tokio::test]
async fn ports_and_paths_of_the_instance_itself() {
    let origin = Origin::start().await;
    assert!(run(Probe::Tcp, origin.address()).await.is_ok());
    assert!(run(Probe::Http { path: "/".into(), expect: ok() }, origin.address()).await.is_ok());
    let hole = Blackhole::start();
    assert!(
        run(Probe::Tcp, hole.address()).await.is_ok(),
        "a frozen process still has its backlog: that is what tcp checks see"
    );
    let silent = Probe::Http { path: "/".into(), expect: ok() };
    assert!(run_within(SHORT, silent, hole.address()).await.is_err());
    let closed = testkit::port::free();
    for probe in [
        Probe::Tcp,
        Probe::Http { path: "/".into(), expect: ok() },
        Probe::Proxy { url: ProbeUrl::BuiltIn, expect: ok() },
    ] {
        let failure = run(probe, closed).await.unwrap_err();
        assert!(failure.to_lowercase().contains("refused"), "{failure}");
    }
}
