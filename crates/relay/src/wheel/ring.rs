//! The pure wheel: ticks in, wakers out.

use std::task::Waker;

use super::Kind;

pub(super) const SLOTS: usize = 4096;
const WORDS: usize = SLOTS / 64;
/// No node.
pub(super) const NONE: u32 = u32::MAX;
/// Due never.
pub(super) const NEVER: u64 = u64::MAX;

struct Node {
    /// The tick at which the timer expires.
    due: u64,
    /// The tick at which the slot that the node is linked into comes round next.
    visit: u64,
    prev: u32,
    next: u32,
    linked: bool,
    fired: bool,
    used: bool,
    kind: Kind,
    waker: Option<Waker>,
}

/// The pure wheel: a slab of nodes, doubly linked into slots by tick.
pub(super) struct Ring {
    nodes: Vec<Node>,
    free: Vec<u32>,
    slots: Box<[u32; SLOTS]>,
    occupied: [u64; WORDS],
    /// Everything up to and including this tick has been visited.
    now: u64,
}

impl Ring {
    pub(super) fn new() -> Self {
        Self {
            nodes: Vec::new(),
            free: Vec::new(),
            slots: Box::new([NONE; SLOTS]),
            occupied: [0; WORDS],
            now: 0,
        }
    }

    pub(super) fn insert(&mut self) -> u32 {
        let node = Node {
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
                self.nodes[key as usize] = node;
                key
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
        }
    }

    pub(super) fn remove(&mut self, key: u32) -> Option<Waker> {
        self.unlink(key);
        let node = &mut self.nodes[key as usize];
        node.used = false;
        node.due = NEVER;
        let waker = node.waker.take();
        self.free.push(key);
        waker
    }

    /// Sets the deadline. Returns the tick at which the node is visited next, when that had to be
    /// brought forward.
    pub(super) fn arm(&mut self, key: u32, kind: Kind, due: u64) -> Option<u64> {
        let due = due.max(self.now + 1);
        let node = &mut self.nodes[key as usize];
        node.due = due;
        node.kind = kind;
        node.fired = false;
        if node.linked && node.visit <= due {
            return None;
        }
        self.unlink(key);
        Some(self.link(key, self.now))
    }

    pub(super) fn disarm(&mut self, key: u32) {
        let node = &mut self.nodes[key as usize];
        node.due = NEVER;
        node.fired = false;
    }

    /// Links into the slot of its due tick; it is visited there at the first turn after `now`.
    fn link(&mut self, key: u32, now: u64) -> u64 {
        let due = self.nodes[key as usize].due;
        let slot = (due % SLOTS as u64) as usize;
        let ahead = (due - now) % SLOTS as u64;
        let visit = now + if ahead == 0 { SLOTS as u64 } else { ahead };
        let first = self.slots[slot];
        if first != NONE {
            self.nodes[first as usize].prev = key;
        }
        let node = &mut self.nodes[key as usize];
        node.prev = NONE;
        node.next = first;
        node.linked = true;
        node.visit = visit;
        self.slots[slot] = key;
        self.occupied[slot / 64] |= 1 << (slot % 64);
        visit
    }

    fn unlink(&mut self, key: u32) {
        let node = &mut self.nodes[key as usize];
        if !node.linked {
            return;
        }
        node.linked = false;
        let (prev, next, slot) = (node.prev, node.next, (node.visit % SLOTS as u64) as usize);
        if prev != NONE {
            self.nodes[prev as usize].next = next;
        } else {
            self.slots[slot] = next;
            if next == NONE {
                self.occupied[slot / 64] &= !(1 << (slot % 64));
            }
        }
        if next != NONE {
            self.nodes[next as usize].prev = prev;
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

    /// Visits every slot up to `now`; wakers of expired nodes go to `woken`.
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
            let next = self.nodes[key as usize].next;
            self.unlink(key);
            let node = &mut self.nodes[key as usize];
            if node.due <= tick {
                node.fired = true;
                woken.extend(node.waker.take());
            } else if node.due != NEVER {
                self.link(key, tick);
            }
            key = next;
        }
    }

    pub(super) fn poll(&mut self, key: u32, waker: &Waker) -> Option<Kind> {
        let node = &mut self.nodes[key as usize];
        if node.fired {
            return Some(node.kind);
        }
        if !node.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            node.waker = Some(waker.clone());
        }
        None
    }

    #[cfg(test)]
    pub(super) fn has_fired(&self, key: u32) -> bool {
        self.nodes[key as usize].fired
    }

    /// What an armed deadline is for and when it is due, while it has not passed.
    pub(super) fn waiting(&self, key: u32) -> Option<(Kind, u64)> {
        let node = self.nodes.get(key as usize)?;
        (node.used && node.due != NEVER && !node.fired).then_some((node.kind, node.due))
    }

    /// Lets a deadline pass at once, as one of `kind`.
    pub(super) fn fire(&mut self, key: u32, kind: Kind) -> Option<Waker> {
        let node = self.nodes.get_mut(key as usize)?;
        (node.kind, node.fired) = (kind, true);
        node.waker.take()
    }

    pub(super) fn expire(&mut self, kind: Kind, woken: &mut Vec<Waker>) {
        for node in &mut self.nodes {
            if node.used && node.kind == kind && node.due != NEVER && !node.fired {
                node.fired = true;
                woken.extend(node.waker.take());
            }
        }
    }
}
