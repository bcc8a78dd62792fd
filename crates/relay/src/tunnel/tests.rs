//! Tunnels between real sockets: integrity, half-closing, failures, idling.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{End, Options, Report, run};
use crate::fault::Fault;
use crate::stream::Stream;
use crate::wheel::Kind;
use crate::worker::{Worker, block_on};

const LONG: Duration = Duration::from_secs(20);

async fn pair(worker: &Worker) -> (Stream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (ours, theirs) = tokio::join!(Stream::connect(worker, listener.local_addr().unwrap(), LONG), listener.accept());
    (ours.unwrap(), theirs.unwrap().0)
}

/// Runs a tunnel beside what its two ends do.
fn tunnel<F: Future<Output = ()>>(idle: Duration, ends: impl FnOnce(TcpStream, TcpStream) -> F) -> Report {
    block_on(|worker| async move {
        let ((mut a, left), (mut b, right)) = (pair(&worker).await, pair(&worker).await);
        let options = Options { idle };
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
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
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

#[test]
fn megabytes_arrive_whole_both_ways_at_once() {
    for (there, back, piece) in [(5_000_000, 3_000_001, 100_000), (300_000, 7, 1000), (0, 4_000_000, 1 << 20), (9000, 20_000, 10_000)] {
        let (one, two) = (noise(there, 1), noise(back, 2));
        let report = tunnel(LONG, |mut left, mut right| async move {
            let ((left_in, left_out), (right_in, right_out)) = (left.split(), right.split());
            let (_, _, got_two, got_one) =
                tokio::join!(send(left_out, &one, piece), send(right_out, &two, piece), receive(left_in), receive(right_in));
            assert!(got_one == one && got_two == two);
        });
        assert_eq!(report, Report { a_to_b: there as u64, b_to_a: back as u64, end: End::Finished });
    }
}

#[test]
fn what_was_received_before_the_tunnel_goes_first() {
    block_on(|worker| async move {
        let ((mut a, mut left), (mut b, mut right)) = (pair(&worker).await, pair(&worker).await);
        left.write_all(b"early ").await.unwrap();
        a.fill(Kind::Other, LONG).await.unwrap();
        left.write_all(b"late").await.unwrap();
        let options = Options { idle: LONG };
        let (report, ()) = tokio::join!(run(&mut a, &mut b, &options), async {
            left.shutdown().await.unwrap();
            assert_eq!(receive(&mut right).await, b"early late");
            right.write_all(b"answer after the half-close").await.unwrap();
            drop(right);
            assert_eq!(receive(&mut left).await, b"answer after the half-close");
        });
        assert_eq!(report.end, End::Finished);
        assert!(worker.live() == 0);
    });
}

#[test]
fn a_reset_ends_the_tunnel_and_names_the_side() {
    let report = tunnel(LONG, |mut left, right| async move {
        left.write_all(b"x").await.unwrap();
        right.readable().await.unwrap();
        right.set_zero_linger().unwrap();
        drop(right);
        assert_eq!(left.read(&mut [0]).await.unwrap(), 0);
    });
    assert_eq!(report.end, End::B(Fault::Reset));
}

#[test]
fn an_idle_tunnel_ends() {
    let report = tunnel(Duration::from_millis(30), |mut left, right| async move {
        left.write_all(b"x").await.unwrap();
        right.readable().await.unwrap();
        assert_eq!(left.read(&mut [0]).await.unwrap(), 0);
        drop(right);
    });
    assert_eq!(report, Report { a_to_b: 1, b_to_a: 0, end: End::Idle });
}

/// Sends without end in pieces to an end that takes nothing, until the tunnel is idle. Returns what the tunnel has put into the kernel for it.
fn taken_for_nobody(piece: usize) -> u64 {
    let report = tunnel(Duration::from_millis(300), |mut left, right| async move {
        let piece = vec![7; piece];
        while left.write_all(&piece).await.is_ok() {
            tokio::task::yield_now().await;
        }
        drop(right);
    });
    assert_eq!(report.end, End::Idle);
    report.a_to_b
}

#[test]
fn an_end_that_takes_nothing_has_little_waiting_for_it() {
    // Spliced, and copied.
    for piece in [1 << 20, 2_000] {
        let taken = taken_for_nobody(piece);
        assert!(taken < 1024 * 1024, "{taken} bytes wait, in pieces of {piece}");
    }
}

#[test]
fn a_slow_reader_holds_the_sender_back_and_loses_nothing() {
    let bytes = noise(3_000_000, 3);
    let report = tunnel(LONG, |left, mut right| async move {
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
