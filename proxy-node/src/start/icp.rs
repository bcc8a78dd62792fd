//! What the Internet Cache Protocol needs of the node.

use std::{net::SocketAddr, sync::Arc};

use chassis::Process;

use crate::{
    cache::{directives::RequestDirectives, key::Key, keying, policy},
    icp::{self, Counted, Face},
    node::Node,
};

/// A node, as the protocol sees it.
pub(super) struct Served {
    pub(super) process: Process,
    pub(super) node: Arc<Node>,
}

impl Face for Served {
    fn has(&self, key: &Key) -> bool {
        is_stored(&self.node, key)
    }

    fn now(&self) -> u64 {
        self.node.steady.millis()
    }

    fn count(&self, what: Counted) {
        icp::count(&self.node.metrics, what);
    }

    fn bound(&self, at: Option<SocketAddr>) {
        self.node.metrics.icp_open.set(u64::from(at.is_some()));
        if let Some(at) = at {
            tracing::info!(%at, "answers ICP");
            self.process.ports.announce("icp", at);
        }
    }
}

/// Whether something fresh and whole is stored for a URL that any request would be served: nothing
/// of which there are variants, as who asks says nothing of the request that it has.
#[must_use]
pub fn is_stored(node: &Node, key: &Key) -> bool {
    let (now, any) = (node.steady.seconds(), RequestDirectives::default());
    let key = &keying::apply(&node.current.load().caching.keys, key.clone()).key;
    let variants = node.store.variants(key);
    match variants.as_slice() {
        // On the disk, as far as its index says: what has gone stale there shows later.
        [] => node.store.disk().is_some_and(|disk| disk.contains(key)),
        [object] => {
            object.selection.names().is_none()
                && object.content.is_complete()
                && policy::usable(&object.freshness, &any, now).is_ok()
        }
        _ => false,
    }
}
