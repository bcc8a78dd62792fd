//! Section `balancer` into the document of a balancer.

use super::{Context, distinct_addresses, heads, unknown};
use crate::document::{BalancerDocument, balancer as document, heads::Replies};
use crate::schema::{
    balancer as schema,
    notation::{Duration, FieldName},
};

/// The document, unless something is wrong.
pub fn compile(context: &mut Context) -> Option<BalancerDocument> {
    let section: schema::Balancer = context.read()?;
    context.unique(
        "frontend",
        section.frontends.iter().map(|frontend| frontend.name.value.as_str()),
        |index| format!("frontends/{index}/name"),
    );
    context.unique(
        "backend",
        section.backends.iter().map(|backend| backend.name.value.as_str()),
        |index| format!("backends/{index}/name"),
    );
    let binds: Vec<_> = section.frontends.iter().map(|frontend| frontend.bind.clone()).collect();
    distinct_addresses(context, "frontends", &binds, |index| format!("frontends/{index}/bind"));
    references(context, &section);
    let mut frontends = section.frontends;
    client_timeouts(context, &mut frontends, &section.backends);
    let backends: Vec<document::Backend> = section
        .backends
        .into_iter()
        .enumerate()
        .map(|(index, backend)| self::backend(context, backend, &format!("backends/{index}")))
        .collect();
    let frontends = frontends
        .into_iter()
        .enumerate()
        .map(|(index, frontend)| {
            self::frontend(context, frontend, &backends, &format!("frontends/{index}"))
        })
        .collect();
    Some(BalancerDocument { frontends, backends })
}

fn frontend(
    context: &mut Context,
    written: schema::Frontend,
    backends: &[document::Backend],
    path: &str,
) -> document::Frontend {
    let backend = written.backend.value;
    // Proxy-nodes have no page of their own. Other servers may have one, which is theirs to answer
    // with.
    let nodes_only = backends.iter().any(|it| it.name == backend && it.servers.is_empty());
    let health_path =
        written.health_path.map(|path| path.value).or_else(|| nodes_only.then(|| "/".to_owned()));
    let request_header_max_size = heads::size(
        context,
        written.request_header_max_size,
        &format!("{path}/request_header_max_size"),
    );
    document::Frontend {
        name: written.name.value,
        bind: written.bind.value,
        backend,
        health_path,
        request_header_max_size,
        limits: written.limits.into(),
        timeouts: written.timeouts.into(),
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
fn client_timeouts(
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

fn references(context: &mut Context, section: &schema::Balancer) {
    let written = context.written;
    let declared: Vec<&str> = written
        .get("backends")
        .map(|backends| backends.items())
        .unwrap_or_default()
        .iter()
        .filter_map(|backend| backend.get("name")?.text())
        .collect();
    for (index, frontend) in section.frontends.iter().enumerate() {
        let name = frontend.backend.value.as_str();
        if !declared.contains(&name) {
            context.error(
                &format!("frontends/{index}/backend"),
                format!("unknown backend `{name}`"),
                unknown(name, declared.iter().copied()),
            );
        }
    }
    for (index, backend) in section.backends.iter().enumerate() {
        if !section.frontends.is_empty()
            && !section
                .frontends
                .iter()
                .any(|frontend| frontend.backend.value == backend.name.value)
        {
            context.warning(
                &format!("backends/{index}"),
                format!("no frontend uses backend `{}`", backend.name.value),
                "remove it, or let a frontend use it",
            );
        }
    }
    if written.get("frontends").is_none_or(|frontends| frontends.items().is_empty()) {
        context.warning(
            "",
            "no frontends: balancers serve nobody",
            "add one, as in {name: proxy, bind: \"${node.listen.frontend}\", backend: nodes}",
        );
    }
}

fn backend(context: &mut Context, written: schema::Backend, path: &str) -> document::Backend {
    let servers = written.servers;
    if servers.service.is_none() && servers.fixed.is_empty() {
        let place = context.place(&format!("{path}/servers"));
        if !context.written.place_keys(&place).iter().any(|key| key == "service" || key == "static")
        {
            context.error(
                &format!("{path}/servers"),
                "a backend without servers",
                "write {service: proxy-node}, or static: [{name: …, address: …}]",
            );
        }
    }
    if servers.service.is_none() && (!servers.tags.is_empty() || servers.datacenter.is_some()) {
        context.error(
            &format!("{path}/servers"),
            "tags and datacenter choose among discovered servers",
            "add `service: proxy-node`",
        );
    }
    context.unique(
        "server",
        servers.fixed.iter().map(|server| server.name.value.as_str()),
        |index| format!("{path}/servers/static/{index}/name"),
    );
    let check: document::OwnCheck = written.check.into();
    positive(context, check.inter, &format!("{path}/check/inter"));
    positive(context, check.timeout, &format!("{path}/check/timeout"));
    if check.timeout > check.inter {
        context.error(
            &format!("{path}/check/timeout"),
            "a check may not take longer than the time between two",
            "make timeout shorter than inter",
        );
    }
    positive(context, written.timeouts.connect.value, &format!("{path}/timeouts/connect"));
    positive(
        context,
        written.suspicion.probe_timeout.value,
        &format!("{path}/suspicion/probe_timeout"),
    );
    let discover = servers.service.map(|schema::Discoverable::ProxyNode| document::Discover {
        service: cluster::Service::ProxyNode.as_str().to_owned(),
        tags: servers.tags.into_iter().map(|tag| tag.value).collect(),
        datacenter: servers.datacenter.map(|datacenter| datacenter.value),
    });
    let balance = balance(context, written.balance, written.hash_header, path);
    document::Backend {
        name: written.name.value,
        hash_bound: hash_bound(context, &balance, written.hash_balance_factor, path),
        balance,
        discover,
        servers: servers.fixed.into_iter().map(Into::into).collect(),
        check,
        passive: written.passive.into(),
        suspicion: written.suspicion.into(),
        retry: document::Retry {
            attempts: written.retry.attempts,
            budget: written.retry.budget.value,
        },
        forwarded_for: written.forwarded_for.into(),
        replies: Replies {
            max_size: heads::size(
                context,
                written.reply_header_max_size,
                &format!("{path}/reply_header_max_size"),
            ),
            relaxed: written.relaxed_header_parser,
        },
        timeouts: written.timeouts.into(),
        keepalive: written.keepalive,
        keepalive_idle: written.keepalive_idle.value,
        panic_threshold: written.panic_threshold.value,
    }
}

fn balance(
    context: &mut Context,
    written: schema::Balance,
    header: Option<FieldName>,
    path: &str,
) -> document::Balance {
    use document::Balance;
    if header.is_some() && !matches!(written, schema::Balance::HeaderHash) {
        context.error(
            &format!("{path}/hash_header"),
            "only `balance: header_hash` hashes a field",
            "remove it, or write `balance: header_hash`",
        );
    }
    match written {
        schema::Balance::RoundRobin | schema::Balance::WeightedRoundRobin => Balance::RoundRobin,
        schema::Balance::LeastConnections => Balance::LeastConnections,
        schema::Balance::Random => Balance::Random,
        schema::Balance::ResponseTime => Balance::ResponseTime,
        schema::Balance::First => Balance::First,
        schema::Balance::IpHash => Balance::IpHash,
        schema::Balance::UriHash => Balance::UriHash,
        schema::Balance::HostHash => Balance::HostHash,
        schema::Balance::HeaderHash => {
            if header.is_none() {
                context.error(
                    &format!("{path}/balance"),
                    "`header_hash` does not say which field is hashed",
                    "add it, as in hash_header: X-User",
                );
            }
            Balance::HeaderHash { header: header.map(|it| it.value).unwrap_or_default() }
        }
    }
}

/// Where an object lives is its server's affair, and a hot one may live on several; who a client's
/// server is matters to the client, so that nobody is moved unasked.
fn hash_bound(
    context: &mut Context,
    balance: &document::Balance,
    factor: Option<u32>,
    path: &str,
) -> Option<u32> {
    let place = format!("{path}/hash_balance_factor");
    match factor {
        Some(_) if !balance.hashes() => {
            context.error(
                &place,
                format!("`balance: {}` hashes nothing that could spill over", balance.as_str()),
                "remove it, or choose uri_hash, host_hash, ip_hash or header_hash",
            );
            None
        }
        Some(1..=100) => {
            context.error(
                &place,
                "a server has to be allowed more than its share",
                "write more than 100, as in 125, or 0 for no bound",
            );
            None
        }
        Some(0) => None,
        Some(factor) => Some(factor),
        None if matches!(balance, document::Balance::UriHash | document::Balance::HostHash) => {
            Some(125)
        }
        None => None,
    }
}

fn positive(context: &mut Context, duration: std::time::Duration, path: &str) {
    if duration.is_zero() {
        context.error(path, "a time of zero leaves no time at all", "write a longer one");
    }
}
