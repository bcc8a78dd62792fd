//! The disk tier behind real sockets: warm after a kill, right after a corruption, nothing after a
//! purge.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use cluster_config::document::ProxyDocument;
use proxy_node::{
    cache::{
        disk::{Standing, counts::Counts},
        purge::{Mode, Purge, Scope},
    },
    start,
};

use crate::support::{Gate, Origin, Proxy, Reply, Then, connect, read_head, response, until};

const DISK: u64 = 32 << 20;

/// A node with a disk tier in a directory, once that is loaded.
fn on_disk(path: &Path, change: impl FnOnce(&mut ProxyDocument)) -> Proxy {
    let proxy = Proxy::with(|document| {
        document.cache.disk = DISK;
        change(document);
    });
    start::disk::apply(&proxy.node, path);
    until("the disk is loaded", || (standing(&proxy) == Standing::Ready).then_some(()));
    proxy
}

fn standing(proxy: &Proxy) -> Standing {
    proxy.node.store.disk().unwrap().standing()
}

fn count(proxy: &Proxy, count: impl Fn(&Counts) -> u64) -> u64 {
    count(proxy.node.store.disk().unwrap().counts())
}

fn written(proxy: &Proxy, objects: u64) {
    until("all are written", || {
        (count(proxy, |it| it.written.load(Ordering::Relaxed)) >= objects).then_some(())
    });
}

/// What a kill at this moment leaves.
fn left(path: &Path, to: &str) -> PathBuf {
    let copy = path.with_file_name(to);
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    copy
}

fn large() -> String {
    (0..100_000u32).map(|number| format!("{number:08}")).collect()
}

/// Answers by path, each time with another number behind it, and 304 to who asks for validation.
fn origin() -> Origin {
    Origin::start(|stream, head| {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let answer = match path {
            _ if head.contains("If-None-Match: \"v\"") => {
                "HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\nETag: \"v\"\r\n\r\n"
                    .into()
            }
            "/large" => response("Cache-Control: max-age=60\r\nETag: \"l\"\r\n", &large()),
            "/stale" => response("Cache-Control: max-age=0\r\nETag: \"v\"\r\n", &large()),
            "/vary" => {
                let german = head.contains("Accept-Language: de");
                let fields = "Cache-Control: max-age=60\r\nVary: Accept-Language\r\n";
                response(fields, if german { "deutsch" } else { "english" })
            }
            path => response("Cache-Control: max-age=60\r\nAge: 5\r\n", &format!("body of {path}")),
        };
        drop(stream.write_all(answer.as_bytes()));
        Then::Keep
    })
}

fn is_hit(reply: &Reply) -> bool {
    reply.field("cache-status").is_some_and(|status| status.contains("; hit; "))
}

#[test]
fn after_a_kill_it_is_as_warm_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let (origin, path) = (origin(), dir.path().join("cache"));
    let before = on_disk(&path, |_| {});
    for name in ["/small", "/large"] {
        assert_eq!(before.get(&origin.url(name)).status, 200);
    }
    for language in ["de", "en"] {
        before.ask("GET", &origin.url("/vary"), &format!("Accept-Language: {language}\r\n"));
    }
    written(&before, 4);
    let asked = origin.requests().len();

    let after = on_disk(&left(&path, "killed"), |_| {});
    let small = after.get(&origin.url("/small"));
    assert_eq!(small.text(), "body of /small");
    let age: u64 = small.field("age").unwrap().parse().unwrap();
    assert!(is_hit(&small) && (5..60).contains(&age), "age {age}");
    // It has come into memory by that.
    assert!(is_hit(&after.get(&origin.url("/small"))));
    let whole = after.get(&origin.url("/large"));
    assert!(is_hit(&whole) && whole.text() == large());
    let part = after.ask("GET", &origin.url("/large"), "Range: bytes=70000-70007\r\n");
    assert_eq!((part.status, part.text().as_str()), (206, &large()[70_000..70_008]));
    let same = after.ask("GET", &origin.url("/large"), "If-None-Match: \"l\"\r\n");
    assert_eq!(same.status, 304);
    for (language, text) in [("en", "english"), ("de", "deutsch")] {
        let fields = format!("Accept-Language: {language}\r\n");
        assert_eq!(after.ask("GET", &origin.url("/vary"), &fields).text(), text);
    }
    assert_eq!(origin.requests().len(), asked, "nothing was asked again");
    let lines = after.log_lines(7);
    let of = |outcome: &str| lines.iter().filter(|line| line.contains(outcome)).count();
    assert_eq!((of(" TCP_HIT/"), of(" TCP_MEM_HIT/"), of(" TCP_IMS_HIT/")), (5, 1, 1), "{lines:?}");
}

#[test]
fn a_flipped_bit_sends_the_request_to_the_origin() {
    let dir = tempfile::tempdir().unwrap();
    let (origin, path) = (origin(), dir.path().join("cache"));
    let before = on_disk(&path, |_| {});
    let url = origin.url("/small");
    before.get(&url);
    written(&before, 1);
    let killed = left(&path, "killed");
    let segment = killed.join("00000001.segment");
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(4).position(|it| it == b"body").unwrap();
    bytes[at] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let after = on_disk(&killed, |_| {});
    let reply = after.get(&url);
    assert_eq!((reply.text().as_str(), origin.requests().len()), ("body of /small", 2));
    assert_eq!(count(&after, |it| it.corrupt.load(Ordering::Relaxed)), 1);
}

#[test]
fn what_was_changed_or_has_been_validated_is_so_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let (origin, path) = (origin(), dir.path().join("cache"));
    let before = on_disk(&path, |_| {});
    let (small, stale) = (origin.url("/small"), origin.url("/stale"));
    before.get(&small);
    before.get(&stale);
    written(&before, 2);
    assert_eq!(before.ask("POST", &small, "Content-Length: 0\r\n").status, 200);

    let second = on_disk(&left(&path, "second"), |_| {});
    // It is stale and on the disk: validated, it is written again without its body.
    let validated = second.get(&stale);
    assert!(validated.text() == large());
    assert!(validated.field("cache-status").unwrap().contains("fwd-status=304"));
    written(&second, 1);
    let third = on_disk(&left(&dir.path().join("second"), "third"), |_| {});
    let asked = origin.requests().len();
    let again = third.get(&stale);
    assert!(is_hit(&again) && again.text() == large() && origin.requests().len() == asked);
    // The purge may still be on its way to the disk when the process is killed; a stop waits.
    before.node.store.disk().unwrap().stop();
    let fourth = on_disk(&left(&path, "fourth"), |_| {});
    assert!(!is_hit(&fourth.get(&small)));
}

#[test]
fn what_does_not_fit_into_memory_comes_from_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let origin = origin();
    let proxy = on_disk(&dir.path().join("cache"), |document| document.cache.memory = 256 << 10);
    // Each with what an object takes: twice what memory holds.
    for number in 0..300 {
        assert_eq!(proxy.get(&origin.url(&format!("/{number}"))).status, 200);
        written(&proxy, number + 1);
    }
    let asked = origin.requests().len();
    for number in 0..300 {
        let reply = proxy.get(&origin.url(&format!("/{number}")));
        assert!(is_hit(&reply) && reply.text() == format!("body of /{number}"));
    }
    assert_eq!(origin.requests().len(), asked);
    assert!(count(&proxy, |it| it.hits.load(Ordering::Relaxed)) > 100);
    assert!(proxy.node.store.used() <= proxy.node.store.capacity());
}

#[test]
fn a_tier_that_is_taken_away_is_emptied_and_one_in_use_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (origin, path) = (origin(), dir.path().join("cache"));
    let mut first = on_disk(&path, |_| {});
    first.get(&origin.url("/small"));
    written(&first, 1);
    let second = Proxy::with(|document| document.cache.disk = DISK);
    start::disk::apply(&second.node, &path);
    until("the second is told", || match standing(&second) {
        Standing::Down(reason) => reason.contains("another process").then_some(()),
        _ => None,
    });
    // It serves from memory.
    second.get(&origin.url("/small"));
    assert!(is_hit(&second.get(&origin.url("/small"))));
    second.node.store.disk().unwrap().stop();

    first.change(|document| document.cache.disk = 0);
    start::disk::apply(&first.node, &path);
    assert!(first.node.store.disk().is_none());
    until("it is empty", || {
        let segments = fs::read_dir(&path).unwrap().filter(|entry| {
            entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".segment")
        });
        (segments.count() == 0).then_some(())
    });
    assert!(is_hit(&first.get(&origin.url("/small"))), "memory is not concerned");
}

/// Sends a body of this length, of which half comes when the gate opens.
fn gated(length: usize, gate: &Gate) -> Origin {
    let waiting = gate.clone();
    Origin::start(move |stream, head| {
        if head.starts_with("POST") {
            drop(stream.write_all(response("", "changed").as_bytes()));
            return Then::Keep;
        }
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nCache-Control: max-age=60\r\n\r\n"
        );
        drop(stream.write_all(head.as_bytes()));
        let body: Vec<u8> = (0..length).map(|at| (at / 1000) as u8).collect();
        let (first, second) = body.split_at(length / 2);
        drop(stream.write_all(first));
        waiting.wait();
        drop(stream.write_all(second));
        Then::Keep
    })
}

/// Reads the first byte of the body.
fn begun(proxy: &Proxy, url: &str) -> TcpStream {
    let mut client = connect(proxy.address);
    let request = format!("GET {url} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).unwrap();
    read_head(&mut client).unwrap();
    client.read_exact(&mut [0]).unwrap();
    client
}

const LARGE: usize = 6 << 20;

#[test]
fn what_memory_cannot_hold_is_written_while_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache");
    let narrow = |document: &mut ProxyDocument| {
        (document.cache.memory, document.cache.max_object_size) = (2 << 20, 16 << 20);
    };
    let gate = Gate::default();
    let origin = gated(LARGE, &gate);
    let before = on_disk(&path, narrow);
    let mut client = begun(&before, &origin.url("/large"));
    gate.open();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert_eq!(rest.len(), LARGE - 1);
    written(&before, 1);
    assert!(before.node.store.used() < 2 << 20, "{} bytes in memory", before.node.store.used());
    for node in [before, on_disk(&left(&path, "killed"), narrow)] {
        let reply = node.get(&origin.url("/large"));
        assert!(is_hit(&reply), "{}", reply.head);
        assert!(reply.body.len() == LARGE && reply.body[1..] == rest);
        let part = node.ask("GET", &origin.url("/large"), "Range: bytes=5000000-5000001\r\n");
        assert_eq!((part.status, &part.body), (206, &rest[4_999_999..5_000_001].to_vec()));
    }
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn what_changes_while_it_is_written_is_not_found() {
    for purge in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cache");
        let gate = Gate::default();
        let origin = gated(LARGE, &gate);
        let proxy = on_disk(&path, |document| {
            (document.cache.memory, document.cache.max_object_size) = (2 << 20, 16 << 20);
        });
        let url = origin.url("/large");
        let mut client = begun(&proxy, &url);
        if purge {
            proxy.node.purge(&Arc::new(Purge { scope: Scope::Everything, mode: Mode::Hard }));
        } else {
            assert_eq!(proxy.ask("POST", &url, "Content-Length: 0\r\n").status, 200);
        }
        gate.open();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        assert_eq!(rest.len(), LARGE - 1);
        until("nothing waits to be written", || {
            (proxy.node.store.budget().at_work() == 0).then_some(())
        });
        let asked = origin.requests().len();
        let after = on_disk(&left(&path, "killed"), |_| {});
        for (number, node) in [proxy, after].iter().enumerate() {
            assert!(!is_hit(&node.get(&url)));
            assert_eq!(origin.requests().len(), asked + number + 1, "purge: {purge}");
        }
    }
}
