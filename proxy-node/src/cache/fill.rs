//! How a response gets into the cache: a task of its own, on the worker of the request that caused
//! it, and independent of that request's client.
//!
//! It asks the next hop, decides whether the answer may be kept, tells the leader and those who
//! wait ([`crate::cache::ticket::Ticket`]), and then fills the body, which readers on any worker
//! follow. What may not be kept it hands over to the leader with the connection.

use std::{
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use relay::{
    body::BodyReader,
    fault::Fault,
    field::Field,
    framing::BodyFraming,
    head::{Response, ResponseHead},
    interims::Interims,
    method::Method,
    retry::Phase,
    rewrite::BodyFields,
    stream::Stream,
    wheel::{Kind, Timer},
};
use tokio::sync::oneshot;

use crate::{
    cache::{
        body::{Body, Reader},
        facts::{RequestFacts, ResponseFacts, Vary},
        object::{self, Object},
        policy::{self, Freshness, NotStored, RefreshPattern, Trouble},
        ticket::Ticket,
        vary::{self, Selection},
    },
    config::Generation,
    node::{Local, unix_millis},
    parent,
    record::Hierarchy,
    relay::{
        Conditions, Outgoing, Received, begin_response, bound_to_client, deadlines, reply_limits,
        reuse, write_request,
    },
    request::{Destination, Forwarded},
    respond::Failure,
    steps::Steps,
    turn::Asked,
    upstream::{self, From},
};

/// How long a fill goes on that nobody reads any more.
const ALONE: Duration = Duration::from_secs(30);
/// What a fill counts for while it is under way: its future, the request, the buffer that it reads
/// with.
const FILL: u64 = 40 * 1024;
/// Pieces of a body below this are gathered, up to so many bytes.
const SMALL: usize = 1024;
const GATHERED: usize = 8 * 1024;
/// How long readers of a body that is not kept make the others wait before they are cut.
const LAG: Duration = Duration::from_secs(1);
const SET_COOKIE: &[u8] = b"set-cookie";
/// How often it is looked whether those who follow a fill without a leader are still there.
const LOOK: Duration = Duration::from_millis(200);
/// How long a small answer is waited for as a whole.
const HOLD: Duration = Duration::from_millis(50);

/// What a fill has to know.
pub struct Order {
    /// The worker's own.
    pub local: Rc<Local>,
    /// The configuration of the request that caused it.
    pub generation: Arc<Generation>,
    /// The request.
    pub asked: Asked,
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

/// How the leader is answered.
pub enum Lead {
    /// From the cache.
    Object {
        /// What.
        object: Arc<Object>,
        /// A place at its beginning.
        reader: Reader,
        /// How it got there.
        how: How,
        /// From where.
        hierarchy: Hierarchy,
        /// How long the origin took.
        took: Duration,
        /// Values of Set-Cookie, a line each: for the leader alone.
        cookies: Bytes,
    },
    /// With an answer that is not kept.
    Response(Box<Received>, NotStored),
    /// With a failure.
    Failed(Failure),
}

/// How an object came to answer the request that led the fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Fetched.
    Stored,
    /// Validated: what was stored is still good.
    Unmodified,
    /// Stale, for want of an answer.
    StaleOnError,
}

/// Starts the fill. The leader is answered through the receiver.
pub fn start(order: Order, ticket: Ticket) -> oneshot::Receiver<Lead> {
    let (answer, leader) = oneshot::channel();
    let worker = order.local.worker.clone();
    let working = order.local.node.store.budget().work(FILL);
    let steps = Steps::current();
    // On its way into the runtime a task is copied several times: a pointer is, and not kilobytes
    // of room.
    let fill = Box::pin(run(order, ticket, answer));
    worker.spawn(async move {
        let _working = working;
        match steps {
            None => fill.await,
            Some(steps) => steps.during(fill).await,
        }
    });
    leader
}

async fn run(order: Order, ticket: Ticket, mut leader: oneshot::Sender<Lead>) {
    let began = Instant::now();
    let asked_at = order.local.node.steady.seconds();
    let exchanged = tokio::select! {
        biased;
        exchanged = exchange(&order, &ticket) => exchanged,
        // Dropping the ticket sends on their own who came at this very moment.
        () = unwanted(&order, &ticket, &mut leader) => return,
    };
    let mut received = match exchanged {
        Ok(received) => received,
        Err(failure) => return give_up(&order, &ticket, leader, failure, began.elapsed()),
    };
    // A small answer is not begun before it is whole: one that breaks off is a failure to tell of
    // then, and not half an answer that a balancer could take for the end of this node.
    if received.hop.stream.gather(received.head.framing(Method::Get), HOLD).await.is_err() {
        return give_up(
            &order,
            &ticket,
            leader,
            received.hop.blames(Failure::Incomplete),
            began.elapsed(),
        );
    }
    let status = received.head.status();
    if let Some(stale) = &order.stale {
        if status == 304 {
            return refresh(&order, &ticket, leader, stale, received, asked_at);
        }
        let trouble = matches!(status, 500 | 502 | 503 | 504);
        if trouble
            && policy::may_stand_in(
                &stale.freshness,
                &order.facts.directives,
                asked_at,
                Trouble::ServerError,
            )
        {
            return stand_in(&ticket, leader, stale, received.hop.hierarchy(), received.took);
        }
    }
    keep(order, ticket, leader, received, asked_at).await;
}

/// Returns once nobody waits for the answer any more: its leader has left, and so has everybody who
/// came after.
async fn unwanted(order: &Order, ticket: &Ticket, leader: &mut oneshot::Sender<Lead>) {
    leader.closed().await;
    while ticket.is_awaited() {
        order.local.worker.wheel().sleep(LOOK).await;
    }
}

/// Sends the request and reads the head of the answer; once more when a pooled connection turns out
/// to be closed.
async fn exchange(order: &Order, ticket: &Ticket) -> Result<Received, Failure> {
    let deadlines = deadlines(&order.generation);
    let route = order.local.node.route(&order.generation, &order.destination);
    let mut from = reuse(Method::Get);
    let pseudonym = order.local.node.pseudonym.load_full();
    let outgoing =
        Outgoing { asked: &order.asked, forwarded: order.forwarded, pseudonym: &pseudonym };
    let conditions = order.stale.as_ref().map(|stale| Conditions {
        etag: stale.etag.as_deref(),
        last_modified: stale.last_modified_text.as_deref(),
    });
    let mut out = Vec::with_capacity(1024);
    let (began, parents) = (Instant::now(), &order.generation.parents);
    let mut tried = order.local.parents.begin(parents, order.asked.view().target_text());
    // What a parent answered in vain, while another one is asked.
    let mut held: Option<Received> = None;
    loop {
        let connecting = upstream::connect(
            &order.local,
            &order.generation,
            order.client,
            route,
            from,
            order.addresses.clone(),
            &mut tried,
        );
        let mut hop = match connecting.await {
            Ok(hop) => hop,
            Err(failure) => return held.ok_or(failure),
        };
        write_request(&mut out, &outgoing, hop.parent(), conditions);
        let mut head = Box::new(ResponseHead::new());
        let mut interims = Interims::new(deadlines.first_byte);
        let answer = async {
            hop.stream.write_all(&[&out], deadlines.write).await?;
            final_head(order, ticket, &mut hop.stream, &mut head, &mut interims).await
        };
        match answer.await {
            Ok(bytes) => {
                let answer = Received { hop, head, bytes, took: began.elapsed() };
                let phase = if interims.any() { Phase::ResponseRelayed } else { Phase::Written };
                let another = answer.is_in_vain(
                    &order.local,
                    &order.generation,
                    &order.destination,
                    &mut tried,
                ) && tried.leaves_any(parents)
                    && parent::may_ask_another_after_answer(
                        Method::Get,
                        true,
                        phase,
                        &order.local.parents,
                    );
                if !another {
                    return Ok(answer);
                }
                held = Some(answer);
                from = reuse(Method::Get);
            }
            Err(Fault::Closed | Fault::Reset) if hop.reused && !interims.any() => {
                if let Some(chosen) = &hop.parent {
                    tried.forget(chosen.index);
                }
                from = From::New;
            }
            Err(fault) => {
                let failure = Failure::exchanging(&fault);
                let Some(parent) = hop.parent() else { return Err(failure) };
                parent.failed(failure);
                let another = !interims.any() && parent::may_ask_another_for(Method::Get, fault);
                if !another || !tried.leaves_any(parents) {
                    return held.ok_or(failure.of_parent());
                }
                from = reuse(Method::Get);
            }
        }
    }
}

/// Interim responses before it are for whoever waits.
async fn final_head(
    order: &Order,
    ticket: &Ticket,
    stream: &mut Stream,
    head: &mut ResponseHead,
    interims: &mut Interims,
) -> Result<Bytes, Fault> {
    let deadlines = deadlines(&order.generation);
    let hint = |interim: Response<'_>| {
        let mut hint = Vec::with_capacity(1024);
        let pseudonym = order.local.node.pseudonym.load();
        begin_response(&mut hint, interim, BodyFields::AsReceived, &pseudonym).finish();
        ticket.hint(hint);
    };
    let silence = (deadlines.first_byte, deadlines.head);
    stream
        .read_final_response(head, &reply_limits(&order.generation), silence, interims, hint)
        .await
}

/// No answer: what is stale may do, and if not, everybody who waits gets the failure.
fn give_up(
    order: &Order,
    ticket: &Ticket,
    leader: oneshot::Sender<Lead>,
    failure: Failure,
    took: Duration,
) {
    let now = order.local.node.steady.seconds();
    if let Some(stale) = &order.stale
        && !matches!(failure, Failure::Egress(_))
        && policy::may_stand_in(
            &stale.freshness,
            &order.facts.directives,
            now,
            Trouble::Unreachable,
        )
    {
        return stand_in(ticket, leader, stale, Hierarchy::None, took);
    }
    // What one client may not reach another may: those who wait find out for themselves.
    if !matches!(failure, Failure::Egress(_)) {
        ticket.fail(failure);
    }
    drop(leader.send(Lead::Failed(failure)));
}

fn stand_in(
    ticket: &Ticket,
    leader: oneshot::Sender<Lead>,
    stale: &Arc<Object>,
    hierarchy: Hierarchy,
    took: Duration,
) {
    ticket.stand_in(stale);
    if let Some(reader) = Reader::new(&stale.body) {
        drop(leader.send(Lead::Object {
            object: stale.clone(),
            reader,
            how: How::StaleOnError,
            hierarchy,
            took,
            cookies: Bytes::new(),
        }));
    }
}

/// 304: the stored response is good for another while, with the fields of the answer (RFC 9111
/// §4.3.4).
fn refresh(
    order: &Order,
    ticket: &Ticket,
    leader: oneshot::Sender<Lead>,
    stale: &Arc<Object>,
    received: Received,
    asked_at: u64,
) {
    let Received { hop, head, bytes, took } = received;
    let hierarchy = hop.hierarchy();
    let answer = stored_head(&head, &bytes, &order.local.node.pseudonym.load());
    let merged = object::refreshed(&stale.head, &answer);
    let mut facts = ResponseFacts::new(stale.status, object::fields(&merged));
    // Age is not kept with the fields.
    facts.age = ResponseFacts::new(304, lines(&head, &bytes)).age;
    let freshness =
        Freshness::new(&facts, stale.key.as_bytes(), patterns(order), times(order, asked_at));
    let cookies = cookies(&head, &bytes);
    let mut new = Object::new(
        stale.key.clone(),
        merged.into(),
        &facts,
        stale.selection.clone(),
        freshness,
        stale.declared,
        stale.body.clone(),
    );
    new.from = stale.from;
    let new = Arc::new(new);
    if !ticket.store(&new) {
        ticket.stand_in(&new);
    }
    if head.persistent(Method::Get) && !bound_to_client(&order.asked) {
        hop.keep(&order.local);
    }
    if let Some(reader) = Reader::new(&new.body) {
        drop(leader.send(Lead::Object {
            object: new,
            reader,
            how: How::Unmodified,
            hierarchy,
            took,
            cookies,
        }));
    }
}

/// Keeps the answer if it may be kept, or hands it over.
async fn keep(
    order: Order,
    ticket: Ticket,
    leader: oneshot::Sender<Lead>,
    received: Received,
    asked_at: u64,
) {
    let object = match storable(&order, &ticket, &received, asked_at) {
        Ok(object) => object,
        Err(reason) => {
            if reason.lasts() {
                order
                    .local
                    .node
                    .store
                    .note_unshared(ticket.key(), order.local.node.steady.seconds());
            }
            // Those who wait go on their own, all of them now.
            drop(ticket);
            return drop(leader.send(Lead::Response(Box::new(received), reason)));
        }
    };
    let Some(reader) = Reader::new(&object.body) else { return };
    let filling = Filling { local: order.local.clone(), object: object.clone(), settled: false };
    if !ticket.store(&object) {
        return drop(leader.send(Lead::Response(Box::new(received), NotStored::NoRoom)));
    }
    drop(ticket);
    let hierarchy = received.hop.hierarchy();
    let cookies = cookies(&received.head, &received.bytes);
    let answered = leader.send(Lead::Object {
        object,
        reader,
        how: How::Stored,
        hierarchy,
        took: received.took,
        cookies,
    });
    // The leader may be gone; the fill goes on for those who come.
    drop(answered);
    fill(order, filling, received).await;
}

/// When a response that has just come was asked for and came.
fn times(order: &Order, asked_at: u64) -> policy::Times {
    policy::Times {
        asked_at,
        received_at: order.local.node.steady.seconds(),
        wall: unix_millis() / 1000,
    }
}

fn storable(
    order: &Order,
    ticket: &Ticket,
    received: &Received,
    asked_at: u64,
) -> Result<Arc<Object>, NotStored> {
    let (head, bytes) = (&received.head, &received.bytes);
    let framing = head.framing(Method::Get);
    let facts = ResponseFacts::new(head.status(), lines(head, bytes));
    let freshness =
        Freshness::new(&facts, ticket.key().as_bytes(), patterns(order), times(order, asked_at));
    policy::storable(&order.facts, &facts, &freshness)?;
    let declared = match framing {
        BodyFraming::Empty => Some(0),
        BodyFraming::Length(length) => Some(length),
        BodyFraming::Chunked => None,
        // RFC 9112 §9.8: where TLS says that it ends, the answer is whole; where it does not, the
        // fill fails.
        BodyFraming::UntilClose if received.hop.stream.announces_its_end() => None,
        BodyFraming::UntilClose if order.generation.document.cache.store_until_close => None,
        BodyFraming::UntilClose => return Err(NotStored::Unframed),
    };
    if declared.is_some_and(|length| length > order.generation.document.cache.max_object_size) {
        return Err(NotStored::TooLarge);
    }
    let store = &order.local.node.store;
    if !store.has_room_in_flight(0, declared.unwrap_or(0)) {
        return Err(NotStored::NoRoom);
    }
    let selection = match &facts.vary {
        Vary::Fields(names) => {
            let all: Vec<(&[u8], &[u8])> = order.asked.fields().collect();
            vary::select(names, all.iter().copied())
        }
        Vary::Nothing | Vary::Anything => Selection::default(),
    };
    let stored = stored_head(head, bytes, &order.local.node.pseudonym.load());
    let body = Body::new(store.budget());
    body.note_progress(order.local.node.steady.millis());
    let mut object = Object::new(
        ticket.key().clone(),
        stored.into(),
        &facts,
        selection,
        freshness,
        declared,
        body,
    );
    object.from = received.hop.origin();
    Ok(Arc::new(object))
}

/// The patterns that say how long the answer to a request lives: none where the request says who
/// asks.
fn patterns(order: &Order) -> &[RefreshPattern] {
    if order.facts.personal() { &[] } else { &order.generation.refresh_patterns }
}

/// The values of Set-Cookie, a line each. They are for whoever asked, and not stored.
fn cookies(head: &ResponseHead, bytes: &Bytes) -> Bytes {
    let mut cookies = Vec::new();
    for (_, value) in lines(head, bytes).filter(|(name, _)| name.eq_ignore_ascii_case(SET_COOKIE)) {
        cookies.extend_from_slice(value);
        cookies.push(b'\n');
    }
    cookies.into()
}

fn lines<'a>(
    head: &'a ResponseHead,
    bytes: &'a Bytes,
) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    head.view(bytes).fields().map(|line| (line.name, line.value))
}

/// The head as it is kept: hygiene applied, our Via added, a Date in any case; without framing,
/// Age, Set-Cookie, and the empty line.
fn stored_head(head: &ResponseHead, bytes: &Bytes, pseudonym: &str) -> Vec<u8> {
    let mut written = Vec::new();
    let mut writer = begin_response(
        &mut written,
        head.view(bytes),
        BodyFields::Set(BodyFraming::Empty),
        pseudonym,
    );
    if !head.has(Field::Date) {
        // RFC 9110 §6.6.1.
        writer.field("Date", &relay::date::http_date(std::time::SystemTime::now()));
    }
    writer.finish();
    let mut kept = Vec::with_capacity(written.len());
    let mut lines = written.split_inclusive(|byte| *byte == b'\n');
    kept.extend_from_slice(lines.next().unwrap_or_default());
    for line in lines {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        if !name.eq_ignore_ascii_case(b"age")
            && !name.eq_ignore_ascii_case(SET_COOKIE)
            && line != b"\r\n"
        {
            kept.extend_from_slice(line);
        }
    }
    kept
}

/// The duty to end a body one way or the other: a fill that is cut (a panic, a drain at its end)
/// must not look complete, nor hang its readers.
struct Filling {
    local: Rc<Local>,
    object: Arc<Object>,
    settled: bool,
}

impl Drop for Filling {
    fn drop(&mut self) {
        if !self.settled {
            self.object.body.fail();
            self.local.node.store.remove(&self.object);
        }
    }
}

async fn fill(order: Order, mut filling: Filling, received: Received) {
    let Received { mut hop, head, bytes, .. } = received;
    let most = order.generation.document.cache.max_object_size;
    let (store, body) = (order.local.node.store.clone(), filling.object.body.clone());
    let deadline = order.generation.document.timeouts.read;
    let framing = head.framing(Method::Get);
    let mut reader = BodyReader::new(framing, head.dialect());
    let timer = Timer::new(order.local.worker.wheel());
    let mut gathered = Vec::new();
    let mut alone_since: Option<Instant> = None;
    let before = hop.stream.received();
    let complete = loop {
        let piece = match reader.next(&mut hop.stream, deadline).await {
            Ok(Some(piece)) => piece,
            Ok(None) => break true,
            Err(fault) => {
                tracing::debug!(url = %filling.object.key, %fault, "fill incomplete");
                break false;
            }
        };
        let broken = gather(&mut reader, &mut hop.stream, &piece, &mut gathered).err();
        let bytes: &[u8] = if gathered.is_empty() { &piece } else { &gathered };
        let length = body.len() + bytes.len() as u64;
        if length > most {
            body.stop_retaining();
        }
        if !room(&timer, &body).await {
            break false;
        }
        let more = filling.object.declared.map(|declared| declared.saturating_sub(length));
        body.append(bytes, more, |bytes| store.admit(&filling.object, body.charged(), bytes));
        body.note_progress(order.local.node.steady.millis());
        if filling.object.is_kept() && !body.retains() {
            // Too large after all, or no memory left: those who read it get it, nobody else will.
            store.remove(&filling.object);
        }
        if let Some(fault) = broken {
            tracing::debug!(url = %filling.object.key, %fault, "fill broken");
            break false;
        }
        if body.is_read() {
            alone_since = None;
        } else if alone_since.get_or_insert_with(Instant::now).elapsed() > ALONE {
            break false;
        }
    };
    let metrics = &order.local.node.metrics;
    metrics
        .bytes_from_origins
        .add(hop.stream.received().saturating_sub(before) + bytes.len() as u64);
    if complete {
        filling.settled = true;
        body.complete();
        store.settle(&filling.object);
        if head.persistent(Method::Get) && !bound_to_client(&order.asked) {
            hop.keep(&order.local);
        }
    }
}

/// Waits until there is room for more. False: nobody wants it any more.
async fn room(timer: &Timer, body: &Body) -> bool {
    loop {
        match timer.within(Kind::Other, LAG, body.room()).await {
            Ok(room) => return room.is_ok(),
            Err(_) => body.cut_laggards(),
        }
    }
}

/// Puts small pieces that are there already together, so that an origin which sends byte by byte
/// costs an append for each read and not for each byte. `gathered` stays empty where a piece is
/// worth an append of its own.
fn gather(
    reader: &mut BodyReader,
    stream: &mut Stream,
    piece: &[u8],
    gathered: &mut Vec<u8>,
) -> Result<(), Fault> {
    gathered.clear();
    if piece.len() >= SMALL {
        return Ok(());
    }
    gathered.extend_from_slice(piece);
    while gathered.len() < GATHERED
        && let Some(more) = reader.take(stream)?
    {
        gathered.extend_from_slice(&more);
    }
    Ok(())
}
