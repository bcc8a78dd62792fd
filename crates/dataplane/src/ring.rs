//! Consistent hashing: each server stands at many points of a ring, and a key belongs to the server
//! at the next point (Karger et al., 1997). A server that leaves gives its own keys away and nobody
//! else's; one that comes takes what is its own from then on. Every balancer, every node and every
//! PAC file that knows the same servers agrees.
//!
//! With bounded load, a server that has more than its share of the requests under way is passed
//! over, so that a hot key spills over to the servers that follow, always the same ones
//! (Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2018).

use crate::hash::{hash, mix};

/// Points of a server of the lowest weight. With so many, the largest of equal servers has about a
/// fifth more than its share.
const POINTS: u32 = 160;
/// All points together, more or less: a list of 1,000 servers keeps all of its points.
const MOST: u32 = 400_000;

/// The points of a tier's servers, by their places in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    points: Vec<(u64, u32)>,
    /// Where the points begin whose first bits are at least the index: about as many as there are
    /// points, so that a key finds its own in one look and not by a search through memory.
    starts: Vec<u32>,
}

/// Of a key, those that say where to look.
const fn first_bits(key: u64, starts: usize) -> usize {
    (key >> (u64::BITS - starts.ilog2())) as usize
}

impl Ring {
    /// Of servers with these names and weights, of which each gets so many percent for now: its
    /// other points come later, and nobody's move.
    #[must_use]
    pub fn new<'a>(servers: impl Iterator<Item = (&'a str, u32, u8)> + Clone) -> Self {
        let counts = counts(servers.clone().map(|(_, weight, percent)| (weight, percent)));
        let mut ring = Vec::with_capacity(counts.clone().sum::<u64>() as usize);
        for (place, ((name, ..), count)) in (0_u32..).zip(servers.zip(counts)) {
            let name = hash(name.as_bytes());
            ring.extend((0..count).map(|number| (mix(name ^ mix(number)), place)));
        }
        ring.sort_unstable();
        let mut starts = vec![0; ring.len().next_power_of_two().max(2)];
        let mut next = 0;
        for (index, (at, _)) in (0_u32..).zip(&ring) {
            let own = first_bits(*at, starts.len());
            if own >= next {
                starts[next..=own].fill(index);
                next = own + 1;
            }
        }
        starts[next..].fill(u32::try_from(ring.len()).unwrap_or(u32::MAX));
        Self { points: ring, starts }
    }

    /// The places in the order in which a key tries them. A place comes again and again.
    fn from(&self, key: u64) -> impl Iterator<Item = usize> {
        let start = match self.starts.len() {
            0 => 0,
            starts => self.starts[first_bits(key, starts)] as usize,
        };
        let before_key = self.points[start..].iter().take_while(|(at, _)| *at < key);
        let begin = start + before_key.count();
        let (before, after) = self.points.split_at(begin);
        after.iter().chain(before).map(|(_, place)| *place as usize)
    }

    /// Picks the first place for a key that may be picked.
    #[must_use]
    pub fn pick(&self, key: u64, may: impl Fn(usize) -> bool) -> Option<usize> {
        // Somebody who is passed over is met again and again, so that asking twice costs little.
        self.from(key).find(|place| may(*place))
    }
}

/// How many points each has, of servers with these weights that get so many percent of them.
pub fn counts(
    servers: impl Iterator<Item = (u32, u8)> + Clone,
) -> impl Iterator<Item = u64> + Clone {
    let weights = || servers.clone().map(|(weight, _)| weight.max(1));
    // Weights that have a divisor in common are divided by it, so that a list where all have 100 is
    // the one where all have 1.
    let unit = weights().fold(0, gcd).max(1);
    let sum: u32 = weights().map(|weight| weight / unit).sum();
    let points = POINTS.min(MOST / sum.max(1)).max(1);
    servers.map(move |(weight, percent)| {
        let all = u64::from(points * (weight.max(1) / unit));
        (all * u64::from(percent)).div_ceil(100).max(1)
    })
}

/// How many requests a server may have under way: `factor` percent of its share by weight of `all`,
/// the next one included, and never less than one.
#[must_use]
pub fn bound(all: u64, weight: u32, sum: u64, factor: u32) -> u64 {
    let share = u128::from(all + 1) * u128::from(weight) * u128::from(factor);
    u64::try_from(share.div_ceil(u128::from(sum.max(1)) * 100)).unwrap_or(u64::MAX)
}

const fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use proptest::prelude::*;

    use super::*;

    fn names(count: usize) -> Vec<String> {
        (1..=count).map(|number| format!("proxy-node-{number}")).collect()
    }

    fn ring(names: &[String], weights: &[u32]) -> Ring {
        Ring::new(names.iter().zip(weights).map(|(name, weight)| (name.as_str(), *weight, 100)))
    }

    fn key(number: u64) -> u64 {
        hash(format!("http://origin.example/{number}").as_bytes())
    }

    #[test]
    fn shares_follow_the_weights() {
        let names = names(3);
        let ring = ring(&names, &[200, 100, 100]);
        let mut counts = [0_i32; 3];
        for number in 0..40_000 {
            counts[ring.pick(key(number), |_| true).expect("somebody")] += 1;
        }
        for (count, expected) in counts.into_iter().zip([20_000, 10_000, 10_000]) {
            assert!((count - expected).abs() < expected / 5, "{counts:?}");
        }
    }

    #[test]
    fn a_hot_key_spills_over_within_the_bound_and_others_stay() {
        let names = names(4);
        let (ring, weights) = (ring(&names, &[1; 4]), [1_u32; 4]);
        let loads = RefCell::new([0_u64; 4]);
        for _ in 0..400 {
            let all = loads.borrow().iter().sum();
            let may = |place: usize| loads.borrow()[place] < bound(all, weights[place], 4, 125);
            let place = ring.pick(key(1), may).expect("somebody");
            loads.borrow_mut()[place] += 1;
        }
        let loads = loads.into_inner();
        assert!(loads.iter().all(|load| *load <= 126), "{loads:?}");
        assert_eq!(loads.iter().filter(|load| **load >= 24).count(), 4, "{loads:?}");
    }

    #[test]
    fn a_thousand_servers_have_room() {
        let names = names(1000);
        assert_eq!(ring(&names, &[256; 1000]).points.len(), 160_000);
        let mixed: Vec<_> = (1..=1000).map(|number| number % 256 + 1).collect();
        assert!(ring(&names, &mixed).points.len() <= MOST as usize);
    }

    #[test]
    fn the_bound() {
        for (all, weight, sum, factor, expected) in
            [(0, 1, 4, 125, 1), (99, 1, 4, 125, 32), (99, 2, 4, 100, 50), (7, 1, 8, 100, 1)]
        {
            assert_eq!(bound(all, weight, sum, factor), expected, "{all} {weight}/{sum} {factor}");
        }
    }

    proptest! {
        /// The first look finds what a search finds.
        #[test]
        fn the_starts_are_where_a_search_ends(
            servers in 1_usize..20,
            keys in prop::collection::vec(any::<u64>(), 50),
        ) {
            let ring = ring(&names(servers), &vec![1; servers]);
            let edges = ring.points.iter().flat_map(|(at, _)| [*at, at.wrapping_add(1)]);
            for key in keys.into_iter().chain([0, u64::MAX]).chain(edges.take(500)) {
                let begin = ring.points.partition_point(|(at, _)| *at < key);
                let expected = ring.points.get(begin).unwrap_or(&ring.points[0]).1;
                prop_assert_eq!(ring.pick(key, |_| true), Some(expected as usize), "{}", key);
            }
        }

        /// A server that grows takes keys and gives none away, and nobody else gets any.
        #[test]
        fn a_server_that_grows_takes_and_gives_nothing(
            grows in 0_usize..5,
            from in 1_u8..100,
            more in 1_u8..100,
            keys in prop::collection::vec(any::<u64>(), 200),
        ) {
            let names = names(5);
            let ring = |percent: u8| {
                let of = move |index| if index == grows { percent } else { 100 };
                let servers = names.iter().enumerate();
                Ring::new(servers.map(|(index, name)| (name.as_str(), 1, of(index))))
            };
            let (before, after) = (ring(from), ring(from.saturating_add(more).min(100)));
            for key in keys {
                let (had, has) = (before.pick(key, |_| true), after.pick(key, |_| true));
                prop_assert!(had == has || has == Some(grows), "{had:?} → {has:?}");
            }
        }

        /// What a server had, and nothing else, moves when it leaves; and comes back with it.
        #[test]
        fn a_server_that_leaves_moves_its_own_keys_alone(
            servers in 2_usize..30,
            leaves in 0_usize..30,
            keys in prop::collection::vec(any::<u64>(), 200),
        ) {
            let leaves = leaves % servers;
            let all = names(servers);
            let mut rest = all.clone();
            rest.remove(leaves);
            let before = ring(&all, &vec![1; servers]);
            let after = ring(&rest, &vec![1; servers - 1]);
            for key in keys {
                let had = &all[before.pick(key, |_| true).expect("somebody")];
                let has = &rest[after.pick(key, |_| true).expect("somebody")];
                prop_assert!(had == has || *had == all[leaves], "{had} → {has}");
                // One that may not be picked for a moment is as one that left.
                let spilled = &all[before.pick(key, |place| place != leaves).expect("somebody")];
                prop_assert_eq!(spilled, has);
            }
        }
    }
}
