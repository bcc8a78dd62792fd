//! The resource that is fetched, and the request that it is for.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::plan;
use crate::{
    cache::{facts::RequestFacts, key::Key, keying::Digest, object::Placement},
    request::{self, Destination},
    transaction::{Request, Transaction},
};

/// What is fetched, and for which request.
pub(super) struct Fetch<'a> {
    pub(super) request: &'a Request,
    pub(super) destination: &'a Destination,
    pub(super) key: Key,
    /// The addresses of the destination where a rule wanted them: those that it may go to.
    pub(super) addresses: Option<Arc<[IpAddr]>>,
    pub(super) facts: RequestFacts,
    /// What the configuration says of it.
    pub(super) ruling: Ruling,
}

/// What the configuration says of what is fetched.
#[derive(Clone, Debug, Default)]
pub struct Ruling {
    /// The digest that its URL says it has.
    pub(super) digest: Option<Digest>,
    /// Where it is kept.
    pub(super) placement: Placement,
}

impl<'a> Fetch<'a> {
    /// Name and value of every field that goes on to the origin, for Vary. What Connection
    /// nominates does not: an answer stored as if the origin had seen it would be another
    /// request's.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone + use<'a> {
        request::sent_fields(self.request.view())
    }

    /// The request, as far as the plan depends on it.
    pub(super) fn planned(&self) -> plan::Request<'_> {
        plan::Request::new(self.request.view(), &self.facts)
    }

    /// Whether this client may have what came from there.
    pub(super) fn may_have(&self, transaction: &Transaction, from: Option<SocketAddr>) -> bool {
        transaction.subject(self.request, self.destination).may_have(from, self.addresses.is_some())
    }
}
