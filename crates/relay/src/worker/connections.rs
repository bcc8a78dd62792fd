//! The client connections of a worker: how many each client has, and which are closed first when
//! there are too many.
//!
//! The state of a connection is read from the deadline that it waits for, because keeping it here
//! would cost every request something. A connection that waits for a request ([`Kind::Idle`]) is
//! closed first, as that harms nobody; then one that waits for the rest of a head ([`Kind::Head`]),
//! the oldest first. Busy connections are never closed. A client is held to its own share first,
//! then to the share of its network.

mod members;

use std::cell::RefCell;
use std::sync::Arc;

use self::members::{AT_ONCE, Left, Members};
pub(crate) use self::members::{NOBODY, Place};
use crate::clients::{Allowance, Clients, Most, Prefix, Source, UNFINISHED_IN_ALL};
use crate::clock;
use crate::pace::Slowest;
use crate::wheel::{Kind, Wheel};

/// What may be closed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    /// What idles; where nothing does, the oldest half heads.
    Any,
    /// The oldest half heads only.
    Unfinished,
}

/// A connection that waits for its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waiting {
    place: Place,
    timer: u32,
    kind: Kind,
    due: u64,
}

/// Which of these go. The newest connection comes first among them.
fn victims(mut waiting: Vec<Waiting>, closing: Closing) -> Vec<Waiting> {
    let most = (waiting.len() / AT_ONCE).max(1);
    let kind = match closing {
        Closing::Any if waiting.iter().any(|it| it.kind == Kind::Idle) => Kind::Idle,
        _ => Kind::Head,
    };
    waiting.retain(|it| it.kind == kind);
    // All of a kind have about the same patience: what is due first has waited longest.
    waiting.reverse();
    waiting.sort_by_key(|it| it.due);
    waiting.truncate(most);
    waiting
}

/// Bytes of unfinished requests.
struct Held {
    client: u64,
    network: u64,
    all: u64,
}

/// The connections of clients on one worker.
pub(crate) struct Connections {
    clients: Arc<Clients>,
    wheel: Wheel,
    members: RefCell<Members>,
}

impl Connections {
    pub(super) fn new(clients: Arc<Clients>, wheel: Wheel) -> Self {
        Self { clients, wheel, members: RefCell::default() }
    }

    /// What the clients of all workers have.
    pub(crate) fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Admits a connection of a client of which, and of whose network, there may be so many; when
    /// need be in place of an older one. False: it may not stay.
    pub(crate) fn enter(&self, source: &Source, most: Most, listener: &Allowance) -> bool {
        let rates = listener.arrivals();
        if rates.is_bound() && !self.clients.may_come(source, rates, clock::steady()) {
            return false;
        }
        self.enter_beside(source, most, listener)
    }

    /// The same of what comes within a connection, and has no rate of its own.
    pub(super) fn enter_beside(&self, source: &Source, most: Most, listener: &Allowance) -> bool {
        if !self.clients.reserve(listener) {
            return false;
        }
        let entered = self.enter_share(source, most);
        if !entered {
            self.clients.unreserve(listener);
        }
        entered
    }

    fn enter_share(&self, source: &Source, most: Most) -> bool {
        let Some(in_place) = self.enter_as(source.client, most.client) else { return false };
        // One that is closed for it was one of its network too, and is counted until it has ended.
        let most = if in_place { u32::MAX } else { most.network };
        if self.enter_as(source.network, most).is_none() {
            self.clients.leave(source.client, 0, false);
            return false;
        }
        true
    }

    /// Counts one more of a client or a network. Returns whether that was in place of an older one;
    /// none: it may not be.
    fn enter_as(&self, who: Prefix, most: u32) -> Option<bool> {
        if self.clients.enter(who, most).is_ok() {
            return Some(false);
        }
        // Those that are closed are counted until they have ended, which they do before anything
        // else happens on this thread.
        if self.close(who, Closing::Any) && self.clients.enter(who, u32::MAX).is_ok() {
            return Some(true);
        }
        self.clients.refused(who);
        None
    }

    /// Frees a descriptor for a new client when none is left: closes a connection of the client
    /// that has the most, or else of the network that has the most, unless that one has no more
    /// than the new client.
    pub(super) fn make_way(&self, source: &Source) -> bool {
        source.levels().into_iter().any(|own| {
            let (heaviest, own_count) = {
                let members = self.members.borrow();
                (members.heaviest(own.is_network()), members.count(own))
            };
            heaviest.is_some_and(|(other, count)| {
                other != own && count > own_count + 1 && self.close(other, Closing::Any)
            })
        })
    }

    /// The place of a connection that was admitted.
    pub(crate) fn place(&self, source: Source, timer: u32, allowance: &Arc<Allowance>) -> Place {
        self.members.borrow_mut().insert(source, timer, allowance)
    }

    /// Whose it is, and what they may have.
    pub(super) fn whose(&self, place: Place) -> Option<(Source, Arc<Allowance>)> {
        self.members.borrow().whose(place)
    }

    /// It has ended.
    pub(crate) fn leave(&self, place: Place) {
        let left = self.members.borrow_mut().remove(place);
        if let Some(Left { source, allowance, held, waits }) = left {
            for who in source.levels() {
                self.clients.leave(who, held, waits);
            }
            self.clients.hold_in_all(held, 0);
            self.clients.unreserve(&allowance);
        }
    }

    /// The connection waits for its client to take what is sent; `paced`: which it has to do at
    /// some pace.
    ///
    /// # Errors
    /// Too many of its client's do (`Displaced`), or it is too slow (`Write`).
    pub(crate) fn wait(&self, place: Place, paced: bool) -> Result<(), Kind> {
        let begun = self.members.borrow_mut().wait(place, true);
        if let Some((source, allowance)) = begun
            && !self.clients.wait(&source, allowance.waiting(), clock::steady())
        {
            self.members.borrow_mut().wait(place, false);
            return Err(Kind::Displaced);
        }
        if paced && !self.members.borrow_mut().pace(place, clock::steady()) {
            return Err(Kind::Write);
        }
        Ok(())
    }

    /// Its client has taken so many bytes.
    pub(crate) fn took(&self, place: Place, n: usize) {
        let over = {
            let mut members = self.members.borrow_mut();
            members.took(place, n, clock::steady);
            members.wait(place, false)
        };
        if let Some((source, _)) = over {
            self.clients.wait_is_over(&source.levels());
        }
    }

    /// How slow the body of a request may come on a connection.
    pub(crate) fn slowest_request(&self, place: Place) -> Slowest {
        self.members.borrow().allowance(place).map_or(Slowest::ANY, |it| it.slowest_request())
    }

    /// The connection waits for the rest of something, and holds so many bytes of it. What is too
    /// much is closed, the oldest first.
    pub(crate) fn hold(&self, place: Place, bytes: usize) {
        let Some((source, held)) = self.account(place, bytes) else { return };
        let (of_client, of_network) = self.members.borrow().unfinished(place);
        let too_much = if held.client > of_client {
            Some(source.client)
        } else if held.network > of_network {
            Some(source.network)
        } else if held.all > UNFINISHED_IN_ALL {
            self.members.borrow().largest()
        } else {
            None
        };
        if let Some(who) = too_much {
            self.close(who, Closing::Unfinished);
        }
    }

    /// As [`hold`](Self::hold), for what can be done without; false, and nothing is counted, when
    /// that would be too much.
    pub(crate) fn may_hold(&self, place: Place, bytes: usize) -> bool {
        let before = self.members.borrow().held(place);
        let Some((_, held)) = self.account(place, bytes) else { return true };
        let (of_client, of_network) = self.members.borrow().unfinished(place);
        let fits =
            held.client <= of_client && held.network <= of_network && held.all <= UNFINISHED_IN_ALL;
        if !fits {
            self.account(place, before as usize);
        }
        fits
    }

    /// It holds nothing any more.
    pub(crate) fn release(&self, place: Place) {
        if self.members.borrow().held(place) > 0 {
            self.account(place, 0);
        }
    }

    /// Whose it is, and what is held now.
    fn account(&self, place: Place, bytes: usize) -> Option<(Source, Held)> {
        let now = u32::try_from(bytes).unwrap_or(u32::MAX);
        let (source, before) = self.members.borrow_mut().hold(place, now)?;
        let [client, network] = source.levels().map(|who| self.clients.hold(who, before, now));
        Some((source, Held { client, network, all: self.clients.hold_in_all(before, now) }))
    }

    /// Closes the connections of a client or a network that go first; false when there are none on
    /// this worker.
    fn close(&self, who: Prefix, closing: Closing) -> bool {
        let now = self.wheel.now();
        let waiting = {
            let members = self.members.borrow();
            // What is held has to be given back; who comes can be turned away.
            if closing == Closing::Any && !members.worth_looking(who, now) {
                return false;
            }
            let waiting = |(place, timer)| {
                self.wheel.waiting(timer).map(|(kind, due)| Waiting { place, timer, kind, due })
            };
            members.of(who).filter_map(waiting).collect()
        };
        let victims = victims(waiting, closing);
        if closing == Closing::Any {
            self.members.borrow_mut().looked(who, now, victims.len());
        }
        for victim in &victims {
            self.wheel.fire(victim.timer, Kind::Displaced);
            // It is as good as gone: what it held must not have another one closed.
            self.release(victim.place);
        }
        let idle = victims.iter().filter(|victim| victim.kind == Kind::Idle).count();
        if !victims.is_empty() {
            self.clients.displaced(who, idle as u64, (victims.len() - idle) as u64);
        }
        !victims.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_idles_goes_before_half_heads_and_the_oldest_before_others() {
        let it = |timer, kind, due| Waiting { place: timer, timer, kind, due };
        let timers = |waiting: Vec<Waiting>, closing| {
            victims(waiting, closing).iter().map(|it| it.timer).collect::<Vec<_>>()
        };
        let waiting = vec![
            it(1, Kind::Idle, 30),
            it(2, Kind::Head, 10),
            it(3, Kind::Idle, 20),
            it(4, Kind::Body, 5),
            it(5, Kind::Head, 9),
        ];
        assert_eq!(timers(waiting.clone(), Closing::Any), [3]);
        assert_eq!(timers(waiting, Closing::Unfinished), [5]);
        // By how long they have waited, not by when they came.
        let waiting = vec![it(1, Kind::Idle, 10), it(2, Kind::Idle, 30), it(3, Kind::Idle, 20)];
        assert_eq!(timers(waiting, Closing::Any), [1]);
        assert_eq!(timers(vec![it(4, Kind::Body, 5)], Closing::Any), []);
        assert_eq!(
            timers(vec![it(2, Kind::Idle, 7), it(1, Kind::Idle, 7)], Closing::Any),
            [1],
            "the one that came first"
        );
        let many: Vec<_> =
            (0..256).map(|timer| it(timer, Kind::Head, 1000 - u64::from(timer))).collect();
        assert_eq!(timers(many, Closing::Any), [255, 254, 253, 252]);
    }
}
