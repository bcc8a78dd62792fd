//! What names resolve to, and until when that counts. Bounded; shared by all workers, in shards.
//!
//! What has expired is kept for another day: where no new answer can be had, an old one is better
//! than none (RFC 8767).

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;

use super::error::{Error, Resolved};

/// Shards, and names kept in each. A change copies its shard, so that nobody who looks a name up
/// ever waits for a lock: many small shards.
const SHARDS: usize = 64;
const MOST_NAMES: usize = 256;
/// RFC 8767 §5: an expired answer may serve for so long, and the servers are asked again after so
/// long.
const KEPT: Duration = Duration::from_secs(24 * 3600);
const RETRY: Duration = Duration::from_secs(30);

/// What one shard knows.
type Names = HashMap<Arc<str>, Known>;

/// See the module.
#[derive(Debug)]
pub struct Answers {
    shards: [ArcSwap<Names>; SHARDS],
    hasher: RandomState,
}

impl Default for Answers {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| ArcSwap::default()), hasher: RandomState::default() }
    }
}

#[derive(Clone, Debug)]
struct Known {
    resolved: Resolved,
    until: Instant,
    /// For want of a new answer it serves until then.
    kept_until: Instant,
}

impl Known {
    /// Whether it may serve, expired or not.
    fn serves(&self, now: Instant) -> bool {
        self.resolved.is_ok() && now < self.kept_until
    }
}

impl Answers {
    /// What counts now.
    #[must_use]
    pub fn get(&self, host: &str, now: Instant) -> Option<Resolved> {
        let shard = self.shard(host).load();
        let known = shard.get(host)?;
        (now < known.until).then(|| known.resolved.clone())
    }

    /// Addresses that have expired, and may serve where no new answer is to be had.
    #[must_use]
    pub fn expired(&self, host: &str, now: Instant) -> Option<Arc<[IpAddr]>> {
        let shard = self.shard(host).load();
        let known = shard.get(host).filter(|known| known.until <= now && now < known.kept_until)?;
        known.resolved.as_ref().ok().cloned()
    }

    /// Takes a new answer. A failure does not take the place of addresses that may still serve.
    pub fn put(&self, host: &str, resolved: &Resolved, ttl: Duration, now: Instant) {
        let no_answer = matches!(resolved, Err(problem) if *problem != Error::NotFound);
        if no_answer && self.postpone(host, now) {
            return;
        }
        let until = now + ttl;
        let kept_until = if resolved.is_ok() { until + KEPT } else { until };
        let (host, known) =
            (Arc::from(host), Known { resolved: resolved.clone(), until, kept_until });
        self.shard(&host).rcu(|names| {
            let mut names = Names::clone(names);
            if names.len() >= MOST_NAMES && !names.contains_key(&host) {
                make_room(&mut names, now);
            }
            names.insert(Arc::clone(&host), known.clone());
            names
        });
    }

    /// Nobody answers: what has expired serves for a while before anybody is asked again. Whether
    /// there is such.
    pub fn postpone(&self, host: &str, now: Instant) -> bool {
        let shard = self.shard(host);
        if !shard.load().get(host).is_some_and(|known| known.serves(now)) {
            return false;
        }
        shard.rcu(|names| {
            let mut names = Names::clone(names);
            if let Some(known) = names.get_mut(host).filter(|known| known.serves(now)) {
                known.until = known.until.max(now + RETRY).min(known.kept_until);
            }
            names
        });
        true
    }

    /// The servers are others now: everything is asked for again.
    pub fn expire(&self, now: Instant) {
        for shard in &self.shards {
            shard.rcu(|names| {
                let kept = names.iter().filter(|(_, known)| known.resolved.is_ok());
                kept.map(|(host, known)| {
                    (Arc::clone(host), Known { until: known.until.min(now), ..known.clone() })
                })
                .collect::<Names>()
            });
        }
    }

    fn shard(&self, host: &str) -> &ArcSwap<Names> {
        let place = self.hasher.hash_one(host) as usize % SHARDS;
        // In bounds by the modulus; the first one stands in for what cannot be.
        self.shards.get(place).unwrap_or(&self.shards[0])
    }
}

/// Forgets an eighth: what expires first, so that names which nobody asks for again, and those that
/// do not exist, go before the others.
fn make_room(names: &mut Names, now: Instant) {
    names.retain(|_, known| now < known.kept_until);
    let mut ends: Vec<Instant> = names.values().map(|known| known.until).collect();
    let eighth = MOST_NAMES / 8;
    if names.len() + eighth > MOST_NAMES && ends.len() > eighth {
        let (_, last, _) = ends.select_nth_unstable(eighth);
        let last = *last;
        names.retain(|_, known| known.until > last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    impl Answers {
        fn is_first(&self, host: &str) -> bool {
            std::ptr::eq(self.shard(host), &raw const self.shards[0])
        }
    }

    fn found(last: u8) -> Resolved {
        Ok([IpAddr::from([192, 0, 2, last])].into())
    }

    #[test]
    fn an_expired_answer_serves_where_there_is_no_new_one() {
        let (answers, start) = (Answers::default(), relay::clock::now());
        answers.put("a", &found(1), MINUTE, start);
        assert_eq!((answers.get("a", start), answers.expired("a", start)), (Some(found(1)), None));
        let later = start + MINUTE;
        assert_eq!((answers.get("a", later), answers.expired("a", later)), (None, found(1).ok()));
        answers.put("a", &Err(Error::Timeout), MINUTE, later);
        assert_eq!(
            answers.get("a", later + RETRY / 2),
            Some(found(1)),
            "not asked again for a while"
        );
        assert_eq!(answers.get("a", later + RETRY), None);
        let much_later = start + MINUTE + KEPT;
        assert_eq!((answers.get("a", much_later), answers.expired("a", much_later)), (None, None));
        answers.put("a", &found(2), MINUTE, later);
        answers.put("a", &Err(Error::NotFound), MINUTE, later + MINUTE);
        assert_eq!(
            answers.get("a", later + MINUTE),
            Some(Err(Error::NotFound)),
            "that there is no such name is an answer"
        );
        answers.put("b", &Err(Error::Failed), MINUTE, start);
        assert_eq!(
            (answers.get("b", start), answers.expired("b", later)),
            (Some(Err(Error::Failed)), None)
        );
        answers.put("c", &found(3), MINUTE, start);
        answers.expire(start);
        assert_eq!((answers.get("c", start), answers.expired("c", start)), (None, found(3).ok()));
    }

    #[test]
    fn what_serves_for_want_of_better_serves_no_longer_than_it_may() {
        let (answers, start) = (Answers::default(), relay::clock::now());
        let failed = Err(Error::Timeout);
        // What counts for long is not cut short by a failure.
        answers.put("long", &found(1), 60 * MINUTE, start);
        assert!(answers.postpone("long", start));
        assert_eq!(answers.get("long", start + MINUTE), Some(found(1)));
        // At the end of its day it serves only until then, and afterwards a failure is a failure.
        let end = start + 60 * MINUTE + KEPT;
        assert!(answers.postpone("long", end - RETRY / 3));
        assert_eq!(
            (answers.get("long", end - RETRY / 6), answers.get("long", end)),
            (Some(found(1)), None)
        );
        assert!(!answers.postpone("long", end));
        answers.put("long", &failed, MINUTE, end);
        assert_eq!(answers.get("long", end), Some(failed.clone()));
        // A failure serves for no other: the newest is what counts.
        answers.put("never", &Err(Error::NotFound), MINUTE, start);
        answers.put("never", &failed, MINUTE, start + MINUTE / 2);
        assert_eq!(answers.get("never", start + MINUTE), Some(failed));
        let known = answers.shard("never").load().get("never").cloned().unwrap();
        assert_eq!(known.kept_until, known.until, "nothing of it is kept");
    }

    #[test]
    fn a_full_shard_forgets_what_can_serve_nobody_and_else_an_eighth() {
        let (answers, start) = (Answers::default(), relay::clock::now());
        let names: Vec<String> = (0..)
            .map(|number| format!("x{number}.test"))
            .filter(|name| answers.is_first(name))
            .take(MOST_NAMES + 2)
            .collect();
        let count = || answers.shards[0].load().len();
        for (place, name) in names[..MOST_NAMES].iter().enumerate() {
            answers.put(name, &found(1), MINUTE + Duration::from_secs(place as u64), start);
        }
        answers.put(&names[0], &found(2), MINUTE, start);
        assert_eq!(count(), MOST_NAMES, "a name that is there needs no room");
        answers.put(&names[MOST_NAMES], &found(1), 10 * MINUTE, start);
        assert_eq!(count(), MOST_NAMES - MOST_NAMES / 8, "an eighth has gone, and one has come");
        // A day later only the last of them can serve: it stays, and all the others go at once.
        let later = start + 10 * MINUTE + KEPT - RETRY;
        let more =
            (0..).map(|number| format!("y{number}.test")).filter(|name| answers.is_first(name));
        for name in more.take(MOST_NAMES / 8 + 1) {
            answers.put(&name, &found(3), MINUTE, later);
        }
        assert_eq!(
            (count(), answers.expired(&names[MOST_NAMES], later)),
            (MOST_NAMES / 8 + 2, found(1).ok())
        );
    }

    #[test]
    fn it_is_bounded_and_what_expires_first_goes_first() {
        let (answers, now) = (Answers::default(), relay::clock::now());
        answers.put("kept.test", &found(1), 10 * MINUTE, now);
        for number in 0..40_000 {
            answers.put(&format!("x{number}.test"), &Err(Error::NotFound), MINUTE, now);
        }
        let names: usize = answers.shards.iter().map(|shard| shard.load().len()).sum();
        assert!(names <= SHARDS * MOST_NAMES, "{names}");
        assert_eq!(answers.get("kept.test", now), Some(found(1)));
    }
}
