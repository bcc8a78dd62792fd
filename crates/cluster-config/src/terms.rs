//! The field's own small notations: addresses to bind, networks, domains, port ranges, time
//! specifications, status codes, URLs.

use crate::document::{DomainPattern, PortRange, TimeWindow};
use crate::units::Invalid;
use ipnet::{IpNet, Ipv4Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// `0.0.0.0:3128`, `[::]:3128`, `:3128`, `*:3128`.
pub fn parse_bind(text: &str) -> Result<SocketAddr, Invalid> {
    let address = match text.strip_prefix('*').unwrap_or(text).strip_prefix(':') {
        Some(port) => port.parse().ok().map(|port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))),
        None => text.parse().ok(),
    };
    address.ok_or_else(|| {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let message = format!("`{text}` is not an address to bind");
        match text.rsplit_once(':') {
            None if digits(text) => {
                Invalid::new(message, format!("write :{text} for this port at every IPv4 address"))
            }
            Some((_, port)) if digits(port) && port.parse::<u16>().is_err() => Invalid::new(
                format!("`{port}` in `{text}` is not a port"),
                "write a port from 1 to 65535",
            ),
            Some((host, port)) if digits(port) && is_host_name(host) => Invalid::new(
                message,
                format!(
                    "write the IP address instead of the name `{host}`, as in 127.0.0.1:{port}"
                ),
            ),
            _ => Invalid::new(
                message,
                "write an IP address and a port, as in 0.0.0.0:3128, [::]:3128 or :3128",
            ),
        }
    })
}

/// How `10.0.0.0/255.0.0.0`, which Squid takes, is written.
fn masked(text: &str) -> Option<String> {
    let (address, mask) = text.split_once('/')?;
    let prefix = ipnet::ip_mask_to_prefix(mask.parse().ok()?).ok()?;
    Some(format!("write {}", IpNet::new(address.parse().ok()?, prefix).ok()?.trunc()))
}

/// How `10.0.0.1-10.0.0.20`, which Squid takes, is written: the networks that make it up, if they
/// are few.
fn range(text: &str) -> Option<String> {
    let (first, last) = text.split_once('-')?;
    let nets: Vec<IpNet> = match (first.trim().parse().ok()?, last.trim().parse().ok()?) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
            ipnet::Ipv4Subnets::new(first, last, 0).take(SHOWN + 1).map(IpNet::from).collect()
        }
        (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
            ipnet::Ipv6Subnets::new(first, last, 0).take(SHOWN + 1).map(IpNet::from).collect()
        }
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
            return Some(
                "it runs backwards, and there are no ranges here: write networks".to_owned(),
            );
        }
        _ => return None,
    };
    let written = || nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Some(if nets.len() <= SHOWN {
        format!("a range is written as its networks: {}", written())
    } else {
        "write networks, as in 192.168.1.0/24: there are no ranges here".to_owned()
    })
}

/// Networks of a range that are listed.
const SHOWN: usize = 12;

/// `192.168.1.0/24`, `10.0.0.1`, `2001:db8::/32`. Bits beyond the prefix are an error: they are a
/// slip more often than not.
pub fn parse_network(text: &str) -> Result<IpNet, Invalid> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    let network: IpNet = text.parse().map_err(|_| {
        let otherwise = || {
            "write an IP address or a network, as in 192.168.1.7, 192.168.1.0/24 or 2001:db8::/32"
                .to_owned()
        };
        Invalid::new(
            format!("`{text}` is not a network"),
            masked(text).or_else(|| range(text)).unwrap_or_else(otherwise),
        )
    })?;
    if network.trunc() != network {
        let meant = network.trunc();
        return Err(Invalid::new(
            format!("`{text}` has bits beyond its prefix"),
            format!("write {meant}, or {} for the one address", network.addr()),
        ));
    }
    Ok(canonical_network(network))
}

/// A network of IPv4-mapped addresses as the IPv4 network that it is: nobody ever connects from or
/// to the other spelling.
pub fn canonical_network(network: IpNet) -> IpNet {
    let mapped = |v6: &ipnet::Ipv6Net| {
        Ipv4Net::new(v6.addr().to_ipv4_mapped()?, v6.prefix_len().checked_sub(96)?).ok()
    };
    match network {
        IpNet::V6(v6) => mapped(&v6).map_or(network, IpNet::V4),
        IpNet::V4(_) => network,
    }
}

/// `host.example.com` or `.example.com`; `*.example.com` is refused with the remedy, since it would
/// suggest that wildcards work.
pub fn parse_domain(text: &str) -> Result<DomainPattern, Invalid> {
    let remedy =
        "write a host name for one host, or .example.com for a domain and everything under it";
    if let Some(rest) = text.strip_prefix("*.") {
        return Err(Invalid::new(
            format!("`{text}`: there are no wildcards in domains"),
            format!("write .{rest} for the domain and everything under it"),
        ));
    }
    if text.contains("://") || text.contains('/') {
        return Err(Invalid::new(format!("`{text}` is a URL or a path, not a domain"), remedy));
    }
    if let Ok(address) = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return Ok(DomainPattern {
            name: address.to_canonical().to_string(),
            subdomains: false,
            only_below: false,
        });
    }
    let (name, subdomains) = match text.strip_prefix('.') {
        Some(name) => (name, true),
        None => (text, false),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if is_host_name(name) {
        Ok(DomainPattern { name: name.to_ascii_lowercase(), subdomains, only_below: false })
    } else if !name.is_ascii() {
        Err(Invalid::new(
            format!("`{text}` is not in the form that DNS uses"),
            "write the domain in its ASCII form (xn--…)",
        ))
    } else {
        Err(Invalid::new(format!("`{text}` is not a domain"), remedy))
    }
}

/// Letters, digits, `-` and `_` (which real names use) in labels of 1 to 63, 253 in all.
fn is_host_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

/// `host:port`, `192.168.1.11:3128`, `[2001:db8::1]:3128`.
pub fn parse_address(text: &str) -> Result<(String, u16), Invalid> {
    let wrong = || {
        Invalid::new(
            format!("`{text}` is not an address with a port"),
            "write host:port, as in 192.168.1.11:3128 or [2001:db8::1]:3128",
        )
    };
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
    if let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return inner
            .parse::<Ipv6Addr>()
            .map(|address| (address.to_canonical().to_string(), port))
            .map_err(|_| wrong());
    }
    if is_host_name(host) { Ok((host.to_ascii_lowercase(), port)) } else { Err(wrong()) }
}

/// `443`, `8000-8100`.
pub fn parse_ports(text: &str) -> Result<PortRange, Invalid> {
    let wrong = || {
        Invalid::new(
            format!("`{text}` is not a port or a range of ports"),
            "write numbers from 1 to 65535, as in 443 or 8000-8100",
        )
    };
    let port = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u16>().ok().filter(|port| digits && *port != 0)
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first <= last => Ok(PortRange { first, last }),
        (Some(first), Some(last)) => {
            Err(Invalid::new(format!("`{text}` runs backwards"), format!("write {last}-{first}")))
        }
        _ => Err(wrong()),
    }
}

/// `200`, `200-299`.
pub fn parse_status(text: &str) -> Result<(u16, u16), Invalid> {
    let wrong = || {
        Invalid::new(
            format!("`{text}` is not a status code or a range of them"),
            "write codes from 100 to 599, as in 200 or 200-299",
        )
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let code = |text: &str| text.parse::<u16>().ok().filter(|code| (100..=599).contains(code));
    match (code(first), code(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        _ => Err(wrong()),
    }
}

/// `MTWHF 09:00-18:00`, `D 09:00-18:00`, `SA`, `22:00-24:00`, in Squid's letters: S Sunday, M T W,
/// H Thursday, F, A Saturday, D weekdays. A window past midnight is refused: Squid does so too,
/// because its meaning for the days is not clear.
pub fn parse_time(text: &str) -> Result<TimeWindow, Invalid> {
    const REMEDY: &str = "write days and hours, as in \"MTWHF 09:00-18:00\" (S Sunday, M, T, W, H \
        Thursday, F, A Saturday, D Monday to Friday)";
    let wrong = |what: String| Invalid::new(what, REMEDY);
    let mut days = None;
    let mut hours = None;
    for word in text.split_whitespace() {
        let slot_taken = if word.contains(':') { hours.is_some() } else { days.is_some() };
        if slot_taken {
            return Err(wrong(format!("`{word}` in `{text}` is one part too many")));
        }
        if word.contains(':') {
            hours =
                Some(parse_hours(word).ok_or_else(|| {
                    wrong(format!("`{word}` in `{text}` is not a span of hours"))
                })?);
        } else {
            let what = if word.starts_with(|c: char| c.is_ascii_digit()) {
                "is not a span of hours"
            } else {
                "has a letter that is not a day"
            };
            days = Some(
                parse_days(word).ok_or_else(|| wrong(format!("`{word}` in `{text}` {what}")))?,
            );
        }
    }
    if days.is_none() && hours.is_none() {
        return Err(wrong("an empty time".into()));
    }
    let (from, until) = hours.unwrap_or((0, 24 * 60));
    if from >= until {
        let remedy =
            "let it end after it begins; for a night write two: one up to 24:00 and one from 00:00";
        return Err(Invalid::new(format!("`{text}` ends before it begins"), remedy));
    }
    Ok(TimeWindow { days: days.unwrap_or(0x7f), from, until })
}

fn parse_days(word: &str) -> Option<u8> {
    word.chars().try_fold(0u8, |days, letter| {
        Some(
            days | match letter {
                'M' => 1,
                'T' => 1 << 1,
                'W' => 1 << 2,
                'H' => 1 << 3,
                'F' => 1 << 4,
                'A' => 1 << 5,
                'S' => 1 << 6,
                'D' => 0x1f,
                _ => return None,
            },
        )
    })
}

fn parse_hours(word: &str) -> Option<(u16, u16)> {
    let minute = |text: &str| {
        let (hour, minute) = text.split_once(':')?;
        let digits =
            |text: &str| (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(hour) || minute.len() != 2 || !digits(minute) {
            return None;
        }
        let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
        let total = hour * 60 + minute;
        (minute < 60 && total <= 24 * 60).then_some(total)
    };
    let (from, until) = word.split_once('-')?;
    Some((minute(from)?, minute(until)?))
}

/// An absolute http or https URL with a host; no user information.
pub fn parse_url(text: &str) -> Result<(), Invalid> {
    let wrong = || {
        Invalid::new(
            format!("`{text}` is not a URL"),
            "write an absolute one, as in http://example.com/health",
        )
    };
    let rest =
        text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).ok_or_else(wrong)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let with_port = if authority.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']')) {
        authority.to_owned()
    } else {
        format!("{authority}:80")
    };
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(wrong());
    }
    parse_address(&with_port).map(drop).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(parse_bind(":3128").unwrap().to_string(), "0.0.0.0:3128");
        assert_eq!(parse_bind("*:3128").unwrap().to_string(), "0.0.0.0:3128");
        assert_eq!(parse_bind("[::]:3128").unwrap().to_string(), "[::]:3128");
        for text in ["3128", "localhost:3128", "0.0.0.0", "0.0.0.0:70000", ""] {
            assert!(parse_bind(text).is_err(), "{text}");
        }
        assert_eq!(parse_address("Squid1.example:3128"), Ok(("squid1.example".into(), 3128)));
        assert_eq!(parse_address("[2001:db8::1]:3128"), Ok(("2001:db8::1".into(), 3128)));
        for text in ["host", "host:0", "host:x", ":80", "[::1:80", "a b:80"] {
            assert!(parse_address(text).is_err(), "{text}");
        }
        assert_eq!(
            parse_network("10.1.0.0/8").unwrap_err().remedy,
            "write 10.0.0.0/8, or 10.1.0.0 for the one address"
        );
    }

    #[test]
    fn ipv4_mapped_addresses_are_ipv4_addresses() {
        for (text, want) in [
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:1.2.3.4", "1.2.3.4/32"),
            ("::ffff:a00:1/128", "10.0.0.1/32"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("2001:db8::/32", "2001:db8::/32"),
        ] {
            assert_eq!(parse_network(text).unwrap().to_string(), want, "{text}");
        }
        for text in ["[::ffff:7f00:9]", "::ffff:127.0.0.9", "127.0.0.9"] {
            assert_eq!(parse_domain(text).unwrap().name, "127.0.0.9", "{text}");
        }
        assert!(parse_domain("-ab.x_y.test").unwrap().matches("-ab.x_y.test"), "RFC 2181 §11");
    }

    #[test]
    fn domains() {
        let domain = parse_domain(".Example.com").unwrap();
        assert!(domain.matches("example.com") && domain.matches("a.b.example.com"));
        assert!(!domain.matches("badexample.com") && !domain.matches("example.com.evil"));
        let host = parse_domain("example.com").unwrap();
        assert!(host.matches("example.com") && !host.matches("a.example.com"));
        for text in ["*.example.com", "http://example.com", "a..b", "", ".", "münchen.de", "a b"] {
            assert!(parse_domain(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(
            parse_time("MTWHF 09:00-18:00"),
            Ok(TimeWindow { days: 0x1f, from: 540, until: 1080 })
        );
        assert_eq!(parse_time("D 09:00-18:00"), parse_time("MTWHF 9:00-18:00"));
        assert_eq!(parse_time("SA"), Ok(TimeWindow { days: 0x60, from: 0, until: 1440 }));
        let office = parse_time("D 09:00-18:00").unwrap();
        assert!(office.contains(0, 540) && !office.contains(0, 1080) && !office.contains(5, 600));
        for text in [
            "",
            "X 09:00-18:00",
            "D 9-18",
            "D 18:00-09:00",
            "D 09:60-10:00",
            "D 09:00-24:01",
            "D D",
            "D 09:00-10:00 M",
        ] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ports_statuses_and_urls() {
        assert_eq!(parse_ports("8000-8100"), Ok(PortRange { first: 8000, last: 8100 }));
        for text in ["0", "90-80", "65536", "", "-", "http", "+80"] {
            assert!(parse_ports(text).is_err(), "{text}");
        }
        assert_eq!(parse_status("200-299"), Ok((200, 299)));
        assert!(
            parse_status("99").is_err()
                && parse_status("600").is_err()
                && parse_status("ok").is_err()
        );
        for text in [
            "http://example.com/",
            "https://example.com:8443/x?y",
            "http://[::1]/",
            "http://[::1]:8080/",
        ] {
            assert!(parse_url(text).is_ok(), "{text}");
        }
        for text in
            ["example.com", "ftp://example.com", "http://", "http://a b/", "http://user@host/"]
        {
            assert!(parse_url(text).is_err(), "{text}");
        }
    }
}
