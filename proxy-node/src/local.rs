//! What one worker has for itself.

use std::{rc::Rc, sync::Arc};

use dataplane::{
    id::Ids,
    scratch::{self, Head},
    trace::{self, Context, Onward, Trace},
};
use relay::{
    field::Field,
    head::Request,
    pool::{self, Pool},
    worker::Worker,
};
use uuid::Uuid;

use crate::{endpoint::Endpoint, node::Node, owner, parent};

/// One worker's own: never leaves its thread.
pub struct Local {
    /// What all share.
    pub node: Arc<Node>,
    pub worker: Worker,
    /// Idle connections to origins and parents.
    pub pool: Pool<Endpoint>,
    /// Makes request ids.
    pub ids: Ids,
    /// Indexes of requests' heads.
    pub heads: scratch::Pool<Head>,
    /// Buffers for the heads that are written.
    pub buffers: scratch::Pool<Vec<u8>>,
    /// What it keeps of its requests to parents.
    pub parents: parent::Account,
    /// And of those to owners.
    pub owners: owner::Account,
}

impl Local {
    /// A worker's own.
    #[must_use]
    pub fn new(node: Arc<Node>, worker: &Worker, seed: u64) -> Rc<Self> {
        let limits = pool::Limits {
            idle: node.current.load().document.timeouts.upstream_idle,
            ..pool::Limits::default()
        };
        Rc::new(Self {
            pool: Pool::new(worker, limits),
            ids: Ids::seeded(seed),
            heads: scratch::Pool::default(),
            buffers: scratch::Pool::default(),
            parents: parent::Account::default(),
            owners: owner::Account::default(),
            node,
            worker: worker.clone(),
        })
    }

    /// The span of a request, if it is sampled, and what the next hop hears of it. `trusted`: it
    /// came from one of us.
    #[must_use]
    pub fn traced(&self, request: Request<'_>, id: Uuid, trusted: bool) -> (Option<Trace>, Onward) {
        let tracer = self.node.tracer.as_ref();
        if tracer.is_none() && !request.lines().has(Field::Traceparent) {
            return (None, Onward::AsReceived);
        }
        let carried = Context::carried(request.values(Field::Traceparent));
        let trace =
            tracer.and_then(|tracer| tracer.begin(id, carried, trusted, || self.ids.span()));
        (trace, trace::to_origin(trace, carried, id, self.node.trace_origins))
    }
}
