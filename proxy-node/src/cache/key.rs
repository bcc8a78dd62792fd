//! What makes two requests ask for the same thing: the URL in its one normal form
//! ([`relay::normal`]), in which the rules have judged it and the origin is asked for it. So no
//! spelling of one client becomes what everybody gets for another.

use std::{
    fmt,
    hash::{Hash, Hasher},
    io::Write,
    net::Ipv6Addr,
    sync::Arc,
};

use relay::{normal, target::Scheme};

/// A cache key: a normalised absolute URL. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(Arc<[u8]>);

impl Key {
    /// The key of `scheme://host:port` + `path`: path and query of a request in its normal form,
    /// empty for the root.
    #[must_use]
    pub fn new(scheme: Scheme, host: &str, port: u16, path: &[u8]) -> Self {
        let mut url = Vec::with_capacity(16 + host.len() + path.len());
        url.extend_from_slice(scheme.as_str().as_bytes());
        url.extend_from_slice(b"://");
        push_host(&mut url, host);
        if port != scheme.default_port() {
            // Writing to a Vec cannot fail.
            drop(write!(url, ":{port}"));
        }
        match path.first() {
            Some(b'/') => {}
            _ => url.push(b'/'), // `http://host` and `http://host?q` (RFC 9110 §4.2.3)
        }
        url.extend_from_slice(path.split(|byte| *byte == b'#').next().unwrap_or_default());
        Self(url.into())
    }

    /// The normalised URL.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key that a Location of a response for this one means: an absolute URL of the same
    /// origin, or a path on it.
    #[must_use]
    pub fn sibling(&self, location: &[u8]) -> Option<Self> {
        let without_fragment = location.split(|byte| *byte == b'#').next().unwrap_or_default();
        let on_this_origin =
            without_fragment.starts_with(b"/") && !without_fragment.starts_with(b"//");
        let url = if on_this_origin {
            [self.origin(), without_fragment].concat()
        } else {
            without_fragment.to_vec()
        };
        let other = Self::parse(std::str::from_utf8(&url).ok()?)?;
        let same = other.0.strip_prefix(self.origin()).is_some_and(|rest| rest.starts_with(b"/"));
        same.then_some(other)
    }

    /// The key of an absolute http or https URL, as an operator writes it.
    #[must_use]
    pub fn parse(url: &str) -> Option<Self> {
        let url = normal::url(url.split('#').next().unwrap_or_default())?;
        ["http://", "https://"]
            .iter()
            .any(|scheme| url.starts_with(scheme))
            .then(|| Self(url.into_bytes().into()))
    }

    /// The beginning of keys that an operator means by the beginning of a URL: as [`Self::parse`]
    /// has it, where it names an origin and a path.
    #[must_use]
    pub fn prefix(url: &str) -> Vec<u8> {
        let names_a_path = url.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
        match Self::parse(url).filter(|_| names_a_path) {
            Some(key) => key.as_bytes().to_vec(),
            None => url.as_bytes().to_vec(),
        }
    }

    /// The host in lower case, without a port; IPv6 in brackets.
    #[must_use]
    pub fn host(&self) -> &[u8] {
        let authority = self.origin().splitn(3, |byte| *byte == b'/').nth(2).unwrap_or_default();
        let end = match authority.iter().position(|byte| *byte == b']') {
            Some(bracket) => Some(bracket + 1),
            None => authority.iter().position(|byte| *byte == b':'),
        };
        end.and_then(|end| authority.get(..end)).unwrap_or(authority)
    }

    /// The URL without its path: `http://host` or `http://host:port`. Two keys of one origin share
    /// it.
    #[must_use]
    pub fn origin(&self) -> &[u8] {
        let scheme = if self.0.starts_with(b"https://") { 8 } else { 7 };
        let end = self
            .0
            .iter()
            .skip(scheme)
            .position(|byte| *byte == b'/')
            .map_or(self.0.len(), |at| at + scheme);
        self.0.get(..end).unwrap_or(&self.0)
    }
}

/// Host as in a URL: lower case; IPv6 in brackets in its canonical spelling.
fn push_host(url: &mut Vec<u8>, host: &str) {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if bare.contains(':')
        && let Ok(address) = bare.parse::<Ipv6Addr>()
    {
        url.extend_from_slice(format!("[{address}]").as_bytes());
    } else {
        url.extend(host.bytes().map(|byte| byte.to_ascii_lowercase()));
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_one_resource_share_a_key() {
        for (host, port, path, want) in [
            ("Example.COM", 80, "/a", "http://example.com/a"),
            ("example.com", 80, "", "http://example.com/"),
            ("example.com", 80, "?q=1", "http://example.com/?q=1"),
            ("example.com", 8080, "/", "http://example.com:8080/"),
            ("example.com", 80, "/A%7e/../b//c?x=Y#frag", "http://example.com/A%7e/../b//c?x=Y"),
            ("[2001:DB8:0::1]", 80, "/", "http://[2001:db8::1]/"),
            ("2001:db8::1", 81, "/", "http://[2001:db8::1]:81/"),
        ] {
            let key = Key::new(Scheme::Http, host, port, path.as_bytes());
            assert_eq!(key.to_string(), want);
        }
        assert_eq!(Key::new(Scheme::Http, "a.b", 81, b"/x/y").origin(), b"http://a.b:81");
        assert_eq!(Key::new(Scheme::Https, "a.b", 443, b"/x/y").to_string(), "https://a.b/x/y");
        assert_eq!(Key::new(Scheme::Https, "a.b", 80, b"/x/y").origin(), b"https://a.b:80");
        assert_ne!(
            Key::new(Scheme::Https, "a.b", 81, b"/"),
            Key::new(Scheme::Http, "a.b", 81, b"/")
        );
    }

    #[test]
    fn siblings_are_of_the_same_origin() {
        let key = Key::new(Scheme::Http, "h.example", 8080, b"/a");
        for (location, want) in [
            ("/b?c#d", Some("http://h.example:8080/b?c")),
            ("/x/../%62", Some("http://h.example:8080/b")),
            ("http://h.example.:8080/./b", Some("http://h.example:8080/b")),
            ("http://H.example:8080/b", Some("http://h.example:8080/b")),
            ("http://h.example:8080", Some("http://h.example:8080/")),
            ("http://h.example/b", None),
            ("http://h.example:80801/b", None),
            ("https://h.example:8080/b", None),
            ("//other.example/", None),
            ("b", None),
        ] {
            assert_eq!(
                key.sibling(location.as_bytes()).map(|key| key.to_string()).as_deref(),
                want,
                "{location}"
            );
        }
        let secure = Key::new(Scheme::Https, "h.example", 443, b"/a");
        for (location, want) in [
            ("/b", Some("https://h.example/b")),
            ("https://h.example:443/c", Some("https://h.example/c")),
            ("http://h.example/b", None),
        ] {
            assert_eq!(
                secure.sibling(location.as_bytes()).map(|key| key.to_string()).as_deref(),
                want,
                "{location}"
            );
        }
    }

    proptest! {
        #[test]
        fn different_paths_never_share_a_key(
            a in "/[ -~&&[^#]]{0,20}",
            b in "/[ -~&&[^#]]{0,20}",
            port in 1u16..,
        ) {
            let key = |host, path: &str| Key::new(Scheme::Http, host, port, path.as_bytes());
            prop_assert_eq!(key("h", &a) == key("H", &b), a == b);
        }

        #[test]
        fn a_key_stays_inside_its_origin(
            host in "[a-z0-9.-]{1,20}",
            port in 1u16..,
            path in proptest::collection::vec(any::<u8>(), 0..30),
        ) {
            let key = Key::new(Scheme::Http, &host, port, &path);
            let root = Key::new(Scheme::Http, &host, port, b"/");
            prop_assert_eq!(key.origin(), root.origin());
        }
    }
}
