use proptest::prelude::*;

use super::*;

const FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 11));
const GROUP: IpAddr = IpAddr::V4(Ipv4Addr::new(224, 0, 0, 18));

fn envelope() -> Envelope {
    Envelope { source: FROM, destination: GROUP, ttl: 255 }
}

fn six() -> Envelope {
    Envelope {
        source: "fe80::1".parse().unwrap(),
        destination: "ff02::12".parse().unwrap(),
        ttl: 255,
    }
}

fn reference() -> Advertisement {
    Advertisement {
        version: Version::V2,
        virtual_router_id: 51,
        priority: 100,
        interval: Duration::from_secs(1),
        addresses: vec!["192.168.1.100".parse().unwrap()],
        password: Some(*b"1234\0\0\0\0"),
    }
}

fn third() -> Advertisement {
    Advertisement {
        version: Version::V3,
        interval: Duration::from_millis(200),
        password: None,
        ..reference()
    }
}

fn agreed(said: &Advertisement) -> Agreed {
    Agreed {
        version: said.version,
        virtual_router_id: said.virtual_router_id,
        interval: said.interval,
        password: said.password,
    }
}

/// Changes the octets and mends the checksum, so that only the one rule is broken.
fn mended(said: &Advertisement, change: impl Fn(&mut Vec<u8>)) -> Result<Advertisement, Error> {
    let mut bytes = said.write(FROM, GROUP);
    change(&mut bytes);
    bytes[6..8].fill(0);
    let start = match bytes[0] >> 4 {
        3 => pseudo_header(FROM, GROUP, bytes.len()),
        _ => 0,
    };
    let right = !fold(sum(start, &bytes));
    bytes[6..8].copy_from_slice(&right.to_be_bytes());
    Advertisement::read(&bytes, envelope())
}

/// Captured from keepalived 2.2.7.
#[test]
fn version_3_as_keepalived_sends_it() {
    let sent = [0x31, 52, 100, 1, 0, 20, 0x06, 0x66, 192, 168, 1, 101];
    let said = Advertisement {
        virtual_router_id: 52,
        addresses: vec!["192.168.1.101".parse().unwrap()],
        ..third()
    };
    assert_eq!(said.write(FROM, GROUP), sent);
    assert_eq!(Advertisement::read(&sent, envelope()), Ok(said));
}

/// Captured from keepalived 2.2.7 with the reference's configuration.
#[test]
fn the_reference_as_keepalived_sends_it() {
    let sent =
        [0x21, 51, 100, 1, 1, 1, 0x53, 0x57, 192, 168, 1, 100, b'1', b'2', b'3', b'4', 0, 0, 0, 0];
    assert_eq!(reference().write(FROM, GROUP), sent);
    assert_eq!(Advertisement::read(&sent, envelope()), Ok(reference()));
}

#[test]
fn what_must_be_discarded_before_the_instance_is_known() {
    let bytes = reference().write(FROM, GROUP);
    for ttl in [0, 1, 64, 254] {
        let came = Envelope { ttl, ..envelope() };
        assert_eq!(Advertisement::read(&bytes, came), Err(Error::Ttl(ttl)));
    }
    for length in 0..bytes.len() {
        let read = Advertisement::read(&bytes[..length], envelope());
        assert_eq!(read, Err(Error::Short), "{length} octets");
    }
    for version in [0, 1, 4, 15] {
        let read = mended(&reference(), |it| it[0] = version << 4 | 1);
        assert_eq!(read, Err(Error::Version(version)));
    }
    for kind in [0, 2, 15] {
        assert_eq!(mended(&reference(), |it| it[0] = 0x20 | kind), Err(Error::Type(kind)));
    }
    assert_eq!(mended(&reference(), |it| it[1] = 0), Err(Error::Router(0)));
    for said in [reference(), third()] {
        assert_eq!(mended(&said, |it| it[3] = 0), Err(Error::NoAddress));
        assert_eq!(mended(&said, |it| it[3] = 200), Err(Error::Short));
        let none = Err(Error::Interval(Duration::ZERO));
        assert_eq!(mended(&said, |it| (it[4], it[5]) = (it[4] & 1, 0)), none);
    }
    assert_eq!(mended(&reference(), |it| it[4] = 2), Err(Error::Authentication(2)));
    for octet in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[octet] ^= 0x10;
        assert!(Advertisement::read(&damaged, envelope()).is_err(), "octet {octet}");
    }
    let in_six = Advertisement::read(&bytes, six());
    assert_eq!(in_six, Err(Error::Version(2)), "version 2 knows IPv4 alone");
}

#[test]
fn what_must_be_discarded_by_an_instance() {
    let (said, own) = (reference(), agreed(&reference()));
    assert_eq!(said.agrees(&own), Ok(()));
    let of = |change: &dyn Fn(&mut Advertisement)| {
        let mut said = said.clone();
        change(&mut said);
        said.agrees(&own)
    };
    assert_eq!(of(&|it| it.virtual_router_id = 52), Err(Error::Router(52)));
    assert_eq!(of(&|it| it.version = Version::V3), Err(Error::Version(3)));
    let two = Duration::from_secs(2);
    assert_eq!(of(&|it| it.interval = two), Err(Error::Interval(two)));
    assert_eq!(of(&|it| it.password = None), Err(Error::Authentication(0)));
    assert_eq!(of(&|it| it.password = Some(*b"1235\0\0\0\0")), Err(Error::Password));
    let open = Agreed { password: None, ..own.clone() };
    assert_eq!(said.agrees(&open), Err(Error::Authentication(1)));
    let learned = Advertisement { interval: two, ..third() };
    assert_eq!(learned.agrees(&agreed(&third())), Ok(()), "version 3 learns the interval");
    assert_eq!(learned.agrees(&own), Err(Error::Version(3)));
}

#[test]
fn the_checksum_of_version_3_may_lack_the_pseudo_header_for_ipv4_alone() {
    let bare = |said: &Advertisement, envelope: Envelope| {
        let mut bytes = said.write(envelope.source, envelope.destination);
        bytes[6..8].fill(0);
        let right = !fold(sum(0, &bytes));
        bytes[6..8].copy_from_slice(&right.to_be_bytes());
        Advertisement::read(&bytes, envelope)
    };
    assert_eq!(bare(&third(), envelope()), Ok(third()));
    let addresses = vec!["fe80::64".parse().unwrap(), "2001:db8::64".parse().unwrap()];
    let in_six = Advertisement { addresses, ..third() };
    assert_eq!(bare(&in_six, six()), Err(Error::Checksum));
    let bytes = in_six.write(six().source, six().destination);
    assert_eq!(Advertisement::read(&bytes, six()), Ok(in_six.clone()));
    let elsewhere = Envelope { destination: "ff02::13".parse().unwrap(), ..six() };
    assert_eq!(Advertisement::read(&bytes, elsewhere), Err(Error::Checksum));
}

#[test]
fn reserved_bits_of_version_3_are_ignored() {
    assert_eq!(mended(&third(), |it| it[4] |= 0xf0), Ok(third()));
}

fn advertisements() -> impl Strategy<Value = (Advertisement, Envelope)> {
    let v4 = prop::collection::vec(any::<Ipv4Addr>().prop_map(IpAddr::V4), 1..=255);
    let v6 = prop::collection::vec(any::<Ipv6Addr>().prop_map(IpAddr::V6), 1..=255);
    let password = prop::option::of(any::<Password>());
    let second = (1..=255_u8, any::<u8>(), 1..=255_u64, v4.clone(), password).prop_map(
        |(virtual_router_id, priority, seconds, addresses, password)| {
            let interval = Duration::from_secs(seconds);
            let version = Version::V2;
            let said = Advertisement {
                version,
                virtual_router_id,
                priority,
                interval,
                addresses,
                password,
            };
            (said, envelope())
        },
    );
    let addresses = prop_oneof![v4, v6];
    let third = (1..=255_u8, any::<u8>(), 1..=4095_u64, addresses).prop_map(
        |(virtual_router_id, priority, hundredths, addresses)| {
            let envelope = if addresses[0].is_ipv4() { envelope() } else { six() };
            let interval = Duration::from_millis(hundredths * 10);
            let (version, password) = (Version::V3, None);
            let said = Advertisement {
                version,
                virtual_router_id,
                priority,
                interval,
                addresses,
                password,
            };
            (said, envelope)
        },
    );
    prop_oneof![second, third]
}

proptest! {
    #[test]
    fn what_is_written_is_read((said, envelope) in advertisements()) {
        let bytes = said.write(envelope.source, envelope.destination);
        prop_assert_eq!(Advertisement::read(&bytes, envelope), Ok(said));
    }

    #[test]
    fn anything_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64), v6: bool) {
        let envelope = if v6 { six() } else { envelope() };
        if let Ok(read) = Advertisement::read(&bytes, envelope) {
            prop_assert!(!read.addresses.is_empty() && read.virtual_router_id != 0);
        }
    }
}
