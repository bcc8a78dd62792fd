//! Request targets (RFC 9112 §3.2) and authorities, strictly: what two programs could resolve to
//! different places is refused.

mod authority;
mod parts;

use crate::malformed::Malformed;
use crate::method::Method;

pub use authority::{Authority, Host};
pub(crate) use parts::Parts;

/// A request target, in one of the four forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// `http://host/path`: what clients send to a proxy. With `https` a client asks the proxy to do
    /// TLS for it; the node decides.
    Absolute {
        /// The scheme.
        scheme: Scheme,
        /// Host and port.
        authority: Authority<'a>,
        /// Path and query as received: may be empty, or begin with `?`.
        path: &'a str,
    },
    /// `host:port`: CONNECT, and only CONNECT. The port is always there.
    Authority(Authority<'a>),
    /// `/path`.
    Origin(&'a str),
    /// `*`: OPTIONS, and only OPTIONS.
    Asterisk,
}

/// The scheme of an absolute target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// The port that an authority without one means.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// In lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl<'a> Target<'a> {
    /// Takes a target apart. `text` holds visible ASCII without `#`.
    pub fn parse(text: &'a str, method: Method) -> Result<Self, Malformed> {
        if method == Method::Connect {
            let authority = Authority::parse(text).ok_or(Malformed::Authority)?;
            return if authority.port.is_some() {
                Ok(Self::Authority(authority))
            } else {
                Err(Malformed::Authority)
            };
        }
        if text.starts_with('/') {
            return Ok(Self::Origin(text));
        }
        if text == "*" {
            return if method == Method::Options {
                Ok(Self::Asterisk)
            } else {
                Err(Malformed::Target)
            };
        }
        let (scheme, rest) = split_scheme(text)?;
        let path_at =
            rest.bytes().position(|byte| byte == b'/' || byte == b'?').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(path_at);
        let authority = Authority::parse(authority).ok_or(Malformed::Authority)?;
        Ok(Self::Absolute { scheme, authority, path })
    }

    /// The authority that the target itself names.
    pub fn authority(&self) -> Option<Authority<'a>> {
        match *self {
            Self::Absolute { authority, .. } | Self::Authority(authority) => Some(authority),
            Self::Origin(_) | Self::Asterisk => None,
        }
    }
}

/// Scheme and what follows `://`.
fn split_scheme(text: &str) -> Result<(Scheme, &str), Malformed> {
    for (prefix, scheme) in [("http://", Scheme::Http), ("https://", Scheme::Https)] {
        if let Some((start, rest)) = text.split_at_checked(prefix.len())
            && start.eq_ignore_ascii_case(prefix)
        {
            return Ok((scheme, rest));
        }
    }
    let scheme = text.split_once("://").ok_or(Malformed::Target)?.0;
    Err(if is_scheme(scheme) { Malformed::Scheme } else { Malformed::Target })
}

/// `ALPHA *( ALPHA / DIGIT / "+" / "-" / "." )` (RFC 3986 §3.1).
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

#[cfg(test)]
mod tests;
