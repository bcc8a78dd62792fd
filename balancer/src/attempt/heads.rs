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
    tunnel,
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
        let rewrite = request.rewrites.as_deref().map(|it| &it.request);
        let others = rewrite.map_or(&[][..], |it| &it.others);
        if let Some(rewrite) = rewrite {
            replaced = replaced.union(rewrite.drop);
        }
        let mut head = HeadWriter::request_without(
            out,
            request.view(),
            LineForm::AsReceived,
            (replaced, others),
            BodyFields::AsReceived,
        );
        if let Some(forwards) = request.max_forwards {
            head.number(Field::MaxForwards.name(), forwards);
        }
        self.write_claims(&mut head);
        head.via_as(request.protocol.as_str(), &self.local.shared().pseudonym);
        request.with_id(|id| head.field(Field::ShoalRequestId.name(), id));
        if self.asks_for_frames() {
            head.field(Field::ShoalTunnel.name(), tunnel::FRAMED);
        }
        if let Some(trace) = &self.trace {
            head.field(Field::Traceparent.name(), &trace.value());
        }
        if let Some(protocol) = request.view().upgrade() {
            head.upgrade(protocol);
        }
        if let Some(rewrite) = rewrite {
            request.with_known(|known| rewrite.write(&mut head, known));
        }
        let cookies = rewrite.is_none_or(|it| !it.drop.contains(Field::Cookie));
        if let Some(sticky) = hidden.filter(|_| cookies) {
            for line in request.view().values(Field::Cookie) {
                if let Some(rest) = sticky::without(line, &sticky.cookie) {
                    head.field(Field::Cookie.name(), &rest);
                }
            }
        }
        head.finish();
    }

    /// Whose request it is.
    fn write_claims(&self, head: &mut HeadWriter<'_>) {
        let (request, relay) = (self.request, self.slot.server.protocol.is_relay());
        if relay && let Some(subject) = request.told.and_then(|told| told.certificate.as_ref()) {
            head.field(Field::ShoalClientCertificate.name(), subject.name().as_bytes());
        }
        // A connection for a tunnel that belongs to one client says so in its PROXY header.
        if relay && request.method() == Method::Connect && !self.is_shared() {
            return;
        }
        let this_host = is_of_this_host(request.peer.ip());
        let client = match (this_host, relay) {
            (false, _) => request.client,
            // As its rules name who came through a file.
            (true, true) => "0.0.0.0",
            // RFC 7239 §6.2.
            (true, false) => "unknown",
        };
        let said = (request.forwarded_for == ForwardedFor::Append).then(|| request.view().lines());
        if request.forwarded_for != ForwardedFor::Delete {
            head.forwarded_for(said, client);
        }
        let tells = self.backend.pool.settings.forwarded;
        if tells || said.is_some_and(|said| said.has(Field::Forwarded)) {
            let address = (!this_host).then(|| request.peer.ip().to_canonical());
            let scheme = if request.told.is_some() { "https" } else { "http" };
            head.forwarded(said, address, tells.then_some(scheme));
        }
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
        let rewrite = self.request.rewrites.as_deref().map(|it| &it.response);
        let others = rewrite.map_or(&[][..], |it| &it.others);
        let drop = rewrite.map_or(ANSWERED, |it| ANSWERED.union(it.drop));
        let mut head =
            HeadWriter::response_without(out, response.view(bytes), (drop, others), body);
        head.via(response.version(), &self.local.shared().pseudonym);
        self.request.with_id(|id| head.field(Field::ShoalRequestId.name(), id));
        if let Some(rewrite) = rewrite {
            self.request.with_known(|known| rewrite.write(&mut head, known));
        }
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
