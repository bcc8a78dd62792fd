//! How an object gets to the client.

mod body;
mod delivery;
mod encoded;
mod head;
mod parts;

use std::pin::pin;

use dataplane::connection::ConnectionEnd;
use relay::{
    body::{BodyWriter, Rest},
    field::Field,
    framing::BodyFraming,
    head::Version,
    method::Method,
    stream::Stream,
};

use super::resource::Fetch;
use crate::{
    cache::serve::{self, Serving},
    record::Outcome,
    respond::Error,
    transaction::Transaction,
};
use body::Sent;
pub use delivery::Delivery;
use parts::Parts;

/// Sends an object to the client.
pub(super) async fn deliver(
    transaction: &mut Transaction,
    stream: &mut Stream,
    fetch: &Fetch<'_>,
    delivery: &mut Delivery,
) -> ConnectionEnd {
    let varies = encoded::apply(transaction, fetch, delivery);
    let object = &delivery.object;
    let range = fetch.request.view().value(Field::Range);
    let serving = serve::choose(object, &fetch.facts, range);
    let length = object.length();
    let parts = match &serving {
        Serving::Parts(ranges, length) => {
            let boundary = transaction.id.simple().to_string();
            Some(Parts::new(object, ranges, *length, boundary))
        }
        _ => None,
    };
    let (code, framing) = match &serving {
        Serving::Whole => (object.status, whole_framing(length, transaction.version)),
        Serving::NotModified => (304, BodyFraming::Empty),
        Serving::Part(part, _) => (206, BodyFraming::Length(part.end - part.start)),
        Serving::Parts(..) => (206, BodyFraming::Length(parts.as_ref().map_or(0, Parts::length))),
        Serving::Unsatisfiable(_) => (416, BodyFraming::Length(0)),
    };
    if code == 304 && matches!(transaction.record.outcome, Outcome::MemHit | Outcome::Hit) {
        transaction.record.outcome = Outcome::ImsHit;
    }
    transaction.record.status = code;
    let keep = transaction.keeps() && framing != BodyFraming::UntilClose;
    let shape = head::Shape { serving: &serving, parts: parts.as_ref(), framing, keep, varies };
    head::write(transaction, delivery, &shape);
    let deadline = transaction.generation.document.timeouts.write;
    let body = if transaction.method == Method::Head { BodyFraming::Empty } else { framing };
    let mut writer = BodyWriter::new(body);
    let sent = match (&serving, object.content.at_hand()) {
        (Serving::Whole, Some(whole)) if whole.len() <= body::AT_ONCE => {
            let write = pin!(writer.write(stream, &transaction.out, whole, Rest::None, deadline));
            body::patiently(&transaction.local, object, write).await.into()
        }
        (Serving::Whole, _) if body != BodyFraming::Empty => {
            let end = length.unwrap_or(u64::MAX);
            Box::pin(body::send(transaction, stream, fetch, &mut writer, delivery, 0..end)).await
        }
        (Serving::Parts(..), _) if let Some(parts) = &parts => {
            Box::pin(parts.send(transaction, stream, &mut writer, object)).await
        }
        (Serving::Part(part, _), _) => {
            // Of what is no whole, the content begins where the part does.
            let first = object.part.as_ref().map_or(0, |part| part.bytes.start);
            let part = part.start - first..part.end - first;
            Box::pin(body::send(transaction, stream, fetch, &mut writer, delivery, part)).await
        }
        _ => stream.write_all(&[&transaction.out], deadline).await.into(),
    };
    let end = match sent {
        Sent::Whole if keep => ConnectionEnd::Stays,
        Sent::Whole => ConnectionEnd::Close,
        Sent::Nothing => {
            return transaction.refuse(stream, fetch.request, Error::Incomplete, None).await;
        }
        Sent::Cut => ConnectionEnd::Cut(body),
        Sent::ClientGone => ConnectionEnd::Abort,
    };
    transaction.record.aborted |= sent != Sent::Whole;
    end
}

fn whole_framing(length: Option<u64>, client: Version) -> BodyFraming {
    length.map_or_else(|| BodyFraming::Chunked.for_client(client), BodyFraming::Length)
}
