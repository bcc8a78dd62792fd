//! How long responses live that do not say so themselves, as the configuration says it, by URL.

use std::time::Duration;

use regex::bytes::Regex;

use super::{freshness::Source, overrides::Overrides};

/// Freshness for responses that do not say how long they live, like Squid's `refresh_pattern`.
#[derive(Clone, Debug)]
pub struct RefreshPattern {
    pub url: Regex,
    /// It is meant for URLs with a query, too.
    pub query: bool,
    /// Fresh so long, where nothing says when it changed.
    pub min: Duration,
    /// Share of the time since Last-Modified, in percent.
    pub percent: u32,
    /// Fresh at most so long.
    pub max: Duration,
    /// What of the RFCs does not hold.
    pub overrides: Overrides,
}

impl RefreshPattern {
    /// Whether it is for a URL. `/personal?x.deb` is no package: the end of a query is what the
    /// client likes.
    #[must_use]
    pub fn applies(&self, url: &[u8]) -> bool {
        (self.query || !url.contains(&b'?')) && self.url.is_match(url)
    }

    /// The one of these that says something of a URL: the first that applies.
    #[must_use]
    pub fn of<'p>(patterns: &'p [Self], url: &[u8]) -> Option<&'p Self> {
        patterns.iter().find(|pattern| pattern.applies(url))
    }

    /// How long a response lives, as Squid's `refreshStaleness` has it. `since_change`: seconds
    /// between its Last-Modified and its Date.
    pub(super) fn lifetime(&self, since_change: Option<u64>) -> (u64, Source) {
        let (min, max) = (self.min.as_secs(), self.max.as_secs());
        let lifetime = match since_change.filter(|age| *age > 0) {
            Some(age) => {
                let share = age.saturating_mul(u64::from(self.percent)) / 100;
                if self.overrides.override_lastmod { share.max(min) } else { share }
            }
            None => min,
        };
        (lifetime.min(max), Source::Pattern)
    }
}

/// Whether a regular expression names a question mark: escaped, or in a class. All others are its
/// syntax.
#[must_use]
pub fn names_query(regex: &str) -> bool {
    let (mut escaped, mut class) = (false, false);
    for character in regex.chars() {
        match character {
            '?' if escaped || class => return true,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => class = true,
            ']' => class = false,
            _ => {}
        }
    }
    false
}
