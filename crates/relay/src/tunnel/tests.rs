//! Tunnels between everything that can carry a connection: integrity, half-closing, failures,
//! idling.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{End, Framed, Options, Report, run};
use crate::fault::Fault;
use crate::media::{Medium, TRUST, from_client, name, over_every_medium, sockets, to_server};
use crate::stream::{Io, Stream};
use crate::wheel::Kind;
use crate::worker::block_on;

const LONG: Duration = Duration::from_secs(20);

over_every_medium! {
    an_end_that_takes_nothing_has_little_waiting_for_it
    megabytes_arrive_whole_both_ways_at_once
    what_was_received_before_the_tunnel_goes_first
    through_frames
    a_reset_ends_the_tunnel_and_names_the_side
    an_idle_tunnel_ends
    a_slow_reader_holds_the_sender_back_and_loses_nothing
}

/// Runs a tunnel beside what its two ends do.
fn tunnel<F: Future<Output = ()>>(
    media: (Medium, Medium),
    idle: Duration,
    ends: impl FnOnce(Io, Io) -> F,
) -> Report {
    tunnel_of(media, Options { idle, framed: Framed::Neither }, ends)
}

fn tunnel_of<F: Future<Output = ()>>(
    media: (Medium, Medium),
    options: Options,
    ends: impl FnOnce(Io, Io) -> F,
) -> Report {
    block_on(|worker| async move {
        let ((mut a, left), (mut b, right)) =
            (from_client(&worker, media.0).await, to_server(&worker, media.1).await);
        let run = async move {
            let report = run(&mut a, &mut b, &options).await;
            drop((a, b));
            report
        };
        let both = async { tokio::join!(run, ends(left, right)).0 };
        tokio::time::timeout(3 * LONG, both).await.expect("the tunnel hangs")
    })
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let step = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(step).take(length).collect()
}

async fn send(mut out: impl AsyncWriteExt + Unpin, bytes: &[u8], piece: usize) {
    for piece in bytes.chunks(piece) {
        out.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    out.shutdown().await.unwrap();
}

async fn receive(mut input: impl AsyncReadExt + Unpin) -> Vec<u8> {
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes).await.unwrap();
    bytes
}

fn megabytes_arrive_whole_both_ways_at_once(medium: Medium) {
    let lengths = [
        (5_000_000, 3_000_001, 100_000),
        (300_000, 7, 1000),
        (0, 4_000_000, 1 << 20),
        (9000, 20_000, 10_000),
    ];
    let media = [(medium, medium), (medium, Medium::Tcp), (Medium::Tcp, medium)];
    for ((there, back, piece), media) in
        lengths.into_iter().flat_map(|lengths| media.map(|media| (lengths, media)))
    {
        let (one, two) = (noise(there, 1), noise(back, 2));
        let report = tunnel(media, LONG, |left, right| async move {
            let ((left_in, left_out), (right_in, right_out)) =
                (tokio::io::split(left), tokio::io::split(right));
            let (_, _, got_two, got_one) = tokio::join!(
                send(left_out, &one, piece),
                send(right_out, &two, piece),
                receive(left_in),
                receive(right_in)
            );
            assert!(got_one == one && got_two == two);
        });
        assert_eq!(
            report,
            Report { a_to_b: there as u64, b_to_a: back as u64, end: End::Finished },
            "{media:?}"
        );
    }
}

fn what_was_received_before_the_tunnel_goes_first(medium: Medium) {
    block_on(|worker| async move {
        let ((mut a, mut left), (mut b, mut right)) =
            (from_client(&worker, medium).await, to_server(&worker, medium).await);
        left.write_all(b"early ").await.unwrap();
        a.fill(Kind::Other, LONG).await.unwrap();
        left.write_all(b"late").await.unwrap();
        let options = Options { idle: LONG, framed: Framed::Neither };
        let run = async move {
            let report = run(&mut a, &mut b, &options).await;
            drop((a, b));
            report
        };
        let (report, ()) = tokio::join!(run, async {
            left.shutdown().await.unwrap();
            assert_eq!(receive(&mut right).await, b"early late");
            right.write_all(b"answer after the half-close").await.unwrap();
            right.shutdown().await.unwrap();
            assert_eq!(receive(&mut left).await, b"answer after the half-close");
        });
        assert_eq!(report.end, End::Finished);
        assert!(worker.live() == 0);
    });
}

/// A tunnel from a client through a balancer and a node, which are in this process.
fn through_frames(medium: Medium) {
    let lengths =
        [(5_000_000, 3_000_001, 100_000), (300_000, 7, 1000), (0, 4_000_000, 1 << 20), (9, 0, 1)];
    for (there, back, piece) in lengths {
        let (one, two) = (noise(there, 3), noise(back, 4));
        let (client_side, origin_side) = block_on(|worker| async move {
            let ((mut client, left), (mut out, carried)) =
                (from_client(&worker, medium).await, sockets(&worker).await);
            let (mut node, (mut origin, right)) =
                (Stream::new(&worker, carried), to_server(&worker, medium).await);
            let balancer = async {
                let options = Options { idle: LONG, framed: Framed::B };
                let report = run(&mut client, &mut out, &options).await;
                drop(client);
                report
            };
            let at_node = async {
                let options = Options { idle: LONG, framed: Framed::A };
                let report = run(&mut node, &mut origin, &options).await;
                drop(origin);
                report
            };
            let ((left_in, left_out), (right_in, right_out)) =
                (tokio::io::split(left), tokio::io::split(right));
            let all = async {
                tokio::join!(
                    balancer,
                    at_node,
                    send(left_out, &one, piece),
                    send(right_out, &two, piece),
                    receive(left_in),
                    receive(right_in)
                )
            };
            let (a, b, (), (), got_two, got_one) =
                tokio::time::timeout(3 * LONG, all).await.expect("the tunnel hangs");
            assert!(got_one == one && got_two == two, "{medium:?} {there} {back}");
            // Nothing of the tunnel is left, and the connection is what it was.
            out.write_all(&[b"another request"], LONG).await.unwrap();
            node.fill(Kind::Other, LONG).await.unwrap();
            assert_eq!(&node.input()[..], b"another request");
            node.write_all(&[b"its answer"], LONG).await.unwrap();
            out.fill(Kind::Other, LONG).await.unwrap();
            assert_eq!(&out.input()[..], b"its answer");
            (a, b)
        });
        let whole = Report { a_to_b: there as u64, b_to_a: back as u64, end: End::Finished };
        assert_eq!((client_side, origin_side), (whole, whole), "{medium:?}");
    }
}

/// What a peer that speaks in frames sends, and how the tunnel ends that is to believe it.
#[test]
fn frames_that_say_nothing_sensible_end_the_tunnel() {
    let frame = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes(), bytes].concat();
    let end = frame(b"");
    for (what, sent, delivered, expected) in [
        ("closed between frames", frame(b"abc"), &b"abc"[..], End::A(Fault::Closed)),
        ("closed in a frame", frame(b"abcdef")[..7].to_vec(), b"abc", End::A(Fault::Closed)),
        ("closed in a header", vec![0, 0], b"", End::A(Fault::Closed)),
        ("closed at once", vec![], b"", End::A(Fault::Closed)),
        (
            "a length that is none",
            [frame(b"ab"), b"GET / HTTP/1.1\r\n".to_vec()].concat(),
            b"ab",
            End::A(Fault::Io(std::io::ErrorKind::InvalidData)),
        ),
        ("an end", [frame(b"ab"), frame(b"c"), end.clone()].concat(), b"abc", End::Finished),
    ] {
        let media = (Medium::Tcp, Medium::Tcp);
        let options = Options { idle: LONG, framed: Framed::A };
        let report = tunnel_of(media, options, |mut left, mut right| async move {
            left.write_all(&sent).await.unwrap();
            left.shutdown().await.unwrap();
            let mut got = Vec::new();
            // A tunnel that was cut ends in a reset.
            drop(right.read_to_end(&mut got).await);
            assert_eq!(got, delivered, "{what}");
        });
        assert_eq!(report.end, expected, "{what}");
    }
}

fn a_reset_ends_the_tunnel_and_names_the_side(medium: Medium) {
    let report = tunnel((medium, medium), LONG, |mut left, mut right| async move {
        left.write_all(b"x").await.unwrap();
        right.read_exact(&mut [0]).await.unwrap();
        right.reset();
        assert_eq!(left.read(&mut [0]).await.unwrap(), 0);
    });
    assert_eq!(report.end, End::B(Fault::Reset));
}

fn an_idle_tunnel_ends(medium: Medium) {
    let report =
        tunnel((medium, medium), Duration::from_millis(30), |mut left, mut right| async move {
            left.write_all(b"x").await.unwrap();
            right.read_exact(&mut [0]).await.unwrap();
            assert_eq!(left.read(&mut [0]).await.unwrap(), 0);
            drop(right);
        });
    assert_eq!(report, Report { a_to_b: 1, b_to_a: 0, end: End::Idle });
}

/// Sends without end in pieces to an end that takes nothing, until the tunnel is idle. Returns what
/// the tunnel has put into the kernel for it.
fn taken_for_nobody(medium: Medium, piece: usize) -> u64 {
    let report =
        tunnel((medium, medium), Duration::from_millis(300), |mut left, right| async move {
            let piece = vec![7; piece];
            while left.write_all(&piece).await.is_ok() {
                tokio::task::yield_now().await;
            }
            drop(right);
        });
    assert_eq!(report.end, End::Idle);
    report.a_to_b
}

fn an_end_that_takes_nothing_has_little_waiting_for_it(medium: Medium) {
    // Spliced, and copied.
    for piece in [1 << 20, 2_000] {
        let taken = taken_for_nobody(medium, piece);
        assert!(taken < 1024 * 1024, "{taken} bytes wait, in pieces of {piece}");
    }
}

fn a_slow_reader_holds_the_sender_back_and_loses_nothing(medium: Medium) {
    let bytes = noise(3_000_000, 3);
    let report = tunnel((medium, medium), LONG, |left, mut right| async move {
        let sender = tokio::task::spawn_local({
            let (mut left, bytes) = (left, bytes.clone());
            async move { send(&mut left, &bytes, 1 << 20).await }
        });
        let mut received = Vec::new();
        let mut piece = vec![0; 3000];
        loop {
            let n = right.read(&mut piece).await.unwrap();
            if n == 0 {
                break;
            }
            received.extend_from_slice(&piece[..n]);
            tokio::task::yield_now().await;
        }
        assert!(received == bytes);
        sender.await.unwrap();
    });
    assert_eq!(report.a_to_b, 3_000_000);
}

#[test]
fn a_tls_peer_that_is_cut_does_not_end_the_tunnel_in_order() {
    let report = tunnel((Medium::Tcp, Medium::Tls), LONG, |mut left, mut right| async move {
        right.write_all(b"half of it").await.unwrap();
        right.flush().await.unwrap();
        let mut read = [0; 10];
        left.read_exact(&mut read).await.unwrap();
        // The socket closes in order, and the session did not.
        drop(right);
        assert_eq!(left.read(&mut [0]).await.unwrap(), 0);
    });
    assert_eq!(report, Report { a_to_b: 0, b_to_a: 10, end: End::B(Fault::Closed) });
}

#[test]
fn what_waits_behind_a_full_socket_is_sent_although_nobody_reads_from_that_side() {
    block_on(|worker| async move {
        let (mut a, mut left) = from_client(&worker, Medium::Tcp).await;
        let (b, right) = sockets(&worker).await;
        // So little that the end of what is sent does not fit.
        socket2::SockRef::from(b.spliceable().unwrap()).set_send_buffer_size(4096).unwrap();
        socket2::SockRef::from(&right).set_recv_buffer_size(4096).unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(TRUST.server.clone());
        let (b, right) =
            tokio::join!(b.start_tls(TRUST.client.clone(), name(), LONG), acceptor.accept(right));
        let (mut b, mut right) = (b.unwrap(), right.unwrap());
        let bytes = noise(60_000, 4);
        let both = async {
            tokio::join!(
                run(&mut a, &mut b, &Options { idle: LONG, framed: Framed::Neither }),
                async {
                    // Its direction has ended, and the relay reads nothing more from it.
                    right.shutdown().await.unwrap();
                    assert_eq!(left.read(&mut [0]).await.unwrap(), 0);
                    let sending = async { left.write_all(&bytes).await.unwrap() };
                    let receiving = async {
                        let mut received = vec![0; bytes.len()];
                        for piece in received.chunks_mut(5000) {
                            right.read_exact(piece).await.unwrap();
                            tokio::task::yield_now().await;
                        }
                        assert!(received == bytes);
                    };
                    // The sender does not close before everything has arrived: nothing else would
                    // wake the tunnel.
                    tokio::join!(sending, receiving);
                    drop((left, right));
                }
            )
        };
        let (report, ()) = tokio::time::timeout(2 * LONG, both).await.expect("the tunnel hangs");
        assert_eq!(report.a_to_b, 60_000);
    });
}
