//! Real threads and sockets: isolation of panics, the phases of a drain, running out of
//! descriptors.

mod limits;

use std::cell::Cell;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use super::{Counts, Phase, Settings, Worker, Workers};
use crate::clients::{Allowance, Bounds, Closed, Lengths};
use crate::head::{Limits, RequestHead};
use crate::listen::{Listeners, Options};
use crate::stream::{Patience, Stream};
use crate::wheel::Kind;

const LONG: Duration = Duration::from_secs(20);

thread_local! {
    /// So many of the next connections that this worker accepts make its accept loop panic.
    static FAULTS: Cell<u32> = const { Cell::new(0) };
}

/// Where the accept loop panics when a test wants it to.
pub(super) fn fault() {
    let left = FAULTS.get();
    FAULTS.set(left.saturating_sub(1));
    assert!(left == 0, "the accept loop panics (expected by this test)");
}

/// Answers each byte: `p` panics, `w` waits for the client to go on for ever, `h` comes back and
/// then does, anything else comes back.
async fn echo(_worker: Worker, mut stream: Stream, _peer: SocketAddr) {
    loop {
        if stream.input().is_empty() && !matches!(stream.fill(Kind::Idle, LONG).await, Ok(1..)) {
            return;
        }
        let bytes = stream.input().split().freeze();
        match bytes[0] {
            b'p' => panic!("a handler panics (expected by this test)"),
            b'h' => {
                stream.write_all(&[&bytes], LONG).await.unwrap();
                stream.fill(Kind::Other, LONG).await.unwrap_or_default();
            }
            b'w' => drop(stream.fill(Kind::Other, LONG).await),
            _ => stream.write_all(&[&bytes], LONG).await.unwrap(),
        }
    }
}

fn start(workers: usize) -> (Workers, SocketAddr) {
    let listeners = Arc::new(
        Listeners::bind("127.0.0.1:0".parse().unwrap(), workers, &Options::default()).unwrap(),
    );
    let address = listeners.local_addr();
    let workers = Workers::start(Settings { name: "test", workers }, move |worker: Worker| {
        let listeners = listeners.clone();
        async move {
            let listener = listeners.take(&worker).unwrap();
            worker.serve(listener, echo).await;
        }
    })
    .unwrap();
    (workers, address)
}

/// A client that does not wait for ever.
fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

fn ask(stream: &mut TcpStream, what: u8) -> Option<u8> {
    stream.write_all(&[what]).ok()?;
    let mut answer = [0];
    matches!(stream.read(&mut answer), Ok(1)).then_some(answer[0])
}

fn wait_for(workers: &Workers, mut state: impl FnMut(Counts) -> bool) {
    let start = crate::clock::now();
    while !state(workers.counts()) {
        assert!(crate::clock::since(start) < 2 * LONG, "{:?}", workers.counts());
        std::thread::yield_now();
    }
}

fn drain(workers: Workers, within: Duration) -> super::Drained {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(workers.drain(within))
}

#[test]
fn a_panic_loses_its_own_connection_only() {
    let (workers, address) = start(2);
    let mut others: Vec<TcpStream> = (0..8).map(|_| connect(address)).collect();
    for other in &mut others {
        assert_eq!(ask(other, b'a'), Some(b'a'));
    }
    let mut victim = connect(address);
    victim.write_all(b"p").unwrap();
    assert_eq!(victim.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    for other in &mut others {
        assert_eq!(ask(other, b'b'), Some(b'b'));
    }
    wait_for(&workers, |counts| counts.panics == 1 && counts.live == 8);
    drop(others);
    wait_for(&workers, |counts| counts.live == 0 && counts.accepted == 9);
    assert_eq!(drain(workers, LONG).aborted, 0);
}

#[test]
fn a_panic_while_accepting_loses_that_connection_and_the_loop_goes_on() {
    let listeners =
        Arc::new(Listeners::bind("127.0.0.1:0".parse().unwrap(), 1, &Options::default()).unwrap());
    let address = listeners.local_addr();
    let workers = Workers::start(Settings { name: "test", workers: 1 }, move |worker: Worker| {
        let listeners = listeners.clone();
        FAULTS.set(2);
        async move { worker.serve(listeners.take(&worker).unwrap(), echo).await }
    })
    .unwrap();
    for _ in 0..2 {
        assert!(
            matches!(connect(address).read(&mut [0]), Ok(0) | Err(_)),
            "closed, not left waiting"
        );
    }
    let mut after = connect(address);
    assert_eq!(ask(&mut after, b'a'), Some(b'a'));
    assert_eq!(workers.counts().panics, 2);
    drop(after);
    assert_eq!(drain(workers, LONG).aborted, 0);
}

#[test]
fn a_drain_empties_the_backlog_ends_idle_connections_and_lets_busy_ones_finish() {
    let (workers, address) = start(2);
    let mut idle = connect(address);
    assert_eq!(ask(&mut idle, b'a'), Some(b'a'));
    let mut busy = connect(address);
    assert_eq!(ask(&mut busy, b'a'), Some(b'a'));
    busy.write_all(b"w").unwrap();
    wait_for(&workers, |counts| counts.live == 2);
    // In the backlog, or accepted: in either case it is served.
    let mut latest = connect(address);
    latest.write_all(b"x").unwrap();
    let drained = std::thread::spawn(move || drain(workers, LONG));
    let mut byte = [0];
    assert_eq!(latest.read(&mut byte).unwrap(), 1);
    assert_eq!(idle.read(&mut byte).unwrap(), 0);
    assert!(
        TcpStream::connect(address).is_err(),
        "the listener is closed before idle connections are"
    );
    // The busy one gets its answer, and is ended instead of idling.
    busy.write_all(b"go").unwrap();
    assert_eq!(busy.read(&mut byte).unwrap(), 1);
    assert_eq!(busy.read(&mut byte).unwrap(), 1);
    assert_eq!(busy.read(&mut byte).unwrap(), 0);
    assert_eq!(drained.join().unwrap().aborted, 0);
}

#[test]
fn a_drain_waits_for_the_first_request_of_who_has_only_just_come() {
    let (workers, address) = start(1);
    let mut idle = connect(address);
    assert_eq!(ask(&mut idle, b'a'), Some(b'a'));
    let mut fresh = connect(address);
    wait_for(&workers, |counts| counts.live == 2);
    let drained = std::thread::spawn(move || drain(workers, LONG));
    assert_eq!(idle.read(&mut [0]).unwrap(), 0, "idle connections are ended by now");
    assert_eq!(ask(&mut fresh, b'x'), Some(b'x'));
    assert_eq!(fresh.read(&mut [0]).unwrap(), 0);
    assert_eq!(drained.join().unwrap().aborted, 0);
}

#[test]
fn what_does_not_finish_in_time_is_cut_and_counted() {
    let (workers, address) = start(1);
    let mut busy = connect(address);
    busy.write_all(b"w").unwrap();
    wait_for(&workers, |counts| counts.live == 1);
    workers.advance(Phase::Leaving);
    assert_eq!(drain(workers, Duration::from_millis(50)).aborted, 1);
    let cut = busy.read(&mut [0]).unwrap_err();
    assert_eq!(
        cut.kind(),
        std::io::ErrorKind::ConnectionReset,
        "an orderly end would make half an answer look whole"
    );
}

#[test]
fn dropping_the_handle_ends_the_threads() {
    let (mut workers, address) = start(2);
    let client = connect(address);
    wait_for(&workers, |counts| counts.live == 1);
    let threads = std::mem::take(&mut workers.threads);
    drop(workers);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    drop(client);
}

/// Runs [`out_of_descriptors`] in a process of its own, whose limit may be lowered.
#[test]
fn without_descriptors_clients_are_told_and_service_goes_on_afterwards() {
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "worker::tests::out_of_descriptors", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&child.stderr)
    );
}

#[test]
#[ignore = "lowers the process's limits: run by the test above"]
fn out_of_descriptors() {
    use nix::sys::resource::{Resource, setrlimit};
    let (workers, address) = start(1);
    let mut before = connect(address);
    assert_eq!(ask(&mut before, b'a'), Some(b'a'));
    // Descriptors that this end gets before there are none left for the other.
    let sockets: Vec<_> = (0..16)
        .map(|_| socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap())
        .collect();
    // The lowest free one, and with it every one that could be had.
    let free = std::fs::File::open("/dev/null").map(|file| file.as_raw_fd()).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, free as u64, free as u64).unwrap();
    let mut refused = 0;
    for socket in &sockets {
        socket.set_read_timeout(Some(LONG)).unwrap();
        socket.connect(&address.into()).unwrap();
        let ended = (&*socket).read(&mut [0]).map_err(|error| error.kind());
        refused += u64::from(matches!(ended, Ok(0) | Err(std::io::ErrorKind::ConnectionReset)));
    }
    assert_eq!(refused, sockets.len() as u64);
    assert_eq!(ask(&mut before, b'b'), Some(b'b'));
    assert_eq!(workers.counts().refused, refused);
    drop(sockets);
    let mut after = connect(address);
    assert_eq!(ask(&mut after, b'c'), Some(b'c'));
}

/// A client of an address of its own.
fn connect_from(last: u8, address: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    socket.into()
}

fn has_ended(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(n) => n == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// Runs one worker that serves like this; clients may have what `allow` says.
fn start_with<F: Future<Output = ()> + 'static>(
    allow: impl Fn(&Allowance),
    handler: fn(Worker, Stream, SocketAddr) -> F,
) -> (Workers, SocketAddr) {
    let listeners =
        Arc::new(Listeners::bind("127.0.0.1:0".parse().unwrap(), 1, &Options::default()).unwrap());
    allow(listeners.allowance());
    let address = listeners.local_addr();
    let workers = Workers::start(Settings { name: "test", workers: 1 }, move |worker: Worker| {
        let listeners = listeners.clone();
        async move { worker.serve(listeners.take(&worker).unwrap(), handler).await }
    });
    (workers.unwrap(), address)
}

#[test]
fn a_client_has_its_share_and_others_are_served() {
    let (workers, address) = start_with(
        |allowance| allowance.set(&Bounds { connections: Some(4), ..Bounds::default() }),
        echo,
    );
    let mut first: Vec<TcpStream> = (0..4).map(|_| connect_from(1, address)).collect();
    for stream in &mut first {
        assert_eq!(ask(stream, b'a'), Some(b'a'));
    }
    // The newest is served in the place of the one that has idled longest; the others stay.
    let mut newest = connect_from(1, address);
    assert_eq!(ask(&mut newest, b'b'), Some(b'b'));
    assert!(has_ended(&mut first[0]));
    for stream in &mut first[1..] {
        assert_eq!(ask(stream, b'c'), Some(b'c'));
    }
    // Nothing that is busy is closed: whoever comes then is refused, and a client of another
    // address is not.
    let mut busy: Vec<&mut TcpStream> = first[1..].iter_mut().chain([&mut newest]).collect();
    for stream in &mut busy {
        assert_eq!(ask(stream, b'h'), Some(b'h'));
    }
    assert!(has_ended(&mut connect_from(1, address)));
    assert_eq!(ask(&mut connect_from(2, address), b'd'), Some(b'd'));
    let closed = workers.clients().closed();
    assert_eq!(closed, Closed { refused: 1, displaced: 1, ..Closed::default() });
    assert!(
        workers.clients().take_report().is_some_and(|report| report.who.to_string() == "127.0.0.1")
    );
}

#[test]
fn a_network_has_its_share_and_others_are_served() {
    let bounds = Bounds {
        network_connections: Some(6),
        lengths: Lengths { v4: 30, v6: 48 },
        ..Bounds::default()
    };
    let (workers, address) = start_with(|allowance| allowance.set(&bounds), echo);
    let mut first: Vec<TcpStream> =
        [4, 5, 6, 7, 4, 5].map(|host| connect_from(host, address)).into();
    for stream in &mut first {
        assert_eq!(ask(stream, b'a'), Some(b'a'));
    }
    // Whoever of the network comes next takes the place of the one that has idled longest, whosever
    // it is.
    let mut newest = connect_from(6, address);
    assert_eq!(ask(&mut newest, b'b'), Some(b'b'));
    assert!(has_ended(&mut first[0]));
    for stream in first[1..].iter_mut().chain([&mut newest]) {
        assert_eq!(ask(stream, b'h'), Some(b'h'));
    }
    // All are busy. A neighbour is another network's.
    assert!(has_ended(&mut connect_from(7, address)));
    assert_eq!(ask(&mut connect_from(8, address), b'd'), Some(b'd'));
    assert_eq!(
        workers.clients().closed(),
        Closed { refused: 1, displaced: 1, ..Closed::default() }
    );
    let report = workers.clients().take_report().unwrap();
    assert_eq!((report.who.to_string().as_str(), report.connections), ("127.0.0.4/30", 6));
    // What has ended is counted back, for the client that was refused as well.
    drop((first, newest));
    wait_for(&workers, |counts| counts.live == 0);
    for host in [4, 5, 6, 7, 7, 7] {
        assert_eq!(ask(&mut connect_from(host, address), b'e'), Some(b'e'));
    }
    assert_eq!(workers.clients().closed().refused, 1);
}

#[test]
fn who_has_its_share_makes_room_in_its_network_too() {
    let bounds = Bounds {
        connections: Some(2),
        network_connections: Some(3),
        lengths: Lengths { v4: 30, v6: 48 },
        ..Bounds::default()
    };
    let (workers, address) = start_with(|allowance| allowance.set(&bounds), echo);
    let mut neighbour = connect_from(5, address);
    assert_eq!(ask(&mut neighbour, b'a'), Some(b'a'));
    let mut kept = Vec::new();
    for turn in 0..10 {
        kept.push(connect_from(4, address));
        assert_eq!(ask(&mut kept[turn], b'a'), Some(b'a'), "{turn}");
    }
    assert_eq!(
        ask(&mut neighbour, b'a'),
        Some(b'a'),
        "what a client has too many of costs its neighbours nothing"
    );
    assert_eq!(
        workers.clients().closed(),
        Closed { refused: 0, displaced: 8, ..Closed::default() }
    );
}

#[test]
fn half_heads_of_one_network_are_bounded() {
    const MOST: u64 = 64 * 1024;
    let bounds = Bounds {
        network_unfinished: MOST,
        lengths: Lengths { v4: 30, v6: 48 },
        ..Bounds::default()
    };
    let (workers, address) = start_with(|allowance| allowance.set(&bounds), heads);
    let half = format!("GET http://a/ HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(6_000));
    let begin = |from| {
        let mut stream = connect_from(from, address);
        stream.write_all(half.as_bytes()).unwrap();
        stream
    };
    let mut other = begin(8);
    let mut halves: Vec<TcpStream> = (0..40).map(|turn| begin(4 + turn % 4)).collect();
    wait_for(&workers, |_| workers.clients().closed().unfinished > 0);
    halves[0].set_read_timeout(Some(LONG)).unwrap();
    assert!(has_ended(&mut halves[0]), "the oldest");
    let mut last = halves.pop().unwrap();
    for stream in [&mut other, &mut last] {
        stream.write_all(b"\r\n\r\n").unwrap();
        assert!(matches!(stream.read(&mut [0]), Ok(1)), "what comes to its end is answered");
    }
    let report = workers.clients().take_report().unwrap();
    assert!(report.who.is_network() && report.unfinished <= MOST + 2 * 8192, "{report}");
}

/// Waits for a whole head, and answers it with a byte.
async fn heads(_worker: Worker, mut stream: Stream, _peer: SocketAddr) {
    let patience = Patience { idle_kind: Kind::Idle, idle: LONG, head: LONG };
    let mut head = RequestHead::new();
    if let Ok(Some(_)) = stream.read_request(&mut head, &Limits::default(), &patience).await {
        stream.write_all(&[b"a"], LONG).await.unwrap();
    }
}

#[test]
fn half_heads_of_one_client_are_bounded_and_the_oldest_goes_first() {
    const MOST: u64 = 64 * 1024;
    let (workers, address) = start_with(
        |allowance| allowance.set(&Bounds { unfinished: MOST, ..Bounds::default() }),
        heads,
    );
    let half = format!("GET http://a/ HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(6_000));
    let begin = |from| {
        let mut stream = connect_from(from, address);
        stream.write_all(half.as_bytes()).unwrap();
        stream
    };
    let mut other = begin(2);
    let mut halves: Vec<TcpStream> = (0..40).map(|_| begin(1)).collect();
    wait_for(&workers, |_| workers.clients().closed().unfinished > 0);
    let ended = |stream: &mut TcpStream| {
        stream.set_read_timeout(Some(LONG)).unwrap();
        has_ended(stream)
    };
    assert!(ended(&mut halves[0]), "the oldest");
    let mut last = halves.pop().unwrap();
    for stream in [&mut other, &mut last] {
        stream.write_all(b"\r\n\r\n").unwrap();
        let mut answer = [0];
        assert!(matches!(stream.read(&mut answer), Ok(1)), "what comes to its end is answered");
    }
    let held = workers.clients().take_report().unwrap().unfinished;
    assert!(held <= MOST + 2 * 8192, "{held} bytes are held");
}

/// Runs [`a_lighter_client_comes`] and [`a_lighter_network_comes`] in processes of their own, whose
/// limits may be lowered.
#[test]
fn without_descriptors_who_has_the_most_makes_way() {
    for test in ["a_lighter_client_comes", "a_lighter_network_comes"] {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("worker::tests::{test}"), "--ignored", "--nocapture"])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&child.stdout);
        assert!(
            child.status.success() && text.contains("1 passed"),
            "{text}{}",
            String::from_utf8_lossy(&child.stderr)
        );
    }
}

#[test]
#[ignore = "lowers the process's limits: run by the test above"]
fn a_lighter_network_comes() {
    use nix::sys::resource::{Resource, setrlimit};
    setrlimit(Resource::RLIMIT_NOFILE, 64, 64).unwrap();
    // One network may have everything here, and each of its clients has one connection.
    let bounds =
        Bounds { network_share: 100, lengths: Lengths { v4: 25, v6: 48 }, ..Bounds::default() };
    let (workers, address) = start_with(|allowance| allowance.set(&bounds), echo);
    let mut many = Vec::new();
    for host in 1..100 {
        let mut stream = connect_from(host, address);
        if ask(&mut stream, b'a').is_none() {
            break;
        }
        many.push(stream);
    }
    assert!(many.len() > 8 && workers.counts().refused == 1, "{}", many.len());
    let mut light = connect_from(200, address);
    assert_eq!(ask(&mut light, b'b'), Some(b'b'));
    assert!(has_ended(&mut many[0]));
    assert_eq!(ask(many.last_mut().unwrap(), b'c'), Some(b'c'));
}

#[test]
#[ignore = "lowers the process's limits: run by the test above"]
fn a_lighter_client_comes() {
    use nix::sys::resource::{Resource, setrlimit};
    // Eight are kept from clients.
    setrlimit(Resource::RLIMIT_NOFILE, 64, 64).unwrap();
    let (workers, address) = start(1);
    let mut heavy = Vec::new();
    loop {
        let mut stream = connect_from(1, address);
        if ask(&mut stream, b'a').is_none() {
            break;
        }
        heavy.push(stream);
    }
    assert!(heavy.len() > 8 && workers.counts().refused == 1, "{}", heavy.len());
    let mut light: Vec<_> = (0..2).map(|_| connect_from(2, address)).collect();
    for stream in &mut light {
        assert_eq!(ask(stream, b'b'), Some(b'b'));
    }
    assert!(has_ended(&mut heavy[0]));
    assert_eq!(ask(heavy.last_mut().unwrap(), b'c'), Some(b'c'));
}

#[test]
fn a_listener_that_is_not_wanted_any_more_empties_its_backlog() {
    let listeners =
        Arc::new(Listeners::bind("127.0.0.1:0".parse().unwrap(), 1, &Options::default()).unwrap());
    let address = listeners.local_addr();
    // They wait in the backlog when the worker begins.
    let mut clients: Vec<TcpStream> = (0..20).map(|_| connect(address)).collect();
    let workers = Workers::start(Settings { name: "test", workers: 1 }, move |worker: Worker| {
        let listeners = listeners.clone();
        async move {
            worker
                .serve_until(
                    listeners.take(&worker).unwrap(),
                    std::future::ready(super::Unwanted::Closed),
                    echo,
                )
                .await
        }
    });
    let workers = workers.unwrap();
    for client in &mut clients {
        assert_eq!(ask(client, b'a'), Some(b'a'));
    }
    assert_eq!(
        TcpStream::connect(address).unwrap_err().kind(),
        std::io::ErrorKind::ConnectionRefused
    );
    drop(workers);
}
