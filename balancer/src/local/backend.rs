//! One backend on one worker, for one snapshot.

use std::{cell::RefCell, net::IpAddr, rc::Rc, sync::Arc};

use relay::{head::Request, retry::Budget};

use super::Slot;
use crate::{pick, snapshot::Pool};

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
        worker: usize,
    ) -> Self {
        let picked = match before {
            Some(before) if !before.slots.is_empty() => {
                before.picked.borrow().carried_over(&before.pool.plan, &pool.plan)
            }
            _ => pick::begin(&pool.plan, worker),
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
    pub fn pick(&self, head: Request<'_>, client: IpAddr, tried: &[u64]) -> Option<&Rc<Slot>> {
        let server = |index: usize| &self.slots[index].server;
        let request = pick::Request {
            head: Some(head),
            client: Some(client),
            load: &|index| server(index).tally.counts.sum(|it| &it.active_requests),
            tried: &|index| tried.contains(&server(index).key),
        };
        let index = pick::pick(&self.pool.plan, &mut self.picked.borrow_mut(), &request)?;
        Some(&self.slots[index])
    }
}
