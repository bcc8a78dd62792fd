//! Heads and idling on real sockets.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Patience, Stream};
use crate::fault::Fault;
use crate::framing::BodyFraming;
use crate::head::{Limits, RequestHead, ResponseHead};
use crate::wheel::Kind;
use crate::worker::block_on;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(30);
const GET: &[u8] = b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n";

fn with_pair<F: Future<Output = ()>>(body: impl FnOnce(Stream, TcpStream) -> F) {
    block_on(|worker| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (ours, theirs) = tokio::join!(Stream::connect(&worker, listener.local_addr().unwrap(), LONG), listener.accept());
        tokio::time::timeout(2 * LONG, body(ours.unwrap(), theirs.unwrap().0)).await.expect("the test hangs");
    });
}

async fn read(stream: &mut Stream, idle: Duration, head: Duration) -> Result<Option<usize>, Fault> {
    let patience = Patience { idle_kind: Kind::Idle, idle, head };
    let read = stream.read_request(&mut RequestHead::new(), &Limits::default(), &patience).await?;
    Ok(read.map(|bytes| bytes.len()))
}

#[test]
fn a_connection_that_is_left_or_not_used_is_not_an_error() {
    with_pair(|mut ours, theirs| async move {
        assert_eq!(read(&mut ours, SHORT, LONG).await, Ok(None));
        drop(theirs);
        assert_eq!(read(&mut ours, LONG, LONG).await, Ok(None));
    });
    with_pair(|mut ours, mut theirs| async move {
        theirs.write_all(GET).await.unwrap();
        assert_eq!(read(&mut ours, LONG, LONG).await, Ok(Some(GET.len())));
        theirs.set_zero_linger().unwrap();
        drop(theirs);
        assert_eq!(read(&mut ours, LONG, LONG).await, Ok(None));
    });
}

#[test]
fn a_head_has_one_deadline_however_it_drips() {
    with_pair(|mut ours, mut theirs| async move {
        let drip = async {
            for byte in GET.iter().cycle().filter(|byte| **byte != b'\r' && **byte != b'\n').take(5000) {
                if theirs.write_all(&[*byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            fault = read(&mut ours, LONG, 3 * SHORT) => assert_eq!(fault, Err(Fault::Timeout(Kind::Head))),
            () = drip => panic!("the drip outlived the deadline"),
        }
    });
}

#[test]
fn an_incomplete_head_and_its_end_are_told_apart_from_an_idle_close() {
    with_pair(|mut ours, mut theirs| async move {
        theirs.write_all(b"GET http").await.unwrap();
        drop(theirs);
        assert_eq!(read(&mut ours, LONG, LONG).await, Err(Fault::Closed));
    });
    with_pair(|mut ours, mut theirs| async move {
        theirs.write_all(b"\0\0\0\0\r\n\r\n").await.unwrap();
        assert!(matches!(read(&mut ours, LONG, LONG).await, Err(Fault::Malformed(_))));
    });
}

#[test]
fn an_idle_connection_holds_no_buffer() {
    with_pair(|mut ours, mut theirs| async move {
        for _ in 0..3 {
            theirs.write_all(GET).await.unwrap();
            assert_eq!(read(&mut ours, LONG, LONG).await, Ok(Some(GET.len())));
            assert_eq!(read(&mut ours, SHORT, LONG).await, Ok(None));
            assert_eq!(ours.0.input.capacity(), 0);
        }
        // What the allocator gives for 192 bytes it gives for 200.
        assert!(size_of::<super::Inner>() <= 200, "{}", size_of::<super::Inner>());
    });
}

#[test]
fn a_response_has_a_deadline_for_its_first_byte_and_one_for_the_rest() {
    with_pair(|mut ours, mut theirs| async move {
        let (mut head, limits) = (ResponseHead::new(), Limits::default());
        assert_eq!(ours.read_response(&mut head, &limits, SHORT, LONG).await, Err(Fault::Timeout(Kind::FirstByte)));
        theirs.write_all(b"HTTP/1.1 200 O").await.unwrap();
        assert_eq!(ours.read_response(&mut head, &limits, LONG, SHORT).await, Err(Fault::Timeout(Kind::Head)));
        theirs.write_all(b"K\r\n\r\n").await.unwrap();
        assert_eq!(ours.read_response(&mut head, &limits, LONG, LONG).await.map(|head| head.len()), Ok(19));
    });
}

#[test]
fn a_peer_that_takes_nothing_runs_into_the_deadline() {
    with_pair(|mut ours, theirs| async move {
        let much = vec![0; 64 << 20];
        assert_eq!(ours.write_all(&[b"head", &much], SHORT).await, Err(Fault::Timeout(Kind::Write)));
        drop(theirs);
    });
}

#[test]
fn nobody_listening_is_refused() {
    block_on(|worker| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(Stream::connect(&worker, address, LONG).await.err(), Some(Fault::Refused));
    });
}

#[test]
fn many_parts_arrive_in_order() {
    with_pair(|mut ours, theirs| async move {
        let parts: Vec<Vec<u8>> = (0..40_u8).map(|n| vec![n; usize::from(n) * 5000]).collect();
        let slices: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
        let mut theirs = theirs;
        let mut received = vec![0; parts.concat().len()];
        let (sent, read) = tokio::join!(ours.write_all(&slices, LONG), tokio::io::AsyncReadExt::read_exact(&mut theirs, &mut received));
        sent.unwrap();
        read.unwrap();
        assert!(received == parts.concat());
    });
}

/// A peer that has taken next to nothing yet of what was sent, and what it gets when it reads on.
async fn read_late(mut theirs: TcpStream, ended: impl Future<Output = ()>) -> (Vec<u8>, std::io::Result<usize>) {
    ended.await;
    let mut received = Vec::new();
    loop {
        let mut piece = [0; 1024];
        match theirs.read(&mut piece).await {
            Ok(n @ 1..) => received.extend_from_slice(&piece[..n]),
            end => return (received, end),
        }
    }
}

#[test]
fn a_cut_connection_delivers_what_was_sent_and_does_not_end_like_a_whole_message() {
    for framing in [BodyFraming::Length(1 << 20), BodyFraming::Chunked, BodyFraming::UntilClose] {
        with_pair(|mut ours, theirs| async move {
            socket2::SockRef::from(&theirs).set_recv_buffer_size(4096).unwrap();
            let sent = vec![7; 40_000];
            ours.write_all(&[&sent], LONG).await.unwrap();
            let (begun, reading) = tokio::sync::oneshot::channel();
            let cutting = async {
                begun.send(()).unwrap();
                ours.cut(framing, 1 << 20, LONG).await;
            };
            let ((), (received, end)) = tokio::join!(cutting, read_late(theirs, async { reading.await.unwrap() }));
            assert_eq!(received.len(), sent.len(), "{framing:?}");
            match framing {
                BodyFraming::UntilClose => assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset),
                _ => assert_eq!(end.unwrap(), 0, "{framing:?}"),
            }
        });
    }
}

#[test]
fn a_peer_that_takes_nothing_does_not_keep_a_reset_waiting_for_ever() {
    with_pair(|mut ours, theirs| async move {
        socket2::SockRef::from(&theirs).set_recv_buffer_size(4096).unwrap();
        ours.write_all(&[&[7; 40_000]], LONG).await.unwrap();
        ours.reset_when_delivered(SHORT).await;
        drop(theirs);
    });
}
