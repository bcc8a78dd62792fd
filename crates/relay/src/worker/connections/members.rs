//! The members as a slab of lists: one list for each client, one for each network.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::clients::{Allowance, Prefix, Source};
use crate::pace::Pace;

/// Of the connections of a client or a network, one of so many is closed at once: looking for them
/// costs more than closing them.
pub(super) const AT_ONCE: usize = 64;
/// So many are looked at in one tick of the wheel, on average, while nothing much is found.
const PER_TICK: u32 = 1024;
const NONE: u32 = u32::MAX;

/// One connection's place; [`NOBODY`] where it is not a client's.
pub(crate) type Place = u32;
/// See [`Place`].
pub(crate) const NOBODY: Place = NONE;

#[derive(Clone, Copy)]
struct Link {
    prev: u32,
    next: u32,
}

struct Member {
    /// What its client may have.
    allowance: Arc<Allowance>,
    /// Its reading deadline in the wheel.
    timer: u32,
    held: u32,
    /// It waits for its client to take something.
    waits: bool,
    /// How that one keeps up, since it was waited for.
    pace: Option<Box<Pace>>,
    too_slow: bool,
    /// Its client and its network among the groups.
    groups: [u32; 2],
    /// In the lists of its client and of its network.
    links: [Link; 2],
}

/// A connection that has ended.
pub(super) struct Left {
    pub(super) source: Source,
    pub(super) allowance: Arc<Allowance>,
    pub(super) held: u32,
    pub(super) waits: bool,
}

/// What a client or a network has here.
struct Group {
    of: Prefix,
    first: u32,
    count: u32,
    held: u64,
    /// Looking for one to close is not worth it before this tick.
    look_from: u64,
}

#[derive(Default)]
pub(super) struct Members {
    slab: Vec<Option<Member>>,
    free: Vec<u32>,
    groups: Vec<Group>,
    free_groups: Vec<u32>,
    /// Where the group of each client and network is that has connections.
    known: HashMap<Prefix, u32, RandomState>,
}

impl Members {
    fn at(&mut self, key: u32) -> Option<&mut Member> {
        self.slab.get_mut(key as usize)?.as_mut()
    }

    fn group(&self, of: Prefix) -> Option<&Group> {
        self.groups.get(*self.known.get(&of)? as usize)
    }

    /// The group of somebody who may have no connection yet.
    fn join(&mut self, of: Prefix) -> u32 {
        let Self { groups, free_groups, known, .. } = self;
        *known.entry(of).or_insert_with(|| {
            let group = Group { of, first: NONE, count: 0, held: 0, look_from: 0 };
            if let Some(free) = free_groups.pop() {
                groups[free as usize] = group;
                return free;
            }
            groups.push(group);
            (groups.len() - 1) as u32
        })
    }

    pub(super) fn insert(
        &mut self,
        source: Source,
        timer: u32,
        allowance: &Arc<Allowance>,
    ) -> Place {
        let key = self.free.pop().unwrap_or_else(|| {
            self.slab.push(None);
            (self.slab.len() - 1) as u32
        });
        let mut links = [Link { prev: NONE, next: NONE }; 2];
        let groups = source.levels().map(|of| self.join(of));
        for (level, group) in groups.into_iter().enumerate() {
            let group = &mut self.groups[group as usize];
            let next = std::mem::replace(&mut group.first, key);
            group.count += 1;
            links[level].next = next;
            if let Some(next) = self.at(next) {
                next.links[level].prev = key;
            }
        }
        let allowance = Arc::clone(allowance);
        self.slab[key as usize] = Some(Member {
            allowance,
            timer,
            held: 0,
            waits: false,
            pace: None,
            too_slow: false,
            groups,
            links,
        });
        key
    }

    /// Whose it is, and what they may have.
    pub(super) fn whose(&self, key: Place) -> Option<(Source, Arc<Allowance>)> {
        let member = self.slab.get(key as usize)?.as_ref()?;
        Some((self.source(member.groups), Arc::clone(&member.allowance)))
    }

    fn source(&self, groups: [u32; 2]) -> Source {
        let [client, network] = groups.map(|group| self.groups[group as usize].of);
        Source { client, network }
    }

    /// Returns what it had.
    pub(super) fn remove(&mut self, key: Place) -> Option<Left> {
        let Member { allowance, held, waits, groups, links, .. } =
            self.slab.get_mut(key as usize)?.take()?;
        let source = self.source(groups);
        self.free.push(key);
        for (level, number) in groups.into_iter().enumerate() {
            let Link { prev, next } = links[level];
            if let Some(next) = self.at(next) {
                next.links[level].prev = prev;
            }
            if let Some(prev) = self.at(prev) {
                prev.links[level].next = next;
            }
            let group = &mut self.groups[number as usize];
            if group.first == key {
                group.first = next;
            }
            group.count -= 1;
            group.held = group.held.saturating_sub(u64::from(held));
            if group.count == 0 {
                self.known.remove(&group.of);
                self.free_groups.push(number);
            }
        }
        Some(Left { source, allowance, held, waits })
    }

    /// Notes whether it waits for its client. Whose it is and what that one may have, if that is
    /// new.
    pub(super) fn wait(&mut self, key: Place, waits: bool) -> Option<(Source, Arc<Allowance>)> {
        let member = self.at(key).filter(|member| member.waits != waits)?;
        member.waits = waits;
        let (groups, allowance) = (member.groups, Arc::clone(&member.allowance));
        Some((self.source(groups), allowance))
    }

    /// How its client keeps up is looked at while it waits. False: it was too slow.
    pub(super) fn pace(&mut self, key: Place, now: Duration) -> bool {
        let Some(member) = self.at(key) else { return true };
        if member.pace.is_none() {
            member.pace = Pace::new(member.allowance.slowest_response()).map(Box::new);
        }
        if let Some(pace) = &mut member.pace {
            pace.waits(now);
        }
        !member.too_slow
    }

    /// Its client has taken so many bytes.
    pub(super) fn took(&mut self, key: Place, n: usize, now: impl FnOnce() -> Duration) {
        let Some(member) = self.at(key) else { return };
        if let Some(pace) = &mut member.pace {
            member.too_slow |= !pace.moved(n, now());
        }
    }

    /// What its client may have.
    pub(super) fn allowance(&self, key: Place) -> Option<&Arc<Allowance>> {
        Some(&self.slab.get(key as usize)?.as_ref()?.allowance)
    }

    /// It holds so much now. Returns whose it is, and what it held before.
    pub(super) fn hold(&mut self, key: Place, now: u32) -> Option<(Source, u32)> {
        let member = self.at(key)?;
        let groups = member.groups;
        let before = std::mem::replace(&mut member.held, now);
        for group in groups {
            let group = &mut self.groups[group as usize];
            group.held = (group.held + u64::from(now)).saturating_sub(u64::from(before));
        }
        Some((self.source(groups), before))
    }

    /// What it holds.
    pub(super) fn held(&self, key: Place) -> u32 {
        self.slab.get(key as usize).and_then(Option::as_ref).map_or(0, |member| member.held)
    }

    /// Bytes of unfinished requests that its client, and its network, may have.
    pub(super) fn unfinished(&self, key: Place) -> (u64, u64) {
        self.slab
            .get(key as usize)
            .and_then(Option::as_ref)
            .map_or((u64::MAX, u64::MAX), |member| member.allowance.unfinished())
    }

    /// How many connections there are of a client or a network.
    pub(super) fn count(&self, of: Prefix) -> u32 {
        self.group(of).map_or(0, |group| group.count)
    }

    /// Those of a client or a network, the newest first: their places and timers.
    pub(super) fn of(&self, of: Prefix) -> impl Iterator<Item = (Place, u32)> {
        let (level, mut at) =
            (usize::from(of.is_network()), self.group(of).map_or(NONE, |group| group.first));
        std::iter::from_fn(move || {
            let (key, member) = (at, self.slab.get(at as usize)?.as_ref()?);
            at = member.links[level].next;
            Some((key, member.timer))
        })
    }

    /// Whether looking for some to close is worth it at this tick.
    pub(super) fn worth_looking(&self, of: Prefix, tick: u64) -> bool {
        self.group(of).is_none_or(|group| group.look_from <= tick)
    }

    /// So many were found. Where that was few for the work, the next look has to wait: who comes
    /// again and again while all are busy would have each of them looked at every time. Those that
    /// were closed a moment ago and have not ended are no reason to wait.
    pub(super) fn looked(&mut self, of: Prefix, tick: u64, found: usize) {
        if let Some(group) = self.known.get(&of)
            && let Some(group) = self.groups.get_mut(*group as usize)
            && found < group.count as usize / AT_ONCE / 2
        {
            group.look_from = tick + 1 + u64::from(group.count / PER_TICK);
        }
    }

    /// Which client, or which network, has the most connections here.
    pub(super) fn heaviest(&self, networks: bool) -> Option<(Prefix, u32)> {
        let groups = self.groups.iter().filter(|it| it.count > 0 && it.of.is_network() == networks);
        groups.map(|group| (group.of, group.count)).max_by_key(|(of, count)| (*count, *of))
    }

    /// Which client's unfinished requests take the most here.
    pub(super) fn largest(&self) -> Option<Prefix> {
        let clients = self.groups.iter().filter(|it| it.count > 0 && !it.of.is_network());
        let largest = clients.max_by_key(|group| (group.held, group.of))?;
        (largest.held > 0).then_some(largest.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(last: u8) -> Source {
        Allowance::default().source([192, 0, 2, last].into())
    }

    #[test]
    fn members_come_and_go_in_any_order() {
        let (mut members, allowance) = (Members::default(), Arc::default());
        let client = |last| source(last).client;
        let keys: Vec<u32> = (0..6)
            .map(|timer| members.insert(source((timer % 2) as u8), timer, &allowance))
            .collect();
        members.remove(keys[2]);
        members.remove(keys[1]);
        let timers =
            |members: &Members, of| members.of(of).map(|(_, timer)| timer).collect::<Vec<_>>();
        let network = source(0).network;
        assert_eq!(
            (timers(&members, client(0)), timers(&members, client(1)), timers(&members, network)),
            (vec![4, 0], vec![5, 3], vec![5, 4, 3, 0])
        );
        assert_eq!(members.insert(source(1), 9, &allowance), keys[1], "a free place is used again");
        assert_eq!(
            (members.heaviest(false), members.heaviest(true)),
            (Some((client(1), 3)), Some((network, 5)))
        );
        for key in [keys[5], keys[1], keys[3]] {
            members.remove(key);
        }
        assert_eq!((timers(&members, client(1)), timers(&members, network)), (vec![], vec![4, 0]));
        assert_eq!(
            (members.heaviest(false), members.count(client(1)), members.count(network)),
            (Some((client(0), 2)), 0, 2)
        );
        assert_eq!(
            (
                members.largest(),
                members.remove(NOBODY).is_none(),
                members.remove(keys[3]).is_none()
            ),
            (None, true, true)
        );
        assert_eq!(
            (members.hold(keys[0], 10), members.hold(keys[0], 4)),
            (Some((source(0), 0)), Some((source(0), 10)))
        );
        assert_eq!((members.held(keys[0]), members.group(network).map_or(0, |it| it.held)), (4, 4));
        assert_eq!(
            (members.largest(), members.remove(keys[0]).map(|it| (it.source, it.held))),
            (Some(client(0)), Some((source(0), 4)))
        );
        assert_eq!((members.largest(), members.group(network).map_or(0, |it| it.held)), (None, 0));
        members.remove(keys[4]);
        assert!(members.known.is_empty());
        assert_eq!(members.free_groups.len(), members.groups.len());
    }

    #[test]
    fn a_look_in_vain_is_not_repeated_at_once() {
        let (mut members, allowance) = (Members::default(), Arc::default());
        let (few, many) = (source(1), source(2));
        for timer in 0..127 {
            members.insert(few, timer, &allowance);
        }
        for timer in 0..2048 {
            members.insert(many, timer, &allowance);
        }
        for (who, found, ticks) in
            [(few.client, 0, 0), (many.client, 16, 0), (many.client, 15, 3), (many.network, 0, 3)]
        {
            members.looked(who, 100, found);
            let first = (100..200).find(|tick| members.worth_looking(who, *tick));
            assert_eq!(first, Some(100 + ticks), "{who}, {found} found");
        }
        assert!(members.worth_looking(source(3).client, 0));
    }
}
