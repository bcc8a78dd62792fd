//! What names resolve to, and until when that counts. Bounded; shared by all workers, in shards.
//!
//! What has expired is kept for another day: where no new answer can be had, an old one is better than none (RFC 8767).

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{DnsProblem, Resolved};

/// Shards, and names kept in each.
const SHARDS: usize = 16;
const MOST_NAMES: usize = 1024;
/// RFC 8767 §5: an expired answer may serve for so long, and the servers are asked again after so long.
const KEPT: Duration = Duration::from_secs(24 * 3600);
const RETRY: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug, Default)]
pub struct Answers {
    shards: [Mutex<HashMap<Box<str>, Known>>; SHARDS],
    hasher: RandomState,
}

#[derive(Debug)]
struct Known {
    resolved: Resolved,
    until: Instant,
    /// For want of a new answer it serves until then.
    kept_until: Instant,
}

impl Answers {
    /// What counts now.
    #[must_use]
    pub fn get(&self, host: &str, now: Instant) -> Option<Resolved> {
        let shard = self.shard(host);
        let known = shard.get(host)?;
        (now < known.until).then(|| known.resolved.clone())
    }

    /// Addresses that have expired, and may serve where no new answer is to be had.
    #[must_use]
    pub fn expired(&self, host: &str, now: Instant) -> Option<Arc<[IpAddr]>> {
        let shard = self.shard(host);
        let known = shard.get(host).filter(|known| known.until <= now && now < known.kept_until)?;
        known.resolved.as_ref().ok().cloned()
    }

    /// Takes a new answer. A failure does not take the place of addresses that may still serve.
    pub fn put(&self, host: &str, resolved: &Resolved, ttl: Duration, now: Instant) {
        let no_answer = matches!(resolved, Err(problem) if *problem != DnsProblem::NotFound);
        if no_answer && self.postpone(host, now) {
            return;
        }
        let until = now + ttl;
        let kept_until = if resolved.is_ok() { until + KEPT } else { until };
        let mut shard = self.shard(host);
        if shard.len() >= MOST_NAMES && !shard.contains_key(host) {
            make_room(&mut shard, now);
        }
        shard.insert(host.into(), Known { resolved: resolved.clone(), until, kept_until });
    }

    /// Nobody answers: what has expired serves for a while before anybody is asked again. Whether there is such.
    pub fn postpone(&self, host: &str, now: Instant) -> bool {
        let mut shard = self.shard(host);
        let kept = shard.get_mut(host).filter(|known| known.resolved.is_ok() && now < known.kept_until);
        let Some(known) = kept else { return false };
        known.until = known.until.max(now + RETRY).min(known.kept_until);
        true
    }

    /// The servers are others now: everything is asked for again.
    pub fn expire(&self, now: Instant) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.retain(|_, known| known.resolved.is_ok());
            shard.values_mut().for_each(|known| known.until = known.until.min(now));
        }
    }

    fn shard(&self, host: &str) -> MutexGuard<'_, HashMap<Box<str>, Known>> {
        let place = self.hasher.hash_one(host) as usize % SHARDS;
        // In bounds by the modulus; the first one stands in for what cannot be.
        lock(self.shards.get(place).unwrap_or(&self.shards[0]))
    }
}

fn lock(shard: &Mutex<HashMap<Box<str>, Known>>) -> MutexGuard<'_, HashMap<Box<str>, Known>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Forgets an eighth: what expires first, so that names which nobody asks for again, and those that do not exist, go before the others.
fn make_room(shard: &mut HashMap<Box<str>, Known>, now: Instant) {
    shard.retain(|_, known| now < known.kept_until);
    let mut ends: Vec<Instant> = shard.values().map(|known| known.until).collect();
    let eighth = MOST_NAMES / 8;
    if shard.len() + eighth > MOST_NAMES && ends.len() > eighth {
        let (_, last, _) = ends.select_nth_unstable(eighth);
        let last = *last;
        shard.retain(|_, known| known.until > last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn found(last: u8) -> Resolved {
        Ok([IpAddr::from([192, 0, 2, last])].into())
    }

    #[test]
    fn an_expired_answer_serves_where_there_is_no_new_one() {
        let (answers, start) = (Answers::default(), Instant::now());
        answers.put("a", &found(1), MINUTE, start);
        assert_eq!((answers.get("a", start), answers.expired("a", start)), (Some(found(1)), None));
        let later = start + MINUTE;
        assert_eq!((answers.get("a", later), answers.expired("a", later)), (None, found(1).ok()));
        answers.put("a", &Err(DnsProblem::Timeout), MINUTE, later);
        assert_eq!(answers.get("a", later + RETRY / 2), Some(found(1)), "not asked again for a while");
        assert_eq!(answers.get("a", later + RETRY), None);
        let much_later = start + MINUTE + KEPT;
        assert_eq!((answers.get("a", much_later), answers.expired("a", much_later)), (None, None));
        answers.put("a", &found(2), MINUTE, later);
        answers.put("a", &Err(DnsProblem::NotFound), MINUTE, later + MINUTE);
        assert_eq!(answers.get("a", later + MINUTE), Some(Err(DnsProblem::NotFound)), "that there is no such name is an answer");
        answers.put("b", &Err(DnsProblem::Failed), MINUTE, start);
        assert_eq!((answers.get("b", start), answers.expired("b", later)), (Some(Err(DnsProblem::Failed)), None));
        answers.put("c", &found(3), MINUTE, start);
        answers.expire(start);
        assert_eq!((answers.get("c", start), answers.expired("c", start)), (None, found(3).ok()));
    }

    #[test]
    fn it_is_bounded_and_what_expires_first_goes_first() {
        let (answers, now) = (Answers::default(), Instant::now());
        answers.put("kept.test", &found(1), 10 * MINUTE, now);
        for number in 0..100_000 {
            answers.put(&format!("x{number}.test"), &Err(DnsProblem::NotFound), MINUTE, now);
        }
        let names: usize = answers.shards.iter().map(|shard| lock(shard).len()).sum();
        assert!(names <= SHARDS * MOST_NAMES, "{names}");
        assert_eq!(answers.get("kept.test", now), Some(found(1)));
    }
}
