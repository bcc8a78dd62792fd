//! Choosing a server: from the tiers of standing, best first, by the backend's policy within a
//! tier.
//!
//! A [`Plan`] is built once when the roster publishes, is immutable and belongs to the snapshot:
//! who is in which tier with which weight, and whatever else a policy can work out beforehand. A
//! [`State`] is what a policy remembers between two picks; each worker has its own, so that picking
//! takes no lock, and it is carried over to the next plan by the servers' names. A [`Request`] is
//! what a policy may look at. So each policy is three answers:
//!
//! | policy | in the plan | in the state | of the request and the servers |
//! |---|---|---|---|
//! | `round_robin` | weights | when everybody is due | |
//! | `first` | the order | | |
//! | `least_connections` | weights | loads as last seen | load |
//! | `random` (the better one of two) | sums of weights | the generator | load |
//! | `response_time` (the better one of two) | sums of weights | the generator | time, load |
//! | `ip_hash` | a ring for each tier | | client |
//! | `uri_hash`, `host_hash`, `header_hash` | a ring for each tier | | head, load if bounded |
//!
//! A pick costs the logarithm of the number of servers at the most. A request that has nothing to
//! hash is given to whose turn it is.
//!
//! Reading order: [`plan`], [`state`], then [`round_robin`] and [`least`] over [`tournament`],
//! [`two_choices`] with [`response_time`], [`key`] (for a [`dataplane::ring`]).

pub mod key;
pub mod least;
pub mod plan;
pub mod response_time;
pub mod round_robin;
pub mod state;
pub mod tournament;
pub mod two_choices;

use std::net::IpAddr;

use cluster_config::document::balancer::Balance;
use dataplane::ring;
use relay::head;

use plan::Tier;
pub use plan::{Plan, Policy};
use state::Memory;
pub use state::State;

/// What a policy may ask of the servers, which it knows by their index in the plan. Nothing is
/// worked out before it asks.
pub trait Servers {
    /// How many requests a server is answering now.
    fn load(&self, index: usize) -> u64;
    /// How many requests all servers of the backend are answering now.
    fn load_of_all(&self) -> u64;
    /// How long a server takes, in microseconds, as far as that is known.
    fn response_time(&self, index: usize) -> Option<u64>;
}

/// Servers of which nothing is known, or that have nothing to do.
pub struct Idle;

impl Servers for Idle {
    fn load(&self, _: usize) -> u64 {
        0
    }
    fn load_of_all(&self) -> u64 {
        0
    }
    fn response_time(&self, _: usize) -> Option<u64> {
        None
    }
}

/// What a policy may look at.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The request's head, as far as it is known: what is hashed is in it.
    pub head: Option<head::Request<'a>>,
    /// Who asks, as far as that is known.
    pub client: Option<IpAddr>,
    pub servers: &'a dyn Servers,
    /// Whether a server was tried for this request already.
    pub tried: &'a dyn Fn(usize) -> bool,
}

/// The server for the next attempt: from the best tier that has one which was not tried yet.
pub fn pick(plan: &Plan, state: &mut State, request: &Request<'_>) -> Option<usize> {
    pick_of(plan, state, request, |_| true)
}

/// The same, of these tiers alone.
pub fn pick_of(
    plan: &Plan,
    state: &mut State,
    request: &Request<'_>,
    of: impl Fn(&Tier) -> bool,
) -> Option<usize> {
    let key = key::of(&plan.policy().balance, request.head, request.client);
    let State { tiers, random } = state;
    let tiers = plan.tiers().iter().zip(tiers).filter(|(tier, _)| of(tier));
    tiers.into_iter().find_map(|(tier, memory)| {
        let place = pick_in(plan.policy(), tier, memory, random, key, request)?;
        Some(tier.members()[place].0)
    })
}

/// A place in the tier.
fn pick_in(
    policy: &Policy,
    tier: &Tier,
    memory: &mut Memory,
    random: &mut fastrand::Rng,
    key: Option<u64>,
    request: &Request<'_>,
) -> Option<usize> {
    let (members, servers) = (tier.members(), request.servers);
    let may = |place: usize| !(request.tried)(members[place].0);
    match &policy.balance {
        Balance::RoundRobin => memory.turn.pick(may),
        Balance::First => (0..members.len()).find(|place| may(*place)),
        Balance::LeastConnections => memory.least.pick(members, |index| servers.load(index), may),
        Balance::Random => {
            // By weight, as they are drawn: for each, the load that it has for the other's weight.
            let load = |one: usize, other: usize| {
                u128::from(servers.load(members[one].0)) * u128::from(members[other].1.max(1))
            };
            two_choices::pick(tier, random, |one, other| load(one, other) < load(other, one), may)
        }
        Balance::ResponseTime => {
            let seen = |place: usize| {
                let index = members[place].0;
                (servers.response_time(index), servers.load(index))
            };
            let better = |one, other| response_time::is_better(seen(one), seen(other));
            two_choices::pick(tier, random, better, may)
        }
        Balance::IpHash | Balance::UriHash | Balance::HostHash | Balance::HeaderHash { .. } => {
            let Some(key) = key else { return memory.turn.pick(may) };
            let bounded = policy.bound.and_then(|factor| {
                let (all, sum) = (servers.load_of_all(), *tier.sums().last()?);
                tier.ring().pick(key, |place| {
                    let (index, weight) = members[place];
                    may(place) && servers.load(index) < ring::bound(all, weight, sum, factor)
                })
            });
            bounded.or_else(|| tier.ring().pick(key, may))
        }
    }
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
pub fn begin(plan: &Plan, worker: usize, seed: u64) -> State {
    let mut state = State::new(plan, seed);
    let nobody = Request { head: None, client: None, servers: &Idle, tried: &|_| false };
    for _ in 0..worker {
        pick(plan, &mut state, &nobody);
    }
    state
}

#[cfg(test)]
mod tests;
