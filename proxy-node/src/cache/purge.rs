//! What is purged, and whether it concerns something stored. Pure.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};

use crate::cache::{
    key::Key,
    tags::{self, Tags},
};

/// Bytes that a prefix, a host, a tag or a pattern may have.
pub const MOST_TEXT: usize = 2048;
/// Bytes of memory that a compiled pattern may take.
const MOST_PATTERN: usize = 1 << 20;

/// What becomes of what is purged. The later one is the harder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// It is validated before it is used again.
    Soft,
    /// It is gone.
    Hard,
}

/// What is purged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every variant of one URL.
    Url(Key),
    /// Everything whose URL begins so.
    Prefix(Vec<u8>),
    Host(Host),
    /// Everything that its origin gave this tag.
    Tag(Tag),
    /// Everything whose URL this is found in.
    Regex(Pattern),
    Everything,
}

/// One purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purge {
    pub scope: Scope,
    pub mode: Mode,
}

/// A host, with any scheme: `example.com`, `.example.com` (it and what is below it),
/// `example.com:8080`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// As in a key: lower case, no dot at the end, IPv6 in brackets.
    name: Box<str>,
    below: bool,
    /// `None`: any.
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    text: Box<str>,
    hash: u64,
}

/// A regular expression over URLs; what it costs is linear in their length.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: Box<str>,
    regex: Regex,
}

/// Why something cannot be purged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("{0:?} is not an absolute http URL, and only those are cached")]
    Url(String),
    #[error("an empty prefix would purge everything; to do that, purge everything")]
    Empty,
    #[error("{0:?} is not a host: write example.com, .example.com or example.com:8080")]
    Host(String),
    #[error("{0:?} is not a tag: a tag is not empty and has no comma")]
    Tag(String),
    #[error("the pattern cannot be used: {0}")]
    Pattern(String),
    #[error("it has more than 2048 bytes")]
    Long,
    #[error("nothing is named that could be purged")]
    Nothing,
}

impl Scope {
    /// One URL, as an operator writes it.
    ///
    /// # Errors
    /// It is none.
    pub fn url(text: &str) -> Result<Self, Unusable> {
        Key::parse(text).map(Self::Url).ok_or_else(|| Unusable::Url(text.to_owned()))
    }

    /// The beginning of URLs, as an operator writes it.
    ///
    /// # Errors
    /// It is empty or too long.
    pub fn prefix(text: &str) -> Result<Self, Unusable> {
        if text.is_empty() {
            return Err(Unusable::Empty);
        }
        short(text)?;
        Ok(Self::Prefix(Key::prefix(text)))
    }

    /// A host.
    ///
    /// # Errors
    /// It is none.
    pub fn host(text: &str) -> Result<Self, Unusable> {
        short(text)?;
        let problem = || Unusable::Host(text.to_owned());
        let (below, rest) = match text.strip_prefix("*.").or(text.strip_prefix('.')) {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        // One parser for hosts: that of URLs.
        let key = Key::parse(&format!("http://{rest}/")).ok_or_else(problem)?;
        let (name, _) = authority(key.as_bytes()).ok_or_else(problem)?;
        let bare = !rest.contains(['/', '@', '?', '#', '\\', ' ']) && !name.is_empty();
        let after = rest.rsplit_once(']').map_or(rest, |(_, after)| after);
        let port = match after.rsplit_once(':') {
            Some((_, port)) => Some(port.parse().map_err(|_| problem())?),
            None => None,
        };
        let name = std::str::from_utf8(name).ok().filter(|_| bare).ok_or_else(problem)?;
        Ok(Self::Host(Host { name: name.into(), below, port }))
    }

    /// A tag.
    ///
    /// # Errors
    /// Neither field can have such a one.
    pub fn tag(text: &str) -> Result<Self, Unusable> {
        short(text)?;
        let text = text.trim();
        if text.is_empty() || text.contains(',') {
            return Err(Unusable::Tag(text.to_owned()));
        }
        Ok(Self::Tag(Tag { text: text.into(), hash: tags::hash(text.as_bytes()) }))
    }

    /// A pattern.
    ///
    /// # Errors
    /// It makes no sense, or would take too much memory.
    pub fn regex(text: &str) -> Result<Self, Unusable> {
        short(text)?;
        if text.is_empty() {
            return Err(Unusable::Pattern("it is empty".to_owned()));
        }
        let regex = RegexBuilder::new(text)
            .size_limit(MOST_PATTERN)
            .dfa_size_limit(MOST_PATTERN)
            .build()
            .map_err(|error| Unusable::Pattern(error.to_string()))?;
        Ok(Self::Regex(Pattern { text: text.into(), regex }))
    }

    /// Whether it concerns what is stored for this URL with these tags.
    #[must_use]
    pub fn matches(&self, url: &[u8], tags: &Tags) -> bool {
        match self {
            Self::Tag(tag) => tags.contains(tag.hash),
            other => other.covers(url),
        }
    }

    /// Whether it concerns everything for this URL, whatever its tags are.
    #[must_use]
    pub fn covers(&self, url: &[u8]) -> bool {
        match self {
            Self::Url(key) => key.as_bytes() == url,
            Self::Prefix(prefix) => url.starts_with(prefix),
            Self::Host(host) => host.is_of(url),
            Self::Tag(_) => false,
            Self::Regex(pattern) => pattern.regex.is_match(url),
            Self::Everything => true,
        }
    }

    /// Its kind and its text, as they are written down; [`Self::written`] reads them.
    #[must_use]
    pub(in crate::cache) fn parts(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Url(key) => (1, key.as_bytes().to_vec()),
            Self::Prefix(prefix) => (2, prefix.clone()),
            Self::Host(host) => (3, host.to_string().into_bytes()),
            Self::Tag(tag) => (4, tag.text.as_bytes().to_vec()),
            Self::Regex(pattern) => (5, pattern.text.as_bytes().to_vec()),
            Self::Everything => (6, Vec::new()),
        }
    }

    /// What [`Self::parts`] wrote. `None`: it did not.
    pub(in crate::cache) fn written(kind: u8, text: &[u8]) -> Option<Self> {
        if kind == 2 {
            return Some(Self::Prefix(text.to_vec()));
        }
        let text = std::str::from_utf8(text).ok()?;
        match kind {
            1 => Self::url(text).ok(),
            3 => Self::host(text).ok(),
            4 => Self::tag(text).ok(),
            5 => Self::regex(text).ok(),
            6 => text.is_empty().then_some(Self::Everything),
            _ => None,
        }
    }
}

const fn short(text: &str) -> Result<(), Unusable> {
    if text.len() > MOST_TEXT { Err(Unusable::Long) } else { Ok(()) }
}

impl Host {
    fn is_of(&self, url: &[u8]) -> bool {
        let Some((host, port)) = authority(url) else { return false };
        let name = self.name.as_bytes();
        let below = || host.strip_suffix(name).is_some_and(|rest| rest.ends_with(b"."));
        self.port.is_none_or(|wanted| wanted == port) && (host == name || (self.below && below()))
    }
}

/// Host and port of a key.
fn authority(url: &[u8]) -> Option<(&[u8], u16)> {
    let (rest, default) = match url.strip_prefix(b"https://") {
        Some(rest) => (rest, 443),
        None => (url.strip_prefix(b"http://")?, 80),
    };
    let authority = rest.split(|byte| *byte == b'/').next()?;
    let after = authority.iter().rposition(|byte| *byte == b']').map_or(0, |at| at + 1);
    let colon = authority.get(after..)?.iter().position(|byte| *byte == b':');
    match colon {
        Some(colon) => {
            let (host, port) = authority.split_at_checked(after + colon)?;
            let port = std::str::from_utf8(port.get(1..)?).ok()?.parse().ok()?;
            Some((host, port))
        }
        None => Some((authority, default)),
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dot = if self.below { "." } else { "" };
        write!(formatter, "{dot}{}", self.name)?;
        self.port.map_or(Ok(()), |port| write!(formatter, ":{port}"))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(key) => write!(formatter, "{key}"),
            Self::Prefix(prefix) => write!(formatter, "{}*", String::from_utf8_lossy(prefix)),
            Self::Host(host) => write!(formatter, "host {host}"),
            Self::Tag(tag) => write!(formatter, "tag {}", tag.text),
            Self::Regex(pattern) => write!(formatter, "regex {}", pattern.text),
            Self::Everything => formatter.write_str("everything"),
        }
    }
}

impl fmt::Display for Purge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let soft = if self.mode == Mode::Soft { "soft, " } else { "" };
        write!(formatter, "{soft}{}", self.scope)
    }
}

#[cfg(test)]
mod tests;
