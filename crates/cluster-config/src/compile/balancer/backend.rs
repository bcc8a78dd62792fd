//! A pool of servers and the rules for using them.

use super::{
    super::{Context, heads},
    outliers, retry,
};
use crate::{
    document::{balancer as document, heads::Replies},
    schema::{balancer as schema, notation::FieldName},
};

pub(super) fn compile(
    context: &mut Context,
    written: schema::Backend,
    path: &str,
) -> document::Backend {
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
    match &servers.backup {
        Some(_) if servers.service.is_none() => context.error(
            &format!("{path}/servers/backup"),
            "tags choose backups among discovered servers",
            "write `backup: true` at a server of `static`, or add `service: proxy-node`",
        ),
        Some(backup) if backup.tags.is_empty() => context.error(
            &format!("{path}/servers/backup"),
            "no tag says which servers are backups",
            "write one, as in {tags: [standby]}, or remove it",
        ),
        _ => {}
    }
    if servers.service.is_none() && servers.maxconn.is_some() {
        context.error(
            &format!("{path}/servers/maxconn"),
            "maxconn here is of discovered servers",
            "write it at each server of `static`, or add `service: proxy-node`",
        );
    }
    if written.sticky.is_some() && servers.service.is_some() {
        context.error(
            &format!("{path}/sticky"),
            "cookies of requests through proxy-nodes are their origins'",
            "remove it; `balance: ip_hash` keeps a client with its node",
        );
    }
    for (index, server) in servers.fixed.iter().enumerate() {
        if server.backup && server.last_resort {
            context.error(
                &format!("{path}/servers/static/{index}/last_resort"),
                "a backup comes before the last resort, and this is both",
                "write one of them",
            );
        }
    }
    let prefer = prefer(context, &servers, &format!("{path}/servers"));
    context.unique(
        "server",
        servers.fixed.iter().map(|server| server.name.value.as_str()),
        |index| format!("{path}/servers/static/{index}/name"),
    );
    let check: document::OwnCheck = written.check.into();
    positive(context, check.inter, &format!("{path}/check/inter"));
    positive(context, check.timeout, &format!("{path}/check/timeout"));
    positive(context, check.fastinter, &format!("{path}/check/fastinter"));
    positive(context, check.downinter, &format!("{path}/check/downinter"));
    http_check(context, &check, &servers, path);
    if let Some(agent) = &written.agent_check {
        positive(context, agent.inter.value, &format!("{path}/agent_check/inter"));
    }
    let outlier_ejection = outliers::compile(context, written.outlier_ejection, path);
    if check.timeout > check.inter {
        context.error(
            &format!("{path}/check/timeout"),
            "a check may not take longer than the time between two",
            "make timeout shorter than inter",
        );
    }
    positive(context, written.timeouts.connect.value, &format!("{path}/timeouts/connect"));
    if let Some(queue) = &written.timeouts.queue {
        positive(context, queue.value, &format!("{path}/timeouts/queue"));
    }
    positive(
        context,
        written.suspicion.probe_timeout.value,
        &format!("{path}/suspicion/probe_timeout"),
    );
    let discover = servers.service.map(|schema::Discoverable::ProxyNode| document::Discover {
        service: cluster::Service::ProxyNode.as_str().to_owned(),
        tags: servers.tags.into_iter().map(|tag| tag.value).collect(),
        datacenter: servers.datacenter.map(|datacenter| datacenter.value),
        backup_tags: servers
            .backup
            .map(|backup| backup.tags.into_iter().map(|tag| tag.value).collect())
            .unwrap_or_default(),
        maxconn: servers.maxconn,
    });
    let silent = matches!(written.forwarded_for, schema::ForwardedFor::Delete);
    if silent && discover.is_some() {
        context.error(
            &format!("{path}/forwarded_for"),
            "nodes have to be told whose requests they judge",
            "write replace or append, or servers by address",
        );
    }
    let balance = balance(context, written.balance, written.hash_header, path);
    document::Backend {
        name: written.name.value,
        hash_bound: hash_bound(context, &balance, written.hash_balance_factor, path),
        balance,
        sticky: written.sticky.map(Into::into),
        discover,
        prefer,
        servers: servers.fixed.into_iter().map(Into::into).collect(),
        mode: written.mode.into(),
        send_proxy: written.send_proxy.map(Into::into),
        check,
        agent_check: written.agent_check.map(Into::into),
        shed_above: written.shed_above.value,
        passive: written.passive.into(),
        outlier_ejection,
        suspicion: written.suspicion.into(),
        slow_start: written.slow_start.value,
        retry: retry::compile(context, written.retry, path),
        circuit_breaker: written.circuit_breaker.into(),
        forwarded_for: written.forwarded_for.into(),
        forwarded: written.forwarded,
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

fn http_check(
    context: &mut Context,
    check: &document::OwnCheck,
    servers: &schema::Servers,
    path: &str,
) {
    let Some(http) = &check.http else { return };
    if servers.fixed.is_empty() {
        context.warning(
            &format!("{path}/check/http"),
            "only servers by address are asked by this; proxy-nodes have a check of their own",
            "remove it, or add servers to `static`",
        );
    }
    let printable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if http.host.as_ref().is_some_and(|host| host.is_empty() || !printable(host)) {
        context.error(
            &format!("{path}/check/http/host"),
            "this is no host",
            "write one as in www.example.com, or www.example.com:8080",
        );
    }
    if http.body.as_ref().is_some_and(|body| body.is_empty() || body.len() > 1024) {
        context.error(
            &format!("{path}/check/http/body"),
            "a text to look for has 1 to 1024 bytes",
            "write a word that a good answer has and a bad one has not",
        );
    }
    if http.body.is_some() && http.method == "HEAD" {
        context.error(
            &format!("{path}/check/http/body"),
            "an answer to HEAD has no body",
            "write method: GET, or remove body",
        );
    }
}

/// The nearer comes first: a zone is within a datacenter.
fn prefer(context: &mut Context, servers: &schema::Servers, path: &str) -> document::Prefer {
    use schema::Locality::{Datacenter, Zone};
    if !matches!(servers.prefer[..], [] | [Zone] | [Datacenter] | [Zone, Datacenter]) {
        context.error(
            &format!("{path}/prefer"),
            "what comes first has to be within what comes after it",
            "write [zone], [datacenter] or [zone, datacenter]",
        );
    }
    document::Prefer {
        order: servers.prefer.iter().copied().map(Into::into).collect(),
        spill_over: servers.spill_over.value,
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

pub(super) fn positive(context: &mut Context, duration: std::time::Duration, path: &str) {
    if duration.is_zero() {
        context.error(path, "a time of zero leaves no time at all", "write a longer one");
    }
}
