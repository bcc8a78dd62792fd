//! The heads that go to the server and back to the client (RFC 9110 §7.6; which fields stay behind is in [`relay::hygiene`]).

use cluster_config::document::balancer::ForwardedFor;
use relay::{
    field::{Field, FieldSet},
    framing::BodyFraming,
    head::Version,
    hygiene,
    method::Method,
    rewrite::{BodyFields, HeadWriter, LineForm, Persistence},
};

use super::{Attempt, Scratch};

/// What the balancer itself says in a request, and therefore does not copy.
const REPLACED: FieldSet = hygiene::BALANCER_REQUEST.union(hygiene::CLAIMS);
/// And in a response.
pub(super) const ANSWERED: FieldSet = hygiene::BALANCER_RESPONSE.with(Field::ShoalRequestId);

impl Attempt<'_> {
    pub(super) fn write_request(&self, out: &mut Vec<u8>) {
        out.clear();
        let asked = self.asked;
        let mut replaced = if asked.max_forwards.is_some() { REPLACED.with(Field::MaxForwards) } else { REPLACED };
        if self.trace.is_some() {
            replaced = replaced.with(Field::Traceparent);
        }
        let mut head = HeadWriter::request(out, asked.view(), LineForm::AsReceived, replaced, BodyFields::AsReceived);
        if let Some(forwards) = asked.max_forwards {
            head.number(Field::MaxForwards.name(), forwards);
        }
        // A connection that belongs to one client says so in its PROXY header.
        if asked.method() != Method::Connect || !self.slot.server.door.is_relay() {
            let said = (asked.forwarded_for == ForwardedFor::Append).then(|| asked.view().lines());
            head.forwarded_for(said, asked.client);
            if let Some(said) = said {
                head.forwarded(said, asked.peer.ip().to_canonical());
            }
        }
        head.via(asked.head.version(), &self.desk.shared().pseudonym);
        asked.with_id(|id| head.field(Field::ShoalRequestId.name(), id));
        if let Some(trace) = &self.trace {
            head.field(Field::Traceparent.name(), &trace.value());
        }
        if let Some(protocol) = asked.view().upgrade() {
            head.upgrade(protocol);
        }
        head.finish();
    }

    pub(super) fn outgoing(&self, incoming: BodyFraming) -> BodyFraming {
        match (incoming, self.asked.head.version()) {
            (BodyFraming::UntilClose, Version::Http11) => BodyFraming::Chunked,
            (BodyFraming::Chunked, Version::Http10) => BodyFraming::UntilClose,
            (same, _) => same,
        }
    }

    pub(super) fn write_response(
        &self,
        scratch: &mut Scratch,
        bytes: &[u8],
        incoming: BodyFraming,
        outgoing: BodyFraming,
        persistence: Persistence,
    ) {
        let Scratch { out, response } = scratch;
        out.clear();
        let old_client = self.asked.head.version() == Version::Http10;
        let body = match incoming == outgoing {
            true if old_client && response.has(Field::TransferEncoding) => BodyFields::Set(outgoing),
            // What follows a 2xx to CONNECT is the tunnel, whatever the server announces (RFC 9110 §9.3.6).
            true if self.asked.method() == Method::Connect && (200..=299).contains(&response.status()) => {
                BodyFields::Set(BodyFraming::Empty)
            }
            true => BodyFields::AsReceived,
            false => BodyFields::Set(outgoing),
        };
        let mut head = HeadWriter::response(out, response.view(bytes), ANSWERED, body);
        head.via(response.version(), &self.desk.shared().pseudonym);
        self.asked.with_id(|id| head.field(Field::ShoalRequestId.name(), id));
        match self.asked.view().upgrade() {
            Some(protocol) if response.status() == 101 => head.upgrade(protocol),
            _ => head.connection(persistence),
        }
        head.finish();
    }

    pub(super) fn persistence(&self, stays: bool) -> Persistence {
        match (stays, self.asked.head.version()) {
            (false, _) => Persistence::Close,
            (true, Version::Http10) => Persistence::KeepAlive,
            (true, Version::Http11) => Persistence::Implied,
        }
    }
}
