use proptest::prelude::*;

use super::*;
use crate::malformed::Malformed;

/// Payload, bytes consumed, done.
type Decoded = Result<(Vec<u8>, usize, bool), Malformed>;

fn decode_as<'a>(dialect: Dialect, pieces: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
    let (mut decoder, mut payload, mut total) = (ChunkedDecoder::new(dialect), Vec::new(), 0);
    for bytes in pieces {
        let mut at = 0;
        while at < bytes.len() && !decoder.is_done() {
            let piece = decoder.next(&bytes[at..])?;
            assert!(piece.consumed > 0 && piece.payload.end <= piece.consumed);
            assert_eq!(piece.done, decoder.is_done());
            payload.extend_from_slice(&bytes[at..][piece.payload]);
            at += piece.consumed;
        }
        total += at;
    }
    Ok((payload, total, decoder.is_done()))
}

fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
    decode_as(Dialect::Strict, pieces)
}

#[test]
fn who_wants_the_trailers_gets_them_however_they_are_cut() {
    let section = "X-Sum: 1\r\nGrpc-Status:0\r\n\r\n";
    for (body, trailers) in [
        ("5\r\nhello\r\n0\r\n\r\n".to_owned(), "\r\n"),
        (format!("5;a=b\r\nhello\r\n0\r\n{section}"), section),
    ] {
        for pieces in [vec![body.as_bytes()], body.as_bytes().chunks(1).collect()] {
            let (mut decoder, mut payload) = (ChunkedDecoder::new(Dialect::Strict), Vec::new());
            let mut told = Vec::new();
            for bytes in pieces {
                let mut at = 0;
                while at < bytes.len() {
                    let piece = decoder.next_with_trailers(&bytes[at..], &mut told).expect("good");
                    payload.extend_from_slice(&bytes[at..][piece.payload]);
                    at += piece.consumed;
                }
            }
            assert!(decoder.is_done() && payload == b"hello");
            assert_eq!(String::from_utf8_lossy(&told), trailers);
        }
    }
}

#[test]
fn accepted() {
    let long = format!("{}1\r\nx\r\n0\r\n\r\n", "0".repeat(15));
    let cases: &[(&[u8], &[u8])] = &[
        (b"0\r\n\r\n", b""),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", b"01234567890123456789"),
        (b"000\r\n\r\n", b""),
        (long.as_bytes(), b"x"),
        (b"1;a\r\nx\r\n0;b=c;d=\"e \\\" ;\\\\\"\r\n\r\n", b"x"),
        (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
        (b"0\r\nX-Sum: 1\r\nGrpc-Status:0\r\n\r\n", b""),
        (b"0\r\nX-A-Very-Long-Name-That-Is-Not-Known-To-Anybody-At-All: \xe9\t\r\n\r\n", b""),
    ];
    for (bytes, payload) in cases {
        let shown = String::from_utf8_lossy(bytes);
        assert_eq!(decode([*bytes]), Ok((payload.to_vec(), bytes.len(), true)), "{shown}");
        let more = [bytes, &b"GET / HTTP/1.1\r\n"[..]].concat();
        assert_eq!(decode([&more[..]]), Ok((payload.to_vec(), bytes.len(), true)), "{shown}");
    }
}

#[test]
fn refused() {
    use Malformed as M;
    let huge_extension = format!("1;{}\r\n", "a".repeat(5000));
    let many_extensions = format!("1;{}\r\nx\r\n", "a".repeat(50)).repeat(100);
    let huge_trailer = format!("0\r\n{}", "a: b\r\n".repeat(2000));
    let long_name = format!("0\r\n{}: b\r\n", "a".repeat(256));
    let cases: &[(&[u8], Malformed)] = &[
        (b"\r\n", M::ChunkSize),
        (b";a\r\n", M::ChunkSize),
        (b" 5\r\n", M::ChunkSize),
        (b"5 \r\n", M::ChunkSize),
        (b"5\t;a\r\n", M::ChunkSize),
        (b"+5\r\n", M::ChunkSize),
        (b"-5\r\n", M::ChunkSize),
        (b"0x5\r\n", M::ChunkSize),
        (b"5_0\r\n", M::ChunkSize),
        (b"g\r\n", M::ChunkSize),
        (b"5,5\r\n", M::ChunkSize),
        (b"\x005\r\n", M::ChunkSize),
        (b"10000000000000000\r\n", M::ChunkSize),
        (b"8000000000000000\r\n", M::ChunkSize),
        (b"00000000000000001\r\n", M::ChunkSize),
        (b"ffffffffffffffff\r\n", M::ChunkSize),
        (b"5\nhello", M::BareLf),
        (b"\n", M::ChunkSize),
        (b"5\rhello", M::BareCr),
        (b"5;\r\n", M::ChunkExtension),
        (b"5;;a\r\n", M::ChunkExtension),
        (b"5; a\r\n", M::ChunkExtension),
        (b"5;a \r\n", M::ChunkExtension),
        (b"5;a =b\r\n", M::ChunkExtension),
        (b"5;a=\r\n", M::ChunkExtension),
        (b"5;a=b=c\r\n", M::ChunkExtension),
        (b"5;a=\"b\r\n", M::ChunkExtension),
        (b"5;a=\"b\"c\r\n", M::ChunkExtension),
        (b"5;a=\"\0\"\r\n", M::ChunkExtension),
        (b"5;a\0\r\n", M::ChunkExtension),
        (b"5;a\nhello", M::BareLf),
        (b"5;a=\"\n\"\r\n", M::BareLf),
        (b"5;a\rX", M::BareCr),
        (huge_extension.as_bytes(), M::ChunkExtensionTooLong),
        (many_extensions.as_bytes(), M::ChunkExtensionTooLong),
        (b"5\r\nhello0\r\n\r\n", M::ChunkData),
        (b"5\r\nhello\n0\r\n\r\n", M::ChunkData),
        (b"5\r\nhello\r0\r\n\r\n", M::ChunkData),
        (b"5\r\nhell\r\n0\r\n\r\n", M::ChunkData),
        (b"0\r\n\n", M::BareLf),
        (b"0\n\r\n", M::BareLf),
        (b"0\r\n\rX", M::BareCr),
        (b"0\r\n a: b\r\n\r\n", M::ObsFold),
        (b"0\r\na: b\r\n\tc\r\n\r\n", M::ObsFold),
        (b"0\r\n: b\r\n\r\n", M::EmptyFieldName),
        (b"0\r\na : b\r\n\r\n", M::SpaceBeforeColon),
        (b"0\r\na\r\n\r\n", M::NoColon),
        (b"0\r\na\n", M::BareLf),
        (b"0\r\na: b\n\r\n", M::BareLf),
        (b"0\r\na: b\rc\r\n\r\n", M::BareCr),
        (b"0\r\na: \0\r\n\r\n", M::Nul),
        (b"0\r\na: \x7f\r\n\r\n", M::ControlCharacter),
        (b"0\r\na(: b\r\n\r\n", M::FieldName),
        (b"0\r\nGET / HTTP/1.1\r\n\r\n", M::SpaceBeforeColon),
        (b"0\r\ncontent-LENGTH: 5\r\n\r\n", M::ForbiddenTrailer),
        (b"0\r\nTransfer-Encoding: chunked\r\n\r\n", M::ForbiddenTrailer),
        (b"0\r\na: b\r\nHost: c\r\n\r\n", M::ForbiddenTrailer),
        (b"0\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n", M::ForbiddenTrailer),
        (b"0\r\nProxy-Authorization: a\r\n\r\n", M::ForbiddenTrailer),
        (huge_trailer.as_bytes(), M::TrailerTooLarge),
        (long_name.as_bytes(), M::FieldNameTooLong),
    ];
    for (bytes, reason) in cases {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]);
        assert_eq!(decode([*bytes]), Err(*reason), "{shown}");
        assert_eq!(decode(bytes.chunks(1)), Err(*reason), "{shown}, byte by byte");
        assert_eq!(relay_as(Dialect::Strict, [*bytes]), Err(*reason), "{shown}, relayed");
        assert_eq!(
            relay_as(Dialect::Strict, bytes.chunks(1)),
            Err(*reason),
            "{shown}, relayed byte by byte"
        );
    }
}

/// What goes on, and how many bytes were consumed.
fn relay_as<'a>(
    dialect: Dialect,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(Vec<u8>, usize), Malformed> {
    let (mut relay, mut out, mut total) = (ChunkedRelay::new(dialect), Vec::new(), 0);
    for bytes in pieces {
        let mut at = 0;
        while at < bytes.len() && !relay.is_done() {
            let passed = relay.pass(&bytes[at..])?;
            out.extend_from_slice(&bytes[at..at + passed]);
            at += passed;
            let rewritten = relay.rewrite(&bytes[at..], &mut out)?;
            assert!(passed + rewritten > 0 || at == bytes.len() || relay.is_done());
            at += rewritten;
        }
        total += at;
    }
    Ok((out, total))
}

/// What only a response may hold.
#[test]
fn accepted_of_responses() {
    use Dialect::{BareLf, Relaxed, Response};
    /// How it is read, what comes, its payload, what goes on.
    type Row = (Dialect, &'static [u8], &'static [u8], &'static [u8]);
    let cases: &[Row] = &[
        (Response, b"5  \r\nhello\r\n0\r\n\r\n", b"hello", b"5\r\nhello\r\n0\r\n\r\n"),
        (Response, b"5\t;a=b\r\nhello\r\n0 \r\n\r\n", b"hello", b"5\r\nhello\r\n0\r\n\r\n"),
        (Response, b"5;\r\nhello\r\n000 ; x = \"y\r\n\r\n", b"hello", b"5\r\nhello\r\n0\r\n\r\n"),
        (
            Response,
            b"0005\r\nhello\r\n0\r\nExpires: 0\r\n\r\n",
            b"hello",
            b"5\r\nhello\r\n0\r\n\r\n",
        ),
        (
            Response,
            b"5\r\nhello\r\n0\r\nX-Sum : 1\r\nContent-Length: 3\r\nSet-Cookie: \
                a\r\nContent-Disposition: x\r\nContent-Digest:y\r\n\r\n",
            b"hello",
            b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nContent-Digest: y\r\n\r\n",
        ),
        (Relaxed, b"1\r\nx\r\n0\r\nX: a\0b\x01\r\n\r\n", b"x", b"1\r\nx\r\n0\r\nX: a b \r\n\r\n"),
        (Relaxed, b"5\nhello\r\n0\r\n\r\n", b"hello", b"5\r\nhello\r\n0\r\n\r\n"),
        (Relaxed, b"5\r\nhello\n0\r\n\r\n", b"hello", b"5\r\nhello\r\n0\r\n\r\n"),
        (Relaxed, b"5 \nhello\n0\n\n", b"hello", b"5\r\nhello\r\n0\r\n\r\n"),
        (Relaxed, b"2\n\n\n\n0\r\nX: y\r\n\n", b"\n\n", b"2\r\n\n\n\r\n0\r\nX: y\r\n\r\n"),
        (
            BareLf,
            b"5\nhello\n1;a\nx\n0\nX: y\n\n",
            b"hellox",
            b"5\r\nhello\r\n1\r\nx\r\n0\r\nX: y\r\n\r\n",
        ),
        (BareLf, b"5\r\nhello\r\n0\n\r\n", b"hello", b"5\r\nhello\r\n0\r\n\r\n"),
    ];
    for (dialect, bytes, payload, relayed) in cases {
        let shown = String::from_utf8_lossy(bytes);
        for pieces in [vec![*bytes], bytes.chunks(1).collect()] {
            assert_eq!(
                decode_as(*dialect, pieces.iter().copied()),
                Ok((payload.to_vec(), bytes.len(), true)),
                "{shown}"
            );
            let (out, consumed) = relay_as(*dialect, pieces).expect(&shown);
            assert_eq!(
                (String::from_utf8_lossy(&out), consumed),
                (String::from_utf8_lossy(relayed), bytes.len()),
                "{shown}"
            );
        }
    }
}

#[test]
fn refused_of_responses() {
    use Malformed as M;
    for (dialect, bytes, reason) in [
        (Dialect::Response, " 5\r\n", M::ChunkSize),
        (Dialect::Response, "5 5\r\n", M::ChunkSize),
        (Dialect::Response, "5 \nhello", M::BareLf),
        (Dialect::Response, "5\nhello", M::BareLf),
        (Dialect::Response, "5\r\nhello\n", M::ChunkData),
        (Dialect::Response, "0\r\n\n", M::BareLf),
        (Dialect::Relaxed, "5;a\nhello", M::BareLf),
        (Dialect::Relaxed, "\n", M::ChunkSize),
        (Dialect::Relaxed, "5;a\0\r\n", M::ChunkExtension),
        (Dialect::Response, "0\r\nX: a\0\r\n", M::Nul),
        (Dialect::Relaxed, "0\r\nX: a\n\r\n", M::BareLf),
        (Dialect::Relaxed, "0\r\nX: a\r\n b\r\n", M::ObsFold),
        (Dialect::Relaxed, "0\r\nX\r\n", M::NoColon),
        (Dialect::BareLf, "5;a\r\nhello", M::BareCr),
        (Dialect::BareLf, "5\rhello", M::BareCr),
        (Dialect::BareLf, "5\nhello\r0", M::ChunkData),
        (Dialect::BareLf, "0\nX: a\r\n", M::BareCr),
        (Dialect::BareLf, "0\n\rX", M::BareCr),
        (Dialect::Relaxed, "5\r\nhell\r\n0\r\n\r\n", M::ChunkData),
    ] {
        assert_eq!(decode_as(dialect, [bytes.as_bytes()]), Err(reason), "{dialect:?} {bytes:?}");
        assert_eq!(
            relay_as(dialect, bytes.as_bytes().chunks(1)),
            Err(reason),
            "{dialect:?} {bytes:?}"
        );
    }
    let padded = format!("5{}\r\n", " ".repeat(5000));
    assert_eq!(decode_as(Dialect::Response, [padded.as_bytes()]), Err(M::ChunkExtensionTooLong));
}

/// Nothing may follow where a line ended otherwise than the rest.
#[test]
fn a_lone_lf_is_remembered() {
    for (dialect, bytes, sloppy) in [
        (Dialect::Relaxed, "2\r\n\n\n\r\n0\r\n\r\n", false),
        (Dialect::Relaxed, "2\n\n\n\r\n0\r\n\r\n", true),
        (Dialect::Relaxed, "2\r\n\n\n\n0\r\n\r\n", true),
        (Dialect::Relaxed, "0\n\r\n", true),
        (Dialect::Relaxed, "0\r\n\n", true),
        // The head says so of such a server.
        (Dialect::BareLf, "0\n\n", false),
        (Dialect::BareLf, "0\r\n\n", true),
    ] {
        let (mut decoder, mut rest) = (ChunkedDecoder::new(dialect), bytes.as_bytes());
        while !rest.is_empty() {
            rest = &rest[decoder.next(rest).expect(bytes).consumed..];
        }
        assert_eq!((decoder.is_done(), decoder.is_sloppy()), (true, sloppy), "{bytes:?}");
    }
}

/// Chunked bodies, whole and damaged, and noise made of the characters that matter.
fn wire() -> impl Strategy<Value = Vec<u8>> {
    let chunk = (
        proptest::collection::vec(any::<u8>(), 1..40),
        prop_oneof![Just(""), Just(";a"), Just(";a=\"b\\\"\""), Just(" ")],
    );
    let trailer =
        prop_oneof![Just(""), Just("X: y\r\n"), Just("Host: y\r\n"), Just("a: b\r\nc: d\r\n")];
    let body = (proptest::collection::vec(chunk, 0..6), trailer).prop_map(|(chunks, trailer)| {
        let mut wire = Vec::new();
        for (data, extension) in chunks {
            wire.extend_from_slice(format!("{:X}{extension}\r\n", data.len()).as_bytes());
            wire.extend_from_slice(&data);
            wire.extend_from_slice(CHUNK_END);
        }
        wire.extend_from_slice(format!("0\r\n{trailer}\r\nrest").as_bytes());
        wire
    });
    let noise = proptest::collection::vec(
        proptest::sample::select(b"0015aF;=\"\\\r\n\r\n\n: x\0".to_vec()),
        0..40,
    );
    prop_oneof![body, noise]
}

proptest! {
    #[test]
    fn splits_change_nothing(
        wire in wire(),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
    ) {
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
        places.extend([0, wire.len()]);
        places.sort_unstable();
        let pieces: Vec<&[u8]> = places.windows(2).map(|pair| &wire[pair[0]..pair[1]]).collect();
        let whole = decode([&wire[..]]);
        prop_assert_eq!(decode(pieces.iter().copied()), whole.clone());
        prop_assert_eq!(decode(wire.chunks(1)), whole.clone());
        for dialect in [Dialect::Strict, Dialect::Response, Dialect::Relaxed, Dialect::BareLf] {
            let whole = decode_as(dialect, [&wire[..]]);
            let relayed = relay_as(dialect, pieces.iter().copied());
            let consumed = relayed.as_ref().map(|(_, consumed)| *consumed);
            let bytewise = relay_as(dialect, wire.chunks(1));
            prop_assert_eq!(bytewise.as_ref().map(|(_, consumed)| *consumed), consumed);
            prop_assert_eq!(whole.as_ref().map(|(_, consumed, _)| *consumed), consumed);
            if let (Ok((out, _)), Ok((payload, _, true))) = (relayed, whole) {
                // The next hop reads the same, without any leniency.
                prop_assert_eq!(decode([&out[..]]), Ok((payload, out.len(), true)));
            }
        }
    }

    #[test]
    fn what_is_encoded_is_decoded(
        chunks in
            proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..600), 0..5),
    ) {
        let mut wire = Vec::new();
        for chunk in &chunks {
            push_size_line(&mut wire, chunk.len());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(CHUNK_END);
        }
        wire.extend_from_slice(LAST_CHUNK);
        prop_assert_eq!(decode([&wire[..]]), Ok((chunks.concat(), wire.len(), true)));
    }
}
