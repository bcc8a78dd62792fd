//! Heads, idling and ends over everything that can carry a connection.

use std::future::poll_fn;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{Io, Patience, Stream};
use crate::fault::Fault;
use crate::framing::BodyFraming;
use crate::head::{Limits, RequestHead, ResponseHead};
use crate::media::{Medium, TRUST, from_client, name, over_every_medium, sockets};
use crate::tls;
use crate::wheel::Kind;
use crate::worker::block_on;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(30);
const GET: &[u8] = b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n";

over_every_medium! {
    a_connection_that_is_left_or_not_used_is_not_an_error
    a_head_has_one_deadline_however_it_drips
    a_head_in_pieces_has_taken_time
    chatter_does_not_put_a_deadline_off
    an_incomplete_head_and_its_end_are_told_apart_from_an_idle_close
    an_idle_connection_holds_no_buffer
    a_response_has_a_deadline_for_its_first_byte_and_one_for_the_rest
    a_peer_that_takes_nothing_runs_into_the_deadline
    many_parts_arrive_in_order
    a_cut_connection_delivers_what_was_sent_and_does_not_end_like_a_whole_message
    a_peer_that_takes_nothing_does_not_keep_a_reset_waiting_for_ever
}

fn with_pair<F: Future<Output = ()>>(medium: Medium, body: impl FnOnce(Stream, Io) -> F) {
    block_on(|worker| async move {
        let (ours, theirs) = from_client(&worker, medium).await;
        tokio::time::timeout(2 * LONG, body(ours, theirs)).await.expect("the test hangs");
    });
}

async fn read(stream: &mut Stream, idle: Duration, head: Duration) -> Result<Option<usize>, Fault> {
    let patience = Patience { idle_kind: Kind::Idle, idle, head };
    let read = stream.read_request(&mut RequestHead::new(), &Limits::default(), &patience).await?;
    Ok(read.map(|bytes| bytes.len()))
}

fn a_connection_that_is_left_or_not_used_is_not_an_error(medium: Medium) {
    with_pair(medium, |mut ours, theirs| async move {
        assert_eq!(read(&mut ours, SHORT, LONG).await, Ok(None));
        drop(theirs);
        assert_eq!(read(&mut ours, LONG, LONG).await, Ok(None));
    });
    with_pair(medium, |mut ours, mut theirs| async move {
        theirs.write_all(GET).await.unwrap();
        assert_eq!(read(&mut ours, LONG, LONG).await, Ok(Some(GET.len())));
        theirs.reset();
        assert_eq!(read(&mut ours, LONG, LONG).await, Ok(None));
    });
}

fn chatter_does_not_put_a_deadline_off(medium: Medium) {
    with_pair(medium, |mut ours, mut theirs| async move {
        let chatting = async {
            while theirs.write_all(b"x").await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        let reading = async {
            loop {
                ours.input().clear();
                match poll_fn(|cx| ours.poll_fill_by(cx, Kind::Idle, SHORT)).await {
                    Ok(read) => assert_ne!(read, 0),
                    Err(fault) => return fault,
                }
            }
        };
        let fault = tokio::select! { fault = reading => fault, () = chatting => panic!("closed") };
        assert_eq!(fault, Fault::Timeout(Kind::Idle));
        // And where nothing is expected any more, none runs.
        ours.expect_nothing();
        let mut after = Box::pin(poll_fn(|cx| ours.poll_fill_by(cx, Kind::Idle, LONG)));
        assert!(matches!(futures_poll(&mut after).await, None | Some(Ok(_))));
    });
}

/// What a future says now.
async fn futures_poll<T>(future: impl Future<Output = T> + Unpin) -> Option<T> {
    tokio::select! { biased; out = future => Some(out), () = std::future::ready(()) => None }
}

fn a_head_has_one_deadline_however_it_drips(medium: Medium) {
    with_pair(medium, |mut ours, mut theirs| async move {
        let drip = async {
            for byte in
                GET.iter().cycle().filter(|byte| **byte != b'\r' && **byte != b'\n').take(5000)
            {
                if theirs.write_all(&[*byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            fault = read(&mut ours, LONG, 3 * SHORT) => {
                assert_eq!(fault, Err(Fault::Timeout(Kind::Head)));
            }
            () = drip => panic!("the drip outlived the deadline"),
        }
    });
}

fn a_head_in_pieces_has_taken_time(medium: Medium) {
    with_pair(medium, |mut ours, mut theirs| async move {
        let (one, other) = GET.split_at(20);
        theirs.write_all(one).await.unwrap();
        theirs.flush().await.unwrap();
        let rest = async {
            tokio::time::sleep(SHORT).await;
            theirs.write_all(other).await.unwrap();
            theirs.flush().await.unwrap();
        };
        let (head, ()) = tokio::join!(read(&mut ours, LONG, LONG), rest);
        assert_eq!(head, Ok(Some(GET.len())));
        // What TLS hands over may be both pieces at once.
        assert!(medium == Medium::Tls || !ours.head_took().is_zero());
        theirs.write_all(GET).await.unwrap();
        theirs.flush().await.unwrap();
        assert_eq!(read(&mut ours, LONG, LONG).await, Ok(Some(GET.len())));
        assert!(ours.head_took().is_zero());
    });
}

fn an_incomplete_head_and_its_end_are_told_apart_from_an_idle_close(medium: Medium) {
    with_pair(medium, |mut ours, mut theirs| async move {
        theirs.write_all(b"GET http").await.unwrap();
        drop(theirs);
        assert_eq!(read(&mut ours, LONG, LONG).await, Err(Fault::Closed));
    });
    with_pair(medium, |mut ours, mut theirs| async move {
        theirs.write_all(b"\0\0\0\0\r\n\r\n").await.unwrap();
        assert!(matches!(read(&mut ours, LONG, LONG).await, Err(Fault::Malformed(_))));
    });
}

fn an_idle_connection_holds_no_buffer(medium: Medium) {
    with_pair(medium, |mut ours, mut theirs| async move {
        for _ in 0..3 {
            theirs.write_all(GET).await.unwrap();
            assert_eq!(read(&mut ours, LONG, LONG).await, Ok(Some(GET.len())));
            assert_eq!(read(&mut ours, SHORT, LONG).await, Ok(None));
            assert_eq!(ours.0.input.capacity(), 0);
        }
        // What the allocator gives for 160 bytes it gives for 168.
        assert!(size_of::<super::Inner>() <= 168, "{}", size_of::<super::Inner>());
    });
}

fn a_response_has_a_deadline_for_its_first_byte_and_one_for_the_rest(medium: Medium) {
    with_pair(medium, |mut ours, mut theirs| async move {
        let (mut head, limits) = (ResponseHead::new(), Limits::default());
        assert_eq!(
            ours.read_response(&mut head, &limits, SHORT, LONG).await,
            Err(Fault::Timeout(Kind::FirstByte))
        );
        theirs.write_all(b"HTTP/1.1 200 O").await.unwrap();
        assert_eq!(
            ours.read_response(&mut head, &limits, LONG, SHORT).await,
            Err(Fault::Timeout(Kind::Head))
        );
        theirs.write_all(b"K\r\n\r\n").await.unwrap();
        assert_eq!(
            ours.read_response(&mut head, &limits, LONG, LONG).await.map(|head| head.len()),
            Ok(19)
        );
    });
}

fn a_peer_that_takes_nothing_runs_into_the_deadline(medium: Medium) {
    with_pair(medium, |mut ours, theirs| async move {
        let much = vec![0; 64 << 20];
        assert_eq!(
            ours.write_all(&[b"head", &much], SHORT).await,
            Err(Fault::Timeout(Kind::Write))
        );
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

fn many_parts_arrive_in_order(medium: Medium) {
    with_pair(medium, |mut ours, theirs| async move {
        let parts: Vec<Vec<u8>> = (0..40_u8).map(|n| vec![n; usize::from(n) * 5000]).collect();
        let slices: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
        let mut theirs = theirs;
        let mut received = vec![0; parts.concat().len()];
        let (sent, read) = tokio::join!(
            ours.write_all(&slices, LONG),
            tokio::io::AsyncReadExt::read_exact(&mut theirs, &mut received)
        );
        sent.unwrap();
        read.unwrap();
        assert!(received == parts.concat());
    });
}

/// A peer that has taken next to nothing yet of what was sent, and what it gets when it reads on.
async fn read_late(
    mut theirs: Io,
    ended: impl Future<Output = ()>,
) -> (Vec<u8>, std::io::Result<usize>) {
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

fn a_cut_connection_delivers_what_was_sent_and_does_not_end_like_a_whole_message(medium: Medium) {
    for framing in [BodyFraming::Length(1 << 20), BodyFraming::Chunked, BodyFraming::UntilClose] {
        with_pair(medium, |mut ours, theirs| async move {
            theirs.take_little();
            let sent = vec![7; 40_000];
            ours.write_all(&[&sent], LONG).await.unwrap();
            let (begun, reading) = tokio::sync::oneshot::channel();
            let cutting = async {
                begun.send(()).unwrap();
                ours.cut(framing, 1 << 20, LONG).await;
            };
            let ((), (received, end)) =
                tokio::join!(cutting, read_late(theirs, async { reading.await.unwrap() }));
            assert_eq!(received.len(), sent.len(), "{framing:?}");
            match framing {
                BodyFraming::UntilClose => {
                    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset)
                }
                _ => assert_eq!(end.unwrap(), 0, "{framing:?}"),
            }
        });
    }
}

fn a_peer_that_takes_nothing_does_not_keep_a_reset_waiting_for_ever(medium: Medium) {
    with_pair(medium, |mut ours, theirs| async move {
        theirs.take_little();
        ours.write_all(&[&[7; 40_000]], LONG).await.unwrap();
        ours.reset_when_delivered(SHORT).await;
        drop(theirs);
    });
}

#[test]
fn a_tls_end_that_is_announced_is_told_apart_from_one_that_is_not() {
    for announced in [true, false] {
        with_pair(Medium::Tls, |mut ours, mut theirs| async move {
            theirs.write_all(b"last words").await.unwrap();
            if announced {
                theirs.shutdown().await.unwrap();
            }
            drop(theirs);
            let mut received = 0;
            let end = loop {
                match ours.fill(Kind::Body, LONG).await {
                    Ok(n @ 1..) => received += n,
                    end => break end,
                }
            };
            assert_eq!((received, end), (10, if announced { Ok(0) } else { Err(Fault::Closed) }));
            // And so for whoever asks once more.
            assert_eq!(ours.fill(Kind::Body, LONG).await, end);
            assert!(ours.ended() == announced && ours.looks_dead() && ours.is_dead());
        });
    }
}

#[test]
fn our_own_tls_ends_are_announced_unless_they_are_cut() {
    type Ending = fn(Stream);
    for (ending, announced) in [(drop as Ending, true), (Stream::abort as Ending, false)] {
        with_pair(Medium::Tls, |mut ours, mut theirs| async move {
            ours.write_all(&[b"word"], LONG).await.unwrap();
            theirs.read_exact(&mut [0; 4]).await.unwrap();
            ending(ours);
            let end = theirs.read(&mut [0]).await.map_err(|error| error.kind());
            assert_eq!(
                end,
                if announced { Ok(0) } else { Err(std::io::ErrorKind::ConnectionReset) }
            );
        });
    }
    with_pair(Medium::Tls, |mut ours, mut theirs| async move {
        // A half-close: it is told, and the other direction goes on.
        ours.finish_writing().await.unwrap();
        assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0);
        theirs.write_all(b"after it").await.unwrap();
        assert_eq!(ours.fill(Kind::Body, LONG).await, Ok(8));
    });
}

#[test]
fn what_tls_says_for_itself_makes_no_connection_dead() {
    block_on(|worker| async move {
        let (mut ours, mut theirs) = crate::media::to_server(&worker, Medium::Tls).await;
        // The tickets for later sessions are there, or still on their way.
        assert!(!ours.looks_dead());
        theirs.write_all(b"x").await.unwrap();
        assert_eq!(ours.fill(Kind::Body, LONG).await, Ok(1));
        ours.input().clear();
        assert!(!ours.looks_dead() && !ours.is_dead());
        theirs.write_all(b"unasked").await.unwrap();
        while !ours.is_dead() {
            tokio::task::yield_now().await;
        }
    });
}

/// A handshake of ours with a server that does this.
async fn handshake<F: Future<Output = ()>>(
    within: Duration,
    server: impl FnOnce(tokio::net::TcpStream) -> F,
    worker: &crate::worker::Worker,
) -> Fault {
    let (ours, theirs) = sockets(worker).await;
    let (ours, ()) =
        tokio::join!(ours.start_tls(TRUST.client.clone(), name(), within), server(theirs));
    ours.err().expect("no handshake")
}

#[test]
fn a_handshake_ends_whatever_the_peer_does() {
    block_on(|worker| async move {
        // It takes the greeting, and says nothing.
        let (stalls, mut held) = (SHORT, None);
        let fault = handshake(stalls, |theirs| async { held = Some(theirs) }, &worker).await;
        assert_eq!(fault, Fault::Timeout(Kind::Connect));
        let says = |words: &'static [u8]| {
            move |mut theirs: tokio::net::TcpStream| async move {
                theirs.write_all(words).await.unwrap();
                // Until the other side has had enough of it.
                drop(theirs.read_to_end(&mut Vec::new()).await);
            }
        };
        let http = says(b"HTTP/1.1 400 Bad Request\r\n\r\nspeak HTTP\r\n");
        assert_eq!(handshake(LONG, http, &worker).await, Fault::Tls(tls::Error::NotTls));
        let alert = says(&[21, 3, 3, 0, 2, 2, 40]);
        assert_eq!(handshake(LONG, alert, &worker).await, Fault::Tls(tls::Error::Alert(40)));
        // A record of handshake that is none.
        let noise = says(&[22, 3, 3, 0, 5, 99, 0, 0, 1, 0]);
        assert_eq!(handshake(LONG, noise, &worker).await, Fault::Tls(tls::Error::Protocol));
        let leaves = |mut theirs: tokio::net::TcpStream| async move {
            // All of the greeting, as a close with something unread is a reset.
            while theirs.read(&mut [0; 4096]).await.unwrap() == 4096 {}
        };
        assert_eq!(handshake(LONG, leaves, &worker).await, Fault::Closed);
        let resets =
            |theirs: tokio::net::TcpStream| async move { theirs.set_zero_linger().unwrap() };
        assert_eq!(handshake(LONG, resets, &worker).await, Fault::Reset);
    });
}

#[test]
fn a_handshake_with_somebody_else_fails() {
    block_on(|worker| async move {
        let (ours, theirs) = sockets(&worker).await;
        let acceptor = tokio_rustls::TlsAcceptor::from(TRUST.server.clone());
        let other = tls::ServerName::try_from("other.test").unwrap();
        let (ours, theirs) = tokio::join!(
            ours.start_tls(TRUST.client.clone(), other, LONG),
            acceptor.accept(theirs)
        );
        assert_eq!(ours.err(), Some(Fault::Tls(tls::Error::WrongName)));
        assert!(theirs.is_err(), "it is told");
    });
}

#[test]
fn what_came_before_a_handshake_is_not_taken_for_what_is_in_it() {
    block_on(|worker| async move {
        let (mut ours, mut theirs) = sockets(&worker).await;
        theirs.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        ours.fill(Kind::Body, LONG).await.unwrap();
        assert_eq!(
            ours.start_tls(TRUST.client.clone(), name(), LONG).await.err(),
            Some(Fault::Tls(tls::Error::Protocol))
        );
    });
}

/// What waits in the kernel is bounded until the peer has shown that it reads, and not after that:
/// a bound makes a long stream dear.
#[test]
fn what_waits_in_the_kernel_is_bounded_until_the_peer_has_read_much() {
    block_on(|worker| async move {
        let (mut ours, mut theirs) = sockets(&worker).await;
        let bound = |stream: &Stream| {
            let socket = stream.spliceable().expect("a socket");
            let socket = socket2::SockRef::from(socket);
            socket.tcp_notsent_lowat().expect("an option")
        };
        let usual = bound(&ours);
        ours.bound_unsent();
        assert_ne!(bound(&ours), usual);
        let piece = vec![b'x'; 1 << 20];
        let (parts, mut sink) = ([&piece[..]], vec![0; 1 << 20]);
        for sent in 1..=4 {
            assert_ne!(bound(&ours), usual, "after {sent} MiB");
            let (written, read) =
                tokio::join!(ours.write_all(&parts, LONG), theirs.read_exact(&mut sink));
            assert!(written.is_ok() && read.is_ok());
        }
        ours.bound_unsent();
        assert_eq!(bound(&ours), usual);
    });
}
