use proptest::prelude::*;

use super::*;

fn both(source: &str, destination: &str) -> Option<Addresses> {
    Some(Addresses {
        source: source.parse().expect("an address"),
        destination: destination.parse().expect("an address"),
    })
}

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = u16::try_from(rest.len()).expect("short");
    [&SIGNATURE[..], &[command, family], &len.to_be_bytes(), rest].concat()
}

#[test]
fn v1_lines() {
    let accepted = [
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1000 80\r\n", both("1.2.3.4:1000", "5.6.7.8:80")),
        ("PROXY TCP6 ::1 2001:db8::1 1 65535\r\n", both("[::1]:1", "[2001:db8::1]:65535")),
        ("PROXY TCP6 ::ffff:1.2.3.4 ::1 0 1\r\n", both("1.2.3.4:0", "[::1]:1")),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN anything at all\r\n", None),
    ];
    for (line, addresses) in accepted {
        let header = Header { command: Command::Proxy, addresses, nonce: None, of_node: false };
        assert_eq!(
            parse(format!("{line}GET").as_bytes()),
            Ok(Some((header, line.len()))),
            "{line}"
        );
    }
    let refused = [
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1000 80\n", Invalid::Line),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1000\r\n", Invalid::Line),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1000 80 1\r\n", Invalid::Line),
        ("PROXY TCP4 1.2.3.4  5.6.7.8 1000 80\r\n", Invalid::Line),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 01000 80\r\n", Invalid::Line),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 +1 80\r\n", Invalid::Line),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 65536 80\r\n", Invalid::Line),
        ("PROXY TCP4 1.2.3.400 5.6.7.8 1 80\r\n", Invalid::Line),
        ("PROXY TCP4 ::1 ::1 1 80\r\n", Invalid::Line),
        ("PROXY TCP6 1.2.3.4 5.6.7.8 1 80\r\n", Invalid::Line),
        ("PROXY UDP4 1.2.3.4 5.6.7.8 1 80\r\n", Invalid::Line),
        ("PROXY UNKNOWNX\r\n", Invalid::Line),
        ("PROXY \r\n", Invalid::Line),
        ("PROXY\r\n", Invalid::NotProxy),
        ("proxy TCP4", Invalid::NotProxy),
        ("GET / HTTP/1.1\r\n", Invalid::NotProxy),
        ("\r\nGET / HTTP/1.1\r\n", Invalid::NotProxy),
    ];
    for (line, reason) in refused {
        assert_eq!(parse(line.as_bytes()), Err(reason), "{line:?}");
    }
    assert_eq!(
        parse(format!("PROXY UNKNOWN {}", "a".repeat(93)).as_bytes()),
        Err(Invalid::TooLong)
    );
}

#[test]
fn v2_refused() {
    let cases = [
        ("version 1", v2(0x11, 0x11, &[0; 12]), Invalid::Command),
        ("command 2", v2(0x22, 0x11, &[0; 12]), Invalid::Command),
        ("udp", v2(0x21, 0x12, &[0; 12]), Invalid::Family),
        ("family 4", v2(0x21, 0x41, &[0; 12]), Invalid::Family),
        ("short IPv4", v2(0x21, 0x11, &[0; 11]), Invalid::Addresses),
        ("short IPv6", v2(0x21, 0x21, &[0; 35]), Invalid::Addresses),
        ("short unix", v2(0x21, 0x31, &[0; 215]), Invalid::Addresses),
        ("too long", v2(0x21, 0x00, &[0; 1025]), Invalid::TooLong),
        ("half a TLV", v2(0x20, 0x00, &[1, 0]), Invalid::Tlv),
        ("TLV beyond the end", v2(0x20, 0x00, &[1, 0, 2, 0]), Invalid::Tlv),
        ("short nonce", v2(0x20, 0x00, &[NONCE_TYPE, 0, 1, 0]), Invalid::Tlv),
        ("a node that says more", v2(0x20, 0x00, &[NODE_TYPE, 0, 1, 0]), Invalid::Tlv),
        (
            "two nonces",
            v2(
                0x20,
                0x00,
                &[&[NONCE_TYPE, 0, 32][..], &[0; 32], &[NONCE_TYPE, 0, 32], &[0; 32]].concat(),
            ),
            Invalid::Tlv,
        ),
    ];
    for (what, bytes, reason) in cases {
        assert_eq!(parse(&bytes), Err(reason), "{what}");
    }
}

#[test]
fn foreign_balancers_are_understood() {
    let unix = v2(0x21, 0x31, &[0; 216]);
    assert_eq!(
        parse(&unix),
        Ok(Some((
            Header { command: Command::Proxy, addresses: None, nonce: None, of_node: false },
            unix.len()
        )))
    );
    let with_tlvs = v2(
        0x21,
        0x11,
        &[&[1, 2, 3, 4, 5, 6, 7, 8, 0, 80, 1, 0][..], &[4, 0, 1, 9], &[2, 0, 0]].concat(),
    );
    let header = Header {
        command: Command::Proxy,
        addresses: both("1.2.3.4:80", "5.6.7.8:256"),
        nonce: None,
        of_node: false,
    };
    assert_eq!(parse(&with_tlvs), Ok(Some((header, with_tlvs.len()))));
    let local = v2(0x20, 0x11, &[9; 12]);
    assert_eq!(
        parse(&local),
        Ok(Some((
            Header { command: Command::Local, addresses: None, nonce: None, of_node: false },
            28
        )))
    );
}

#[test]
fn a_node_says_that_it_is_one() {
    let mut bytes = b"before".to_vec();
    encode_of_node(&mut bytes, &[7; 32]);
    let (command, nonce) = (Command::Local, Some([7; 32]));
    let header = Header { command, addresses: None, nonce, of_node: true };
    assert_eq!(parse(&bytes[6..]), Ok(Some((header, bytes.len() - 6))));
}

fn address() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        any::<([u8; 4], u16)>().prop_map(|(ip, port)| SocketAddr::new(ip.into(), port)),
        any::<([u8; 16], u16)>()
            .prop_map(|(ip, port)| SocketAddr::new(IpAddr::from(ip).to_canonical(), port)),
    ]
}

proptest! {
    #[test]
    fn encoded_is_parsed_whatever_the_split(
        source in address(),
        destination in address(),
        nonce in proptest::option::of(any::<Nonce>()),
    ) {
        let addresses = Addresses { source, destination };
        let mut bytes = Vec::new();
        encode_proxy(&mut bytes, &addresses, nonce.as_ref());
        for len in 0..bytes.len() {
            prop_assert_eq!(parse(&bytes[..len]), Ok(None));
        }
        let (command, addresses) = (Command::Proxy, Some(addresses));
        let header = Header { command, addresses, nonce, of_node: false };
        let len = bytes.len();
        bytes.extend_from_slice(b"GET");
        prop_assert_eq!(parse(&bytes), Ok(Some((header, len))));
    }

    #[test]
    fn a_line_says_the_same(source in address(), destination in address()) {
        let addresses = Addresses { source, destination };
        let mut bytes = Vec::new();
        encode_line(&mut bytes, &addresses);
        prop_assert!(bytes.len() <= V1_MAX);
        let (command, addresses) = (Command::Proxy, Some(addresses));
        let header = Header { command, addresses, nonce: None, of_node: false };
        prop_assert_eq!(parse(&bytes), Ok(Some((header, bytes.len()))));
    }

    /// A verdict on a prefix is the verdict on the whole.
    #[test]
    fn noise(
        prefix in proptest::sample::select(
            vec![SIGNATURE.as_slice(), V1_PREFIX, b"PROXY TCP4 1.2.3.4", b""]
        ),
        rest in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..300),
            "[ 0-9.:\r\n]{0,120}".prop_map(String::into_bytes),
        ],
    ) {
        let bytes = [prefix, &rest].concat();
        let whole = parse(&bytes);
        for len in 0..bytes.len() {
            let partial = parse(&bytes[..len]);
            prop_assert!(partial == Ok(None) || partial == whole, "{partial:?} became {whole:?}");
        }
    }
}

/// The bytes as proxy-protocol.txt lays them out (§2.2.1, §2.2.6).
#[test]
fn what_tls_told_is_in_tlvs() {
    let addresses = Addresses {
        source: "192.0.2.1:1000".parse().unwrap(),
        destination: "192.0.2.9:443".parse().unwrap(),
    };
    let tls = Tls {
        authority: Some("proxy.example"),
        version: "TLSv1.3",
        verified: true,
        common_name: Some("alice"),
    };
    let mut out = b"before".to_vec();
    encode_secured(&mut out, Some(&addresses), &tls);
    let header = &out[6..];
    let mut expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
    let tail = b"\x02\x00\x0dproxy.example\x20\x00\x17\x07\0\0\0\0\x21\0\x07TLSv1.3\x22\0\x05alice";
    expected.extend_from_slice(&(12 + tail.len() as u16).to_be_bytes());
    expected.extend_from_slice(&[192, 0, 2, 1, 192, 0, 2, 9, 3, 232, 1, 187]);
    expected.extend_from_slice(tail);
    assert_eq!(header, expected);
    let (read, length) = parse(header).unwrap().unwrap();
    assert_eq!((read.addresses, length), (Some(addresses), header.len()));

    let long = "x".repeat(256);
    let nobody = Tls { common_name: Some(&long), verified: false, authority: None, ..tls };
    let mut out = Vec::new();
    encode_secured(&mut out, None, &nobody);
    assert_eq!(out[12..], *b"\x21\x00\0\x12\x20\0\x0f\x01\0\0\0\x01\x21\0\x07TLSv1.3");
    let (read, _) = parse(&out).unwrap().unwrap();
    assert_eq!((read.command, read.addresses), (Command::Proxy, None));
}
