//! The field's own small notations: addresses to bind, networks, domains, port ranges, time
//! specifications, status codes, URLs.

mod glob;
mod log_format;
mod network;
mod retry;
mod time;
mod value;

pub use glob::parse_glob;
pub use log_format::parse_log_format;
pub use network::{canonical_network, parse_interface_address, parse_network};
pub use retry::parse_retry_on;
pub use time::parse_time;
pub use value::parse_field_value;

use crate::document::{DomainPattern, PortRange, balancer::Bind, log::LogAddress};
use crate::units::Invalid;
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

/// An address as for [`parse_bind`], or a file.
pub fn parse_frontend_bind(text: &str) -> Result<Bind, Invalid> {
    // HAProxy writes `/path` and `unix@/path`, nginx `unix:/path`.
    let path = ["unix:", "unix@"].iter().find_map(|prefix| text.strip_prefix(prefix));
    let Some(path) = path.or_else(|| text.starts_with('/').then_some(text)) else {
        return parse_bind(text).map(Bind::Ip);
    };
    let odd = |why: &str| {
        let message = format!("`{path}` is no path of a socket: {why}");
        Err(Invalid::new(
            message,
            "write unix: and an absolute path, as in unix:/run/shoal/http.sock",
        ))
    };
    let parts = || path.split('/').skip(1);
    if !path.starts_with('/') || parts().any(|part| matches!(part, "" | "." | "..")) {
        return odd("it has to be absolute and plain");
    }
    if path.len() > LONGEST_SOCKET {
        return odd("it is longer than 107 bytes");
    }
    if path.bytes().any(|byte| byte.is_ascii_control()) {
        return odd("it holds control characters");
    }
    Ok(Bind::Unix(path.to_owned()))
}

/// The kernel takes no longer path of a socket (unix(7)).
const LONGEST_SOCKET: usize = 107;

/// A file's mode in octal.
pub fn parse_file_mode(text: &str) -> Result<u32, Invalid> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if mode <= 0o777 && digits.len() <= 4 => Ok(mode),
        _ => Err(Invalid::new(
            format!("`{text}` is not the mode of a socket"),
            "write three octal digits, as in 660",
        )),
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

/// `stdout`, `udp://127.0.0.1:514`, `tcp://logs.example:601`, `unix:///dev/log`.
pub fn parse_log_address(text: &str) -> Result<LogAddress, Invalid> {
    let wrong = |what: &str| {
        Invalid::new(
            format!("`{text}` is no place for a log{what}"),
            "write stdout, udp://HOST:PORT, tcp://HOST:PORT or unix:///PATH",
        )
    };
    let at = |address: &str| {
        parse_address(address).map_err(|invalid| wrong(&format!(": {}", invalid.message)))
    };
    match text.split_once("://") {
        None if text == "stdout" => Ok(LogAddress::Stdout),
        Some(("udp", address)) => at(address).map(|(host, port)| LogAddress::Udp(host, port)),
        Some(("tcp", address)) => at(address).map(|(host, port)| LogAddress::Tcp(host, port)),
        // The longest path of a socket (unix(7)).
        Some(("unix", path)) if path.starts_with('/') && (2..108).contains(&path.len()) => {
            Ok(LogAddress::Unix(path.to_owned()))
        }
        _ => Err(wrong("")),
    }
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
    fn addresses_of_interfaces() {
        for text in ["192.168.1.100/24", "10.0.0.1/32", "fe80::1/64", "192.168.1.0/31"] {
            assert_eq!(parse_interface_address(text).unwrap().to_string(), text);
        }
        for (text, remedy) in [
            ("192.168.1.100", "write that of its network, as in 192.168.1.100/24"),
            ("2001:db8::1", "write that of its network, as in 2001:db8::1/64"),
            ("10.0.0.1/24 dev eth0", "write 10.0.0.1/24 alone (not `dev eth0`)"),
        ] {
            assert_eq!(parse_interface_address(text).unwrap_err().remedy, remedy);
        }
        let wrong = [
            "192.168.1.0/24",
            "192.168.1.255/24",
            "127.0.0.1/8",
            "224.0.0.18/24",
            "0.0.0.0/0",
            "10.0.0.1/33",
            "::ffff:10.0.0.1/120",
            "2001:db8::/64",
            "x/24",
            "",
        ];
        for text in wrong {
            assert!(parse_interface_address(text).is_err(), "{text}");
        }
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
