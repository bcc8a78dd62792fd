//! One request: what was asked, by whom and where.

use std::{cell::OnceCell, net::SocketAddr, sync::Arc, time::Instant};

use bytes::Bytes;
use cluster_config::document::balancer::{ClientTimeouts, ForwardedFor};
use dataplane::{limits::Refused, trace::Trace};
use relay::{
    head::{self, RequestHead},
    method::Method,
};
use uuid::{Uuid, fmt::Hyphenated};

use crate::{
    fields::{Known, Rewrites},
    listen::Frontend,
    local::Local,
    record::Protocol,
    route::Question,
    stats::FrontendCounts,
    tls::told::Told,
};

/// See the module.
pub struct Request<'a> {
    pub frontend: &'a Frontend,
    pub frontend_address: SocketAddr,
    /// In which it came.
    pub protocol: Protocol,
    /// The index of the head.
    pub head: &'a RequestHead,
    pub bytes: &'a Bytes,
    pub peer: SocketAddr,
    /// The client's address as text.
    pub client: &'a str,
    /// Names it everywhere.
    pub id: Uuid,
    /// The same as text, once it was asked for.
    pub id_text: OnceCell<[u8; Hyphenated::LENGTH]>,
    /// When its head was complete.
    pub began: Instant,
    /// What Max-Forwards says to the next hop, for the methods that know it.
    pub max_forwards: Option<u64>,
    /// Max-Forwards says that it goes no further.
    pub ends_here: bool,
    /// What the client had been sent on its connection before.
    pub sent_before: u64,
    /// How long its client may take.
    pub timeouts: ClientTimeouts,
    /// What TLS told of its client.
    pub told: Option<&'a Told>,
    /// What becomes of its fields and its answer's.
    pub rewrites: Option<Arc<Rewrites>>,
    /// What becomes of its X-Forwarded-For.
    pub forwarded_for: ForwardedFor,
    /// Its span, if it is sampled.
    pub trace: Option<Trace>,
    /// It is not served: its client has its share, or it is too large.
    pub refused: Option<Refused>,
    /// Its body has at most so many bytes.
    pub body_most: u64,
}

impl Request<'_> {
    /// The worker's counters of the frontend.
    #[must_use]
    pub fn counts(&self, local: &Local) -> &FrontendCounts {
        self.frontend.counts.of(local.worker().index())
    }

    #[must_use]
    pub fn method(&self) -> Method {
        self.head.method()
    }

    /// The head with its index.
    #[must_use]
    pub fn view(&self) -> head::Request<'_> {
        self.head.view(self.bytes)
    }

    /// For its route.
    #[must_use]
    pub fn question(&self) -> Question<'_> {
        Question { client: Some(self.peer.ip()), request: Some(self.view()), sni: None }
    }

    /// What fields may say of its client.
    pub fn with_known<T>(&self, use_it: impl FnOnce(&Known<'_>) -> T) -> T {
        self.with_id(|id| {
            use_it(&Known {
                client: self.client,
                port: self.peer.port(),
                frontend: &self.frontend.name,
                listener: self.frontend.address(),
                id,
                told: self.told,
            })
        })
    }

    /// The id as text, without an allocation.
    pub fn with_id<T>(&self, use_it: impl FnOnce(&[u8]) -> T) -> T {
        use_it(self.id_text.get_or_init(|| {
            let mut text = [0; Hyphenated::LENGTH];
            self.id.hyphenated().encode_lower(&mut text);
            text
        }))
    }
}
