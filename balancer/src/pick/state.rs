//! What one worker remembers between two picks among the servers of one backend.

use std::collections::HashMap;

use super::{Plan, round_robin::RoundRobin};

/// One worker's. By the indexes of the plan that it belongs to.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub(super) turn: RoundRobin,
}

impl State {
    /// For the plan that takes the place of this one. What is known of a server of a name goes with
    /// it, so that nobody's turn is lost.
    #[must_use]
    pub fn carried_over(&self, from: &Plan, to: &Plan) -> Self {
        let old: HashMap<&str, usize> =
            from.names().iter().enumerate().map(|(index, name)| (name.as_str(), index)).collect();
        let kept: Vec<_> = to.names().iter().map(|name| old.get(name.as_str()).copied()).collect();
        Self { turn: self.turn.carried_over(&kept) }
    }
}

#[cfg(test)]
mod tests {
    use cluster_config::document::balancer::Balance;

    use super::*;
    use crate::{
        pick::{Request, order, pick, plan::Candidate},
        standing::Standing,
    };

    #[test]
    fn a_turn_goes_with_its_server() {
        let any = Request { head: None, client: None, load: &|_| 0, tried: &|_| false };
        let plan = |names: &[&str]| {
            let candidate = |name: &&str| Candidate {
                name: (*name).to_owned(),
                standing: Standing::Usable,
                weight: 1,
            };
            Plan::build(Balance::RoundRobin, names.iter().map(candidate).collect())
        };
        let (before, after) = (plan(&["a", "b", "c"]), plan(&["c", "d", "a"]));
        let mut state = State::default();
        // a and b have had their turn.
        for expected in [0, 1] {
            assert_eq!(pick(&before, &mut state, &any), Some(expected));
        }
        let state = state.carried_over(&before, &after);
        assert_eq!(
            order(&after, &state, &any),
            [0, 1, 2],
            "c, whose turn it is, then d, which is new, then a"
        );
    }
}
