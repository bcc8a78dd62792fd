//! Choosing a server: from the tiers of standing, best first, by the backend's policy within a
//! tier.
//!
//! A [`Plan`] is built once when the roster publishes, is immutable and belongs to the snapshot:
//! who is in which tier with which weight, and whatever else a policy can work out beforehand. A
//! [`State`] is what a policy remembers between two picks; each worker has its own, so that picking
//! takes no lock, and it is carried over to the next plan by the servers' names. A [`Request`] is
//! what a policy may look at. So each policy is three answers:
//!
//! | policy | in the plan | in the state | of the request |
//! |---|---|---|---|
//! | `round_robin` | weights | everybody's credit | |
//! | `first` | the order | | load |
//! | `least_connections`, `random` (two choices) | weights | the generator's seed | load |
//! | `response_time` | weights | each server's average, told with every answer | load |
//! | `ip_hash` | a ring for each tier | | client |
//! | `uri_hash`, `host_hash` with bounded load, `header_hash` | a ring for each tier | | head, load |
//! | `cookie` | names by cookie | as the policy for who has none | head |
//!
//! The first is there. The others cost a variant of `Balance`, an arm in [`pick`] and a module like
//! [`round_robin`].

pub mod plan;
pub mod round_robin;
pub mod state;

use std::net::IpAddr;

use cluster_config::document::balancer::Balance;
use relay::head;

pub use plan::Plan;
pub use state::State;

/// What a policy may look at. Nothing is worked out before it asks. Servers are known by their
/// index in the plan.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The request's head, as far as it is known: what is hashed is in it.
    pub head: Option<head::Request<'a>>,
    /// Who asks, as far as that is known.
    pub client: Option<IpAddr>,
    /// How many requests a server is answering now.
    pub load: &'a dyn Fn(usize) -> u64,
    /// Whether a server was tried for this request already.
    pub tried: &'a dyn Fn(usize) -> bool,
}

/// The server for the next attempt: from the best tier that has one which was not tried yet.
pub fn pick(plan: &Plan, state: &mut State, request: &Request<'_>) -> Option<usize> {
    plan.tiers().iter().find_map(|tier| match plan.balance() {
        Balance::RoundRobin => state
            .turn
            .pick(tier.members.iter().copied().filter(|(index, _)| !(request.tried)(*index))),
    })
}

/// Every server that may be tried, in the order in which one request would try them, without taking
/// anybody's turn.
#[must_use]
pub fn order(plan: &Plan, state: &State, request: &Request<'_>) -> Vec<usize> {
    let mut ahead = state.clone();
    let mut order = Vec::new();
    loop {
        let tried = |index: usize| order.contains(&index) || (request.tried)(index);
        let Some(index) = pick(plan, &mut ahead, &Request { tried: &tried, ..*request }) else {
            return order;
        };
        order.push(index);
    }
}

/// The state of the worker with this number before its first pick. Workers that begin with the same
/// server would send it the first request of each.
#[must_use]
pub fn begin(plan: &Plan, worker: usize) -> State {
    let mut state = State::default();
    let nobody = Request { head: None, client: None, load: &|_| 0, tried: &|_| false };
    for _ in 0..worker {
        pick(plan, &mut state, &nobody);
    }
    state
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{plan::Candidate, *};
    use crate::standing::Standing;

    const ANY: Request<'static> =
        Request { head: None, client: None, load: &|_| 0, tried: &|_| false };

    fn plan(rows: &[(Standing, u32)]) -> Plan {
        let candidate = |(index, &(standing, weight)): (usize, &(Standing, u32))| Candidate {
            name: index.to_string(),
            standing,
            weight,
        };
        Plan::build(Balance::RoundRobin, rows.iter().enumerate().map(candidate).collect())
    }

    #[test]
    fn tiers_are_exhausted_in_order_and_excluded_servers_never_tried() {
        use Standing::{Backup, Excluded, Last, Unwell, Usable};
        let all = plan(&[Unwell, Backup, Excluded, Last, Usable].map(|standing| (standing, 1)));
        assert_eq!(order(&all, &State::default(), &ANY), [4, 3, 1, 0]);
        assert_eq!(order(&plan(&[(Excluded, 1)]), &State::default(), &ANY), Vec::<usize>::new());
    }

    #[test]
    fn explaining_takes_nobodys_turn() {
        let plan = plan(&[(Standing::Usable, 1), (Standing::Usable, 1)]);
        let mut state = State::default();
        let first = order(&plan, &state, &ANY)[0];
        assert_eq!(order(&plan, &state, &ANY)[0], first);
        assert_eq!(pick(&plan, &mut state, &ANY), Some(first));
        assert_ne!(order(&plan, &state, &ANY)[0], first);
    }

    #[test]
    fn workers_begin_with_different_servers() {
        let plan = plan(&[(Standing::Usable, 1); 3]);
        let firsts: Vec<_> =
            (0..4).filter_map(|worker| pick(&plan, &mut begin(&plan, worker), &ANY)).collect();
        assert_eq!(firsts, [0, 1, 2, 0]);
    }

    proptest! {
        /// A server that answers is always reached: the order holds every server that is not
        /// excluded exactly once, better tiers first.
        #[test]
        fn nobody_is_forgotten(rows in prop::collection::vec((0_usize..5, 1_u32..=256), 0..12), turns in 0_usize..40) {
            let all = [Standing::Usable, Standing::Last, Standing::Backup, Standing::Unwell, Standing::Excluded];
            let rows: Vec<_> = rows.iter().map(|&(standing, weight)| (all[standing], weight)).collect();
            let plan = plan(&rows);
            let mut state = State::default();
            for _ in 0..turns {
                pick(&plan, &mut state, &ANY);
            }
            let order = order(&plan, &state, &ANY);
            prop_assert_eq!(order.len(), rows.iter().filter(|it| it.0 != Standing::Excluded).count());
            prop_assert!(order.windows(2).all(|pair| rows[pair[0]].0 <= rows[pair[1]].0 && pair[0] != pair[1]));
        }
    }
}
