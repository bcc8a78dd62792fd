//! A target without its text, for a head that is kept.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Authority, Host, Scheme, Target};

/// A target that was taken apart, without the text: what it was parsed from gives it back without
/// parsing again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parts {
    Absolute { scheme: Scheme, authority: AuthorityParts, path_at: u16 },
    Authority(AuthorityParts),
    Origin,
    Asterisk,
}

/// Where an authority is in the text of its target, and what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AuthorityParts {
    at: u16,
    len: u16,
    host: HostParts,
    port: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HostParts {
    Name { len: u16 },
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

impl Parts {
    /// Those of a target that was parsed from `text`. A part that begins beyond 64 KiB cannot be
    /// told: heads are shorter.
    pub(crate) fn of(target: &Target<'_>, text: &str) -> Self {
        let offset = |part: &str| short(part.as_ptr() as usize - text.as_ptr() as usize);
        let authority = |it: &Authority<'_>| AuthorityParts {
            at: offset(it.text),
            len: short(it.text.len()),
            host: match it.host {
                Host::Name(name) => HostParts::Name { len: short(name.len()) },
                Host::V4(address) => HostParts::V4(address),
                Host::V6(address) => HostParts::V6(address),
            },
            port: it.port,
        };
        match target {
            Target::Absolute { scheme, authority: it, path } => {
                Self::Absolute { scheme: *scheme, authority: authority(it), path_at: offset(path) }
            }
            Target::Authority(it) => Self::Authority(authority(it)),
            Target::Origin(_) => Self::Origin,
            Target::Asterisk => Self::Asterisk,
        }
    }

    /// The target again.
    pub(crate) fn join<'a>(&self, text: &'a str) -> Target<'a> {
        match self {
            Self::Absolute { scheme, authority, path_at } => Target::Absolute {
                scheme: *scheme,
                authority: authority.join(text),
                path: text.get(usize::from(*path_at)..).unwrap_or_default(),
            },
            Self::Authority(authority) => Target::Authority(authority.join(text)),
            Self::Origin => Target::Origin(text),
            Self::Asterisk => Target::Asterisk,
        }
    }
}

impl AuthorityParts {
    fn join<'a>(&self, target: &'a str) -> Authority<'a> {
        let text = target
            .get(usize::from(self.at)..usize::from(self.at) + usize::from(self.len))
            .unwrap_or_default();
        let host = match self.host {
            HostParts::Name { len } => Host::Name(text.get(..usize::from(len)).unwrap_or_default()),
            HostParts::V4(address) => Host::V4(address),
            HostParts::V6(address) => Host::V6(address),
        };
        Authority { host, port: self.port, text }
    }
}

fn short(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}
