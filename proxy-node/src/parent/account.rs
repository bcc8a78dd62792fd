//! The parents that one request has been to, and what a worker keeps of all of its requests.

use std::{
    cell::{Cell, RefCell},
    net::IpAddr,
    sync::Arc,
};

use dataplane::hash::hash;
use relay::retry::Budget;

use super::{
    list::Parents,
    peer::{MOST, Parent},
    select::Seed,
};
use crate::request::Destination;

/// Of 100 requests to parents so many may go to another one after an answer; those that were worth
/// it do not count.
const RETRIES: u32 = 20;

/// What a worker keeps of its requests to parents.
#[derive(Debug)]
pub struct Account {
    turn: Cell<u32>,
    pub(super) retries: RefCell<Budget>,
}

impl Default for Account {
    fn default() -> Self {
        Self { turn: Cell::default(), retries: RefCell::new(Budget::new(RETRIES)) }
    }
}

impl Account {
    /// A request of a client for a URL (for an authority, of CONNECT) begins, which may go to
    /// these; nobody has been asked.
    pub fn begin(&self, parents: &Parents, url: &str, client: IpAddr) -> Tried {
        if parents.is_empty() {
            return Tried::default();
        }
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        self.retries.borrow_mut().deposit();
        Tried { seed: seed(turn, url, client), ..Tried::default() }
    }
}

fn seed(turn: u32, url: &str, client: IpAddr) -> Seed {
    let source = match client.to_canonical() {
        IpAddr::V4(address) => hash(&address.octets()),
        IpAddr::V6(address) => hash(&address.octets()),
    };
    Seed { turn, url: hash(url.as_bytes()), source }
}

/// The parents that one request has been to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    seed: Seed,
    asked: u64,
    /// Those of them that answered in vain, and the status of the last one.
    in_vain: u64,
    status: u16,
}

impl Tried {
    /// The parent to ask now, of those that have not been asked.
    pub fn next<'a>(&mut self, parents: &'a Parents) -> Option<(usize, &'a Arc<Parent>)> {
        let place = parents.next(self.seed, |place| !self.has(place))?;
        self.asked |= 1 << place;
        Some((place, &parents[place]))
    }

    /// It may be asked once more: it was on a connection that was just being closed.
    pub fn forget(&mut self, index: usize) {
        self.asked &= !bit(index);
    }

    /// Whether somebody is left to ask.
    #[must_use]
    pub fn leaves_any(&self, parents: &Parents) -> bool {
        (0..parents.len()).any(|index| !self.has(index))
    }

    /// The parent at a place has answered in vain.
    pub fn note_in_vain(&mut self, parents: &Parents, index: usize, status: u16) {
        parents[index].answered_in_vain();
        self.in_vain |= bit(index);
        self.status = status;
    }

    /// A parent has answered, and not in vain: those before it that did are outdone, and to ask
    /// another one was worth it.
    pub fn settle(&mut self, parents: &Parents, destination: &Destination, account: &Account) {
        if self.in_vain == 0 {
            return;
        }
        // One site, whatever its port.
        let site = hash(destination.host.as_bytes()).max(1);
        for (_, parent) in
            parents.iter().enumerate().filter(|(place, _)| self.in_vain & bit(*place) != 0)
        {
            parent.outdone(self.status, site);
            account.retries.borrow_mut().give_back();
        }
        self.in_vain = 0;
    }

    const fn has(self, index: usize) -> bool {
        self.asked & bit(index) != 0
    }
}

/// Of a place among the parents; of one that there cannot be, none.
const fn bit(place: usize) -> u64 {
    if place < MOST { 1 << place } else { 0 }
}

/// The order in which a request of a client for a URL that comes now would ask them, where it is
/// not their turn that decides.
#[must_use]
pub fn order<'a>(parents: &'a Parents, url: &str, client: IpAddr) -> Vec<&'a Arc<Parent>> {
    let mut tried = Tried { seed: seed(0, url, client), ..Tried::default() };
    std::iter::from_fn(|| tried.next(parents).map(|(_, parent)| parent)).collect()
}
