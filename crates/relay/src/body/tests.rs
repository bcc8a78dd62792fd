//! Every framing into every other, whatever the cuts; and reading and writing over real sockets.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{BodyReader, BodyWriter, Rest, Transfer};
use crate::chunked::{ChunkedDecoder, Dialect};
use crate::fault::Fault;
use crate::framing::BodyFraming::{self, Chunked, Empty, Length, UntilClose};
use crate::stream::Stream;
use crate::wheel::Kind;
use crate::worker::block_on;

const LONG: Duration = Duration::from_secs(20);

/// The body in a framing, in chunks of `chunk` bytes where it has any.
fn framed(body: &[u8], framing: BodyFraming, chunk: usize) -> Vec<u8> {
    if framing != Chunked {
        return body.to_vec();
    }
    let mut out = Vec::new();
    for part in body.chunks(chunk) {
        out.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\nX-Trailer: t\r\n\r\n");
    out
}

fn unframed(bytes: &[u8], framing: BodyFraming) -> (Vec<u8>, bool) {
    if framing != Chunked {
        return (bytes.to_vec(), true);
    }
    let mut decoder = ChunkedDecoder::new(Dialect::Strict);
    let (mut at, mut out) = (0, Vec::new());
    while at < bytes.len() && !decoder.is_done() {
        let piece = decoder.next(&bytes[at..]).unwrap();
        out.extend_from_slice(&bytes[at..][piece.payload]);
        at += piece.consumed;
    }
    (out, decoder.is_done() && at == bytes.len())
}

/// Feeds pieces as they would arrive; returns what goes out and what is left over.
fn transfer(
    transfer: &mut Transfer,
    input: &[u8],
    cut: usize,
) -> Result<(Vec<u8>, Vec<u8>), Fault> {
    let (mut held, mut out) = (Vec::new(), Vec::new());
    for piece in input.chunks(cut) {
        held.extend_from_slice(piece);
        loop {
            let mut moved = 0;
            if transfer.passes() {
                moved = transfer.pass(&held)?;
                out.extend(held.drain(..moved));
            }
            let rewritten = transfer.rewrite(&held, &mut out)?;
            held.drain(..rewritten);
            if moved + rewritten == 0 {
                break;
            }
        }
    }
    if !transfer.is_done() {
        transfer.end(&mut out)?;
    }
    Ok((out, held))
}

proptest! {
    #[test]
    fn any_framing_becomes_any_other(
        body in proptest::collection::vec(any::<u8>(), 1..300),
        chunk in 1..40_usize,
        cut in 1..50_usize,
        incoming in 0..3_usize,
        outgoing in 0..3_usize,
    ) {
        let framings = [Length(body.len() as u64), Chunked, UntilClose];
        let (incoming, outgoing) = (framings[incoming], framings[outgoing]);
        let mut input = framed(&body, incoming, chunk);
        let next: &[u8] = if incoming == UntilClose { b"" } else { b"HTTP/1.1 200 OK\r\n" };
        input.extend_from_slice(next);
        let mut moved = Transfer::new(incoming, outgoing, Dialect::Strict);
        let (out, left) = transfer(&mut moved, &input, cut).unwrap();
        prop_assert!(moved.is_done());
        prop_assert_eq!(left, next);
        prop_assert_eq!(unframed(&out, outgoing), (body, true));
    }

    #[test]
    fn a_body_cut_short_never_looks_complete(
        body in proptest::collection::vec(any::<u8>(), 2..200),
        chunk in 1..40_usize,
        cut in 1..50_usize,
        outgoing in 0..2_usize,
    ) {
        for incoming in [Length(body.len() as u64), Chunked] {
            let outgoing = [Chunked, UntilClose][outgoing];
            let whole = framed(&body, incoming, chunk);
            let mut moved = Transfer::new(incoming, outgoing, Dialect::Strict);
            let all_but_one = &whole[..whole.len() - 1];
            prop_assert_eq!(transfer(&mut moved, all_but_one, cut), Err(Fault::Closed));
            prop_assert!(!moved.is_done());
        }
    }
}

#[test]
fn a_body_of_no_bytes_is_done_at_once() {
    for framing in [Empty, Length(0)] {
        assert!(Transfer::new(framing, framing, Dialect::Strict).is_done());
        assert!(BodyReader::new(framing, Dialect::Strict).is_done());
    }
}

#[test]
fn a_body_of_no_bytes_in_chunks_is_a_last_chunk() {
    let (mut moved, mut out) = (Transfer::new(Length(0), Chunked, Dialect::Strict), Vec::new());
    assert_eq!(moved.rewrite(b"next", &mut out), Ok(0));
    assert!(moved.is_done());
    assert_eq!(out, b"0\r\n\r\n");
}

fn with_pair<F: Future<Output = ()>>(body: impl FnOnce(Stream, TcpStream) -> F) {
    block_on(|worker| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (ours, theirs) = tokio::join!(
            Stream::connect(&worker, listener.local_addr().unwrap(), LONG),
            listener.accept()
        );
        tokio::time::timeout(2 * LONG, body(ours.unwrap(), theirs.unwrap().0))
            .await
            .expect("the test hangs");
    });
}

#[test]
fn the_reader_removes_the_framing_and_leaves_the_next_message() {
    let body: Vec<u8> = (0..50_000_u32).map(|n| n as u8).collect();
    for framing in [Length(body.len() as u64), Chunked, UntilClose] {
        let (body, sent) = (body.clone(), framed(&body, framing, 777));
        with_pair(|mut ours, mut theirs| async move {
            let next: &'static [u8] = if framing == UntilClose { b"" } else { b"next" };
            tokio::task::spawn_local(async move {
                for piece in sent.chunks(1001) {
                    theirs.write_all(piece).await.unwrap();
                }
                theirs.write_all(next).await.unwrap();
            });
            let (mut reader, mut read) = (BodyReader::new(framing, Dialect::Strict), Vec::new());
            while let Some(piece) = reader.next(&mut ours, LONG).await.unwrap() {
                assert!(!piece.is_empty());
                read.extend_from_slice(&piece);
            }
            assert!(reader.is_done() && read == body);
            while ours.input().len() < next.len() {
                ours.fill(Kind::Body, LONG).await.unwrap();
            }
            assert_eq!(ours.input()[..], *next);
        });
    }
}

#[test]
fn the_reader_says_what_was_wrong() {
    // What is expected of the rest: `Malformed`, of whatever kind.
    let cases: [(BodyFraming, &[u8], Option<Fault>); 4] = [
        (Length(10), b"short", Some(Fault::Closed)),
        (Chunked, b"5\r\nhello\r\n", Some(Fault::Closed)),
        (Chunked, b"5\r\nhelloX", None),
        (Chunked, b"zz\r\n", None),
    ];
    for (framing, sent, expected) in cases {
        with_pair(|mut ours, mut theirs| async move {
            theirs.write_all(sent).await.unwrap();
            drop(theirs);
            let mut reader = BodyReader::new(framing, Dialect::Strict);
            let fault = loop {
                match reader.next(&mut ours, LONG).await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("{framing:?} taken for complete"),
                    Err(fault) => break fault,
                }
            };
            match expected {
                Some(expected) => assert_eq!(fault, expected),
                None => assert!(matches!(fault, Fault::Malformed(_)), "{fault}"),
            }
        });
    }
    with_pair(|mut ours, theirs| async move {
        let _theirs = theirs;
        let fault = BodyReader::new(Length(1), Dialect::Strict)
            .next(&mut ours, Duration::from_millis(20))
            .await;
        assert_eq!(fault, Err(Fault::Timeout(Kind::Body)));
    });
}

#[test]
fn the_writer_frames_segments_in_any_number() {
    for (framing, count) in [
        (Length(0), 0),
        (Length(30), 3),
        (Length(200), 20),
        (Chunked, 0),
        (Chunked, 3),
        (Chunked, 20),
        (UntilClose, 7),
    ] {
        with_pair(|mut ours, mut theirs| async move {
            let segments: Vec<Bytes> =
                (0..count).map(|n| Bytes::from(vec![n as u8 + b'a'; 10])).collect();
            let mut writer = BodyWriter::new(framing);
            writer.write(&mut ours, b"HEAD", &segments, Rest::Follows, LONG).await.unwrap();
            writer.write(&mut ours, b"", &segments, Rest::None, LONG).await.unwrap();
            drop(ours);
            let mut read = Vec::new();
            theirs.read_to_end(&mut read).await.unwrap();
            assert!(read.starts_with(b"HEAD"));
            let expected = [segments.concat(), segments.concat()].concat();
            assert_eq!(unframed(&read[4..], framing), (expected, true), "{framing:?} {count}");
        });
    }
}
