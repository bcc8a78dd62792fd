//! What is said to a datagram that asks. Pure.

use std::net::IpAddr;

use cluster_config::document::proxy::Icp as Settings;

use super::packet::{Opcode, Packet};
use crate::cache::key::Key;

/// What there is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    Answer(Opcode),
    /// Nothing: its address is not one that may ask. An answer would tell an address that somebody
    /// has forged.
    Stranger,
    /// Nothing: too many ask.
    TooFast,
}

/// So many questions a second, evened out over a second.
#[derive(Debug)]
pub struct Rate {
    left: f64,
    /// When, in steady milliseconds.
    at: u64,
}

impl Rate {
    /// A full one.
    #[must_use]
    pub fn new(most: u32, now: u64) -> Self {
        Self { left: f64::from(most), at: now }
    }

    /// Whether one more may come, at most so many a second.
    pub fn takes(&mut self, most: u32, now: u64) -> bool {
        let most = f64::from(most);
        #[allow(clippy::cast_precision_loss)] // at most a second counts
        let passed = now.saturating_sub(self.at).min(1000) as f64;
        self.at = now;
        self.left = (self.left + passed * most / 1000.0).min(most);
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}

/// The answer to a question. `has`: something is stored for a URL that any request would be served.
pub fn answer(
    settings: &Settings,
    from: IpAddr,
    question: &Packet<'_>,
    (rate, now): (&mut Rate, u64),
    has: impl FnOnce(&Key) -> bool,
) -> Said {
    let from = from.to_canonical();
    if !settings.allow.iter().any(|network| network.contains(&from)) {
        return Said::Stranger;
    }
    if !rate.takes(settings.max_rate, now) {
        return Said::TooFast;
    }
    let url = std::str::from_utf8(question.url).unwrap_or_default();
    Said::Answer(match Key::parse(url) {
        None => Opcode::Error,
        Some(key) if has(&key) => Opcode::Hit,
        Some(_) => Opcode::Miss,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_told_what() {
        let settings = Settings {
            bind: "0.0.0.0:3130".parse().unwrap(),
            allow: vec!["10.0.0.0/8".parse().unwrap()],
            max_rate: 100,
        };
        let ask = |from: &str, url: &str| {
            let packet = Packet { opcode: Opcode::Query, number: 1, url: url.as_bytes() };
            let mut rate = Rate::new(100, 0);
            let has = |key: &Key| key.as_bytes() == b"http://a.test/x";
            answer(&settings, from.parse().unwrap(), &packet, (&mut rate, 0), has)
        };
        for (from, url, said) in [
            ("10.1.2.3", "http://a.test/x", Said::Answer(Opcode::Hit)),
            ("::ffff:10.1.2.3", "http://A.test:80/x", Said::Answer(Opcode::Hit)),
            ("10.1.2.3", "http://a.test/y", Said::Answer(Opcode::Miss)),
            ("10.1.2.3", "ftp://a.test/x", Said::Answer(Opcode::Error)),
            ("10.1.2.3", "cache_object://x/", Said::Answer(Opcode::Error)),
            ("11.1.2.3", "http://a.test/x", Said::Stranger),
            ("::1", "http://a.test/x", Said::Stranger),
        ] {
            assert_eq!(ask(from, url), said, "{from} {url}");
        }
    }

    #[test]
    fn the_rate_is_bounded_and_comes_back() {
        let mut rate = Rate::new(10, 5000);
        let mut taken = |now: u64| (0..100).filter(|_| rate.takes(10, now)).count();
        assert_eq!((taken(5000), taken(5000), taken(5500), taken(60_000)), (10, 0, 5, 10));
        // A clock that goes back gives nothing.
        assert_eq!(taken(1000), 0);
    }
}
