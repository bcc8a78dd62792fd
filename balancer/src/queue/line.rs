//! Who waits, in order, and what for. Behind the queue's lock.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::oneshot;

use super::{Outcome, Queue, Wants};
use crate::{pick::Plan, server::Server};

#[derive(Debug)]
struct Waiter {
    wants: Wants,
    told: oneshot::Sender<Outcome>,
}

#[derive(Debug, Default)]
pub(super) struct Line {
    next: u64,
    waiters: BTreeMap<u64, Waiter>,
    /// Those that may get requests.
    servers: Vec<Arc<Server>>,
    /// The snapshot that says so.
    snapshot: u64,
    /// Where the search for a server with room begins, so that not the first gets everything.
    begin: usize,
}

impl Line {
    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }

    pub(super) fn join(
        &mut self,
        number: Option<u64>,
        wants: Wants,
        told: oneshot::Sender<Outcome>,
    ) -> u64 {
        let number = number.unwrap_or_else(|| {
            self.next += 1;
            self.next
        });
        self.waiters.insert(number, Waiter { wants, told });
        number
    }

    pub(super) fn leave(&mut self, number: u64) {
        self.waiters.remove(&number);
    }

    pub(super) fn prepare(&mut self, plan: &Plan, servers: &[Arc<Server>]) {
        for server in self.servers.drain(..) {
            server.capacity.set_rank(None);
        }
        for tier in plan.tiers() {
            for (index, _) in tier.members() {
                let Some(server) = servers.get(*index) else { continue };
                server.capacity.set_rank(Some(tier.standing().rank()));
                self.servers.push(Arc::clone(server));
            }
        }
    }

    pub(super) fn follow(&mut self, snapshot: u64, queue: &Arc<Queue>) {
        self.snapshot = snapshot;
        self.serve_all(queue);
    }

    /// A place of this server is free, and with it one of the backend.
    pub(super) fn offer(&mut self, server: &Arc<Server>, queue: &Arc<Queue>) {
        let first = self
            .waiters
            .iter()
            .find_map(|(number, waiter)| waiter.wants.accepts(server).then_some(*number));
        match first {
            Some(number) => {
                if let Some(permit) = queue.take(server) {
                    self.tell(number, Outcome::Go(permit));
                }
            }
            // The backend's place may be what others wait for.
            None if queue.connections.most().is_some() => self.serve_all(queue),
            None => {}
        }
    }

    fn serve_all(&mut self, queue: &Arc<Queue>) {
        let numbers: Vec<_> = self.waiters.keys().copied().collect();
        for number in numbers {
            self.serve(number, queue);
        }
    }

    /// Gives somebody who waits a server, if there is one with room; or tells them that there is
    /// none any more that they could wait for.
    pub(super) fn serve(&mut self, number: u64, queue: &Arc<Queue>) {
        let Some(Waiter { wants, .. }) = self.waiters.get(&number) else { return };
        let (after, before) = self.servers.split_at(self.begin.min(self.servers.len()));
        let mut acceptable = before.iter().chain(after).filter(|server| wants.accepts(server));
        let mut free = acceptable.clone().filter(|server| !server.capacity.is_full());
        let permit =
            if queue.connections.is_full() { None } else { free.find_map(|it| queue.take(it)) };
        if let Some(permit) = permit {
            self.begin = (self.begin + 1) % self.servers.len();
            self.tell(number, Outcome::Go(permit));
        } else if acceptable.next().is_none() && self.snapshot > wants.snapshot {
            // A newer snapshot is in force than the one by which it looked. If not, the one that is
            // about to be in force is followed, too.
            self.tell(number, Outcome::Again);
        }
    }

    fn tell(&mut self, number: u64, turn: Outcome) {
        let Some(waiter) = self.waiters.remove(&number) else { return };
        // Who leaves takes the lock first and is not in the line then, so that this one hears it.
        // If not, giving the permit back must not ask for the lock, which is held.
        if let Err(Outcome::Go(mut permit)) = waiter.told.send(turn) {
            permit.hands_on = false;
        }
    }
}
