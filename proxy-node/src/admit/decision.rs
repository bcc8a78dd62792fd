//! What the rules say of a request.

use std::{net::IpAddr, sync::Arc};

/// What the rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Decided(Decision),
    /// A rule asks for the addresses of the destination: resolve the host and ask again.
    NeedsAddresses,
}

/// So many addresses of a name are looked at.
pub const MOST_ADDRESSES: usize = 128;

impl Answer {
    /// Decided, and let through.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Decided(Decision { allowed: true, .. }))
    }
}

/// The decision, and the rule that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The request may go on.
    pub allowed: bool,
    /// Index of the rule; `None` when none matched.
    pub rule: Option<usize>,
    /// The addresses for which the rule matched, where it was asked with any: the request may go to
    /// these and to no other.
    pub among: Among,
}

impl Decision {
    /// Of the addresses that it was made of, those that the request may go to.
    #[must_use]
    pub fn narrow(self, addresses: Arc<[IpAddr]>) -> Arc<[IpAddr]> {
        if self.among.is_all(addresses.len()) {
            addresses
        } else {
            self.among.of(&addresses).into()
        }
    }
}

/// Some of the addresses of a question, by their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Among(u128);

impl Among {
    /// All of them.
    pub const ALL: Self = Self(u128::MAX);

    /// The first `count`.
    const fn first(count: usize) -> Self {
        if count >= MOST_ADDRESSES { Self::ALL } else { Self((1 << count) - 1) }
    }

    /// Those of these that `holds` says.
    pub(super) fn filter(self, addresses: &[IpAddr], holds: impl Fn(IpAddr) -> bool) -> Self {
        let places = addresses.iter().take(MOST_ADDRESSES).enumerate();
        let kept = places.filter(|(place, address)| self.0 & (1 << place) != 0 && holds(**address));
        Self(kept.fold(0, |mask, (place, _)| mask | (1 << place)))
    }

    /// Whether these are none.
    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Picks them out.
    #[must_use]
    pub fn of(self, addresses: &[IpAddr]) -> Vec<IpAddr> {
        let places = addresses.iter().take(MOST_ADDRESSES).enumerate();
        places
            .filter(|(place, _)| self.0 & (1 << place) != 0)
            .map(|(_, address)| *address)
            .collect()
    }

    /// Whether these are all of so many.
    #[must_use]
    pub const fn is_all(self, count: usize) -> bool {
        count <= MOST_ADDRESSES && self.0 & Self::first(count).0 == Self::first(count).0
    }
}
