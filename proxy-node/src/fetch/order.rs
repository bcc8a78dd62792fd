//! What a fill has to know.

use std::{net::IpAddr, rc::Rc, sync::Arc};

use relay::head::{Limits, Progress, RequestHead, Version};

use super::resource::Fetch;
use crate::{
    cache::{facts::RequestFacts, object::Object},
    config::Generation,
    local::Local,
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
    /// What is stored already, is not fit, and can be validated.
    pub stale: Option<Arc<Object>>,
}

impl Order {
    /// What a fill has to know to ask for this request.
    pub(super) fn new(
        transaction: &Transaction,
        fetch: &Fetch<'_>,
        stale: Option<Arc<Object>>,
    ) -> Self {
        Self {
            local: transaction.local.clone(),
            generation: transaction.generation.clone(),
            request: fetch.request.clone(),
            facts: fetch.facts.clone(),
            destination: fetch.destination.clone(),
            addresses: fetch.addresses.clone(),
            client: transaction.client.address,
            forwarded: transaction.client.forwarded,
            stale,
        }
    }

    /// The order for the whole of what this one asks a part of.
    pub(super) fn whole(self) -> Option<Self> {
        if !self.facts.range {
            return Some(self);
        }
        let mut facts = self.facts.clone();
        facts.range = false;
        Some(Self { request: without_range(&self.request)?, facts, ..self })
    }
}

fn without_range(request: &Request) -> Option<Request> {
    let view = request.view();
    let version = if view.version() == Version::Http10 { "HTTP/1.0" } else { "HTTP/1.1" };
    let mut text =
        format!("{} {} {version}\r\n", view.method_text(), view.target_text()).into_bytes();
    for line in view.fields().filter(|line| !line.name.eq_ignore_ascii_case(b"range")) {
        for part in [line.name, b": ", line.value, b"\r\n"] {
            text.extend_from_slice(part);
        }
    }
    text.extend_from_slice(b"\r\n");
    let mut head = Box::new(RequestHead::new());
    let parsed = matches!(head.parse(&text, &Limits::most()), Ok(Progress::Complete(_)));
    parsed.then(|| Request { head, bytes: text.into(), ..request.clone() })
}
