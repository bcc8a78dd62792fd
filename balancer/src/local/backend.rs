//! One backend on one worker, for one snapshot.

use std::{cell::RefCell, net::IpAddr, rc::Rc, sync::Arc};

use relay::{head::Request, retry::Budget};

use super::Slot;
use crate::{
    pick,
    snapshot::Pool,
    stats::{ServerCounts, Uptime},
};

/// See the module.
pub struct Backend {
    /// The snapshot's view of it.
    pub pool: Arc<Pool>,
    /// By the same index as the pool's servers.
    pub slots: Vec<Rc<Slot>>,
    /// Retries that are not caused by a loss.
    pub budget: Rc<RefCell<Budget>>,
    /// What picking remembers.
    picked: RefCell<pick::State>,
}

impl Backend {
    /// For a worker that had this backend as `before`.
    pub(super) fn new(
        pool: &Arc<Pool>,
        slots: Vec<Rc<Slot>>,
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
        Self { pool: Arc::clone(pool), slots, budget, picked: RefCell::new(picked) }
    }

    /// Whether somebody better than unwell is not among the servers with these keys.
    #[must_use]
    pub fn has_others(&self, tried: &[u64]) -> bool {
        self.pool.plan.has_others(|index| tried.contains(&self.slots[index].server.key))
    }

    /// Picks a server whose key is not among these, and takes its turn.
    #[must_use]
    pub fn pick(
        &self,
        head: Request<'_>,
        client: IpAddr,
        tried: &[u64],
        uptime: Uptime,
    ) -> Option<&Rc<Slot>> {
        let request = pick::Request {
            head: Some(head),
            client: Some(client),
            servers: &Servers { slots: &self.slots, uptime },
            tried: &|index| tried.contains(&self.slots[index].server.key),
        };
        let index = pick::pick(&self.pool.plan, &mut self.picked.borrow_mut(), &request)?;
        Some(&self.slots[index])
    }
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
