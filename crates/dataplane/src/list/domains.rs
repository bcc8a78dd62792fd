//! A set of domains that holds a million of them in little memory and answers in the time of a few
//! hash look-ups.
//!
//! Names lie one after the other in one block of bytes; an open-addressing table of 32-bit offsets
//! finds them. A question costs one probe per label of the host, however large the set is. Exact: a
//! full comparison follows every probe.

use std::hash::{BuildHasher, RandomState};

use cluster_config::document::DomainPattern;

/// Set in the byte before a name: the name itself is meant.
const EXACT: u8 = 1;
/// Set in the byte before a name: everything under it is meant too.
const UNDER: u8 = 2;

/// Domains and hosts, as `dstdomain` has them.
#[derive(Debug, Default)]
pub struct Domains {
    /// Entries: flags, length, name.
    names: Vec<u8>,
    /// Offset + 1 of an entry; 0 is free. The length is a power of two.
    table: Vec<u32>,
    entries: usize,
    hasher: RandomState,
}

/// More names than 32-bit offsets can address (4 GiB of names).
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the list holds more than 4 GiB of names")]
pub struct TooLarge;

impl Domains {
    /// An empty set with room for `entries` names of `bytes` in all.
    #[must_use]
    pub fn with_capacity(entries: usize, bytes: usize) -> Self {
        let slots = (entries.saturating_mul(3) / 2).max(8).next_power_of_two();
        Self {
            names: Vec::with_capacity(bytes.saturating_add(entries * 2)),
            table: vec![0; slots],
            entries: 0,
            hasher: RandomState::new(),
        }
    }

    /// Adds one pattern.
    pub fn insert(&mut self, pattern: &DomainPattern) -> Result<(), TooLarge> {
        let name = pattern.name.as_bytes();
        // Otherwise no host can be so long (RFC 1035 §2.3.4).
        let Ok(length) = u8::try_from(name.len()) else { return Ok(()) };
        if (self.entries + 1) * 4 > self.table.len() * 3 {
            self.grow();
        }
        let flags = match (pattern.only_below, pattern.subdomains) {
            (true, _) => UNDER,
            (false, true) => EXACT | UNDER,
            (false, false) => EXACT,
        };
        match self.find(name) {
            Ok(at) => {
                if let Some(old) = self.names.get_mut(at) {
                    *old |= flags;
                }
            }
            Err(slot) => {
                let offset = u32::try_from(self.names.len() + 1).map_err(|_| TooLarge)?;
                self.names.extend_from_slice(&[flags, length]);
                self.names.extend_from_slice(name);
                if let Some(free) = self.table.get_mut(slot) {
                    *free = offset;
                }
                self.entries += 1;
            }
        }
        Ok(())
    }

    /// Whether a host (lower case, no dot at the end) is in the set: itself, or under a domain that
    /// is.
    #[must_use]
    pub fn contains(&self, host: &str) -> bool {
        if self.entries == 0 {
            return false;
        }
        let host = host.as_bytes();
        let has = |name: &[u8], flag: u8| {
            self.find(name)
                .is_ok_and(|at| self.names.get(at).is_some_and(|flags| flags & flag != 0))
        };
        has(host, EXACT)
            || host.iter().enumerate().any(|(at, byte)| {
                *byte == b'.' && host.get(at + 1..).is_some_and(|suffix| has(suffix, UNDER))
            })
    }

    /// How many names it holds.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries
    }

    /// Whether it holds none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.names.capacity() + self.table.capacity() * size_of::<u32>()
    }

    /// Gives back what was reserved and not used.
    pub fn shrink(&mut self) {
        self.names.shrink_to_fit();
    }

    /// Where the entry of `name` begins, or the slot in which it belongs.
    fn find(&self, name: &[u8]) -> Result<usize, usize> {
        let mask = self.table.len() - 1;
        let mut slot = self.hasher.hash_one(name) as usize & mask;
        loop {
            match self.table.get(slot).copied().unwrap_or(0) {
                0 => return Err(slot),
                offset if self.entry(offset as usize - 1) == name => return Ok(offset as usize - 1),
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    fn entry(&self, at: usize) -> &[u8] {
        let length = usize::from(self.names.get(at + 1).copied().unwrap_or(0));
        self.names.get(at + 2..at + 2 + length).unwrap_or_default()
    }

    fn grow(&mut self) {
        let slots = (self.table.len() * 2).max(8);
        let old = std::mem::replace(&mut self.table, vec![0; slots]);
        for offset in old.into_iter().filter(|offset| *offset != 0) {
            let name = self.entry(offset as usize - 1).to_vec();
            if let Err(slot) = self.find(&name)
                && let Some(free) = self.table.get_mut(slot)
            {
                *free = offset;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> DomainPattern {
        let subdomains = text.starts_with('.');
        DomainPattern {
            name: text.trim_start_matches('.').to_owned(),
            subdomains,
            only_below: false,
        }
    }

    fn set(patterns: &[&str]) -> Domains {
        let mut domains = Domains::with_capacity(0, 0);
        for text in patterns {
            domains.insert(&pattern(text)).unwrap();
        }
        domains
    }

    #[test]
    fn hosts_and_domains() {
        let domains = set(&[".example.com", "www.example.org", "10.0.0.1", ".example.com"]);
        for (host, want) in [
            ("example.com", true),
            ("a.b.example.com", true),
            ("badexample.com", false),
            ("com", false),
            ("www.example.org", true),
            ("x.www.example.org", false),
            ("example.org", false),
            ("10.0.0.1", true),
            ("", false),
            ("..", false),
        ] {
            assert_eq!(domains.contains(host), want, "{host}");
        }
        assert_eq!(domains.len(), 3);
        assert!(!Domains::default().contains("a"));
    }

    #[test]
    fn a_host_and_its_domain_may_both_be_listed() {
        let domains = set(&["a.b", ".a.b"]);
        assert!(domains.contains("a.b") && domains.contains("x.a.b"));
        assert_eq!(domains.len(), 1);
    }

    #[test]
    fn a_million_entries_fit() {
        let mut text = String::new();
        for number in 0..1_000_000u32 {
            let dot = if number % 2 == 0 { "." } else { "" };
            text.push_str(&format!("{dot}host-{number:x}.zone{}.example\n", number % 977));
        }
        let domains = super::super::domains(text.as_bytes()).unwrap();
        assert_eq!(domains.len(), 1_000_000);
        assert!(domains.memory() < 64 << 20, "{} bytes", domains.memory());
        assert!(domains.contains("deep.below.host-a.zone10.example"));
        assert!(
            domains.contains("host-b.zone11.example")
                && !domains.contains("below.host-b.zone11.example")
        );
        assert!(!domains.contains("host-f4240.zone0.example"));
    }

    proptest! {
        #[test]
        fn agrees_with_the_patterns_themselves(
            patterns in proptest::collection::vec("\\.?[ab](\\.[abc]){0,3}", 0..30),
            hosts in proptest::collection::vec("[abc](\\.[abc]){0,4}", 1..30),
        ) {
            let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
            let domains = set(&patterns);
            for host in hosts {
                let want = patterns.iter().any(|text| pattern(text).matches(&host));
                prop_assert_eq!(domains.contains(&host), want, "{}", host);
            }
        }
    }
}
