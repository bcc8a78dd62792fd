//! Least connections: the server with the fewest requests under way for its weight. Equals, as all
//! are that have nothing to do, take turns by weight: each has a time of its own, which goes on by
//! less the more it weighs, and who is behind is next (start-time fair queueing; Goyal, Vin and
//! Cheng, 1996).
//!
//! Other workers change the loads, too, so each pick looks at a few servers anew, one after the
//! other, and at the one that seems to be the least loaded. With few servers that is everybody, and
//! the pick is exact; with a thousand the loads of the others may be some hundred picks old.

use super::tournament::Tournament;

/// Servers that each pick looks at anew.
const LOOKED_AT: usize = 8;
/// Loads are compared for this weight.
const SCALE: u64 = 1 << 16;
/// How far a pick takes the time of a server of weight 1.
const STRIDE: u64 = 1 << 20;

/// Load for the weight, and the server's time.
type Key = (u64, u64);

/// What a worker knows of the loads in one tier, by the servers' places in it.
#[derive(Clone, Debug, Default)]
pub struct LeastConnections {
    loads: Tournament<Key>,
    /// The next to look at.
    next: usize,
    /// Where the one who was picked last had been. Who was busy until now does not lag behind it.
    time: u64,
}

impl LeastConnections {
    /// For so many servers.
    #[must_use]
    pub fn new(servers: usize) -> Self {
        Self { loads: Tournament::new(vec![(0, 0); servers].into_iter()), next: 0, time: 0 }
    }

    /// For the list that takes the place of this one: the weight of each server, and where it was
    /// in this one. One that weighs more now is not held back by how long its turns were.
    #[must_use]
    pub fn carried_over(&self, list: impl ExactSizeIterator<Item = (u32, Option<usize>)>) -> Self {
        let key = |(weight, old): (u32, Option<usize>)| {
            let (load, time) = old.and_then(|old| self.loads.key(old)).unwrap_or((0, 0));
            (load, time.min(self.time + STRIDE / u64::from(weight.max(1))))
        };
        Self { loads: Tournament::new(list.map(key)), next: 0, time: self.time }
    }

    /// Picks among `members` (index and weight, by place). `load` is asked by index, `may` by
    /// place.
    pub fn pick(
        &mut self,
        members: &[(usize, u32)],
        load: impl Fn(usize) -> u64,
        may: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let scaled = |place: usize, more: u64| {
            let (index, weight) = members[place];
            (load(index) + more) * SCALE / u64::from(weight.max(1))
        };
        for _ in 0..members.len().min(LOOKED_AT) {
            let place = self.next % members.len();
            self.next = place + 1;
            if let Some((_, time)) = self.loads.key(place) {
                self.loads.set(place, Some((scaled(place, 0), time)));
            }
        }
        let mut aside = Vec::new();
        let chosen = loop {
            let Some(place) = self.loads.least() else { break None };
            let key = self.loads.key(place);
            if !may(place) {
                aside.push((place, key));
                self.loads.set(place, None);
                continue;
            }
            let Some((seemed, time)) = key else { break None };
            let is = scaled(place, 0);
            if is > seemed {
                self.loads.set(place, Some((is, time)));
                continue;
            }
            self.time = self.time.max(time);
            let stride = STRIDE / u64::from(members[place].1.max(1));
            self.loads.set(place, Some((scaled(place, 1), self.time + stride)));
            break Some(place);
        };
        for (place, key) in aside {
            self.loads.set(place, key);
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use proptest::prelude::*;

    use super::*;

    fn members(weights: &[u32]) -> Vec<(usize, u32)> {
        weights.iter().copied().enumerate().collect()
    }

    #[test]
    fn equals_take_turns_by_weight() {
        let members = members(&[3, 1]);
        let mut least = LeastConnections::new(2);
        let mut counts = [0; 2];
        for _ in 0..400 {
            counts[least.pick(&members, |_| 0, |_| true).expect("somebody")] += 1;
        }
        assert_eq!(counts, [300, 100]);
        // Who could not be picked for long does not get all of that now.
        for _ in 0..400 {
            least.pick(&members, |_| 0, |place| place == 0);
        }
        let picks: Vec<_> = (0..8).filter_map(|_| least.pick(&members, |_| 0, |_| true)).collect();
        assert!(picks.iter().filter(|place| **place == 1).count() <= 3, "{picks:?}");
    }

    #[test]
    fn equals_take_turns_and_the_least_loaded_is_found() {
        let members = members(&[1, 1, 1]);
        let mut least = LeastConnections::new(3);
        let mut pick = |loads: [u64; 3]| least.pick(&members, |index| loads[index], |_| true);
        assert_eq!(
            [pick([0; 3]), pick([0; 3]), pick([0; 3]), pick([0; 3])].map(Option::unwrap),
            [0, 1, 2, 0]
        );
        assert_eq!(pick([5, 4, 5]), Some(1));
        assert_eq!(pick([5, 6, 5]), Some(2));
    }

    #[test]
    fn a_weight_of_two_carries_twice_as_much() {
        let members = members(&[2, 1]);
        let mut least = LeastConnections::new(2);
        let mut loads = [0_u64; 2];
        for _ in 0..300 {
            let picked = least.pick(&members, |index| loads[index], |_| true).expect("somebody");
            loads[picked] += 1;
        }
        assert_eq!(loads, [200, 100]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        /// With a thousand servers, requests that come and go spread as evenly as by a scan, within
        /// what may have been overlooked.
        #[test]
        fn many_servers_stay_even(seed in any::<u64>()) {
            let members = members(&[1; 1000]);
            let loads = RefCell::new(vec![0_u64; 1000]);
            let mut least = LeastConnections::new(1000);
            let mut random = fastrand::Rng::with_seed(seed);
            let mut under_way = Vec::new();
            for _ in 0..10_000 {
                if under_way.len() >= 5_000 {
                    let ended = under_way.swap_remove(random.usize(..under_way.len()));
                    loads.borrow_mut()[ended] -= 1;
                }
                let picked = least.pick(&members, |index| loads.borrow()[index], |_| true);
                let picked = picked.expect("somebody");
                loads.borrow_mut()[picked] += 1;
                under_way.push(picked);
            }
            let loads = loads.borrow();
            let (least, most) = (loads.iter().copied().min(), loads.iter().copied().max());
            prop_assert!(least >= Some(1) && most <= Some(8), "{least:?} {most:?}");
        }
    }

    proptest! {
        #[test]
        fn who_may_not_be_picked_is_not(
            loads in prop::collection::vec(0_u64..5, 1..40),
            barred in 0_usize..40,
        ) {
            let members = members(&vec![1; loads.len()]);
            let mut least = LeastConnections::new(loads.len());
            for _ in 0..3 {
                let picked = least.pick(&members, |index| loads[index], |place| place != barred);
                prop_assert!(picked != Some(barred));
                prop_assert_eq!(picked.is_none(), loads.len() == 1 && barred == 0);
            }
        }
    }
}
