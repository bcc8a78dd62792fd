//! Where clients come in.

use std::collections::BTreeMap;

use super::{
    super::{Bound, Context, heads},
    fields, routing,
};
use crate::{
    document::balancer as document,
    schema::{balancer as schema, notation::Duration, proxy::OneOrMany},
};

pub(super) fn compile(
    context: &mut Context,
    written: schema::Frontend,
    (backends, acls): (&[document::Backend], &BTreeMap<String, document::Acl>),
    path: &str,
) -> document::Frontend {
    let mode = written.mode.into();
    let sees = routing::Sees {
        requests: mode == document::Mode::Http,
        names: mode == document::Mode::Tcp && written.tls.is_none(),
    };
    let use_backend = routing::rules(context, written.use_backend, acls, sees, path);
    routing::modes(context, (mode, &written.backend.value), &use_backend, backends, path);
    let tcp = mode == document::Mode::Tcp;
    if tcp && written.health_path.is_some() {
        context.error(
            &format!("{path}/health_path"),
            "a frontend of mode tcp reads no requests, and answers none",
            "remove it; that the port is open says that the balancer serves",
        );
    }
    if tcp && written.stats.is_some() {
        context.error(
            &format!("{path}/stats"),
            "a frontend of mode tcp reads no requests, and answers none",
            "give the page a frontend of its own; it is on the admin port in any case",
        );
    }
    if tcp && written.pac.is_some() {
        context.error(
            &format!("{path}/pac"),
            "a frontend of mode tcp reads no requests, and answers none",
            "give the file a frontend of its own, of mode http",
        );
    }
    let fields = |context: &mut Context, written: schema::Fields, what: &str| {
        let path = format!("{path}/{what}");
        let fields = fields::compile(context, written, &path);
        if tcp && !fields.is_empty() {
            context.error(
                &path,
                "a frontend of mode tcp reads no messages, and changes none",
                "remove it, or write mode: http",
            );
        }
        fields
    };
    let request_fields = fields(context, written.request_fields, "request_fields");
    let response_fields = fields(context, written.response_fields, "response_fields");
    let tls = written.tls;
    if let Some(tls) = &tls
        && tls.client_certificates.is_some()
        && tls.client_ca.is_none()
    {
        context.error(
            &format!("{path}/tls/client_certificates"),
            "nobody says which certificates are good",
            "name the file of their authorities: client_ca: file:/etc/shoal/clients.pem",
        );
    }
    http2(context, &written.http2, (mode, tls.is_some()), path);
    let backend = written.backend.value;
    // Proxy-nodes have no page of their own. Other servers may have one, which is theirs to answer
    // with.
    let nodes_only = backends.iter().any(|it| it.name == backend && it.servers.is_empty());
    let health_path = written
        .health_path
        .map(|path| path.value)
        .or_else(|| (nodes_only && !tcp).then(|| "/".to_owned()));
    let stats = written.stats.map(|page| document::StatsPage {
        uri: page.uri.value,
        refresh: page.refresh.map(|it| it.value.as_secs().max(1)),
    });
    if let Some(page) = stats.as_ref().filter(|page| Some(&page.uri) == health_path.as_ref()) {
        context.error(
            &format!("{path}/stats/uri"),
            format!("{} is the frontend's health_path already", page.uri),
            "choose another path for one of them",
        );
    }
    let request_header_max_size = heads::size(
        context,
        written.request_header_max_size,
        &format!("{path}/request_header_max_size"),
    );
    let files = written.bind.as_slice().iter().any(|bind| bind.value.ip().is_none());
    let downstreams = written.proxy_protocol.map_or_else(Vec::new, |it| it.from);
    if let Some(at) = downstreams.iter().position(|it| it.value.is_none() && !files) {
        context.error(
            &format!("{path}/proxy_protocol/from/{at}"),
            "this frontend listens at no file",
            "remove `unix`, or bind one, as in unix:/run/shoal/http.sock",
        );
    }
    if written.bind.as_slice().is_empty() {
        context.error(
            &format!("{path}/bind"),
            "a frontend that listens nowhere serves nobody",
            "write an address, as in :8080, or remove the frontend",
        );
    }
    document::Frontend {
        name: written.name.value,
        bind: written.bind.into_vec().into_iter().map(|bind| bind.value).collect(),
        unix: written.unix.into(),
        mode,
        proxy_protocol_unix: downstreams.iter().any(|it| it.value.is_none()),
        proxy_protocol: downstreams.iter().filter_map(|it| it.value).collect(),
        tls: tls.map(Into::into),
        http2: written.http2.into(),
        use_backend,
        backend,
        health_path,
        stats,
        pac: written.pac.map(Into::into),
        request_header_max_size,
        request_fields,
        response_fields,
        limits: written.limits.into(),
        timeouts: written.timeouts.into(),
    }
}

/// Where frontends listen, in their order.
pub(super) fn binds(frontends: &[schema::Frontend]) -> Vec<Bound> {
    let mut binds = Vec::new();
    for (index, frontend) in frontends.iter().enumerate() {
        let path = format!("frontends/{index}/bind");
        for (place, bind) in frontend.bind.as_slice().iter().enumerate() {
            let path = match &frontend.bind {
                OneOrMany::One(_) => path.clone(),
                OneOrMany::Many(_) => format!("{path}/{place}"),
            };
            binds.push((path, bind.value.clone(), bind.text().to_owned()));
        }
    }
    binds
}

fn http2(
    context: &mut Context,
    written: &schema::Http2,
    (mode, secure): (document::Mode, bool),
    path: &str,
) {
    if !written.prior_knowledge {
        return;
    }
    let path = format!("{path}/http2/prior_knowledge");
    if mode == document::Mode::Tcp {
        context.error(
            &path,
            "a frontend of mode tcp passes on what clients speak, whatever it is",
            "remove it",
        );
    }
    if secure {
        context.error(
            &path,
            "with TLS, clients and balancer agree on HTTP/2 in the handshake",
            "remove it; `enabled` offers HTTP/2 there",
        );
    }
}

/// A key that moved from the backends to the frontends, where it was and where it is.
type Moved = (
    &'static str,
    fn(&schema::BackendTimeouts) -> &Option<Duration>,
    fn(&mut schema::FrontendTimeouts) -> &mut Duration,
);

const MOVED: [Moved; 3] = [
    ("client", |from| &from.client, |to| &mut to.client),
    ("client_idle", |from| &from.client_idle, |to| &mut to.client_idle),
    ("request_head", |from| &from.request_head, |to| &mut to.request_head),
];

/// Clients' deadlines used to be written under a backend. There they still count for its frontends,
/// key by key, unless the frontend says its own.
pub(super) fn client_timeouts(
    context: &mut Context,
    frontends: &mut [schema::Frontend],
    backends: &[schema::Backend],
) {
    for (number, backend) in backends.iter().enumerate() {
        for (key, from, to) in MOVED {
            let Some(value) = from(&backend.timeouts) else { continue };
            context.warning(
                &format!("backends/{number}/timeouts/{key}"),
                format!(
                    "`{key}` is for frontends to say; here it counts only for frontends of \
                    this backend that do not say it themselves"
                ),
                format!("move it to the frontend: timeouts: {{{key}: {}}}", value.text()),
            );
            for (index, frontend) in frontends.iter_mut().enumerate() {
                let own =
                    context.fitting.at(&format!("frontends/{index}/timeouts/{key}")).is_some();
                if !own && frontend.backend.value == backend.name.value {
                    *to(&mut frontend.timeouts) = value.clone();
                }
            }
        }
    }
}
