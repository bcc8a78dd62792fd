//! A worker's connections of clients, by client: who has how many, and which of them goes first when there are too many.
//!
//! What a connection is doing is not written down here, which would cost every request something: its reading deadline says so. One that waits
//! for a request ([`Kind::Idle`]) can be closed without harm, one that waits for the rest of a head ([`Kind::Head`]) comes next, the oldest
//! first; busy ones are never touched.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use crate::clients::{Allowance, Clients, Prefix, UNFINISHED_IN_ALL};
use crate::wheel::{Kind, Wheel};

/// Of a client's connections, one of so many is closed at once: looking for them costs more than closing them.
const AT_ONCE: usize = 64;
const NONE: u32 = u32::MAX;

struct Member {
    client: Prefix,
    /// What its client may have.
    allowance: Arc<Allowance>,
    /// Its reading deadline in the wheel.
    timer: u32,
    held: u32,
    prev: u32,
    next: u32,
}

#[derive(Default)]
struct Group {
    first: u32,
    count: u32,
    held: u64,
}

/// The members as a slab of lists, one list for each client.
#[derive(Default)]
struct Members {
    slab: Vec<Option<Member>>,
    free: Vec<u32>,
    groups: HashMap<Prefix, Group>,
}

impl Members {
    fn at(&mut self, key: u32) -> Option<&mut Member> {
        self.slab.get_mut(key as usize)?.as_mut()
    }

    fn insert(&mut self, client: Prefix, timer: u32, allowance: &Arc<Allowance>) -> u32 {
        let key = self.free.pop().unwrap_or_else(|| {
            self.slab.push(None);
            (self.slab.len() - 1) as u32
        });
        let group = self.groups.entry(client).or_insert(Group { first: NONE, count: 0, held: 0 });
        let next = std::mem::replace(&mut group.first, key);
        group.count += 1;
        if let Some(next) = self.at(next) {
            next.prev = key;
        }
        self.slab[key as usize] = Some(Member { client, allowance: Arc::clone(allowance), timer, held: 0, prev: NONE, next });
        key
    }

    /// Returns whose it was, and what it held.
    fn remove(&mut self, key: u32) -> Option<(Prefix, u32)> {
        let Member { client, held, prev, next, .. } = self.slab.get_mut(key as usize)?.take()?;
        self.free.push(key);
        if let Some(next) = self.at(next) {
            next.prev = prev;
        }
        if let Some(prev) = self.at(prev) {
            prev.next = next;
        }
        let group = self.groups.get_mut(&client)?;
        if group.first == key {
            group.first = next;
        }
        group.count -= 1;
        group.held = group.held.saturating_sub(u64::from(held));
        if group.count == 0 {
            self.groups.remove(&client);
        }
        Some((client, held))
    }

    /// It holds so much now. Returns whose it is, and what it held before.
    fn hold(&mut self, key: u32, now: u32) -> Option<(Prefix, u32)> {
        let member = self.at(key)?;
        let (client, before) = (member.client, std::mem::replace(&mut member.held, now));
        let group = self.groups.get_mut(&client)?;
        group.held = (group.held + u64::from(now)).saturating_sub(u64::from(before));
        Some((client, before))
    }

    /// The newest first.
    fn of(&self, client: Prefix) -> impl Iterator<Item = (u32, u32)> {
        let mut at = self.groups.get(&client).map_or(NONE, |group| group.first);
        std::iter::from_fn(move || {
            let (key, member) = (at, self.slab.get(at as usize)?.as_ref()?);
            at = member.next;
            Some((key, member.timer))
        })
    }

    /// Who has the most connections here, and how many.
    fn heaviest(&self) -> Option<(Prefix, u32)> {
        self.groups.iter().map(|(client, group)| (*client, group.count)).max_by_key(|(client, count)| (*count, *client))
    }

    /// Whose unfinished requests take the most here.
    fn largest(&self) -> Option<Prefix> {
        let (client, group) = self.groups.iter().max_by_key(|(client, group)| (group.held, **client))?;
        (group.held > 0).then_some(*client)
    }
}

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

/// One connection's place among those of its client; [`NOBODY`] where it is not a client's.
pub(crate) type Place = u32;
/// See [`Place`].
pub(crate) const NOBODY: Place = NONE;

/// One worker's crowd.
pub(crate) struct Crowd {
    clients: Arc<Clients>,
    wheel: Wheel,
    members: RefCell<Members>,
}

impl Crowd {
    pub(super) fn new(clients: Arc<Clients>, wheel: Wheel) -> Self {
        Self { clients, wheel, members: RefCell::default() }
    }

    /// Admits a connection of a client of which there may be `most`, when need be in place of an older one. False: it may not stay.
    pub(super) fn enter(&self, client: Prefix, most: u32) -> bool {
        if self.clients.enter(client, most).is_ok() {
            return true;
        }
        // Those that are closed are counted until they have ended, which they do before anything else happens on this thread.
        let admitted = self.close(client, Closing::Any) && self.clients.enter(client, u32::MAX).is_ok();
        if !admitted {
            self.clients.refused(client);
        }
        admitted
    }

    /// There is no descriptor left for a client that comes: takes one from the client that has the most, unless that is no worse than this one.
    pub(super) fn make_way(&self, client: Prefix) -> bool {
        let (heaviest, own) = {
            let members = self.members.borrow();
            (members.heaviest(), members.groups.get(&client).map_or(0, |group| group.count))
        };
        heaviest.is_some_and(|(other, count)| other != client && count > own + 1 && self.close(other, Closing::Any))
    }

    /// The place of a connection that was admitted.
    pub(crate) fn place(&self, client: Prefix, timer: u32, allowance: &Arc<Allowance>) -> Place {
        self.members.borrow_mut().insert(client, timer, allowance)
    }

    /// It has ended.
    pub(crate) fn leave(&self, place: Place) {
        let left = self.members.borrow_mut().remove(place);
        if let Some((client, held)) = left {
            self.clients.leave(client, held);
        }
    }

    /// The connection waits for the rest of something, and holds so many bytes of it. What is too much is closed, the oldest first.
    pub(crate) fn hold(&self, place: Place, bytes: usize) {
        let Some((client, of_client, of_all)) = self.account(place, bytes) else { return };
        if of_client > self.unfinished_of(place) {
            self.close(client, Closing::Unfinished);
        } else if of_all > UNFINISHED_IN_ALL {
            let largest = self.members.borrow().largest();
            if let Some(client) = largest {
                self.close(client, Closing::Unfinished);
            }
        }
    }

    /// As [`hold`](Self::hold), for what can be done without; false, and nothing is counted, when that would be too much.
    pub(crate) fn may_hold(&self, place: Place, bytes: usize) -> bool {
        let before = self.held(place);
        let Some((_, of_client, of_all)) = self.account(place, bytes) else { return true };
        let fits = of_client <= self.unfinished_of(place) && of_all <= UNFINISHED_IN_ALL;
        if !fits {
            self.account(place, before as usize);
        }
        fits
    }

    /// It holds nothing any more.
    pub(crate) fn release(&self, place: Place) {
        if self.held(place) > 0 {
            self.account(place, 0);
        }
    }

    fn held(&self, place: Place) -> u32 {
        self.members.borrow_mut().at(place).map_or(0, |member| member.held)
    }

    fn unfinished_of(&self, place: Place) -> u64 {
        self.members.borrow_mut().at(place).map_or(u64::MAX, |member| member.allowance.unfinished())
    }

    /// Whose it is, what that client holds now, and what all do.
    fn account(&self, place: Place, bytes: usize) -> Option<(Prefix, u64, u64)> {
        let now = u32::try_from(bytes).unwrap_or(u32::MAX);
        let (client, before) = self.members.borrow_mut().hold(place, now)?;
        let (of_client, of_all) = self.clients.hold(client, before, now);
        Some((client, of_client, of_all))
    }

    /// Closes the connections of a client that go first; false when there are none on this worker.
    fn close(&self, client: Prefix, closing: Closing) -> bool {
        let waiting = {
            let members = self.members.borrow();
            let waiting = |(place, timer)| self.wheel.waiting(timer).map(|(kind, due)| Waiting { place, timer, kind, due });
            members.of(client).filter_map(waiting).collect()
        };
        let victims = victims(waiting, closing);
        for victim in &victims {
            self.wheel.fire(victim.timer, Kind::Crowded);
            // It is as good as gone: what it held must not have another one closed.
            self.release(victim.place);
        }
        let idle = victims.iter().filter(|victim| victim.kind == Kind::Idle).count();
        if !victims.is_empty() {
            self.clients.displaced(client, idle as u64, (victims.len() - idle) as u64);
        }
        !victims.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> Prefix {
        Prefix::of([192, 0, 2, last].into())
    }

    #[test]
    fn members_come_and_go_in_any_order() {
        let (mut members, allowance) = (Members::default(), Arc::default());
        let keys: Vec<u32> = (0..6).map(|timer| members.insert(client((timer % 2) as u8), timer, &allowance)).collect();
        members.remove(keys[2]);
        members.remove(keys[1]);
        let timers = |members: &Members, of| members.of(client(of)).map(|(_, timer)| timer).collect::<Vec<_>>();
        assert_eq!((timers(&members, 0), timers(&members, 1)), (vec![4, 0], vec![5, 3]));
        assert_eq!(members.insert(client(1), 9, &allowance), keys[1], "a free place is used again");
        assert_eq!(members.heaviest(), Some((client(1), 3)));
        for key in [keys[5], keys[1], keys[3]] {
            members.remove(key);
        }
        assert_eq!((timers(&members, 1), members.heaviest()), (vec![], Some((client(0), 2))));
        assert_eq!((members.largest(), members.remove(NOBODY), members.remove(keys[3])), (None, None, None));
        assert_eq!((members.hold(keys[0], 10), members.hold(keys[0], 4)), (Some((client(0), 0)), Some((client(0), 10))));
        assert_eq!((members.largest(), members.remove(keys[0])), (Some(client(0)), Some((client(0), 4))));
        assert_eq!(members.largest(), None);
    }

    #[test]
    fn what_idles_goes_before_half_heads_and_the_oldest_before_others() {
        let it = |timer, kind, due| Waiting { place: timer, timer, kind, due };
        let timers = |waiting: Vec<Waiting>, closing| victims(waiting, closing).iter().map(|it| it.timer).collect::<Vec<_>>();
        let waiting = vec![it(1, Kind::Idle, 30), it(2, Kind::Head, 10), it(3, Kind::Idle, 20), it(4, Kind::Body, 5), it(5, Kind::Head, 9)];
        assert_eq!(timers(waiting.clone(), Closing::Any), [3]);
        assert_eq!(timers(waiting, Closing::Unfinished), [5]);
        assert_eq!(timers(vec![it(4, Kind::Body, 5)], Closing::Any), []);
        assert_eq!(timers(vec![it(2, Kind::Idle, 7), it(1, Kind::Idle, 7)], Closing::Any), [1], "the one that came first");
        let many: Vec<_> = (0..256).map(|timer| it(timer, Kind::Head, 1000 - u64::from(timer))).collect();
        assert_eq!(timers(many, Closing::Any), [255, 254, 253, 252]);
    }
}
