//! What is to be written: a queue that is bounded in bytes, as what waits in it stays in memory.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    purges::Purge,
    spool::{Piece, Written},
};
use crate::cache::{object::Object, vary::Names};

/// Purges that wait to be written. With more, everything is purged.
const MOST_PURGES: usize = 4096;

/// Something that is to be written.
#[derive(Debug)]
pub struct Offer {
    pub sequence: u64,
    pub what: What,
    /// Bytes that it keeps in memory while it waits.
    pub bytes: u64,
}

/// What is to be written.
#[derive(Debug)]
pub enum What {
    /// An object with its body.
    Object {
        object: Arc<Object>,
        /// What selects it, with the digest of the values.
        varied: Varied,
    },
    /// A piece of a body whose object comes later.
    Piece(Piece),
    /// An object whose body has been written, if that has this length.
    Spooled { written: Arc<Written>, object: Arc<Object>, varied: Varied, length: u64 },
}

type Varied = Option<(Names, super::stored::Digest)>;

/// A purge that is to be written.
#[derive(Debug)]
pub struct Order {
    pub purge: Purge,
    pub sequence: u64,
    /// How many objects went already.
    pub removed: u64,
    /// Who waits until it is on the disk.
    pub answer: Option<oneshot::Sender<Result<u64, String>>>,
}

#[derive(Debug, Default)]
struct State {
    offers: VecDeque<Offer>,
    bytes: u64,
    orders: Vec<Order>,
    /// The numbers of bodies that are written while they come.
    spools: BTreeSet<u64>,
    capacity: Option<u64>,
    stopped: bool,
}

/// What the writer does next.
#[derive(Debug, Default)]
pub struct Work {
    pub offers: Vec<Offer>,
    pub orders: Vec<Order>,
    pub capacity: Option<u64>,
    pub stopped: bool,
    /// The smallest number of what is to be written later.
    pub oldest: u64,
}

/// The queue.
#[derive(Debug, Default)]
pub struct Inbox {
    state: Mutex<State>,
    more: Condvar,
}

impl Inbox {
    /// Puts an object in that `make` makes, if it does. False: there is no room for it in so many
    /// bytes.
    pub fn offer(&self, most: u64, bytes: u64, make: impl FnOnce() -> Option<Offer>) -> bool {
        let mut state = self.lock();
        if state.stopped || (state.bytes > 0 && state.bytes + bytes > most) {
            return false;
        }
        let Some(offer) = make() else { return true };
        state.bytes += bytes;
        state.offers.push_back(offer);
        drop(state);
        self.more.notify_one();
        true
    }

    /// Whether nothing waits to be written, nor comes.
    pub fn is_empty(&self) -> bool {
        let state = self.lock();
        state.offers.is_empty() && state.spools.is_empty()
    }

    /// A body begins to come that gets this `number`.
    pub fn begin(&self, number: impl FnOnce() -> u64) -> u64 {
        let mut state = self.lock();
        let number = number();
        state.spools.insert(number);
        number
    }

    /// It is written, or never will be.
    pub fn end(&self, number: u64) {
        self.lock().spools.remove(&number);
    }

    /// Whether three quarters of so many bytes wait to be written.
    pub fn is_nearly_full(&self, most: u64) -> bool {
        self.lock().bytes > most / 4 * 3
    }

    /// Puts a purge in. Nobody waits for too many of them: they are one of everything then, which
    /// `everything` makes.
    pub fn order(&self, order: Order, everything: impl FnOnce() -> (Purge, u64)) {
        let mut state = self.lock();
        if state.orders.len() >= MOST_PURGES && order.answer.is_none() {
            state.orders.retain(|order| order.answer.is_some());
            let (purge, sequence) = everything();
            state.orders.push(Order { purge, sequence, removed: 0, answer: None });
        } else {
            state.orders.push(order);
        }
        drop(state);
        self.more.notify_one();
    }

    pub fn set_capacity(&self, capacity: u64) {
        self.lock().capacity = Some(capacity);
        self.more.notify_one();
    }

    pub fn stop(&self) {
        self.lock().stopped = true;
        self.more.notify_all();
    }

    pub fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Waits for something to do, for so long at the most. Takes up to so many bytes of it.
    pub fn wait(&self, within: Duration, bytes: u64) -> Work {
        let mut state = self.lock();
        if state.offers.is_empty()
            && state.orders.is_empty()
            && state.capacity.is_none()
            && !state.stopped
        {
            let waited = self.more.wait_timeout(state, within);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut work = Work {
            orders: std::mem::take(&mut state.orders),
            capacity: state.capacity.take(),
            ..Work::default()
        };
        let mut taken = 0;
        while taken <= bytes
            && let Some(offer) = state.offers.pop_front()
        {
            taken += offer.bytes;
            work.offers.push(offer);
        }
        work.stopped = state.stopped && state.offers.is_empty();
        let waiting = state.offers.front().or(work.offers.first());
        work.oldest = work.offers.first().or(waiting).map_or(u64::MAX, |offer| offer.sequence);
        // What comes has a number from when it began.
        work.oldest = work.oldest.min(state.spools.first().copied().unwrap_or(u64::MAX));
        work
    }

    /// What was taken is written, and no longer in memory for that.
    pub fn done(&self, bytes: u64) {
        self.lock().bytes -= bytes;
    }

    /// What waits is not written.
    pub fn refuse(&self) -> Vec<Order> {
        let mut state = self.lock();
        state.offers.clear();
        state.bytes = 0;
        std::mem::take(&mut state.orders)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
