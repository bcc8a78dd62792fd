//! ClientHellos that rustls writes, and ones written by hand.

use std::io::Write as _;
use std::sync::Arc;

use proptest::prelude::*;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;

/// As a client of rustls begins.
fn of_rustls(name: &str, fragment: Option<usize>) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.max_fragment_size = fragment;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes.flush().unwrap();
    bytes
}

fn vector(bytes: &[u8], length: usize) -> Vec<u8> {
    let all = (bytes.len() as u32).to_be_bytes();
    [&all[4 - length..], bytes].concat()
}

/// A message with these extensions; none: none at all.
fn message(extensions: Option<&[u8]>) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend(vector(&[], 1));
    body.extend(vector(&[0x13, 1], 2));
    body.extend(vector(&[0], 1));
    body.extend(extensions.map(|it| vector(it, 2)).unwrap_or_default());
    [&[CLIENT_HELLO][..], &vector(&body, 3)].concat()
}

fn names(names: &[(u8, &[u8])]) -> Vec<u8> {
    let list: Vec<u8> =
        names.iter().flat_map(|(kind, name)| [vec![*kind], vector(name, 2)].concat()).collect();
    [&SERVER_NAME.to_be_bytes()[..], &vector(&vector(&list, 2), 2)].concat()
}

fn records(message: &[u8], each: usize) -> Vec<u8> {
    message
        .chunks(each.max(1))
        .flat_map(|part| [&[HANDSHAKE, 3, 1][..], &vector(part, 2)].concat())
        .collect()
}

fn named(name: &str) -> Result<Option<ClientHello>, Invalid> {
    Ok(Some(ClientHello { name: Some(name.into()) }))
}

#[test]
fn the_name_that_a_client_asks_for() {
    for fragment in [None, Some(64), Some(100)] {
        let bytes = of_rustls("www.Example.com", fragment);
        assert_eq!(parse(&bytes), named("www.example.com"), "{fragment:?}");
        for length in 0..bytes.len() {
            assert_eq!(parse(&bytes[..length]), Ok(None), "{length} of {}", bytes.len());
        }
        assert_eq!(parse(&[&bytes[..], b"and more"].concat()), named("www.example.com"));
    }
    assert_eq!(parse(&of_rustls("192.0.2.1", None)), Ok(Some(ClientHello { name: None })));
}

#[test]
fn what_is_none_and_what_is_malformed() {
    let hello = |extensions: &[u8]| parse(&records(&message(Some(extensions)), 1 << 14));
    let none = Ok(Some(ClientHello { name: None }));
    assert_eq!(parse(&records(&message(None), 512)), none);
    assert_eq!(hello(b""), none);
    assert_eq!(hello(&names(&[])), none);
    assert_eq!(hello(&names(&[(1, b"other")])), none);
    assert_eq!(hello(&names(&[(0, b"A.b."), (1, b"other")])), named("a.b"));
    let twice = [names(&[(0, b"a")]), names(&[(0, b"a")])].concat();
    for extensions in [
        names(&[(0, b"a"), (0, b"b")]),
        names(&[(0, b"")]),
        names(&[(0, b"a..b")]),
        names(&[(0, b"a b")]),
        names(&[(0, b"a\0")]),
        names(&[(0, &[b'a'; 64])]),
        names(&[(0, "b\u{fc}cher".as_bytes())]),
        twice,
        vec![0, 0, 0],
        vec![0, 0, 0, 9, 1],
    ] {
        assert_eq!(hello(&extensions), Err(Invalid::Malformed), "{extensions:?}");
    }
    for bytes in [
        &b"GET / HTTP/1.1"[..],
        b"\x16\x02",
        b"\x17\x03\x03",
        b"\x16\x03\x01\0\x01\x02",
        b"PROXY TCP4",
        b"SSH-2.0-",
    ] {
        assert_eq!(parse(bytes), Err(Invalid::NotTls), "{bytes:?}");
    }
    assert_eq!(parse(b"\x16\x03\x01\0\0"), Err(Invalid::Malformed), "an empty record");
    assert_eq!(parse(b"\x16\x03\x01\x40\x01"), Err(Invalid::Malformed), "a record too long");
    assert_eq!(parse(b"\x16\x03\x01\0\x04\x01\x01\0\0"), Err(Invalid::TooLong));
    assert_eq!(parse(&records(&message(None), 1)[..]), Ok(Some(ClientHello { name: None })));
    let long = message(Some(&names(&[(1, &[b'x'; 100])])));
    assert_eq!(parse(&records(&long, 1)), Err(Invalid::TooLong), "in too many records");
}

#[test]
fn there_is_an_answer_in_time() {
    let mut bytes = records(&[&[CLIENT_HELLO][..], &[0, 0x40, 0], &[0; 1 << 14]].concat(), 257);
    assert!(parse(&bytes).is_err() || bytes.len() <= MOST);
    bytes.truncate(MOST);
    assert_ne!(parse(&bytes), Ok(None), "of the longest message in the most records");
}

proptest! {
    #[test]
    fn however_it_is_cut(each in 3usize..400, name in "[a-z]{1,20}(\\.[a-z]{1,10}){0,3}") {
        let bytes = records(&message(Some(&names(&[(0, name.as_bytes())]))), each);
        prop_assert_eq!(parse(&bytes), named(&name));
        for length in 0..bytes.len() {
            prop_assert_eq!(parse(&bytes[..length]), Ok(None));
        }
    }

    #[test]
    fn a_beginning_decides_as_the_whole(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let hello = [&[HANDSHAKE, 3, 1, 0, 60, 1, 0, 0, 56][..], &bytes[..]].concat();
        for bytes in [hello, bytes] {
            let whole = parse(&bytes);
            for length in 0..bytes.len() {
                let part = parse(&bytes[..length]);
                prop_assert!(part == Ok(None) || part == whole, "{} bytes", length);
            }
        }
    }
}
