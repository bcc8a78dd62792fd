//! The answer of the next hop, and how it gets to the client.

use std::time::Duration;

use bytes::Bytes;
use dataplane::connection::ConnectionEnd;
use relay::{
    exchange::{Exchange, Upload},
    fault::Fault,
    field::{Field, FieldSet},
    framing::BodyFraming,
    head::{Response, ResponseHead},
    hygiene::{NODE_RESPONSE, PROXY_CREDENTIALS},
    malformed::Malformed,
    rewrite::{BodyFields, HeadWriter, Persistence},
    stream::Stream,
};

use super::{
    broken::{Progress, failed},
    request::bound_to_client,
};
use crate::{
    config::Generation,
    local::Local,
    parent::{self, Parent, Tried},
    record::Outcome,
    request::Destination,
    respond::Error,
    transaction::{Request, Transaction},
    upstream::Hop,
};

/// What an origin may not say in our name: who failed, and what only our own hops say.
const DROP_RESPONSE: FieldSet = NODE_RESPONSE.with(Field::ProxyStatus);

/// A response whose head is there and whose body is still to come.
pub struct Received {
    /// Where it comes from.
    pub hop: Hop,
    /// Index of its head.
    pub head: Box<ResponseHead>,
    /// Bytes of its head.
    pub bytes: Bytes,
    /// How long it took.
    pub took: Duration,
}

impl Received {
    /// Whether it comes from a parent that could not do what it was asked. Where it is an answer,
    /// it is noted how the parents have done.
    pub fn is_in_vain(
        &self,
        local: &Local,
        generation: &Generation,
        destination: &Destination,
        tried: &mut Tried,
    ) -> bool {
        let Some(chosen) = &self.hop.parent else { return false };
        // In a tunnel through it the destination answers for itself.
        let in_vain =
            self.hop.parent().is_some() && parent::is_in_vain(self.head.view(&self.bytes));
        if in_vain {
            tried.note_in_vain(&generation.parents, chosen.index, self.head.status());
        } else {
            chosen.parent.answered();
            tried.settle(&generation.parents, destination, &local.parents);
        }
        in_vain
    }
}

/// Begins the head of a response that is sent on: status line and fields, ours not yet.
pub fn begin_response<'o>(
    out: &'o mut Vec<u8>,
    response: Response<'_>,
    body: BodyFields,
    pseudonym: &str,
) -> HeadWriter<'o> {
    begin(out, response, DROP_RESPONSE, body, pseudonym)
}

fn begin<'o>(
    out: &'o mut Vec<u8>,
    response: Response<'_>,
    drop: FieldSet,
    body: BodyFields,
    pseudonym: &str,
) -> HeadWriter<'o> {
    let mut head = HeadWriter::response(out, response, drop, body);
    head.via(response.version(), pseudonym);
    head
}

/// Sends an answer to the client, whose request body may still be on its way.
pub async fn finish(
    transaction: &mut Transaction,
    stream: &mut Stream,
    request: &Request,
    answer: Received,
    upload: &mut Upload,
    cache_status: &str,
) -> ConnectionEnd {
    let Received { mut hop, head, bytes, took } = answer;
    let passes = hop.parent().is_some_and(Parent::passes_credentials);
    if head.status() == 407 && hop.parent().is_some() && !passes {
        // The client has not been asked by this proxy, and cannot answer its parent.
        return transaction.refuse(stream, request, Error::ParentAuthentication, None).await;
    }
    let incoming = head.framing(transaction.method);
    let outgoing = incoming.for_client(transaction.version);
    // An answer that overtakes the request's body says so now: what is left of the body may never
    // be read, and a balancer that pooled this connection would find it closed under its next
    // request.
    let keep = transaction.keeps() && outgoing != BodyFraming::UntilClose && upload.is_done();
    transaction.record.status = head.status();
    transaction.record.hierarchy = hop.hierarchy();
    transaction.note_media_type(head.view(&bytes).value(Field::ContentType));
    let fields = if incoming == BodyFraming::Empty {
        BodyFields::AsReceived
    } else {
        BodyFields::Set(outgoing)
    };
    let pseudonym = transaction.local.node.pseudonym.load_full();
    let mut out = std::mem::take(&mut transaction.out);
    out.clear();
    let drop = if passes { DROP_RESPONSE.without(PROXY_CREDENTIALS) } else { DROP_RESPONSE };
    let mut writer = begin(&mut out, head.view(&bytes), drop, fields, &pseudonym);
    writer.field("Cache-Status", cache_status.as_bytes());
    transaction.tell_origin(&mut writer, hop.origin());
    transaction.common_fields(&mut writer, took);
    writer.connection(Persistence::of(keep, transaction.version));
    writer.finish();
    transaction.out = out;
    let deadlines = transaction.generation.deadlines();
    let before = hop.stream.received();
    let mut exchange = Exchange::new(stream, &mut hop.stream, upload, &deadlines);
    exchange.set_dialect(head.dialect());
    let done = exchange.finish(&transaction.out, incoming, outgoing).await;
    transaction
        .local
        .node
        .metrics
        .bytes_from_origins
        .add(hop.stream.received().saturating_sub(before) + bytes.len() as u64);
    match done {
        Ok(done) => {
            if done.upload_done && head.persistent(transaction.method) && !bound_to_client(request)
            {
                hop.keep(&transaction.local);
            }
            if keep && done.upload_done { ConnectionEnd::Stays } else { ConnectionEnd::Close }
        }
        Err(failure) => {
            failed(
                transaction,
                stream,
                request,
                failure,
                Progress { answered: Some(outgoing), parent: hop.parent().is_some() },
            )
            .await
        }
    }
}

/// The other side speaks another protocol from here on, as the client asked: the connections become
/// a tunnel.
pub(super) async fn switch(
    transaction: &mut Transaction,
    stream: &mut Stream,
    request: &Request,
    answer: Received,
) -> ConnectionEnd {
    let Received { hop, head, bytes, took } = answer;
    transaction.record.hierarchy = hop.hierarchy();
    let response = head.view(&bytes);
    let Some(protocol) = request.view().upgrade().filter(|protocol| response.switches_to(protocol))
    else {
        return transaction
            .refuse(
                stream,
                request,
                Error::exchanging(&Fault::Malformed(Malformed::SwitchingProtocols)),
                None,
            )
            .await;
    };
    transaction.record.status = 101;
    transaction.record.outcome = Outcome::Tunnel;
    let pseudonym = transaction.local.node.pseudonym.load_full();
    let mut out = std::mem::take(&mut transaction.out);
    out.clear();
    let mut writer = begin_response(&mut out, response, BodyFields::AsReceived, &pseudonym);
    transaction.common_fields(&mut writer, took);
    writer.upgrade(protocol);
    writer.finish();
    transaction.out = out;
    if stream
        .write_all(&[&transaction.out], transaction.generation.document.timeouts.write)
        .await
        .is_err()
    {
        transaction.record.aborted = true;
        return ConnectionEnd::Abort;
    }
    transaction.count(|metrics| &metrics.tunnels);
    ConnectionEnd::Tunnel(hop.stream)
}
