//! One request on a connection, from its head to its record: who asks, what is decided, what is
//! answered, what is written down.

use std::{
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, UNIX_EPOCH},
};

use bytes::Bytes;
use cluster_config::document::egress::EgressDenial;
use dataplane::{
    connection::ConnectionEnd,
    trace::{Onward, Trace},
};
use relay::{
    head::{Limits, Progress, Request, RequestHead, Version},
    malformed::Malformed,
    method::Method,
    normal,
    respond::Canned,
    rewrite::{HeadWriter, Persistence},
    stream::Stream,
    target::Target,
};
use uuid::Uuid;

use crate::{
    admission::Subject,
    admit::Decision,
    cache::key::Key,
    config::Generation,
    dns::share,
    fetch,
    listen::Protocol,
    metrics::{Metrics, Tally},
    node::{Asker, Local, unix_millis},
    record::{Outcome, Record},
    request::{self, Ask, Client, Destination, Door, Trust},
    respond::{self, Circumstances, Failure},
    steps::Steps,
    tunnel, upstream,
};

/// What is understood here.
const ALLOW: (&str, &str) = ("Allow", "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH, CONNECT");

/// The state of one request.
pub struct Turn {
    /// The worker's own.
    pub local: Rc<Local>,
    /// The configuration that decides all of it.
    pub generation: Arc<Generation>,
    /// Through which door it came.
    pub door: Door,
    /// Who asks.
    pub client: Client,
    /// Its id.
    pub id: Uuid,
    /// When it was there.
    pub started: Instant,
    /// The same, in Unix milliseconds.
    pub now: u64,
    /// Its span, if it is sampled.
    pub trace: Option<Trace>,
    /// Its method.
    pub method: Method,
    /// Its version.
    pub version: Version,
    /// Whether the client can send another request after it.
    pub persistent: bool,
    /// A health-checker's probe: counted apart, and not written down.
    pub probe: bool,
    /// What will be written down.
    pub record: Record,
    /// Scratch for heads.
    pub out: Vec<u8>,
}

/// What is counted and written down when a request ends.
pub struct Account {
    /// So far.
    pub record: Record,
    /// Whether anybody wants to know.
    written: bool,
    /// A health-checker's, which counts nowhere.
    probe: bool,
    /// Its span, if it is sampled.
    trace: Option<Trace>,
    started: Instant,
    now: u64,
}

impl Account {
    /// It has ended; the client was sent so many bytes.
    pub fn close(mut self, local: &Local, sent: u64) {
        local.node.metrics.bytes_to_clients.add(sent);
        let took = relay::clock::since(self.started);
        if !self.probe {
            let timed = self.record.outcome != Outcome::Tunnel;
            local
                .node
                .answers
                .of(local.worker.index())
                .note(self.record.status, timed.then_some(took));
        }
        if !self.written && self.trace.is_none() {
            return;
        }
        self.record.bytes = sent;
        self.record.elapsed = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.record.ended_at = self.now + self.record.elapsed;
        if let (Some(trace), Some(tracer)) = (&self.trace, &local.node.tracer) {
            self.record.trace(trace, tracer, took);
        }
        if self.written {
            local.node.recorder.record(self.record);
        }
    }
}

/// A request: the index of its head, and the bytes.
#[derive(Clone)]
pub struct Asked {
    /// Index.
    pub head: Box<RequestHead>,
    /// Bytes.
    pub bytes: Bytes,
    /// What the next hop hears of its trace.
    pub onward: Onward,
}

impl Asked {
    /// Both together.
    #[must_use]
    pub fn view(&self) -> Request<'_> {
        self.head.view(&self.bytes)
    }

    /// The same request with its target, which was taken apart, in the normal form; `None`: it is
    /// normal as it came.
    ///
    /// # Errors
    /// It does not fit into a head any more.
    pub fn normal(&self, target: &Target<'_>) -> Result<Option<Self>, Malformed> {
        let view = self.view();
        let Some(target) = normal::of_target(view.target_text(), target, view.method()) else {
            return Ok(None);
        };
        let bytes = Bytes::from(view.with_target(&target));
        let mut head = Box::new(RequestHead::new());
        // What was accepted is accepted again, though it may have grown by a few bytes.
        let limits = Limits { head: bytes.len(), target: target.len(), ..Limits::default() };
        match head.parse(&bytes, &limits)? {
            Progress::Complete(_) => Ok(Some(Self { head, bytes, onward: self.onward })),
            Progress::NeedMore => Err(Malformed::HeadTooLarge),
        }
    }

    /// The fields by which the cache goes.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        request::sent_fields(self.view())
    }
}

impl Turn {
    /// Begins. `source` is whoever the connection belongs to.
    #[must_use]
    pub fn new(
        local: &Rc<Local>,
        generation: Arc<Generation>,
        door: Door,
        source: IpAddr,
        asked: &mut Asked,
    ) -> Self {
        let request = asked.view();
        let trust = Trust {
            downstreams: &generation.trusted_downstreams,
            unbelieved: generation.document.forwarded_for,
        };
        let client = request::client(request, door, source, &trust);
        let now = unix_millis();
        let id = request::carried_id(request, client.trusted)
            .unwrap_or_else(|| local.ids.next(UNIX_EPOCH + Duration::from_millis(now)));
        let (trace, onward) = local.traced(request, id, client.trusted);
        let record = if generation.logged || trace.is_some() {
            Record {
                id,
                client: Some(client.address),
                method: request.method_text().into(),
                url: request.target_text().into(),
                ..Record::default()
            }
        } else {
            Record::default()
        };
        let (method, version) = (request.method(), request.version());
        asked.onward = onward;
        Self {
            local: local.clone(),
            door,
            client,
            id,
            started: relay::clock::now(),
            now,
            trace,
            method,
            version,
            persistent: asked.head.persistent(),
            probe: false,
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

    /// Answers the request, to the end, and writes it down.
    pub async fn run(
        mut self,
        stream: &mut Stream,
        asked: &Asked,
        protocol: Protocol,
    ) -> ConnectionEnd<Box<tunnel::Open>> {
        let sent_before = stream.sent();
        // One spelling from here on: what is judged is what is fetched and kept. The record has
        // what was sent.
        let target = asked.view().target();
        let normal = match asked.normal(&target) {
            Ok(normal) => normal,
            Err(malformed) => {
                self.count(|metrics| &metrics.requests);
                let end = self.refuse(stream, asked, Failure::Malformed(malformed), None).await;
                return self.conclude(end, Some(stream.sent()), sent_before);
            }
        };
        let (asked, target) =
            normal.as_ref().map_or((asked, target), |normal| (normal, normal.view().target()));
        let end =
            match request::ask_for(asked.view(), target, self.door, self.health_path(protocol)) {
                Ok(ask @ (Ask::Health | Ask::Probe)) => {
                    // Their bodies are not read, and would be taken for the next request: on a
                    // pooled connection, for another client's.
                    self.persistent &= asked.head.framing().is_empty();
                    let end = if matches!(ask, Ask::Health) {
                        self.health(stream).await
                    } else {
                        self.probe(stream).await
                    };
                    return self.conclude(end, None, sent_before);
                }
                Ok(Ask::Fetch { destination, path }) => {
                    if self.begin(&destination, asked) == Asker::Stranger {
                        self.refuse(stream, asked, Failure::Egress(EgressDenial::ClusterPort), None)
                            .await
                    } else {
                        match self.steps() {
                            None => self.fetch(stream, asked, &destination, path).await,
                            Some(steps) => {
                                Box::pin(steps.during(self.fetch(
                                    stream,
                                    asked,
                                    &destination,
                                    path,
                                )))
                                .await
                            }
                        }
                    }
                }
                Ok(Ask::Tunnel(destination)) => {
                    if self.begin(&destination, asked) == Asker::Stranger {
                        let denied = Failure::Egress(EgressDenial::ClusterPort);
                        let end = self.refuse(stream, asked, denied, None).await;
                        return self.conclude(end, Some(stream.sent()), sent_before);
                    }
                    let opened = match self.steps() {
                        None => Box::pin(self.tunnel(stream, asked, &destination)).await,
                        Some(steps) => {
                            Box::pin(steps.during(self.tunnel(stream, asked, &destination))).await
                        }
                    };
                    match opened {
                        Ok(upstream) => ConnectionEnd::Tunnel(upstream),
                        Err(end) => end,
                    }
                }
                Err(failure) => {
                    self.count(|metrics| &metrics.requests);
                    self.refuse(stream, asked, failure, None).await
                }
            };
        match self.conclude(end, Some(stream.sent()), sent_before) {
            ConnectionEnd::Close => {
                let client_is_done = asked.head.is_last() && stream.input().is_empty();
                ConnectionEnd::answered(false, client_is_done)
            }
            other => other,
        }
    }

    /// Makes a tunnel of what is to be one; else the request is over, and is written down as one
    /// that left the client's connection at `sent` bytes (none: it counts nowhere).
    fn conclude(
        self,
        end: ConnectionEnd,
        sent: Option<u64>,
        sent_before: u64,
    ) -> ConnectionEnd<Box<tunnel::Open>> {
        match end.tunnel() {
            Ok(upstream) => {
                ConnectionEnd::Tunnel(Box::new(tunnel::Open::new(self, upstream, sent_before)))
            }
            Err(end) => {
                if let Some(sent) = sent {
                    self.finish(sent.saturating_sub(sent_before));
                }
                end
            }
        }
    }

    /// Where the spans of its steps go, if it is sampled. A probe's go nowhere.
    fn steps(&self) -> Option<Steps> {
        Steps::of(&self.local, self.trace.filter(|_| !self.probe))
    }

    /// The path under which the listener of this connection says whether the node serves.
    fn health_path(&self, protocol: Protocol) -> Option<&str> {
        let Protocol::Proxy(bind) = protocol else { return None };
        self.generation
            .document
            .listen
            .iter()
            .find(|listen| listen.bind == bind)?
            .health_path
            .as_deref()
    }

    fn begin(&mut self, destination: &Destination, asked: &Asked) -> Asker {
        let asker = self.local.node.probe(self.client.address, destination, asked.view());
        self.probe = asker == Asker::Checker;
        if self.probe {
            self.local.node.metrics.probes.add(1);
        }
        self.count(|metrics| &metrics.requests);
        asker
    }

    /// Counts what a client's request came to. A probe's comes to nothing: it would change what the
    /// hit ratio and the error rate say of clients.
    pub fn count(&self, tally: impl FnOnce(&Metrics) -> &Tally) {
        if !self.probe {
            tally(&self.local.node.metrics).add(1);
        }
    }

    async fn fetch(
        &mut self,
        stream: &mut Stream,
        asked: &Asked,
        destination: &Destination,
        path: &str,
    ) -> ConnectionEnd {
        let addresses = match self.admit(asked, destination).await {
            Ok(addresses) => addresses,
            Err((failure, decision)) => return self.refuse(stream, asked, failure, decision).await,
        };
        let key =
            Key::new(destination.scheme(), &destination.host, destination.port, path.as_bytes());
        fetch::run(self, stream, asked, destination, key, addresses).await
    }

    /// The other end of the tunnel, once the client knows that it is there.
    async fn tunnel(
        &mut self,
        stream: &mut Stream,
        asked: &Asked,
        destination: &Destination,
    ) -> Result<Stream, ConnectionEnd> {
        self.record.outcome = Outcome::Tunnel;
        match self.admit(asked, destination).await {
            Ok(addresses) => tunnel::open(self, stream, asked, destination, addresses).await,
            Err((failure, decision)) => Err(self.refuse(stream, asked, failure, decision).await),
        }
    }

    /// The request, as far as it matters whether it may go on.
    #[must_use]
    pub fn subject<'a>(&'a self, asked: &'a Asked, destination: &'a Destination) -> Subject<'a> {
        Subject {
            node: &self.local.node,
            generation: &self.generation,
            client: self.client.address,
            request: asked.view(),
            destination,
            now: self.now,
        }
    }

    /// Asks the rules. Answers the addresses of the destination where a rule wanted them: those
    /// that the request may go to.
    async fn admit(
        &mut self,
        asked: &Asked,
        destination: &Destination,
    ) -> Result<Option<Arc<[IpAddr]>>, (Failure, Option<Decision>)> {
        let subject = self.subject(asked, destination);
        if subject.is_loop() {
            return Err((Failure::Loop, None));
        }
        // A check tells of the node. What its users may do is for the rules, and must not make it
        // unwell.
        if self.probe {
            return Ok(None);
        }
        let resolve = || {
            upstream::resolve(
                &self.local,
                &destination.host,
                share::Asker::client(self.client.address),
                self.generation.document.timeouts.dns,
            )
        };
        let verdict = subject.walk(resolve, None).await.map_err(|failure| (failure, None))?;
        if verdict.decision.allowed {
            Ok(verdict.permitted())
        } else {
            Err((Failure::Denied, Some(verdict.decision)))
        }
    }

    /// Answers with a failure.
    pub async fn refuse(
        &mut self,
        stream: &mut Stream,
        asked: &Asked,
        failure: Failure,
        decision: Option<Decision>,
    ) -> ConnectionEnd {
        let keep = self.write_refusal(asked, failure, decision);
        self.send(stream, keep).await
    }

    /// Writes the answer into the scratch. Whether the connection outlives it.
    fn write_refusal(
        &mut self,
        asked: &Asked,
        failure: Failure,
        decision: Option<Decision>,
    ) -> bool {
        let request = asked.view();
        match failure {
            Failure::Denied | Failure::Egress(_) => self.count(|metrics| &metrics.denied),
            _ => self.count(|metrics| &metrics.errors),
        }
        self.record.outcome = match failure {
            Failure::Denied | Failure::Egress(_) | Failure::Loop => Outcome::Denied,
            Failure::Malformed(_) | Failure::NotForAProxy | Failure::Trace => Outcome::None,
            _ => self.record.outcome,
        };
        self.record.status = failure.status();
        self.record.media_type = "text/html".into();
        // A body that was not read would be taken for the next request.
        let unread = !request.framing().is_empty();
        let keep = self.keeps() && !failure.closes() && !unread && self.method != Method::Connect;
        let rule =
            decision.map(|decision| self.generation.rules.describe(decision)).unwrap_or_default();
        let page =
            decision.and_then(|decision| self.generation.rules.get(decision.rule?)?.page.clone());
        let client = self.client.address.to_string();
        let circumstances = Circumstances {
            node: &self.local.node.name,
            visible_hostname: &self.generation.document.visible_hostname,
            revision: &self.generation.revision,
            request_id: &self.id.to_string(),
            url: request.target_text(),
            method: request.method_text(),
            client: &client,
            rule: &rule,
            page: page.as_deref(),
        };
        tracing::debug!(request_id = %self.id, %failure, status = failure.status(), url = request.target_text(), client, "refused");
        self.out.clear();
        let now = UNIX_EPOCH + Duration::from_millis(self.now);
        respond::write(
            &mut self.out,
            failure,
            &circumstances,
            now,
            self.method == Method::Head,
            !keep,
        );
        keep
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
        if self.door != Door::Proxy {
            head.number(
                "Shoal-Origin-Time",
                u64::try_from(origin_time.as_millis()).unwrap_or(u64::MAX),
            );
        }
    }

    /// The method as sent.
    #[must_use]
    pub fn method_text<'a>(&self, asked: &'a Asked) -> &'a [u8] {
        asked.view().method_text().as_bytes()
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

    async fn health(&mut self, stream: &mut Stream) -> ConnectionEnd {
        let serving = self.local.node.is_serving() && !self.local.worker.leaving();
        let (status, body): (u16, &[u8]) =
            if serving { (200, b"ready\n") } else { (503, b"draining\n") };
        self.canned(stream, status, body, &[("Cache-Control", "no-store"), ALLOW]).await
    }

    /// A sign of life: from the data path, and without anything that could wait.
    async fn probe(&mut self, stream: &mut Stream) -> ConnectionEnd {
        self.canned(stream, 200, b"", &[ALLOW]).await
    }

    async fn canned(
        &mut self,
        stream: &mut Stream,
        status: u16,
        body: &[u8],
        fields: &[(&str, &str)],
    ) -> ConnectionEnd {
        let keep = self.keeps();
        let persistence = Persistence::of(keep, self.version);
        let now = UNIX_EPOCH + Duration::from_millis(self.now);
        let canned = Canned {
            status,
            now,
            content_type: if body.is_empty() { "" } else { "text/plain" },
            fields,
            body,
            persistence,
        };
        self.out.clear();
        if self.method == Method::Head {
            canned.write_head(&mut self.out)
        } else {
            canned.write(&mut self.out)
        }
        self.send(stream, keep).await
    }

    fn finish(self, sent: u64) {
        let local = self.local.clone();
        self.account().close(&local, sent);
    }

    /// All that is left of a request when it ends.
    #[must_use]
    pub fn account(self) -> Account {
        self.local.buffers.give(self.out);
        Account {
            written: self.generation.logged && !self.probe,
            probe: self.probe,
            trace: self.trace.filter(|_| !self.probe),
            record: self.record,
            started: self.started,
            now: self.now,
        }
    }
}
