//! A connection to the next hop, and how one may be had.

use std::{net::SocketAddr, sync::Arc};

use cluster_config::document::proxy::Select;
use relay::{method::Method, pool::Reuse, stream::Stream};

use crate::{
    endpoint::Endpoint, local::Local, owner::Had, parent::Parent, record::Hierarchy, respond::Error,
};

/// Whether a pooled connection will do.
#[derive(Clone, Copy, Debug)]
pub enum From {
    /// A pooled one, or a new one.
    Pool(Reuse),
    /// A new one: the pooled one was dead, or a tunnel needs its own.
    New,
}

impl From {
    /// Which pooled connections a request with this method may use.
    #[must_use]
    pub fn pool_for(method: Method) -> Self {
        Self::Pool(Reuse::of(method))
    }
}

/// A connection to the next hop.
pub struct Hop {
    pub stream: Stream,
    /// Where it leads.
    pub endpoint: Endpoint,
    /// Whether it had been used before.
    pub reused: bool,
    /// The parent proxy that it leads to.
    pub parent: Option<Chosen>,
    /// What the node had that it leads to, which owns what is asked for, or is a sibling; and the
    /// origin's address, as far as it has told.
    pub had: Option<(Had, Option<SocketAddr>)>,
}

/// A parent that a request goes to.
pub struct Chosen {
    /// Its place among the parents.
    pub index: usize,
    pub parent: Arc<Parent>,
}

impl Hop {
    /// The origin's address; `None`: through a parent, which alone knows.
    #[must_use]
    pub fn origin(&self) -> Option<SocketAddr> {
        match self.had {
            Some((_, told)) => told,
            None => self.parent.is_none().then_some(self.endpoint.address()),
        }
    }

    /// For the log.
    #[must_use]
    pub fn hierarchy(&self) -> Hierarchy {
        let address = self.endpoint.address().ip();
        match (self.had, &self.parent) {
            (Some((Had::Hit, _)), _) => Hierarchy::OwnerHit(address),
            (Some((Had::Miss, _)), _) => Hierarchy::OwnerMiss(address),
            (Some((Had::Sibling, _)), _) => Hierarchy::SiblingHit(address),
            (None, Some(chosen)) => match chosen.parent.document.select {
                Select::First => Hierarchy::Parent(address),
                Select::RoundRobin => Hierarchy::RoundRobin(address),
                Select::Carp => Hierarchy::Carp(address),
                Select::Source => Hierarchy::SourceHash(address),
            },
            (None, None) => Hierarchy::Direct(address),
        }
    }

    /// The parent proxy that is spoken to. In a tunnel through it that is the destination.
    #[must_use]
    pub fn parent(&self) -> Option<&Parent> {
        self.parent
            .as_ref()
            .filter(|_| !matches!(self.endpoint, Endpoint::Tunnelled(..)))
            .map(|chosen| &*chosen.parent)
    }

    /// A failure on this connection: a parent is not called the destination.
    #[must_use]
    pub fn blames(&self, failure: Error) -> Error {
        if self.parent().is_some() { failure.of_parent() } else { failure }
    }

    /// The exchange on it has ended in order: the next one may use it.
    pub fn keep(self, local: &Local) {
        local.pool.put(self.endpoint, 0, self.stream);
    }
}
