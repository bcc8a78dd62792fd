//! What a fill has to know.

use std::{net::IpAddr, rc::Rc, sync::Arc};

use relay::head::{Limits, Progress, RequestHead, Version};
use uuid::Uuid;

use super::{owner, plan, resource::Fetch};
use crate::{
    cache::{facts::RequestFacts, object::Object},
    config::Generation,
    local::Local,
    owner::Peer,
    request::{Destination, Forwarded},
    transaction::{Request, Transaction},
};

/// What is asked of the next hop, and for whom.
pub struct Order {
    /// The worker's own.
    pub local: Rc<Local>,
    /// The configuration of the request that caused it.
    pub generation: Arc<Generation>,
    pub request: Request,
    /// What the cache knows of it.
    pub facts: RequestFacts,
    /// Where it goes.
    pub destination: Destination,
    /// Addresses of the destination, where a rule wanted them.
    pub addresses: Option<Arc<[IpAddr]>>,
    /// Whose request it is.
    pub client: IpAddr,
    /// What becomes of X-Forwarded-For.
    pub forwarded: Forwarded,
    /// What is stored already and is not fit: it may stand in for an answer that cannot be had.
    pub stale: Option<Arc<Object>>,
    /// It is validated: our conditions take the place of the client's.
    pub validates: bool,
    /// A client has had its answer already: nobody has to wait for this one.
    pub behind: bool,
    /// The node that owns it and is asked first, and whether what it sends is kept here too.
    pub owner: Option<(Arc<Peer>, bool)>,
    /// Of the request that caused it.
    pub id: Uuid,
}

impl Order {
    /// What a fill has to know to ask for this request.
    pub(super) fn new(transaction: &Transaction, fetch: &Fetch<'_>, plan: &plan::Fill) -> Self {
        Self { stale: plan.stale(), validates: plan.validates, ..Self::anew(transaction, fetch) }
    }

    /// The same where nothing is stored.
    pub(super) fn anew(transaction: &Transaction, fetch: &Fetch<'_>) -> Self {
        let store = &transaction.local.node.store;
        Self {
            local: transaction.local.clone(),
            generation: transaction.generation.clone(),
            request: fetch.request.clone(),
            facts: fetch.facts.clone(),
            destination: fetch.destination.clone(),
            addresses: fetch.addresses.clone(),
            client: transaction.client.address,
            forwarded: transaction.client.forwarded,
            stale: None,
            validates: false,
            behind: false,
            owner: owner::asked(
                &transaction.subject(fetch.request, fetch.destination),
                &owner::Circumstances {
                    sender: transaction.sender,
                    facts: &fetch.facts,
                    unshared: store.is_unshared(&fetch.key, transaction.seconds()),
                },
            ),
            id: transaction.id,
        }
    }

    /// What is to be validated.
    pub(super) fn validated(&self) -> Option<&Arc<Object>> {
        self.stale.as_ref().filter(|_| self.validates)
    }

    /// The order for the whole of what this one asks a part of.
    pub(super) fn whole(self) -> Option<Self> {
        if !self.facts.range {
            return Some(self);
        }
        self.without(&[b"range", b"if-range"])
    }

    /// The order for what the next client may get, behind an answer that this one has had.
    pub(super) fn behind(self) -> Option<Self> {
        let order =
            self.without(&[b"range", b"if-range", b"if-none-match", b"if-modified-since"])?;
        Some(Self { behind: true, ..order })
    }

    /// The order that a POST leaves behind: what it got is what a GET would get.
    pub(super) fn posted(transaction: &Transaction, fetch: &Fetch<'_>) -> Self {
        let facts = fetch.facts.as_plain_get();
        Self { facts, ..Self::anew(transaction, fetch) }
    }

    /// The same without these fields.
    fn without(self, names: &[&[u8]]) -> Option<Self> {
        let request = without(&self.request, names)?;
        let facts = RequestFacts::new(b"GET", false, request.fields());
        Some(Self { request, facts, ..self })
    }
}

fn without(request: &Request, names: &[&[u8]]) -> Option<Request> {
    let view = request.view();
    let version = if view.version() == Version::Http10 { "HTTP/1.0" } else { "HTTP/1.1" };
    let mut text =
        format!("{} {} {version}\r\n", view.method_text(), view.target_text()).into_bytes();
    let gone = |name: &[u8]| names.iter().any(|gone| name.eq_ignore_ascii_case(gone));
    for line in view.fields().filter(|line| !gone(line.name)) {
        for part in [line.name, b": ", line.value, b"\r\n"] {
            text.extend_from_slice(part);
        }
    }
    text.extend_from_slice(b"\r\n");
    let mut head = Box::new(RequestHead::new());
    let parsed = matches!(head.parse(&text, &Limits::most()), Ok(Progress::Complete(_)));
    parsed.then(|| Request { head, bytes: text.into(), ..request.clone() })
}
