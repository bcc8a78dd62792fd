//! How fast something may come. A token bucket is kept as one number, the moment from which it is
//! full again (the generic cell rate algorithm): who has not come for a while is like who never
//! came, and need not be remembered.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;

use super::prefix::Prefix;

const SHARDS: usize = 16;
/// So many clients and networks are remembered in a shard: 131,072 in all, 4 MiB. Beyond that who
/// is new is let through, because there are too many of them for a bound on each to mean anything.
const MOST: usize = 8192;
/// Those that need not be remembered are looked for when there are so many, at least.
const FEW: usize = 512;
/// Where all have to be remembered, looking again is not worth it before.
const LOOK_AGAIN: u64 = 100_000_000;
const SECOND: u64 = 1_000_000_000;

/// So many a second, and so many at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// A second, on average.
    pub per_second: NonZeroU32,
    /// At once.
    pub burst: NonZeroU32,
}

impl Rate {
    /// As one number; 0 is none.
    pub(super) fn to_bits(rate: Option<Self>) -> u64 {
        rate.map_or(0, |rate| u64::from(rate.per_second.get()) << 32 | u64::from(rate.burst.get()))
    }

    pub(super) fn of_bits(bits: u64) -> Option<Self> {
        let per_second = NonZeroU32::new((bits >> 32) as u32)?;
        Some(Self { per_second, burst: NonZeroU32::new(bits as u32)? })
    }

    /// Nanoseconds that one of them takes of the bucket.
    fn interval(self) -> u64 {
        SECOND / u64::from(self.per_second.get())
    }

    /// Takes one from a bucket that is full at that moment. The moment from then on, or how long
    /// to wait for the next one.
    fn take(self, full_at: u64, now: u64) -> Result<u64, u64> {
        let after = full_at.max(now).saturating_add(self.interval());
        let room = self.interval().saturating_mul(u64::from(self.burst.get()));
        match (after - now).checked_sub(room) {
            None | Some(0) => Ok(after),
            Some(wait) => Err(wait),
        }
    }
}

#[derive(Debug, Default)]
struct Shard {
    full_at: HashMap<Prefix, u64, RandomState>,
    /// Those that need not be remembered are looked for from so many on, and not before that
    /// moment.
    look: (usize, u64),
}

impl Shard {
    /// Room for one more, or not.
    fn make_room(&mut self, now: u64) -> bool {
        let (many, from) = self.look;
        if self.full_at.len() >= many.max(FEW) && now >= from {
            self.full_at.retain(|_, full_at| *full_at > now);
            let left = self.full_at.len();
            let from = if left >= MOST { now + LOOK_AGAIN } else { 0 };
            self.look = ((2 * left).min(MOST), from);
        }
        self.full_at.len() < MOST
    }
}

/// The buckets of all clients and networks, for one kind of thing.
#[derive(Debug, Default)]
pub(super) struct Buckets([Mutex<Shard>; SHARDS]);

impl Buckets {
    fn shard(&self, who: Prefix) -> MutexGuard<'_, Shard> {
        self.0[who.shard(SHARDS)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more.
    ///
    /// # Errors
    /// That would be too fast; the next one is not after this time.
    pub(super) fn take(&self, who: Prefix, rate: Rate, now: Duration) -> Result<(), Duration> {
        let now = nanos(now);
        let mut shard = self.shard(who);
        let known = shard.full_at.get(&who).copied();
        if known.is_none() && !shard.make_room(now) {
            return Ok(());
        }
        let full_at = rate.take(known.unwrap_or(0), now).map_err(Duration::from_nanos)?;
        shard.full_at.insert(who, full_at);
        Ok(())
    }

    /// What was taken came to nothing.
    pub(super) fn give_back(&self, who: Prefix, rate: Rate) {
        if let Some(full_at) = self.shard(who).full_at.get_mut(&who) {
            *full_at = full_at.saturating_sub(rate.interval());
        }
    }

    /// How long one more would have to wait; none: not at all.
    pub(super) fn wait(&self, who: Prefix, rate: Rate, now: Duration) -> Option<Duration> {
        let full_at = self.shard(who).full_at.get(&who).copied().unwrap_or(0);
        rate.take(full_at, nanos(now)).err().map(Duration::from_nanos)
    }
}

fn nanos(now: Duration) -> u64 {
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    fn rate(per_second: u32, burst: u32) -> Rate {
        let it = |number| NonZeroU32::new(number).unwrap();
        Rate { per_second: it(per_second), burst: it(burst) }
    }

    fn who(number: u32) -> Prefix {
        Prefix::of(std::net::Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn so_many_at_once_and_then_as_they_come() {
        let (buckets, rate, who) = (Buckets::default(), rate(10, 3), who(1));
        let take = |millis| buckets.take(who, rate, Duration::from_millis(millis));
        let wait = |millis| Err(Duration::from_millis(millis));
        for (at, expected) in [
            (1000, Ok(())),
            (1000, Ok(())),
            (1000, Ok(())),
            (1000, wait(100)),
            (1050, wait(50)),
            (1100, Ok(())),
            (1100, wait(100)),
            // After a pause as many as before, and not more.
            (9000, Ok(())),
            (9000, Ok(())),
            (9000, Ok(())),
            (9000, wait(100)),
        ] {
            assert_eq!(take(at), expected, "at {at}");
        }
        buckets.give_back(who, rate);
        assert_eq!(buckets.wait(who, rate, Duration::from_secs(9)), None);
        assert_eq!((take(9000), take(9000)), (Ok(()), wait(100)));
        assert_eq!(
            buckets.wait(who, rate, Duration::from_secs(9)),
            Some(Duration::from_millis(100))
        );
    }

    #[test]
    fn who_need_not_be_remembered_is_not_and_there_are_never_too_many() {
        let (buckets, slow) = (Buckets::default(), rate(1, 1));
        let remembered =
            || buckets.0.iter().map(|shard| shard.lock().unwrap().full_at.len()).sum::<usize>();
        // Each second others come.
        for second in 0..200 {
            for number in 0..1000 {
                let now = Duration::from_secs(1000 + second);
                assert_eq!(buckets.take(who(second as u32 * 1000 + number), slow, now), Ok(()));
            }
        }
        assert!(remembered() <= SHARDS * 2 * FEW, "{}", remembered());
        // All at once.
        for number in 0..300_000 {
            let now = Duration::from_secs(5000);
            assert_eq!(buckets.take(who(0x0a00_0000 + number), slow, now), Ok(()));
        }
        assert!((SHARDS * MOST / 2..=SHARDS * MOST).contains(&remembered()), "{}", remembered());
        // Who is remembered is bound all the same, and when it is over there is room again.
        assert!(buckets.take(who(0x0a00_0000), slow, Duration::from_secs(5000)).is_err());
        for number in 0..20_000 {
            let it = buckets.take(who(0x0b00_0000 + number), slow, Duration::from_secs(6000));
            assert_eq!(it, Ok(()));
        }
        assert!(remembered() < SHARDS * MOST / 2, "{}", remembered());
    }

    #[test]
    fn a_rate_as_one_number() {
        for it in [None, Some(rate(1, 1)), Some(rate(u32::MAX, 7))] {
            assert_eq!(Rate::of_bits(Rate::to_bits(it)), it);
        }
    }

    proptest! {
        /// In no stretch of time do more come through than the burst and what that time allows, and
        /// who keeps to the rate is never refused.
        #[test]
        fn never_faster(
            per_second in 1_u32..2000,
            burst in 1_u32..50,
            gaps in proptest::collection::vec(0_u64..3_000_000, 1..300),
        ) {
            let (buckets, rate) = (Buckets::default(), rate(per_second, burst));
            let (mut now, mut passed) = (Duration::from_secs(7), VecDeque::new());
            for gap in gaps {
                now += Duration::from_micros(gap / u64::from(per_second));
                if buckets.take(who(1), rate, now).is_ok() {
                    passed.push_back(now);
                }
            }
            for (first, begin) in passed.iter().enumerate() {
                for (last, end) in passed.iter().enumerate().skip(first) {
                    let allowed = f64::from(burst)
                        + (*end - *begin).as_secs_f64() * f64::from(per_second) * 1.001
                        + 0.001;
                    prop_assert!((last - first + 1) as f64 <= allowed);
                }
            }
            let mut steady = now + Duration::from_secs(100_000);
            for _ in 0..100 {
                prop_assert_eq!(buckets.take(who(1), rate, steady), Ok(()));
                steady += Duration::from_nanos(SECOND.div_ceil(u64::from(per_second)));
            }
        }
    }
}
