//! What can be worked out once for all picks among the servers of one backend.

use std::net::IpAddr;

use cluster_config::document::balancer::Balance;
use dataplane::ring::Ring;
use relay::head;

use super::key;
use crate::standing::Standing;

/// What picking needs to know of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name in the backend: what stays the same from plan to plan.
    pub name: String,
    /// The tier it is in.
    pub standing: Standing,
    /// And among those of its standing; 0 is picked first.
    pub level: u8,
    /// Its share within the tier.
    pub weight: u32,
    /// Percent of its weight that it gets for now, 1 to 100.
    pub percent: u8,
}

/// How servers are picked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub balance: Balance,
    /// Percent of its share of the requests under way that a server may have before a hashed key
    /// spills over; none: it may have all of them.
    pub bound: Option<u32>,
}

impl From<Balance> for Policy {
    fn from(balance: Balance) -> Self {
        Self { balance, bound: None }
    }
}

/// Servers of one standing and level. A server's place is its index in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    standing: Standing,
    level: u8,
    members: Vec<(usize, u32)>,
    sums: Vec<u64>,
    ring: Ring,
}

impl Tier {
    /// Of these: index and weight of each, by index; at least one.
    #[must_use]
    pub fn new(standing: Standing, members: Vec<(usize, u32)>) -> Self {
        let sums = members.iter().scan(0, |sum, (_, weight)| {
            *sum += u64::from(*weight).max(1);
            Some(*sum)
        });
        Self { standing, level: 0, sums: sums.collect(), members, ring: Ring::default() }
    }

    /// What it is known by from plan to plan.
    #[must_use]
    pub const fn key(&self) -> (Standing, u8) {
        (self.standing, self.level)
    }

    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// Index and weight of each, by index.
    #[must_use]
    pub fn members(&self) -> &[(usize, u32)] {
        &self.members
    }

    /// For each, the sum of the weights up to it and its own.
    #[must_use]
    pub fn sums(&self) -> &[u64] {
        &self.sums
    }

    /// Where each stands for keys; of policies that hash.
    #[must_use]
    pub const fn ring(&self) -> &Ring {
        &self.ring
    }
}

/// The servers of one backend, ready to be picked from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    policy: Policy,
    names: Vec<String>,
    tiers: Vec<Tier>,
}

impl Plan {
    /// For these servers, which are known by their index from now on.
    #[must_use]
    pub fn build(policy: Policy, candidates: Vec<Candidate>) -> Self {
        let tier = |(standing, level): (Standing, u8)| {
            let inside = || {
                let all = candidates.iter().enumerate();
                all.filter(move |(_, it)| it.standing == standing && it.level == level)
            };
            // Finer weights only where they are needed, as more of them are kept in mind.
            let whole = inside().all(|(_, it)| it.percent == 100);
            let weight = |it: &Candidate| match whole {
                true => it.weight,
                false => it.weight.max(1) * u32::from(it.percent.max(1)),
            };
            let members = inside().map(|(index, it)| (index, weight(it))).collect();
            Tier { level, ..Tier::new(standing, members) }
        };
        let levels = candidates.iter().map(|it| it.level).max().unwrap_or_default();
        let of = |standing| (0..=levels).map(move |level| (standing, level));
        let mut tiers: Vec<_> = Standing::TIERS.into_iter().flat_map(of).map(tier).collect();
        tiers.retain(|tier| !tier.members.is_empty());
        if policy.balance.hashes() {
            for tier in &mut tiers {
                let servers = tier.members.iter();
                tier.ring = Ring::new(servers.map(|&(index, _)| {
                    let Candidate { name, weight, percent, .. } = &candidates[index];
                    (&**name, *weight, *percent)
                }));
            }
        }
        Self { policy, tiers, names: candidates.into_iter().map(|it| it.name).collect() }
    }

    /// Without servers.
    #[must_use]
    pub fn nobody() -> Self {
        Self::build(Balance::RoundRobin.into(), Vec::new())
    }

    /// The best rank ([`Standing::rank`]) in which somebody was not tried.
    #[must_use]
    pub fn rank(&self, tried: impl Fn(usize) -> bool) -> Option<u8> {
        let left = |tier: &&Tier| tier.members.iter().any(|(index, _)| !tried(*index));
        self.tiers.iter().find(left).map(|tier| tier.standing.rank())
    }

    /// Whether a request belongs to one server, and waits for it where others are free: its key is
    /// hashed, and nothing says that it may spill over.
    #[must_use]
    pub fn sticks(&self, head: Option<head::Request<'_>>, client: Option<IpAddr>) -> bool {
        let Policy { balance, bound } = &self.policy;
        balance.hashes() && bound.is_none() && key::of(balance, head, client).is_some()
    }

    /// How a server is picked within a tier.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Best first; none without members.
    #[must_use]
    pub fn tiers(&self) -> &[Tier] {
        &self.tiers
    }

    /// Names by index.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether there is a server that may get a request, if only as the last resort.
    #[must_use]
    pub const fn has_servers(&self) -> bool {
        !self.tiers.is_empty()
    }

    /// Whether somebody better than unwell was not tried.
    #[must_use]
    pub fn has_others(&self, tried: impl Fn(usize) -> bool) -> bool {
        let better = self.tiers.iter().filter(|tier| tier.standing < Standing::Unwell);
        better.flat_map(|tier| &tier.members).any(|(index, _)| !tried(*index))
    }
}
