//! How fast clients may ask, how large and how slow the bodies of their requests may be.

use std::{
    io::{ErrorKind, Read, Write},
    num::NonZeroU32,
    time::Duration,
};

use cluster_config::document::{
    Limits,
    limits::{Rate, Slowest},
};
use proto::proxy::{ExplainRequestRequest, proxy_node_server::ProxyNode as _};
use tonic::Request;

use crate::{
    api::api,
    support::{Origin, Proxy, Reply, Then, connect, read_reply, response, until},
};

fn limited(change: impl FnOnce(&mut Limits)) -> Proxy {
    Proxy::with(|document| change(&mut document.listen[0].limits))
}

fn rate(per_second: u32, burst: u32) -> Option<Rate> {
    let it = |number| NonZeroU32::new(number).unwrap();
    Some(Rate { per_second: it(per_second), burst: it(burst) })
}

fn sink() -> Origin {
    Origin::start(|stream, _| {
        // The tests send bodies of ten bytes or break off.
        let mut body = [0; 64];
        drop(stream.read(&mut body));
        drop(stream.write_all(response("", "taken").as_bytes()));
        Then::Close
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_fast_is_told_when_to_come_again() {
    let origin = Origin::answering(response("Cache-Control: max-age=60\r\n", "x"), Then::Keep);
    let proxy = Proxy::with(|document| {
        document.trusted_downstreams = vec!["127.0.0.0/8".parse().unwrap()];
        document.listen[0].limits.request_rate_per_client = rate(1, 3);
    });
    let ask = |client: &str| {
        proxy.ask("GET", &origin.url("/"), &format!("X-Forwarded-For: {client}\r\n"))
    };
    // In the time of these at most one more a second may be asked.
    let (good, refused): (Vec<_>, Vec<_>) =
        (0..20).map(|_| ask("192.0.2.1")).partition(|reply| reply.status == 200);
    assert!((3..20).contains(&good.len()), "{} are answered", good.len());
    for reply in &refused {
        assert_eq!((reply.status, reply.field("retry-after")), (429, Some("1")), "{}", reply.head);
        assert!(
            reply.field("proxy-status").is_some_and(|it| it.contains("http_request_denied")),
            "{}",
            reply.head
        );
    }
    assert_eq!(proxy.node.metrics.limited.get(), refused.len() as u64);
    let explained = async |client: &str| {
        let question = ExplainRequestRequest {
            url: origin.url("/"),
            client_address: client.into(),
            ..Default::default()
        };
        let told = api(&proxy).explain_request(Request::new(question)).await.unwrap();
        told.into_inner().explanation.remove(0)
    };
    let (one, other) = (explained("192.0.2.1").await, explained("192.0.2.2").await);
    assert!(one.contains("1 requests a second of a client, 3 at once"), "{one}");
    assert!(other.contains("would be served now"), "{other}");
    // Others, and whoever looks whether the node serves, are not concerned.
    assert_eq!(ask("192.0.2.2").status, 200);
    for _ in 0..10 {
        let reply = proxy.raw(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "GET");
        assert_eq!(reply.status, 200);
    }
    assert!(proxy.log_lines(21).iter().any(|line| line.contains("/429 ")));
}

#[test]
fn a_body_is_no_larger_than_it_may_be() {
    let (origin, proxy) = (sink(), limited(|limits| limits.request_body_max_size = Some(10)));
    let post = |fields: &str, body: &str| -> Reply {
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n{body}",
            origin.url("/")
        );
        proxy.raw(head.as_bytes(), "POST")
    };
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (fields, body, status) in [
        ("Content-Length: 10\r\n", "0123456789", 200),
        ("Content-Length: 11\r\n", "0123456789x", 413),
        ("Content-Length: 11\r\nExpect: 100-continue\r\n", "", 413),
        ("Content-Length: 99999999999999\r\n", "", 413),
        (chunked, "5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n", 200),
        (chunked, "5\r\n01234\r\n6\r\n56789x\r\n0\r\n\r\n", 413),
        (chunked, "fffffffffff\r\n0", 413),
    ] {
        let reply = post(fields, body);
        assert_eq!(reply.status, status, "{fields}{body}");
    }
    assert!(origin.requests().iter().all(|head| !head.contains("Content-Length: 11")));
}

#[test]
fn a_body_that_drips_is_not_waited_for() {
    let drip = |proxy: &Proxy, origin: &Origin| {
        let mut stream = connect(proxy.address);
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n",
            origin.url("/")
        );
        stream.write_all(head.as_bytes()).unwrap();
        // The time that a read waits in vain is the pause between two bytes.
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        std::iter::repeat_with(move || {
            let answer = stream.read(&mut [0]);
            let pending = answer.as_ref().is_err_and(|error| {
                matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
            });
            pending && stream.write_all(b"x").is_ok()
        })
    };
    let silent = || {
        Origin::start(|stream, _| {
            drop(stream.read_to_end(&mut Vec::new()));
            Then::Close
        })
    };
    let slowest = |bytes_per_second| Slowest { bytes_per_second, over: Duration::from_secs(1) };
    let (origin, proxy) = (silent(), limited(|it| it.slowest_request = slowest(100_000)));
    let bytes = drip(&proxy, &origin).take_while(|goes_on| *goes_on).take(3000).count();
    assert!((2..3000).contains(&bytes), "{bytes} bytes were waited for");
    // As slow as it likes; and who is as fast as it has to be.
    let (origin, proxy) = (silent(), limited(|it| it.slowest_request = slowest(0)));
    assert!(drip(&proxy, &origin).take(100).all(|goes_on| goes_on));
    let (origin, proxy) = (silent(), limited(|it| it.slowest_request = slowest(2)));
    assert!(drip(&proxy, &origin).take(100).all(|goes_on| goes_on));
}

/// An answer that has begun makes of the body what a tunnel is.
#[test]
fn a_body_may_drip_once_its_answer_has_begun() {
    let origin = Origin::start(|stream, _| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"));
        drop(stream.read_to_end(&mut Vec::new()));
        Then::Close
    });
    let over = Duration::from_secs(1);
    let proxy = limited(|it| it.slowest_request = Slowest { bytes_per_second: 100_000, over });
    let mut stream = connect(proxy.address);
    let head =
        format!("POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", origin.url("/"));
    stream.write_all(head.as_bytes()).unwrap();
    stream.read_exact(&mut [0; 64]).unwrap();
    until("the answer has begun", || (!origin.requests().is_empty()).then_some(()));
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    for _ in 0..100 {
        let answer = match stream.read(&mut [0; 256]) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => 1,
            other => other.unwrap(),
        };
        assert!(answer > 0 && stream.write_all(b"x").is_ok());
    }
}

#[test]
fn tunnels_count_as_requests() {
    let origin = Origin::answering(response("", "x"), Then::Keep);
    let proxy = limited(|it| it.request_rate_per_network = rate(1, 2));
    let statuses: Vec<_> = (0..10)
        .map(|_| {
            let mut stream = connect(proxy.address);
            let head = format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.address);
            stream.write_all(head.as_bytes()).unwrap();
            read_reply(&mut stream, "CONNECT").status
        })
        .collect();
    assert!(statuses.starts_with(&[200, 200]) && statuses.contains(&429), "{statuses:?}");
}
