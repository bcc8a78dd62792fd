//! Smooth weighted round robin, as nginx does it: everybody's credit grows by their weight, the
//! richest is picked and pays the sum.
//!
//! Within any run of `sum of weights` picks over an unchanged list, each server is picked exactly
//! `weight` times, and evenly spread.

/// The credits of one list of servers.
#[derive(Clone, Debug, Default)]
pub struct RoundRobin {
    credit: Vec<i64>,
}

impl RoundRobin {
    /// Credits for a new list: `kept` gives for each new index the old one.
    #[must_use]
    pub fn carried_over(&self, kept: &[Option<usize>]) -> Self {
        let credit =
            |old: &Option<usize>| old.and_then(|old| self.credit.get(old).copied()).unwrap_or(0);
        Self { credit: kept.iter().map(credit).collect() }
    }

    /// Picks among `(index, weight)`. A weight of 0 takes part with nothing: it is picked only when
    /// all weights are 0.
    pub fn pick(&mut self, eligible: impl Iterator<Item = (usize, u32)>) -> Option<usize> {
        let mut sum = 0_i64;
        let mut best: Option<(usize, i64)> = None;
        for (index, weight) in eligible {
            if index >= self.credit.len() {
                self.credit.resize(index + 1, 0);
            }
            sum += i64::from(weight);
            self.credit[index] += i64::from(weight);
            if best.is_none_or(|(_, credit)| self.credit[index] > credit) {
                best = Some((index, self.credit[index]));
            }
        }
        let (index, _) = best?;
        self.credit[index] -= sum;
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(turn: &mut RoundRobin, weights: &[u32], picks: usize) -> Vec<usize> {
        (0..picks).filter_map(|_| turn.pick(weights.iter().copied().enumerate())).collect()
    }

    #[test]
    fn nginx_example() {
        assert_eq!(run(&mut RoundRobin::default(), &[5, 1, 1], 7), [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn three_two_one_over_six_thousand_on_two_workers() {
        let mut counts = [0; 3];
        for picks in [2_345, 3_655] {
            for index in run(&mut RoundRobin::default(), &[3, 2, 1], picks) {
                counts[index] += 1;
            }
        }
        for (count, expected) in counts.into_iter().zip([3_000_i32, 2_000, 1_000]) {
            assert!((count - expected).abs() <= 2, "{counts:?}");
        }
    }

    #[test]
    fn nobody_to_pick() {
        assert_eq!(RoundRobin::default().pick(std::iter::empty()), None);
    }

    proptest! {
        #[test]
        fn each_round_gives_everybody_their_weight(weights in prop::collection::vec(1_u32..20, 1..8), rounds in 1_usize..4) {
            let sum: u32 = weights.iter().sum();
            let picks = run(&mut RoundRobin::default(), &weights, sum as usize * rounds);
            for (index, &weight) in weights.iter().enumerate() {
                prop_assert_eq!(picks.iter().filter(|&&it| it == index).count(), weight as usize * rounds);
            }
        }

        #[test]
        fn a_change_of_the_list_starves_nobody(weights in prop::collection::vec(1_u32..20, 2..8), before in 0_usize..50) {
            let mut turn = RoundRobin::default();
            run(&mut turn, &weights, before);
            let kept: Vec<_> = (1..weights.len()).map(Some).chain([None]).collect();
            let mut turn = turn.carried_over(&kept);
            let mut new = weights[1..].to_vec();
            new.push(5);
            let sum: u32 = weights.iter().sum::<u32>() + new.iter().sum::<u32>();
            let picks = run(&mut turn, &new, sum as usize * 2);
            for index in 0..new.len() {
                prop_assert!(picks.contains(&index));
            }
        }
    }
}
