//! What can be worked out once for all picks among the servers of one backend.

use cluster_config::document::balancer::Balance;

use crate::standing::Standing;

/// What picking needs to know of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name in the backend: what stays the same from plan to plan.
    pub name: String,
    /// The tier it is in.
    pub standing: Standing,
    /// Its share within the tier.
    pub weight: u32,
}

/// Servers of one standing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Theirs.
    pub standing: Standing,
    /// Index and weight of each, by index; at least one.
    pub members: Vec<(usize, u32)>,
}

/// The servers of one backend, ready to be picked from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    balance: Balance,
    names: Vec<String>,
    tiers: Vec<Tier>,
}

impl Plan {
    /// For these servers, which are known by their index from now on.
    #[must_use]
    pub fn build(balance: Balance, candidates: Vec<Candidate>) -> Self {
        let tier = |standing| {
            let inside = candidates.iter().enumerate().filter(|(_, it)| it.standing == standing);
            Tier { standing, members: inside.map(|(index, it)| (index, it.weight)).collect() }
        };
        let tiers =
            Standing::TIERS.into_iter().map(tier).filter(|it| !it.members.is_empty()).collect();
        Self { balance, tiers, names: candidates.into_iter().map(|it| it.name).collect() }
    }

    /// How a server is picked within a tier.
    #[must_use]
    pub const fn balance(&self) -> Balance {
        self.balance
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
