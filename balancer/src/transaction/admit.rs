//! Which server an attempt asks: the one that is picked, at once or, where all that have bounds are
//! full, when the queue gives it one.

use std::{rc::Rc, sync::Arc, time::Duration};

use relay::stream::{Ahead, Stream};

use super::Transaction;
use crate::{
    local::{Pick, Slot},
    queue::{Full, Outcome, Permit, Place, Wants},
    respond,
};

/// Whom to ask.
pub(super) struct Admitted {
    pub(super) slot: Rc<Slot>,
    /// Only a new connection to it will do.
    pub(super) afresh: bool,
    /// Where there are bounds. Held until the answer or the tunnel has ended.
    pub(super) permit: Option<Permit>,
}

/// Why nobody is asked.
pub(super) enum Unadmitted {
    /// Nobody is left.
    Nobody,
    /// There is no room, or there was none in time.
    NoRoom(respond::Error),
    /// The client has not waited.
    ClientLeft,
}

/// How waiting ended.
enum Waited {
    Outcome(Outcome),
    TooLong,
    ClientLeft,
}

impl Transaction<'_> {
    pub(super) async fn admit(&mut self, client: &mut Stream) -> Result<Admitted, Unadmitted> {
        if self.tried.is_full() {
            return Err(Unadmitted::Nobody);
        }
        if self.number > 0 {
            self.look_again();
        }
        match self.pick() {
            Pick::Server(slot, permit) => Ok(self.admitted(slot, false, permit)),
            Pick::Nobody => self.once_more(client).await,
            // Boxed, as it is rare and large.
            Pick::Full(wants) => Box::pin(self.wait(client, wants, false)).await,
        }
    }

    /// As things are now.
    fn look_again(&mut self) {
        if let Some(now) = self.local.backend(self.request.frontend, self.request.question()) {
            self.backend = now;
        }
    }

    fn pick(&self) -> Pick {
        let uptime = self.local.shared().uptime;
        let client = self.request.peer.ip();
        self.backend.pick(self.request.view(), client, self.tried.as_slice(), uptime)
    }

    pub(super) fn admitted(
        &mut self,
        slot: Rc<Slot>,
        afresh: bool,
        permit: Option<Permit>,
    ) -> Admitted {
        self.tried.add(slot.server.key);
        Admitted { slot, afresh, permit }
    }

    /// The server that failed on a pooled connection, on a new one.
    async fn once_more(&mut self, client: &mut Stream) -> Result<Admitted, Unadmitted> {
        let key = self.again.take().ok_or(Unadmitted::Nobody)?;
        let slot = Rc::clone(self.backend.slot(key).ok_or(Unadmitted::Nobody)?);
        self.tried.forget(key);
        slot.counts().asked_again.up();
        if !self.backend.pool.bounded {
            return Ok(self.admitted(slot, true, None));
        }
        let queue = &self.backend.pool.queue;
        match queue.take(&slot.server).filter(|_| queue.is_empty()) {
            Some(permit) => Ok(self.admitted(slot, true, Some(permit))),
            None => {
                let tried = self.tried.as_slice().to_vec();
                let snapshot = self.backend.snapshot;
                let wants = Wants { rank: u8::MAX - 1, only: Some(key), tried, snapshot };
                Box::pin(self.wait(client, wants, true)).await
            }
        }
    }

    /// Waits in the queue, and comes back to its place there when what it waits for is gone and
    /// there is something else to wait for.
    async fn wait(
        &mut self,
        client: &mut Stream,
        mut wants: Wants,
        afresh: bool,
    ) -> Result<Admitted, Unadmitted> {
        let mut number = None;
        loop {
            let queue = Arc::clone(&self.backend.pool.queue);
            let place = match queue.join(wants, number) {
                Ok(place) => place,
                Err(Full) => return Err(self.no_room(false)),
            };
            if number.is_none() {
                self.ahead = place.ahead();
            }
            number = Some(place.number());
            match self.turn(client, place).await {
                Waited::ClientLeft => return Err(Unadmitted::ClientLeft),
                Waited::TooLong => return Err(self.no_room(true)),
                Waited::Outcome(Outcome::Go(permit)) => {
                    self.look_again();
                    // It may have left meanwhile.
                    if let Some(slot) = self.backend.slot(permit.server().key).map(Rc::clone) {
                        return Ok(self.admitted(slot, afresh, Some(permit)));
                    }
                }
                Waited::Outcome(Outcome::Again) => self.look_again(),
            }
            if !Arc::ptr_eq(&queue, &self.backend.pool.queue) {
                number = None;
            }
            match self.pick() {
                Pick::Server(slot, permit) => return Ok(self.admitted(slot, false, permit)),
                Pick::Nobody => return Err(Unadmitted::Nobody),
                Pick::Full(now) => wants = now,
            }
        }
    }

    async fn turn(&mut self, client: &mut Stream, mut place: Place) -> Waited {
        let began = relay::clock::now();
        let left = self.longest_wait().saturating_sub(self.waited);
        let waited = tokio::select! {
            biased;
            turn = place.turn() => Waited::Outcome(turn),
            _ = client.left(Ahead::OfAnswer) => Waited::ClientLeft,
            () = self.local.worker().wheel().sleep(left) => Waited::TooLong,
        };
        let took = relay::clock::since(began);
        self.waited += took;
        self.backend.pool.queue.counts.note(took);
        match waited {
            // However often it is told to look again.
            Waited::Outcome(Outcome::Again) if left.is_zero() => Waited::TooLong,
            waited => waited,
        }
    }

    fn longest_wait(&self) -> Duration {
        self.backend.pool.settings.timeouts.queue
    }

    fn no_room(&self, waited: bool) -> Unadmitted {
        if waited {
            self.backend.pool.queue.counts.late();
        }
        let after = self.longest_wait();
        Unadmitted::NoRoom(respond::Error::NoRoom { waited, after })
    }
}
