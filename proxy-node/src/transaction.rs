//! One request with its answer: who asks, by which configuration it is decided, what is counted and
//! written down of it. Its steps are run by [`crate::dispatch`].

mod account;
mod refusal;
mod request;

use std::{
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

use dataplane::{connection::ConnectionEnd, trace::Trace};
use relay::{
    field::Field, head::Version, method::Method, proxy_status, rewrite::HeadWriter, stream::Stream,
};
use uuid::Uuid;

use crate::{
    admission::Subject,
    clock::unix_millis,
    config::Generation,
    local::Local,
    metrics::{Metrics, Tally},
    record::Record,
    request::{Client, Destination, Sender, Trust},
    steps::Steps,
};
pub use account::Account;
pub use request::Request;

/// One request with its answer, on its way through this process.
pub struct Transaction {
    /// The worker's own.
    pub local: Rc<Local>,
    /// The configuration that decides all of it.
    pub generation: Arc<Generation>,
    /// Who sent it to this node.
    pub sender: Sender,
    pub client: Client,
    pub id: Uuid,
    /// When it was there.
    pub started: Instant,
    /// The same, in Unix milliseconds.
    pub now: u64,
    /// Its span, if it is sampled.
    pub trace: Option<Trace>,
    pub method: Method,
    pub version: Version,
    /// Whether the client can send another request after it.
    pub persistent: bool,
    /// A health-checker's probe: counted apart, and not written down.
    pub probe: bool,
    /// The request's body has at most so many bytes.
    pub body_most: u64,
    /// What will be written down.
    pub record: Record,
    /// The head that is written now; taken from the worker's buffers, and given back.
    pub out: Vec<u8>,
}

impl Transaction {
    /// Begins. `source` is whoever the connection belongs to.
    #[must_use]
    pub fn new(
        local: &Rc<Local>,
        generation: Arc<Generation>,
        sender: Sender,
        source: IpAddr,
        request: &mut Request,
    ) -> Self {
        let view = request.view();
        let trust = Trust {
            downstreams: &generation.trusted_downstreams,
            unbelieved: generation.document.forwarded_for,
        };
        let client = crate::request::client(view, sender, source, &trust);
        let now = unix_millis();
        let id = crate::request::carried_id(view, client.trusted)
            .unwrap_or_else(|| local.ids.next(UNIX_EPOCH + Duration::from_millis(now)));
        let (trace, onward) = local.traced(view, id, client.trusted);
        let record = if generation.logged || trace.is_some() {
            Record {
                id,
                client: Some(client.address),
                method: view.method_text().into(),
                url: view.target_text().into(),
                user: crate::request::user(view, sender).into(),
                ..Record::default()
            }
        } else {
            Record::default()
        };
        let (method, version) = (view.method(), view.version());
        request.onward = onward;
        Self {
            local: local.clone(),
            sender,
            client,
            id,
            started: relay::clock::now(),
            now,
            trace,
            method,
            version,
            persistent: request.head.persistent(),
            probe: false,
            body_most: u64::MAX,
            record,
            out: local.buffers.take(),
            generation,
        }
    }

    /// Now, in steady seconds: what ages are reckoned by.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        self.local.node.steady.seconds()
    }

    /// The request, as far as it matters whether it may go on.
    #[must_use]
    pub fn subject<'a>(
        &'a self,
        request: &'a Request,
        destination: &'a Destination,
    ) -> Subject<'a> {
        Subject {
            node: &self.local.node,
            generation: &self.generation,
            client: self.client.address,
            request: request.view(),
            destination,
            now: self.now,
        }
    }

    /// Where the spans of its steps go, if it is sampled. A probe's go nowhere.
    #[must_use]
    pub fn steps(&self) -> Option<Steps> {
        Steps::of(&self.local, self.trace.filter(|_| !self.probe))
    }

    /// Counts what a client's request came to. A probe's comes to nothing: it would change what the
    /// hit ratio and the error rate say of clients; and another node's is counted there.
    pub fn count(&self, tally: impl FnOnce(&Metrics) -> &Tally) {
        if !self.probe && self.sender != Sender::Node {
            tally(&self.local.node.metrics).add(1);
        }
    }

    /// Whether the connection outlives this request, as far as client and drain are concerned.
    #[must_use]
    pub fn keeps(&self) -> bool {
        self.persistent && !self.local.worker.leaving()
    }

    /// Sends what is in `out`.
    pub async fn send(&mut self, stream: &mut Stream, keep: bool) -> ConnectionEnd {
        match stream.write_all(&[&self.out], self.generation.document.timeouts.write).await {
            Ok(()) if keep => ConnectionEnd::Stays,
            Ok(()) => ConnectionEnd::Close,
            Err(_) => {
                self.record.aborted = true;
                ConnectionEnd::Abort
            }
        }
    }

    /// The client has left before it was answered.
    pub fn left(&mut self) -> ConnectionEnd {
        self.record.aborted = true;
        ConnectionEnd::Abort
    }

    /// Adds the fields of ours that every response carries.
    pub fn common_fields(&self, head: &mut HeadWriter<'_>, origin_time: Duration) {
        // A probe leaves no record by which anybody could look for it.
        if !self.probe {
            let mut text = [0; 36];
            head.field("Shoal-Request-Id", self.id.hyphenated().encode_lower(&mut text).as_bytes());
        }
        if self.sender != Sender::Client {
            head.number(
                "Shoal-Origin-Time",
                u64::try_from(origin_time.as_millis()).unwrap_or(u64::MAX),
            );
        }
    }

    /// Tells another node where an answer was had from, as it has to know who may have that.
    pub fn tell_origin(&self, head: &mut HeadWriter<'_>, from: Option<SocketAddr>) {
        if self.sender == Sender::Node
            && let Some(from) = from
        {
            let value = proxy_status::from_next_hop(&self.local.node.name, from);
            head.field(Field::ProxyStatus.name(), value.as_bytes());
        }
    }

    /// Notes the media type of the answer for the log.
    pub fn note_media_type(&mut self, value: Option<&[u8]>) {
        if self.generation.logged
            && let Some(value) = value
        {
            self.record.media_type = std::str::from_utf8(value)
                .map_or_else(|_| cluster::text::of_bytes(value).into(), Into::into);
        }
    }

    /// It has ended; the client was sent so many bytes.
    pub fn finish(self, sent: u64) {
        let local = self.local.clone();
        self.account().close(&local, sent);
    }

    /// All that is left of a request when it ends.
    #[must_use]
    pub fn account(self) -> Account {
        self.local.buffers.give(self.out);
        Account {
            written: self.generation.logged && !self.probe,
            uncounted: self.probe || self.sender == Sender::Node,
            trace: self.trace.filter(|_| !self.probe),
            record: self.record,
            started: self.started,
            now: self.now,
        }
    }
}
