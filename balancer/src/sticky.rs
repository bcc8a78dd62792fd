//! A cookie that keeps a client with its server: what it says, and what is left of a request's
//! cookies without it (RFC 6265). Pure.

use std::collections::HashMap;

use cluster_config::document::balancer::Sticky;
use dataplane::hash::Hasher;

/// The cookies of a backend's servers.
#[derive(Clone, Debug)]
pub struct Cookies {
    name: String,
    /// The index of a server in its pool.
    servers: HashMap<Box<str>, usize>,
    values: HashMap<u64, Box<str>>,
}

impl Cookies {
    /// For the servers with these keys and names.
    #[must_use]
    pub fn new<'a>(
        sticky: &Sticky,
        backend: &str,
        servers: impl Iterator<Item = (u64, &'a str)> + Clone,
    ) -> Self {
        let value = |name: &str| value(sticky, backend, name).into_boxed_str();
        let indexed = servers.clone().enumerate();
        Self {
            name: sticky.cookie.clone(),
            servers: indexed.map(|(index, (_, name))| (value(name), index)).collect(),
            values: servers.map(|(key, name)| (key, value(name))).collect(),
        }
    }

    /// The server that a request's cookies name, by its index in the pool.
    #[must_use]
    pub fn server<'a>(&self, lines: impl Iterator<Item = &'a [u8]>) -> Option<usize> {
        let value = std::str::from_utf8(find(lines, &self.name)?).ok()?;
        self.servers.get(value).copied()
    }

    /// What the cookie of the server with this key says.
    #[must_use]
    pub fn value(&self, key: u64) -> Option<&str> {
        self.values.get(&key).map(|value| &**value)
    }
}

fn value(sticky: &Sticky, backend: &str, server: &str) -> String {
    if !sticky.hashed {
        return server.to_owned();
    }
    let mut hasher = Hasher::default();
    hasher.write(backend.as_bytes());
    hasher.write(&[0]);
    hasher.write(server.as_bytes());
    format!("{:016x}", hasher.finish())
}

/// What the client is told to keep.
#[must_use]
pub fn set(sticky: &Sticky, value: &str) -> String {
    let httponly = if sticky.httponly { "; HttpOnly" } else { "" };
    let secure = if sticky.secure { "; Secure" } else { "" };
    format!("{}={value}; Path=/{httponly}{secure}", sticky.cookie)
}

fn pairs(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty())
}

fn value_in<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

/// The value of the first cookie of this name.
pub fn find<'a>(mut lines: impl Iterator<Item = &'a [u8]>, name: &str) -> Option<&'a [u8]> {
    lines.find_map(|line| pairs(line).find_map(|pair| value_in(pair, name)))
}

/// The cookies of a line but those of this name; none: nothing is left.
#[must_use]
pub fn without(line: &[u8], name: &str) -> Option<Vec<u8>> {
    let rest: Vec<_> = pairs(line).filter(|pair| value_in(pair, name).is_none()).collect();
    (!rest.is_empty()).then(|| rest.join(&b"; "[..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sticky(hashed: bool) -> Sticky {
        Sticky {
            cookie: "SRV".to_owned(),
            insert: true,
            indirect: true,
            nocache: true,
            httponly: true,
            secure: false,
            hashed,
        }
    }

    #[test]
    fn cookies_are_found_and_taken_out() {
        for (line, value, rest) in [
            ("SRV=a", Some("a"), None),
            ("x=1; SRV=a;y=2", Some("a"), Some("x=1; y=2")),
            ("srv=a; XSRV=b; SRVX=c", None, Some("srv=a; XSRV=b; SRVX=c")),
            ("SRV=; x=\"SRV=b\"", Some(""), Some("x=\"SRV=b\"")),
            (";;  ;SRV=a=b; SRV=c", Some("a=b"), None),
            ("", None, None),
        ] {
            let found = find(std::iter::once(line.as_bytes()), "SRV");
            assert_eq!(found, value.map(str::as_bytes), "{line:?}");
            let left = without(line.as_bytes(), "SRV");
            assert_eq!(left.as_deref(), rest.map(str::as_bytes), "{line:?}");
        }
    }

    #[test]
    fn a_value_names_a_server_and_may_hide_its_name() {
        let servers = [(7, "web-1"), (9, "web-2")];
        let named = Cookies::new(&sticky(false), "b", servers.into_iter());
        assert_eq!((named.value(7), named.value(8)), (Some("web-1"), None));
        assert_eq!(named.server([&b"SRV=web-2"[..]].into_iter()), Some(1));
        let hashed = Cookies::new(&sticky(true), "b", servers.into_iter());
        let value = hashed.value(9).expect("a value").to_owned();
        assert!(value.len() == 16 && hashed.value(7) != Some(&value));
        let line = format!("SRV={value}");
        assert_eq!(hashed.server([line.as_bytes()].into_iter()), Some(1));
        assert_eq!(hashed.server([&b"SRV=web-2"[..]].into_iter()), None);
        let other = Cookies::new(&sticky(true), "c", servers.into_iter());
        assert_ne!(other.value(9), Some(&*value), "another backend's server of that name");
        assert_eq!(set(&sticky(false), "web-1"), "SRV=web-1; Path=/; HttpOnly");
    }

    proptest! {
        #[test]
        fn nothing_else_is_taken_out(line in "[ -~]{0,60}") {
            let rest = without(line.as_bytes(), "SRV").unwrap_or_default();
            let others = |line: &[u8]| {
                let pairs = pairs(line).filter(|pair| value_in(pair, "SRV").is_none());
                pairs.map(<[u8]>::to_vec).collect::<Vec<_>>()
            };
            prop_assert_eq!(others(&rest), others(line.as_bytes()));
            prop_assert_eq!(find(std::iter::once(&*rest), "SRV"), None);
        }
    }
}
