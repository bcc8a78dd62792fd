//! Weighted round robin, evenly spread: everybody is due `weight` times in a round, at equal
//! distances, and whoever is due first is picked (earliest deadline first, as in HAProxy's and
//! Envoy's schedulers). A pick costs the logarithm of the number of servers.
//!
//! Within a round of `sum of weights` picks over an unchanged list, each server is picked exactly
//! `weight` times: times are fractions, compared exactly.

use std::cmp::Ordering;

use super::tournament::Tournament;

/// When a server is due: `round + step / (2 × weight)`, with an odd step, so that a server of
/// weight 1 is due in the middle of a round.
#[derive(Clone, Copy, Debug)]
struct Due {
    round: u64,
    step: u32,
    weight: u32,
}

impl Due {
    /// The first time from `now` on at which a server of this weight is due.
    fn from(now: Option<Self>, weight: u32) -> Self {
        let weight = weight.max(1);
        let Some(now) = now else { return Self { round: 0, step: 1, weight } };
        // The least odd step with step / (2 × weight) ≥ now.step / (2 × now.weight).
        let (step, mine, theirs) = (u64::from(now.step), u64::from(weight), u64::from(now.weight));
        let least = (step * mine).div_ceil(theirs);
        let step = u32::try_from(least | 1).unwrap_or(1);
        Self { round: now.round, step, weight }.wrapped()
    }

    fn next(self) -> Self {
        Self { step: self.step + 2, ..self }.wrapped()
    }

    fn wrapped(self) -> Self {
        if self.step < 2 * self.weight {
            return self;
        }
        Self { round: self.round + 1, step: self.step - 2 * self.weight, ..self }
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        let (mine, theirs) = (
            u64::from(self.step) * u64::from(other.weight),
            u64::from(other.step) * u64::from(self.weight),
        );
        self.round.cmp(&other.round).then(mine.cmp(&theirs))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Due {}

/// Whose turn it is among the servers of one tier, by their place in it.
#[derive(Clone, Debug, Default)]
pub struct RoundRobin {
    due: Tournament<Due>,
}

impl RoundRobin {
    /// For servers of these weights, all new.
    #[must_use]
    pub fn new(weights: impl ExactSizeIterator<Item = u32>) -> Self {
        Self { due: Tournament::new(weights.map(|weight| Due::from(None, weight))) }
    }

    /// For the list that takes the place of this one: its weights, and where each server was in
    /// this one. Whoever stays keeps their turn; whoever is new is due as if they had been there.
    #[must_use]
    pub fn carried_over(&self, list: impl ExactSizeIterator<Item = (u32, Option<usize>)>) -> Self {
        let now = self.due.least().and_then(|index| self.due.key(index));
        Self {
            due: Tournament::new(list.map(|(weight, before)| {
                match before.and_then(|index| self.due.key(index)) {
                    Some(due) if due.weight == weight.max(1) => due,
                    // A turn is a whole round for a weight of 1, and many turns of a greater one:
                    // nobody waits for longer than one of their new turns.
                    Some(due) => Due::from(Some(due), weight).min(Due::from(now, weight).next()),
                    None => Due::from(now, weight),
                }
            })),
        }
    }

    /// Picks whoever is due first and may be picked, and takes their turn.
    pub fn pick(&mut self, may: impl Fn(usize) -> bool) -> Option<usize> {
        let mut aside = Vec::new();
        let picked = loop {
            let Some(index) = self.due.least() else { break None };
            let due = self.due.key(index);
            if may(index) {
                self.due.set(index, due.map(Due::next));
                break Some(index);
            }
            aside.push((index, due));
            self.due.set(index, None);
        };
        for (index, due) in aside {
            self.due.set(index, due);
        }
        picked
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(turn: &mut RoundRobin, picks: usize) -> Vec<usize> {
        (0..picks).filter_map(|_| turn.pick(|_| true)).collect()
    }

    fn new(weights: &[u32]) -> RoundRobin {
        RoundRobin::new(weights.iter().copied())
    }

    #[test]
    fn a_heavy_one_is_spread_among_light_ones() {
        assert_eq!(run(&mut new(&[5, 1, 1]), 7), [0, 0, 0, 1, 2, 0, 0]);
        assert_eq!(run(&mut new(&[2, 1]), 6), [0, 1, 0, 0, 1, 0]);
    }

    #[test]
    fn three_two_one_over_six_thousand_on_two_workers() {
        let mut counts = [0; 3];
        for picks in [2_345, 3_655] {
            for index in run(&mut new(&[3, 2, 1]), picks) {
                counts[index] += 1;
            }
        }
        for (count, expected) in counts.into_iter().zip([3_000_i32, 2_000, 1_000]) {
            assert!((count - expected).abs() <= 2, "{counts:?}");
        }
    }

    #[test]
    fn finer_weights_take_no_turns_away() {
        let mut turn = new(&[1, 1]);
        assert_eq!(run(&mut turn, 1), [0]);
        let mut turn = turn.carried_over([(55, Some(0)), (100, Some(1))].into_iter());
        let picks = run(&mut turn, 155);
        let got = picks.iter().filter(|index| **index == 0).count();
        assert!((53..=57).contains(&got), "{got}");
        let mut turn = turn.carried_over([(1, Some(0)), (1, Some(1))].into_iter());
        let back = run(&mut turn, 20).into_iter().filter(|index| *index == 0).count();
        assert!((9..=11).contains(&back), "{back}");
    }

    #[test]
    fn nobody_to_pick() {
        assert_eq!(RoundRobin::default().pick(|_| true), None);
        assert_eq!(new(&[1, 1]).pick(|_| false), None);
    }

    #[test]
    fn who_was_left_out_is_due_at_once() {
        let mut turn = new(&[1, 1]);
        assert_eq!(turn.pick(|index| index == 1), Some(1));
        assert_eq!(run(&mut turn, 2), [0, 0], "it has a whole turn more to get");
    }

    proptest! {
        #[test]
        fn each_round_gives_everybody_their_weight(
            weights in prop::collection::vec(1_u32..=256, 1..20),
            rounds in 1_usize..4,
        ) {
            let sum: u32 = weights.iter().sum();
            let picks = run(&mut new(&weights), sum as usize * rounds);
            for (index, &weight) in weights.iter().enumerate() {
                let got = picks.iter().filter(|&&it| it == index).count();
                prop_assert_eq!(got, weight as usize * rounds);
            }
        }

        #[test]
        fn nobody_gets_their_share_of_a_round_all_at_once(
            weights in prop::collection::vec(1_u32..20, 2..8),
        ) {
            let sum: usize = weights.iter().sum::<u32>() as usize;
            let picks = run(&mut new(&weights), sum);
            for (index, &weight) in weights.iter().enumerate() {
                for end in 1..=sum {
                    let got = picks[..end].iter().filter(|&&it| it == index).count() as f64;
                    let due = f64::from(weight) * end as f64 / sum as f64;
                    // Within one of what is due, and a half for each other that is due with it.
                    let within = 1.0 + weights.len() as f64 / 2.0;
                    prop_assert!((got - due).abs() <= within, "{picks:?}");
                }
            }
        }

        #[test]
        fn a_change_of_the_list_starves_nobody_and_floods_nobody(
            weights in prop::collection::vec(1_u32..20, 2..8),
            before in 0_usize..200,
        ) {
            let mut turn = new(&weights);
            run(&mut turn, before);
            let kept = (1..weights.len()).map(|old| (weights[old], Some(old))).chain([(5, None)]);
            let list: Vec<_> = kept.collect();
            let mut turn = turn.carried_over(list.clone().into_iter());
            let sum = list.iter().map(|(weight, _)| weight).sum::<u32>() as usize;
            let picks = run(&mut turn, sum);
            for (index, &(weight, _)) in list.iter().enumerate() {
                let got = picks.iter().filter(|&&it| it == index).count();
                let off = got.abs_diff(weight as usize);
                prop_assert!(off <= 1 + list.len(), "{index}: {got} of {weight}");
                prop_assert!(got > 0 || weight as usize <= list.len());
            }
        }
    }
}
