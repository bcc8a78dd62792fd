//! The pure wheel: ticks in, wakers out.

use std::task::Waker;

use super::Kind;

pub(super) const SLOTS: usize = 4096;
const WORDS: usize = SLOTS / 64;
const NONE: u32 = u32::MAX;
/// Due never.
pub(super) const NEVER: u64 = u64::MAX;

struct Entry {
    /// The tick at which the timer expires.
    due: u64,
    /// The tick at which the slot that the entry is linked into comes round next.
    visit: u64,
    prev: u32,
    next: u32,
    linked: bool,
    fired: bool,
    used: bool,
    kind: Kind,
    waker: Option<Waker>,
}

/// The pure wheel: a slab of entries, doubly linked into slots by tick.
pub(super) struct Ring {
    entries: Vec<Entry>,
    free: Vec<u32>,
    slots: Box<[u32; SLOTS]>,
    occupied: [u64; WORDS],
    /// Everything up to and including this tick has been visited.
    now: u64,
}

impl Ring {
    pub(super) fn new() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            slots: Box::new([NONE; SLOTS]),
            occupied: [0; WORDS],
            now: 0,
        }
    }

    pub(super) fn insert(&mut self) -> u32 {
        let entry = Entry {
            due: NEVER,
            visit: 0,
            prev: NONE,
            next: NONE,
            linked: false,
            fired: false,
            used: true,
            kind: Kind::Other,
            waker: None,
        };
        match self.free.pop() {
            Some(key) => {
                self.entries[key as usize] = entry;
                key
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        }
    }

    pub(super) fn remove(&mut self, key: u32) -> Option<Waker> {
        self.unlink(key);
        let entry = &mut self.entries[key as usize];
        entry.used = false;
        entry.due = NEVER;
        let waker = entry.waker.take();
        self.free.push(key);
        waker
    }

    /// Sets the deadline. Returns the tick at which the entry is visited next, when that had to be
    /// brought forward.
    pub(super) fn arm(&mut self, key: u32, kind: Kind, due: u64) -> Option<u64> {
        let due = due.max(self.now + 1);
        let entry = &mut self.entries[key as usize];
        entry.due = due;
        entry.kind = kind;
        entry.fired = false;
        if entry.linked && entry.visit <= due {
            return None;
        }
        self.unlink(key);
        Some(self.link(key, self.now))
    }

    pub(super) fn disarm(&mut self, key: u32) {
        let entry = &mut self.entries[key as usize];
        entry.due = NEVER;
        entry.fired = false;
    }

    /// Links into the slot of its due tick; it is visited there at the first turn after `now`.
    fn link(&mut self, key: u32, now: u64) -> u64 {
        let due = self.entries[key as usize].due;
        let slot = (due % SLOTS as u64) as usize;
        let ahead = (due - now) % SLOTS as u64;
        let visit = now + if ahead == 0 { SLOTS as u64 } else { ahead };
        let first = self.slots[slot];
        if first != NONE {
            self.entries[first as usize].prev = key;
        }
        let entry = &mut self.entries[key as usize];
        entry.prev = NONE;
        entry.next = first;
        entry.linked = true;
        entry.visit = visit;
        self.slots[slot] = key;
        self.occupied[slot / 64] |= 1 << (slot % 64);
        visit
    }

    fn unlink(&mut self, key: u32) {
        let entry = &mut self.entries[key as usize];
        if !entry.linked {
            return;
        }
        entry.linked = false;
        let (prev, next, slot) = (entry.prev, entry.next, (entry.visit % SLOTS as u64) as usize);
        if prev != NONE {
            self.entries[prev as usize].next = next;
        } else {
            self.slots[slot] = next;
            if next == NONE {
                self.occupied[slot / 64] &= !(1 << (slot % 64));
            }
        }
        if next != NONE {
            self.entries[next as usize].prev = prev;
        }
    }

    /// The next tick at which there is something to visit.
    pub(super) fn next_visit(&self) -> Option<u64> {
        let start = ((self.now + 1) % SLOTS as u64) as usize;
        for step in 0..=WORDS {
            let word = (start / 64 + step) % WORDS;
            let mut bits = self.occupied[word];
            if step == 0 {
                bits &= u64::MAX << (start % 64);
            } else if step == WORDS {
                bits &= !(u64::MAX << (start % 64));
            }
            if bits != 0 {
                let slot = word * 64 + bits.trailing_zeros() as usize;
                let ahead = (slot + SLOTS - start) % SLOTS;
                return Some(self.now + 1 + ahead as u64);
            }
        }
        None
    }

    /// Visits every slot up to `now`; wakers of expired entries go to `woken`.
    pub(super) fn advance(&mut self, now: u64, woken: &mut Vec<Waker>) {
        while let Some(tick) = self.next_visit() {
            if tick > now {
                break;
            }
            self.now = tick;
            self.visit(tick, woken);
        }
        self.now = self.now.max(now);
    }

    fn visit(&mut self, tick: u64, woken: &mut Vec<Waker>) {
        let mut key = self.slots[(tick % SLOTS as u64) as usize];
        while key != NONE {
            let next = self.entries[key as usize].next;
            self.unlink(key);
            let entry = &mut self.entries[key as usize];
            if entry.due <= tick {
                entry.fired = true;
                woken.extend(entry.waker.take());
            } else if entry.due != NEVER {
                self.link(key, tick);
            }
            key = next;
        }
    }

    pub(super) fn poll(&mut self, key: u32, waker: &Waker) -> Option<Kind> {
        let entry = &mut self.entries[key as usize];
        if entry.fired {
            return Some(entry.kind);
        }
        if !entry.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            entry.waker = Some(waker.clone());
        }
        None
    }

    #[cfg(test)]
    pub(super) fn has_fired(&self, key: u32) -> bool {
        self.entries[key as usize].fired
    }

    /// What an armed deadline is for and when it is due, while it has not passed.
    pub(super) fn waiting(&self, key: u32) -> Option<(Kind, u64)> {
        let entry = self.entries.get(key as usize)?;
        (entry.used && entry.due != NEVER && !entry.fired).then_some((entry.kind, entry.due))
    }

    /// Lets a deadline pass at once, as one of `kind`.
    pub(super) fn fire(&mut self, key: u32, kind: Kind) -> Option<Waker> {
        let entry = self.entries.get_mut(key as usize)?;
        (entry.kind, entry.fired) = (kind, true);
        entry.waker.take()
    }

    pub(super) fn expire(&mut self, kind: Kind, woken: &mut Vec<Waker>) {
        for entry in &mut self.entries {
            if entry.used && entry.kind == kind && entry.due != NEVER && !entry.fired {
                entry.fired = true;
                woken.extend(entry.waker.take());
            }
        }
    }
}
