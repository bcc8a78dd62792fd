use std::{
    io::{BufRead, BufReader},
    net::{TcpListener, UdpSocket},
    os::unix::net::{UnixDatagram, UnixListener},
};

use cluster_config::document::log::{LogAddress, LogFormat, LogFraming};

use super::*;

fn settings(to: LogAddress) -> LogTarget {
    LogTarget {
        to,
        format: LogFormat::Json,
        framing: LogFraming::Rfc5424,
        facility: 16,
        tag: "t".to_owned(),
    }
}

fn lines(texts: &[&str]) -> Lines {
    let bytes = texts.iter().flat_map(|text| [text.as_bytes(), b"\n"].concat()).collect();
    Lines { bytes, count: texts.len() as u64 }
}

/// What follows the header.
fn message(received: &[u8]) -> String {
    let text = String::from_utf8(received.to_vec()).expect("text");
    let (header, message) = text.split_once(" - - ").expect("a header");
    assert!(header.starts_with("<134>1 ") && header.contains(" b-1 t "), "{header}");
    message.to_owned()
}

fn datagrams(receive: impl Fn(&mut [u8]) -> usize, count: usize) -> Vec<String> {
    let mut buffer = [0; 16 * 1024];
    (0..count)
        .map(|_| {
            let length = receive(&mut buffer);
            message(&buffer[..length])
        })
        .collect()
}

#[tokio::test]
async fn every_record_is_a_datagram_and_the_end_waits_for_the_last() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("bound").port();
    let targets = Targets::new("b-1");
    targets.set(&[settings(LogAddress::Udp("127.0.0.1".to_owned(), port))]).expect("a thread");
    targets.current()[0].send(lines(&["one", &"x".repeat(10_000)]));
    targets.current()[0].send(lines(&["three"]));
    targets.finish(Duration::from_secs(10)).await;
    server.set_nonblocking(true).expect("an option");
    let told = datagrams(|buffer| server.recv(buffer).expect("it was sent"), 3);
    assert_eq!((told[0].as_str(), told[2].as_str()), ("one", "three"));
    assert!(told[1].len() < transport::MOST_DATAGRAM && told[1].len() > 8000, "{}", told[1].len());
}

#[test]
fn over_tcp_every_record_is_a_line_and_a_place_that_was_away_is_found_again() {
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("bound")
    };
    let targets = Targets::new("b-1");
    let wanted = [settings(LogAddress::Tcp("127.0.0.1".to_owned(), address.port()))];
    targets.set(&wanted).expect("a thread");
    let target = Arc::clone(&targets.current()[0]);
    target.send(lines(&["lost"]));
    while target.counts().dropped() == 0 {
        std::thread::yield_now();
    }
    let listener = TcpListener::bind(address).expect("the port");
    let reader = std::thread::spawn(move || {
        let stream = BufReader::new(listener.accept().expect("a connection").0);
        let mut lines = stream.lines().map(|line| message(line.expect("a line").as_bytes()));
        [lines.next(), lines.next()]
    });
    // It is asked again a second later; until then records are dropped.
    while target.counts().sent() == 0 {
        target.send(lines(&["a", "b"]));
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert_eq!(reader.join().expect("lines"), [Some("a".to_owned()), Some("b".to_owned())]);
    targets.set(&wanted).expect("the same");
    assert!(Arc::ptr_eq(&targets.current()[0], &target), "what stays as it was goes on");
}

#[tokio::test]
async fn a_unix_socket_is_taken_as_it_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let [one, other] = ["datagrams", "stream"].map(|name| directory.path().join(name));
    let server = UnixDatagram::bind(&one).expect("a socket");
    let listener = UnixListener::bind(&other).expect("a socket");
    let targets = Targets::new("b-1");
    let to = |path: &std::path::Path| settings(LogAddress::Unix(path.display().to_string()));
    targets.set(&[to(&one), to(&other)]).expect("threads");
    for target in targets.current().iter() {
        target.send(lines(&["first", "second"]));
    }
    assert_eq!(
        datagrams(|buffer| server.recv(buffer).expect("it was sent"), 2),
        ["first", "second"]
    );
    let stream = BufReader::new(listener.accept().expect("a connection").0);
    let told = stream.lines().take(2).map(|line| message(line.expect("a line").as_bytes()));
    assert_eq!(told.collect::<Vec<_>>(), ["first", "second"]);
    targets.finish(Duration::from_secs(10)).await;
    assert!(targets.current().is_empty());
}

#[test]
fn what_waits_is_bounded() {
    // A fifo that nobody reads is no socket: nothing is ever sent there.
    let targets = Targets::new("b-1");
    targets.set(&[settings(LogAddress::Unix("/nowhere/at/all".to_owned()))]).expect("a thread");
    let target = Arc::clone(&targets.current()[0]);
    for _ in 0..QUEUE * 4 {
        target.send(lines(&["x"]));
    }
    while target.counts().dropped() < QUEUE as u64 * 4 {
        std::thread::yield_now();
    }
    assert_eq!(target.counts().sent(), 0);
}
