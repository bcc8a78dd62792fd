//! Clients that leave while they wait.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cluster_config::document::proxy::QuickAbort;

use crate::support::{Gate, Origin, Proxy, Then, connect, read_head, read_reply, response, until};

/// An origin that answers nobody and counts who is left waiting no longer.
fn deserted() -> (Origin, Arc<AtomicUsize>) {
    let left = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&left);
    let origin = Origin::start(move |stream, _| {
        // The end of the connection, however it comes.
        drop(stream.read(&mut [0]));
        counted.fetch_add(1, Ordering::SeqCst);
        Then::Close
    });
    (origin, left)
}

fn ask(proxy: &Proxy, url: &str, fields: &str) -> TcpStream {
    let mut stream = connect(proxy.address);
    stream.write_all(format!("GET {url} HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes()).unwrap();
    stream
}

fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn the_fetch_of_a_client_that_left_ends() {
    let (origin, left) = deserted();
    let proxy = Proxy::start();
    let mut gone = 0;
    // Filling the cache, and past it.
    for fields in
        ["", "Authorization: Basic eA==\r\nCache-Control: no-store\r\n", "Range: bytes=0-1\r\n"]
    {
        for leave in [reset as fn(TcpStream), drop as fn(TcpStream)] {
            let asked = origin.requests().len();
            let client = ask(&proxy, &origin.url("/"), fields);
            until("the origin is asked", || (origin.requests().len() > asked).then_some(()));
            leave(client);
            gone += 1;
            until("the origin is left", || (left.load(Ordering::SeqCst) == gone).then_some(()));
        }
    }
    assert!(
        proxy.log_lines(gone).iter().all(|line| line.contains("_ABORTED/")),
        "{:?}",
        proxy.log_lines(gone)
    );
}

#[test]
fn who_has_only_finished_sending_is_served() {
    for fields in
        ["", "Cache-Control: no-store\r\n", "Authorization: Basic eA==\r\nRange: bytes=90-\r\n"]
    {
        let gate = Gate::default();
        let waiting = gate.clone();
        let origin = Origin::start(move |stream, _| {
            waiting.wait();
            drop(stream.write_all(response("Cache-Control: max-age=60\r\n", "for you").as_bytes()));
            Then::Keep
        });
        let proxy = Proxy::start();
        let mut client = ask(&proxy, &origin.url("/"), fields);
        client.shutdown(Shutdown::Write).unwrap();
        let mut begun = [0; 2];
        client.read_exact(&mut begun).unwrap();
        assert_eq!(&begun, b"HT", "it was asked whether it is there");
        gate.open();
        let mut all = begun.to_vec();
        client.read_to_end(&mut all).unwrap();
        let text = String::from_utf8(all).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\nfor you"),
            "{text}"
        );
    }
}

#[test]
fn a_fill_goes_on_while_others_wait_for_it_and_ends_with_the_last() {
    let gate = Gate::default();
    let waiting = gate.clone();
    let origin = Origin::start(move |stream, _| {
        waiting.wait();
        drop(stream.write_all(response("Cache-Control: max-age=60\r\n", "for you").as_bytes()));
        Then::Keep
    });
    let proxy = Proxy::start();
    let leader = ask(&proxy, &origin.url("/"), "");
    until("the origin is asked", || (origin.requests().len() == 1).then_some(()));
    let mut follower = ask(&proxy, &origin.url("/"), "");
    until("it follows", || (proxy.node.metrics.misses.get() == 2).then_some(()));
    reset(leader);
    proxy.log_lines(1);
    gate.open();
    assert_eq!(read_reply(&mut follower, "GET").text(), "for you");
    assert_eq!(origin.requests().len(), 1);

    let (origin, left) = deserted();
    let clients = [ask(&proxy, &origin.url("/"), ""), ask(&proxy, &origin.url("/"), "")];
    until("both wait", || (proxy.node.metrics.misses.get() == 4).then_some(()));
    clients.into_iter().for_each(reset);
    until("the origin is left", || {
        (left.load(Ordering::SeqCst) == origin.requests().len()).then_some(())
    });
}

/// A body of which the origin sends so much, and the rest when the gate opens.
fn in_two(whole: usize, first: usize, gate: &Gate) -> Origin {
    let waiting = gate.clone();
    Origin::start(move |stream, _| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {whole}\r\nCache-Control: max-age=60\r\n\r\n"
        );
        let begun = [head.as_bytes(), &vec![b'x'; first]].concat();
        drop(stream.write_all(&begun));
        waiting.wait();
        // Piece by piece: it ends when nobody takes any more.
        for piece in vec![b'x'; whole - first].chunks(4096) {
            if stream.write_all(piece).is_err() {
                break;
            }
        }
        Then::Keep
    })
}

#[test]
fn what_nobody_waits_for_any_more_is_fetched_to_its_end_by_the_rules() {
    let cases = [
        (None, 300_000, 50_000, true),
        (Some((16 << 10, 16 << 10, 95)), 300_000, 50_000, false),
        (Some((16 << 10, 16 << 10, 95)), 300_000, 290_000, true),
        (Some((0, 1 << 20, 50)), 300_000, 200_000, true),
        (Some((0, 1 << 20, 80)), 300_000, 200_000, false),
    ];
    for (rules, whole, first, stored) in cases {
        let gate = Gate::default();
        let origin = in_two(whole, first, &gate);
        let proxy = Proxy::with(|document| {
            document.cache.quick_abort =
                rules.map(|(min, max, percent)| QuickAbort { min, max, percent });
        });
        let mut client = ask(&proxy, &origin.url("/"), "");
        read_head(&mut client).unwrap();
        client.read_exact(&mut vec![0; first]).unwrap();
        reset(client);
        // Its record is written when it has left.
        proxy.log_lines(1);
        gate.open();
        until("the fetch is over", || (proxy.node.store.budget().at_work() == 0).then_some(()));
        let mut again = ask(&proxy, &origin.url("/"), "");
        assert_eq!(read_reply(&mut again, "GET").body.len(), whole);
        let asked = origin.requests().len();
        assert_eq!(asked == 1, stored, "{rules:?}, {first} of {whole}: asked {asked} times");
    }
}
