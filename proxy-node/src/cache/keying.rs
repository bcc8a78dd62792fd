//! What several URLs share, because the operator says so: rules that make the key of one URL that
//! of others, and digests by which a URL names what never changes. Pure.
//!
//! No rule makes an answer depend on what its key has not: query parameters that a rule takes away
//! do not reach the origin either ([`Keyed::asked`]). And no rule puts hosts together that it does
//! not name.

mod digest;
mod query;

use regex::bytes::Regex;

use crate::cache::key::Key;
pub use digest::{Check, Digest};
pub use query::{Parameters, Query};

/// A host, or a domain with everything under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Lower case.
    pub name: String,
    /// What is under it, too.
    pub subdomains: bool,
}

impl Host {
    fn is(&self, host: &[u8]) -> bool {
        let name = self.name.as_bytes();
        host == name
            || (self.subdomains
                && host.strip_suffix(name).is_some_and(|before| before.ends_with(b".")))
    }
}

/// What some URLs share.
#[derive(Clone, Debug)]
pub struct KeyRule {
    pub url: Regex,
    pub query: Query,
    /// What is put for the match.
    pub to: Option<Box<[u8]>>,
    /// Hosts that `to` may put together.
    pub merges: Vec<Host>,
    /// The URL has the digest of what it names.
    pub immutable: bool,
}

/// The key of a URL, and how it was made.
#[derive(Clone, Debug)]
pub struct Keyed {
    pub key: Key,
    /// The rule that was for it.
    pub rule: Option<usize>,
    /// The URL that the origin is asked for, where it is not that of the request.
    pub asked: Option<Key>,
    /// Why what the rule says did not come about.
    pub refused: Option<&'static str>,
    /// The digest of what it names.
    pub digest: Option<Digest>,
}

/// The key of a URL by the first rule that is for it.
#[must_use]
pub fn apply(rules: &[KeyRule], url: Key) -> Keyed {
    let found = rules.iter().position(|rule| rule.url.is_match(url.as_bytes()));
    let plain = Keyed { key: url, rule: found, asked: None, refused: None, digest: None };
    match found.and_then(|index| rules.get(index)) {
        Some(rule) => rule.apply(plain),
        None => plain,
    }
}

impl KeyRule {
    fn apply(&self, mut keyed: Keyed) -> Keyed {
        if self.immutable {
            keyed.digest =
                self.url.captures(keyed.key.as_bytes()).and_then(|found| Digest::of(&found));
        }
        if let Some(url) = self.query.narrowed(keyed.key.as_bytes()) {
            match parse(url) {
                Some(narrow) => {
                    keyed.asked = Some(narrow.clone());
                    keyed.key = narrow;
                }
                None => keyed.refused = Some("without these parameters it is no URL"),
            }
        }
        let Some(to) = &self.to else { return keyed };
        // The query may have been what it matched by.
        if !self.url.is_match(keyed.key.as_bytes()) {
            return keyed;
        }
        match parse(self.url.replace(keyed.key.as_bytes(), &**to).into_owned()) {
            None => keyed.refused = Some("what it would become is no URL"),
            Some(other)
                if other.origin() == keyed.key.origin() || self.merge(&keyed.key, &other) =>
            {
                keyed.key = other;
            }
            Some(_) => keyed.refused = Some("merge_hosts does not name both hosts"),
        }
        keyed
    }

    /// Whether two URLs of different origins may be one.
    fn merge(&self, one: &Key, other: &Key) -> bool {
        let named = |key: &Key| self.merges.iter().any(|host| host.is(key.host()));
        named(one) && named(other)
    }
}

fn parse(url: Vec<u8>) -> Option<Key> {
    Key::parse(&String::from_utf8(url).ok()?)
}

#[cfg(test)]
mod tests;
