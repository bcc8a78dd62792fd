//! How long responses live that do not say so themselves, as the configuration says it.

use std::time::Duration;

use regex::bytes::Regex;

/// Freshness for responses that do not say how long they live, like Squid's `refresh_pattern`.
#[derive(Clone, Debug)]
pub struct RefreshPattern {
    pub url: Regex,
    /// It names `?`, and so is meant for URLs with a query; other patterns are not.
    pub query: bool,
    /// Fresh at least so long.
    pub min: Duration,
    /// Share of the time since Last-Modified, in percent.
    pub percent: u32,
    /// Fresh at most so long.
    pub max: Duration,
}

impl RefreshPattern {
    /// Whether it says how long responses for a URL live. `/personal?x.deb` is no package: the end
    /// of a query is what the client likes.
    #[must_use]
    pub fn applies(&self, url: &[u8]) -> bool {
        (self.query || !url.contains(&b'?')) && self.url.is_match(url)
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
