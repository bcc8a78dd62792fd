//! Choosing a server: the tiers of standing from best to worst, and within a tier the backend's policy.
//!
//! A worker has one [`Picker`] per backend; nothing is shared between workers, so that picking takes no lock.

pub mod round_robin;

use round_robin::RoundRobin;

use crate::standing::Standing;

/// What picking needs to know of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The tier it is in.
    pub standing: Standing,
    /// Its share within the tier.
    pub weight: u32,
}

/// One worker's state of choosing among the servers of one backend. Servers are known by their index.
#[derive(Clone, Debug, Default)]
pub struct Picker {
    turn: RoundRobin,
}

impl Picker {
    /// Takes up after the list of servers changed: `kept` gives for each new index the old one, so that nobody's turn is lost.
    #[must_use]
    pub fn carried_over(&self, kept: &[Option<usize>]) -> Self {
        Self { turn: self.turn.carried_over(kept) }
    }

    /// The server for the next attempt: from the best tier that has one which was not tried yet.
    pub fn pick(&mut self, candidates: &[Candidate], tried: impl Fn(usize) -> bool) -> Option<usize> {
        Standing::TIERS.into_iter().find_map(|tier| {
            let eligible = |(index, it): (usize, &Candidate)| (it.standing == tier && !tried(index)).then_some((index, it.weight));
            self.turn.pick(candidates.iter().enumerate().filter_map(eligible))
        })
    }

    /// Every server that may be tried, in the order in which one request would try them, without taking anybody's turn.
    #[must_use]
    pub fn order(&self, candidates: &[Candidate]) -> Vec<usize> {
        let mut ahead = self.clone();
        let mut order = Vec::with_capacity(candidates.len());
        while let Some(index) = ahead.pick(candidates, |index| order.contains(&index)) {
            order.push(index);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(standing: Standing, weight: u32) -> Candidate {
        Candidate { standing, weight }
    }

    #[test]
    fn tiers_are_exhausted_in_order_and_excluded_servers_never_tried() {
        use Standing::{Backup, Excluded, Last, Unwell, Usable};
        let candidates = [Unwell, Backup, Excluded, Last, Usable].map(|standing| candidate(standing, 1));
        assert_eq!(Picker::default().order(&candidates), [4, 3, 1, 0]);
        assert_eq!(Picker::default().order(&[candidate(Excluded, 1)]), Vec::<usize>::new());
    }

    #[test]
    fn explaining_takes_nobodys_turn() {
        let candidates = [candidate(Standing::Usable, 1), candidate(Standing::Usable, 1)];
        let mut picker = Picker::default();
        let first = picker.order(&candidates)[0];
        assert_eq!(picker.order(&candidates)[0], first);
        assert_eq!(picker.pick(&candidates, |_| false), Some(first));
        assert_ne!(picker.order(&candidates)[0], first);
    }

    proptest! {
        /// A server that answers is always reached: the order holds every server that is not excluded exactly once, better tiers first.
        #[test]
        fn nobody_is_forgotten(rows in prop::collection::vec((0_usize..5, 1_u32..=256), 0..12), turns in 0_usize..40) {
            let all = [Standing::Usable, Standing::Last, Standing::Backup, Standing::Unwell, Standing::Excluded];
            let candidates: Vec<_> = rows.iter().map(|&(standing, weight)| candidate(all[standing], weight)).collect();
            let mut picker = Picker::default();
            for _ in 0..turns {
                picker.pick(&candidates, |_| false);
            }
            let order = picker.order(&candidates);
            prop_assert_eq!(order.len(), candidates.iter().filter(|it| it.standing != Standing::Excluded).count());
            prop_assert!(order.windows(2).all(|pair| candidates[pair[0]].standing <= candidates[pair[1]].standing && pair[0] != pair[1]));
        }
    }
}
