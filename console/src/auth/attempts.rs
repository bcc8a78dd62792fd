//! How often somebody may be wrong about a password. Pure: `now` comes in.
//!
//! Failures count by the address they come from and by the name that is tried, so that neither many
//! names from one place nor one name from many places is a way round. A name can be kept waiting by
//! strangers, but only for a minute at a time.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use jiff::{SignedDuration, Timestamp};

/// Free of charge.
const FREE: u32 = 5;
/// The longest wait, for an address and for a name.
const LONGEST: [Duration; 2] = [Duration::from_secs(900), Duration::from_secs(60)];
/// Failures are forgotten after so long.
const FORGOTTEN: SignedDuration = SignedDuration::from_secs(1800);
/// Remembered at once; when there are more, those whose failure is oldest are forgotten.
const MOST: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Whose {
    Address(IpAddr),
    Name(String),
}

#[derive(Clone, Copy, Debug)]
struct FailedLogins {
    count: u32,
    last: Timestamp,
}

/// Who failed how often.
#[derive(Debug, Default)]
pub struct Attempts {
    failures: HashMap<Whose, FailedLogins>,
}

fn both(address: IpAddr, name: &str) -> [Whose; 2] {
    // One subscriber has a whole /64 of IPv6 (RFC 6177).
    let network = match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::from((u128::from(v6) >> 64 << 64).to_be_bytes()),
        v4 @ IpAddr::V4(_) => v4,
    };
    [Whose::Address(network), Whose::Name(name.to_owned())]
}

impl Attempts {
    /// How long this address has to wait before it may try this name; none: not at all.
    #[must_use]
    pub fn wait(&self, address: IpAddr, name: &str, now: Timestamp) -> Option<Duration> {
        let waits = both(address, name).into_iter().zip(LONGEST).filter_map(|(whose, longest)| {
            let FailedLogins { count, last } = *self.failures.get(&whose)?;
            let pause = Duration::from_secs(1)
                .saturating_mul(1_u32.checked_shl(count.checked_sub(FREE)?).unwrap_or(u32::MAX))
                .min(longest);
            let since = Duration::try_from(now.duration_since(last)).unwrap_or_default();
            pause.checked_sub(since).filter(|left| !left.is_zero())
        });
        waits.max()
    }

    /// The password was wrong.
    pub fn failed(&mut self, address: IpAddr, name: &str, now: Timestamp) {
        if self.failures.len() + 2 > MOST {
            self.failures.retain(|_, failures| now.duration_since(failures.last) < FORGOTTEN);
        }
        while self.failures.len() + 2 > MOST {
            let oldest = self
                .failures
                .iter()
                .min_by_key(|(_, failures)| failures.last)
                .map(|(whose, _)| whose.clone());
            oldest.and_then(|whose| self.failures.remove(&whose));
        }
        for whose in both(address, name) {
            let failures =
                self.failures.entry(whose).or_insert(FailedLogins { count: 0, last: now });
            if now.duration_since(failures.last) >= FORGOTTEN {
                failures.count = 0;
            }
            *failures = FailedLogins { count: failures.count.saturating_add(1), last: now };
        }
    }

    /// The password was right: whoever knows it may have mistyped it before.
    pub fn succeeded(&mut self, address: IpAddr, name: &str) {
        for whose in both(address, name) {
            self.failures.remove(&whose);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn waits_grow_and_end() {
        let mut attempts = Attempts::default();
        for _ in 0..FREE - 1 {
            attempts.failed(address(1), "ann", at(0));
            assert_eq!(attempts.wait(address(1), "ann", at(0)), None);
        }
        attempts.failed(address(1), "ann", at(0));
        assert_eq!(attempts.wait(address(1), "ann", at(0)), Some(Duration::from_secs(1)));
        assert_eq!(attempts.wait(address(1), "ann", at(1)), None);
        for _ in 0..40 {
            attempts.failed(address(1), "ann", at(1));
        }
        assert_eq!(
            attempts.wait(address(1), "bob", at(1)),
            Some(LONGEST[0]),
            "many names from one place"
        );
        assert_eq!(
            attempts.wait(address(2), "ann", at(1)),
            Some(LONGEST[1]),
            "one name from many places"
        );
        assert_eq!(attempts.wait(address(2), "bob", at(1)), None);
        attempts.failed(address(1), "ann", at(1 + FORGOTTEN.as_secs()));
        assert_eq!(
            attempts.wait(address(1), "ann", at(1 + FORGOTTEN.as_secs())),
            None,
            "it begins anew"
        );
    }

    #[test]
    fn success_forgives_and_memory_is_bounded() {
        let mut attempts = Attempts::default();
        for _ in 0..FREE {
            attempts.failed(address(1), "ann", at(0));
        }
        attempts.succeeded(address(1), "ann");
        assert_eq!(attempts.wait(address(1), "ann", at(0)), None);
        for number in 0..3 * MOST {
            attempts.failed(address(1), &number.to_string(), at(0));
        }
        assert!(attempts.failures.len() <= MOST);
        let v6 = |text: &str| text.parse::<IpAddr>().unwrap();
        for _ in 0..FREE {
            attempts.failed(v6("2001:db8::1"), "eve", at(1));
        }
        assert!(attempts.wait(v6("2001:db8::ffff"), "zoe", at(1)).is_some());
        assert!(attempts.wait(v6("2001:db8:0:1::1"), "zoe", at(1)).is_none());
    }
}
