//! The heads that go to the server and back to the client (RFC 9110 §7.6; which fields stay behind
//! is in [`relay::hygiene`]).

use cluster_config::document::balancer::ForwardedFor;
use relay::{
    field::{Field, FieldSet},
    framing::BodyFraming,
    head::Version,
    hygiene,
    listen::is_of_this_host,
    method::Method,
    rewrite::{BodyFields, HeadWriter, LineForm, Persistence},
};

use super::Attempt;
use crate::{local::Scratch, sticky};

/// What the balancer itself says in a request, and therefore does not copy.
const REPLACED: FieldSet = hygiene::BALANCER_REQUEST.union(hygiene::CLAIMS);
/// And in a response.
pub(super) const ANSWERED: FieldSet = hygiene::BALANCER_RESPONSE.with(Field::ShoalRequestId);

impl Attempt<'_> {
    pub(super) fn write_request(&self, out: &mut Vec<u8>) {
        out.clear();
        let request = self.request;
        let mut replaced = if request.max_forwards.is_some() {
            REPLACED.with(Field::MaxForwards)
        } else {
            REPLACED
        };
        let hidden = self.backend.pool.settings.sticky.as_ref().filter(|it| it.indirect);
        if hidden.is_some() {
            replaced = replaced.with(Field::Cookie);
        }
        if self.trace.is_some() {
            replaced = replaced.with(Field::Traceparent);
        }
        let mut head = HeadWriter::request(
            out,
            request.view(),
            LineForm::AsReceived,
            replaced,
            BodyFields::AsReceived,
        );
        if let Some(forwards) = request.max_forwards {
            head.number(Field::MaxForwards.name(), forwards);
        }
        // A connection that belongs to one client says so in its PROXY header.
        if request.method() != Method::Connect || !self.slot.server.protocol.is_relay() {
            let said =
                (request.forwarded_for == ForwardedFor::Append).then(|| request.view().lines());
            let this_host = is_of_this_host(request.peer.ip());
            let client = match (this_host, self.slot.server.protocol.is_relay()) {
                (false, _) => request.client,
                // As its rules name who came through a file.
                (true, true) => "0.0.0.0",
                // RFC 7239 §6.2.
                (true, false) => "unknown",
            };
            head.forwarded_for(said, client);
            if let Some(said) = said.filter(|_| !this_host) {
                head.forwarded(said, request.peer.ip().to_canonical());
            }
        }
        head.via(request.head.version(), &self.local.shared().pseudonym);
        request.with_id(|id| head.field(Field::ShoalRequestId.name(), id));
        if let Some(trace) = &self.trace {
            head.field(Field::Traceparent.name(), &trace.value());
        }
        if let Some(protocol) = request.view().upgrade() {
            head.upgrade(protocol);
        }
        if let Some(sticky) = hidden {
            for line in request.view().values(Field::Cookie) {
                if let Some(rest) = sticky::without(line, &sticky.cookie) {
                    head.field(Field::Cookie.name(), &rest);
                }
            }
        }
        head.finish();
    }

    /// The cookie that the client gets with the answer, so that it comes back to this server.
    fn cookie(&self) -> Option<(String, bool)> {
        let pool = &self.backend.pool;
        let (sticky, cookies) = (pool.settings.sticky.as_ref()?, pool.cookies.as_ref()?);
        let value = cookies.value(self.slot.server.key)?;
        let has = sticky::find(self.request.view().values(Field::Cookie), &sticky.cookie);
        let given = sticky.insert && has != Some(value.as_bytes());
        given.then(|| (sticky::set(sticky, value), sticky.nocache))
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
        let old_client = self.request.head.version() == Version::Http10;
        let body = match incoming == outgoing {
            true if old_client && response.has(Field::TransferEncoding) => {
                BodyFields::Set(outgoing)
            }
            // What follows a 2xx to CONNECT is the tunnel, whatever the server announces (RFC 9110
            // §9.3.6).
            true if self.request.method() == Method::Connect
                && (200..=299).contains(&response.status()) =>
            {
                BodyFields::Set(BodyFraming::Empty)
            }
            true => BodyFields::AsReceived,
            false => BodyFields::Set(outgoing),
        };
        let mut head = HeadWriter::response(out, response.view(bytes), ANSWERED, body);
        head.via(response.version(), &self.local.shared().pseudonym);
        self.request.with_id(|id| head.field(Field::ShoalRequestId.name(), id));
        if let Some((cookie, private)) = self.cookie() {
            head.field(Field::SetCookie.name(), cookie.as_bytes());
            if private {
                head.field(Field::CacheControl.name(), b"private");
            }
        }
        match self.request.view().upgrade() {
            Some(protocol) if response.status() == 101 => head.upgrade(protocol),
            _ => head.connection(persistence),
        }
        head.finish();
    }
}
