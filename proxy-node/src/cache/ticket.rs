//! The right and the duty to fill a key, and what those who wait for it hear.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::watch;

use crate::cache::{
    hints::{self, Hint, Hints},
    key::Key,
    object::Object,
    store::Store,
    vary::Selection,
};

/// A fill whose response head is not there yet.
#[derive(Debug)]
pub(super) struct Pending<E> {
    pub(super) selection: Selection,
    pub(super) outcome: watch::Sender<Outcome<E>>,
    pub(super) hints: Hints,
    /// Nobody else waits for it.
    pub(super) alone: bool,
    /// Somebody changed or purged the URL meanwhile: what comes is not kept.
    pub(super) void: AtomicBool,
    /// The newest purge when it began.
    pub(super) begun: u64,
}

impl<E> Pending<E> {
    pub(super) fn new(selection: Selection, begun: u64) -> Self {
        Self {
            selection,
            outcome: watch::Sender::new(Outcome::Waiting),
            hints: Hints::default(),
            alone: false,
            void: AtomicBool::new(false),
            begun,
        }
    }
}

/// Somebody's part in a fill that another leads.
#[derive(Debug)]
pub struct Follower<E> {
    /// What becomes of it.
    pub outcome: watch::Receiver<Outcome<E>>,
    /// What comes before.
    pub hints: hints::Listener<E>,
}

impl<E> Follower<E> {
    pub(super) fn new(fill: &Arc<Pending<E>>) -> Self {
        Self { outcome: fill.outcome.subscribe(), hints: hints::Listener::new(fill.clone()) }
    }
}

/// What became of a fill that others wait for.
#[derive(Clone, Debug)]
pub enum Outcome<E> {
    /// Not known yet.
    Waiting,
    /// It is here, or coming.
    Stored(Arc<Object>),
    /// No better one could be had; whether it will do is for each request to say.
    StandIn(Arc<Object>),
    /// It is not for sharing: ask yourself.
    OnYourOwn,
    /// There is no answer to be had.
    Failed(E),
}

/// The right and the duty to fill a key. Dropped without an outcome, it sends those who wait on
/// their own.
#[derive(Debug)]
pub struct Ticket<E> {
    pub(super) store: Arc<Store<E>>,
    pub(super) key: Key,
    pub(super) pending: Arc<Pending<E>>,
}

impl<E> Ticket<E> {
    /// The response may be kept: puts it in and tells those who wait. False: no room, or the URL
    /// was changed meanwhile.
    pub fn store(&self, object: &Arc<Object>) -> bool {
        if self.pending.void.load(Ordering::Acquire) || !self.store.insert(object, &self.pending) {
            return false;
        }
        // From now on those who come find the object itself.
        self.leave();
        self.tell(Outcome::Stored(object.clone()));
        true
    }

    /// Puts in an object that is confirmed beside the one that is filled. Nobody waits for it.
    pub fn renew(&self, object: &Arc<Object>) {
        self.store.insert(object, &self.pending);
    }

    /// An object has come from the disk, and may be kept. Answers what is there already, if that is
    /// newer. It is not told to anybody: who comes finds it.
    pub fn promote(&self, object: &Arc<Object>) -> Option<Arc<Object>> {
        self.store.promote(object, &self.pending)
    }

    /// Whether the URL was changed meanwhile, so that what was read before is worth nothing.
    #[must_use]
    pub fn is_void(&self) -> bool {
        self.pending.void.load(Ordering::Acquire)
    }

    /// There is no answer: tells those who wait.
    pub fn fail(&self, failure: E) {
        self.leave();
        self.tell(Outcome::Failed(failure));
    }

    /// Something that is not kept, or stale, is served for want of better.
    pub fn stand_in(&self, object: &Arc<Object>) {
        self.leave();
        self.tell(Outcome::StandIn(object.clone()));
    }

    /// An interim response has come, for all who wait.
    pub fn hint(&self, hint: Hint) {
        self.pending.hints.put(hint);
    }

    /// All that have come and will come.
    #[must_use]
    pub fn hints(&self) -> hints::Listener<E> {
        hints::Listener::new(self.pending.clone())
    }

    /// Whether somebody who came after its leader waits for it.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.pending.outcome.receiver_count() > 0
    }

    /// What it fills.
    #[must_use]
    pub const fn key(&self) -> &Key {
        &self.key
    }

    fn tell(&self, outcome: Outcome<E>) {
        self.pending.outcome.send_if_modified(|known| {
            let first = matches!(known, Outcome::Waiting);
            if first {
                *known = outcome;
            }
            first
        });
    }

    /// From now on nobody new waits for this fill.
    fn leave(&self) {
        self.store.leave(&self.key, &self.pending);
    }
}

impl<E> Drop for Ticket<E> {
    fn drop(&mut self) {
        self.leave();
        self.tell(Outcome::OnYourOwn);
    }
}
