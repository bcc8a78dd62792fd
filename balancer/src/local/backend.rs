//! One backend on one worker, for one snapshot.

use std::{cell::RefCell, net::IpAddr, rc::Rc, sync::Arc};

use cluster_config::document::balancer::RetryOn;
use relay::{
    field::Field,
    head::Request,
    retry::{Budget, Conditions},
};

use super::{Slot, latencies::Latencies};
use crate::{
    pick::{self, plan::Tier},
    queue::{Permit, Wants},
    snapshot::Pool,
    stats::{ServerCounts, Uptime},
};

/// See the module.
pub struct Backend {
    /// The snapshot's view of it.
    pub pool: Arc<Pool>,
    /// By the same index as the pool's servers.
    pub slots: Vec<Rc<Slot>>,
    /// The number of the snapshot.
    pub snapshot: u64,
    /// Retries that are not caused by a loss.
    pub budget: Rc<RefCell<Budget>>,
    /// What is tried again at all.
    pub retry_on: Conditions,
    /// How long requests took of late, where hedging asks for that.
    pub latencies: Rc<RefCell<Latencies>>,
    /// What picking remembers.
    picked: RefCell<pick::State>,
}

impl Backend {
    /// For a worker that had this backend as `before`.
    pub(super) fn new(
        pool: &Arc<Pool>,
        slots: Vec<Rc<Slot>>,
        snapshot: u64,
        before: Option<&Self>,
        (worker, seed): (usize, u64),
    ) -> Self {
        let picked = match before {
            Some(before) if !before.slots.is_empty() => {
                before.picked.borrow().carried_over(&before.pool.plan, &pool.plan)
            }
            _ => pick::begin(&pool.plan, worker, seed),
        };
        let budget = || Rc::new(RefCell::new(Budget::new(u32::from(pool.settings.retry.budget))));
        let budget = before.map_or_else(budget, |before| Rc::clone(&before.budget));
        let latencies = before.map(|before| Rc::clone(&before.latencies)).unwrap_or_default();
        Self {
            pool: Arc::clone(pool),
            slots,
            snapshot,
            budget,
            retry_on: conditions(&pool.settings.retry.on),
            latencies,
            picked: RefCell::new(picked),
        }
    }

    /// Whether somebody better than unwell is not among the servers with these keys.
    #[must_use]
    pub fn has_others(&self, tried: &[u64]) -> bool {
        self.pool.plan.has_others(|index| tried.contains(&self.slots[index].server.key))
    }

    /// The server with this key.
    #[must_use]
    pub fn slot(&self, key: u64) -> Option<&Rc<Slot>> {
        self.slots.iter().find(|slot| slot.server.key == key)
    }

    /// Picks a server whose key is not among these, and takes its turn. There is no head where
    /// bytes are passed on.
    #[must_use]
    pub fn pick<'a>(
        &self,
        head: impl Into<Option<Request<'a>>>,
        client: IpAddr,
        tried: &[u64],
        uptime: Uptime,
    ) -> Pick {
        let head = head.into();
        let request = pick::Request {
            head,
            client: Some(client),
            servers: &Servers { slots: &self.slots, uptime },
            tried: &|index| tried.contains(&self.slots[index].server.key),
        };
        if let Some(own) = head.and_then(|head| self.own(head, tried)) {
            return self.pick_own(own, tried);
        }
        if self.pool.bounded {
            return self.pick_bounded(&request, tried);
        }
        match pick::pick(&self.pool.plan, &mut self.picked.borrow_mut(), &request) {
            Some(index) => Pick::Server(Rc::clone(&self.slots[index]), None),
            None => Pick::Nobody,
        }
    }

    /// The server that the client's cookie names, if it serves and was not tried.
    fn own(&self, head: Request<'_>, tried: &[u64]) -> Option<&Rc<Slot>> {
        let cookies = self.pool.cookies.as_ref()?;
        let index = cookies.server(head.values(Field::Cookie))?;
        let slot = &self.slots[index];
        let serves = self.pool.servers[index].keeps_clients();
        (serves && !tried.contains(&slot.server.key)).then_some(slot)
    }

    fn pick_own(&self, slot: &Rc<Slot>, tried: &[u64]) -> Pick {
        let Pool { queue, bounded, .. } = &*self.pool;
        if !bounded {
            return Pick::Server(Rc::clone(slot), None);
        }
        match Some(queue).filter(|it| it.is_empty()).and_then(|it| it.take(&slot.server)) {
            Some(permit) => Pick::Server(Rc::clone(slot), Some(permit)),
            // One that drains has no rank, and serves its own all the same.
            None => Pick::Full(Wants {
                rank: u8::MAX,
                only: Some(slot.server.key),
                tried: tried.to_vec(),
                snapshot: self.snapshot,
            }),
        }
    }

    /// Picks a server that has room. While somebody waits, who comes waits behind them.
    fn pick_bounded(&self, request: &pick::Request<'_>, tried: &[u64]) -> Pick {
        let Pool { plan, queue, .. } = &*self.pool;
        let Some(rank) = plan.rank(request.tried) else { return Pick::Nobody };
        let mut wants = Wants { rank, only: None, tried: tried.to_vec(), snapshot: self.snapshot };
        let full = |index: usize| self.slots[index].server.capacity.is_full();
        let sticks = plan.sticks(request.head, request.client);
        let passed = |index: usize| (request.tried)(index) || (!sticks && full(index));
        let has_room = || sticks || plan.rank(passed) == Some(rank);
        let mut picked = self.picked.borrow_mut();
        while queue.is_empty() && !queue.connections.is_full() && has_room() {
            let request = pick::Request { tried: &passed, ..*request };
            let of = |tier: &Tier| tier.standing().rank() == rank;
            let Some(index) = pick::pick_of(plan, &mut picked, &request, of) else { break };
            let server = &self.slots[index].server;
            if let Some(permit) = queue.take(server) {
                return Pick::Server(Rc::clone(&self.slots[index]), Some(permit));
            }
            // Another worker was quicker. Who belongs to one server waits for it.
            if sticks {
                break;
            }
        }
        if sticks {
            let own = pick::pick(plan, &mut picked, request);
            wants.only = own.map(|index| self.slots[index].server.key);
        }
        Pick::Full(wants)
    }
}

fn conditions(written: &[RetryOn]) -> Conditions {
    let mut on = Conditions::none();
    for condition in written {
        match condition {
            RetryOn::ConnectFailure => on.connect_failure = true,
            RetryOn::Reset => on.reset = true,
            RetryOn::JunkResponse => on.junk_response = true,
            RetryOn::NodeError => on.node_error = true,
            RetryOn::Timeout => on.timeout = true,
            RetryOn::Status(status) => on.add_status(*status),
        }
    }
    on
}

/// Whom a request gets.
pub enum Pick {
    /// This server, with a permit where there are bounds.
    Server(Rc<Slot>, Option<Permit>),
    /// One of these as soon as there is room.
    Full(Wants),
    /// Nobody is left.
    Nobody,
}

/// What this worker sees of the servers.
struct Servers<'a> {
    slots: &'a [Rc<Slot>],
    uptime: Uptime,
}

impl pick::Servers for Servers<'_> {
    fn load(&self, index: usize) -> u64 {
        ServerCounts::load(&self.slots[index].server.tally.counts)
    }

    fn load_of_all(&self) -> u64 {
        self.slots.first().map_or(0, |slot| slot.server.backend.sum(|it| &it.active))
    }

    fn response_time(&self, index: usize) -> Option<u64> {
        Some(self.slots[index].counts().average()?.now(self.uptime.millis(relay::clock::now())))
    }
}
