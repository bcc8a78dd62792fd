//! What one worker remembers between two picks among the servers of one backend.

use std::collections::HashMap;

use cluster_config::document::balancer::Balance;

use super::{
    least::LeastConnections,
    plan::{Plan, Tier},
    round_robin::RoundRobin,
};
use crate::standing::Standing;

/// One worker's. By the places in the tiers of the plan that it belongs to.
#[derive(Clone, Debug)]
pub struct State {
    pub(super) tiers: Vec<Memory>,
    pub(super) random: fastrand::Rng,
}

/// Of one tier. A policy leaves what it does not need as it is for nobody.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    pub(super) turn: RoundRobin,
    pub(super) least: LeastConnections,
}

impl State {
    /// Before the first pick by this plan. `seed`: what is drawn follows from it.
    #[must_use]
    pub fn new(plan: &Plan, seed: u64) -> Self {
        let memory = |tier: &Tier| match remembered(plan) {
            Remembered::Nothing => Memory::default(),
            Remembered::Turn => Memory {
                turn: RoundRobin::new(tier.members().iter().map(|(_, weight)| *weight)),
                ..Memory::default()
            },
            Remembered::Loads => {
                Memory { least: LeastConnections::new(tier.members().len()), ..Memory::default() }
            }
        };
        Self {
            tiers: plan.tiers().iter().map(memory).collect(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// For the plan that takes the place of this one. What is known of a server of a name in its
    /// tier goes with it, so that nobody's turn is lost.
    #[must_use]
    pub fn carried_over(&self, from: &Plan, to: &Plan) -> Self {
        let mut places: HashMap<((Standing, u8), &str), usize> = HashMap::new();
        for tier in from.tiers() {
            for (place, (index, _)) in tier.members().iter().enumerate() {
                places.insert((tier.key(), &from.names()[*index]), place);
            }
        }
        let memory = |tier: &Tier| {
            let of_tier = from.tiers().iter().position(|it| it.key() == tier.key());
            let nothing = Memory::default();
            let before = of_tier.and_then(|index| self.tiers.get(index)).unwrap_or(&nothing);
            let list = tier.members().iter().map(|(index, weight)| {
                (*weight, places.get(&(tier.key(), &*to.names()[*index])).copied())
            });
            match remembered(to) {
                Remembered::Nothing => Memory::default(),
                Remembered::Turn => {
                    Memory { turn: before.turn.carried_over(list), ..Memory::default() }
                }
                Remembered::Loads => {
                    Memory { least: before.least.carried_over(list), ..Memory::default() }
                }
            }
        };
        Self { tiers: to.tiers().iter().map(memory).collect(), random: self.random.clone() }
    }
}

/// What a policy remembers of a tier.
enum Remembered {
    Nothing,
    /// Whose turn it is; of those that hash, for requests with nothing to hash.
    Turn,
    Loads,
}

fn remembered(plan: &Plan) -> Remembered {
    match plan.policy().balance {
        Balance::First | Balance::Random | Balance::ResponseTime => Remembered::Nothing,
        Balance::LeastConnections => Remembered::Loads,
        Balance::RoundRobin
        | Balance::IpHash
        | Balance::UriHash
        | Balance::HostHash
        | Balance::HeaderHash { .. } => Remembered::Turn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pick::{order, pick, plan::Candidate, tests::ANY};

    #[test]
    fn a_turn_goes_with_its_server() {
        let plan = |names: &[&str]| {
            let candidate = |name: &&str| Candidate {
                name: (*name).to_owned(),
                standing: Standing::Usable,
                weight: 1,
                percent: 100,
                level: 0,
            };
            Plan::build(Balance::RoundRobin.into(), names.iter().map(candidate).collect())
        };
        let (before, after) = (plan(&["a", "b", "c"]), plan(&["c", "d", "a"]));
        let mut state = State::new(&before, 0);
        // a and b have had their turn.
        for expected in [0, 1] {
            assert_eq!(pick(&before, &mut state, &ANY), Some(expected));
        }
        let state = state.carried_over(&before, &after);
        assert_eq!(
            order(&after, &state, &ANY),
            [0, 1, 2],
            "c, whose turn it is, then d, which is new, then a"
        );
    }
}
