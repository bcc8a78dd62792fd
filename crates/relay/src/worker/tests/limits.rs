//! Rates, caps, and clients that do not read.

use std::net::IpAddr;
use std::num::NonZeroU32;

use super::*;
use crate::clients::{Limited, Rate, Rates, Share};
use crate::pace::Slowest;

const BODY: usize = 16 << 20;

fn rate(per_second: u32, burst: u32) -> Option<Rate> {
    let it = |number| NonZeroU32::new(number).unwrap();
    Some(Rate { per_second: it(per_second), burst: it(burst) })
}

/// How many of so many new connections are served; the others are closed.
fn served(count: usize, last: u8, address: SocketAddr) -> u64 {
    let answers = (0..count).map(|_| ask(&mut connect_from(last, address), b'a'));
    answers.filter(|answer| *answer == Some(b'a')).count() as u64
}

/// How many connections wait for this client to read.
fn waiting(workers: &Workers) -> u32 {
    workers.clients().usage(client(), Lengths::default())[0].2
}

fn client() -> IpAddr {
    [127, 0, 0, 1].into()
}

#[test]
fn connections_come_no_faster_than_they_may() {
    let arrivals = Rates { client: rate(1, 3), network: None };
    let bounds = Bounds { arrivals, ..Bounds::default() };
    let (workers, address) = start_with(|allowance| allowance.set(&bounds), echo);
    let first = served(20, 1, address);
    let too_fast = workers.clients().closed().too_fast;
    // One more for every second that this took.
    assert!((3..20).contains(&first) && first + too_fast == 20, "{first} and {too_fast}");
    assert_eq!(workers.clients().take_report().map(|report| report.of), Some(Share::Rate));
    assert_eq!(served(3, 2, address), 3, "of another client");
}

#[test]
fn nor_those_of_a_network() {
    let arrivals = Rates { client: rate(1000, 1000), network: rate(1, 4) };
    let bounds = Bounds { arrivals, lengths: Lengths { v4: 30, v6: 48 }, ..Bounds::default() };
    let (workers, address) = start_with(|allowance| allowance.set(&bounds), echo);
    let first: u64 = (4..8).map(|last| served(5, last, address)).sum();
    let too_fast = workers.clients().closed().too_fast;
    assert!((4..20).contains(&first) && first + too_fast == 20, "{first} and {too_fast}");
    assert_eq!(served(3, 8, address), 3, "of another network");
}

#[test]
fn a_full_listener_takes_nobody_else_and_serves_who_is_there() {
    for of_the_process in [false, true] {
        let listener = (!of_the_process).then_some(2);
        let bounds = Bounds { listener, ..Bounds::default() };
        let (workers, address) = start_with(|allowance| allowance.set(&bounds), echo);
        workers.clients().set_most(of_the_process.then_some(2));
        let mut open = [1, 2].map(|last| connect_from(last, address));
        for stream in &mut open {
            assert_eq!(ask(stream, b'a'), Some(b'a'));
        }
        assert_eq!(served(3, 3, address), 0);
        assert_eq!(workers.clients().closed().no_room, 3);
        for stream in &mut open {
            assert_eq!(ask(stream, b'b'), Some(b'b'));
        }
        let [first, _second] = open;
        drop(first);
        wait_for(&workers, |counts| counts.live == 1);
        assert_eq!(served(1, 3, address), 1);
    }
}

/// Sends more than any kernel keeps, again for every byte that comes; without end for `e`.
async fn flood(_worker: Worker, mut stream: Stream, _peer: SocketAddr) {
    let bytes = vec![b'x'; BODY];
    while stream.fill(Kind::Idle, LONG).await.is_ok_and(|n| n > 0) {
        let without_end = stream.input().split().starts_with(b"e");
        stream.bound_unsent();
        loop {
            if stream.write_all(&[&bytes], LONG).await.is_err() {
                return stream.abort();
            }
            if !without_end {
                break;
            }
        }
    }
}

#[test]
fn who_does_not_read_on_many_connections_gets_no_more() {
    // Three connections.
    let bounds = Bounds { memory: 1 << 20, ..Bounds::default() };
    let (workers, address) = start_with(|allowance| allowance.set(&bounds), flood);
    let (clients, lengths) = (workers.clients(), Lengths::default());
    let may_ask = || clients.may_ask(client(), lengths, Rates::default(), crate::clock::steady());
    let mut open: Vec<TcpStream> = (0..3).map(|_| connect_from(1, address)).collect();
    for stream in &mut open {
        stream.write_all(b"x").unwrap();
    }
    wait_for(&workers, |_| waiting(&workers) == 3);
    assert_eq!(may_ask(), Ok(()));
    let mut last = connect_from(1, address);
    last.write_all(b"x").unwrap();
    wait_for(&workers, |_| clients.closed().unread == 1);
    assert!(matches!(may_ask(), Err(Limited::Full(_))));
    assert_eq!(clients.unserved().full, 1);
    assert_eq!(clients.take_report().map(|report| report.of), Some(Share::Memory));
    let mut rest = Vec::new();
    assert!(last.read_to_end(&mut rest).is_err() && rest.len() < BODY);
    // Those that waited before are served as soon as their client reads.
    for stream in &mut open {
        stream.read_exact(&mut vec![0; BODY]).unwrap();
    }
    wait_for(&workers, |_| waiting(&workers) == 0);
    // And in a second the client itself.
    wait_for(&workers, |_| may_ask().is_ok());
    // Another one was never concerned.
    let mut other = connect_from(2, address);
    other.write_all(b"x").unwrap();
    other.read_exact(&mut vec![0; BODY]).unwrap();
}

#[test]
fn who_takes_an_answer_too_slowly_is_not_waited_for() {
    let slow = |bytes_per_second| {
        let over = Duration::from_millis(300);
        let slowest_response = Slowest { bytes_per_second, over };
        start_with(
            move |allowance| allowance.set(&Bounds { slowest_response, ..Bounds::default() }),
            flood,
        )
    };
    // Faster than anybody is; a client that reads small pieces is what the server waits for.
    let (_workers, address) = slow(u32::MAX);
    let mut client = connect_from(1, address);
    client.write_all(b"e").unwrap();
    let mut piece = [0; 64];
    let ended = (0..1 << 24).find_map(|_| client.read(&mut piece).err());
    assert_eq!(ended.map(|error| error.kind()), Some(std::io::ErrorKind::ConnectionReset));
    // As slow as it likes.
    let (_workers, address) = slow(0);
    let mut client = connect_from(1, address);
    client.write_all(b"x").unwrap();
    client.read_exact(&mut vec![0; BODY]).unwrap();
}
