//! Section `proxy` into the document of a proxy-node.

mod caching;
mod compression;
mod refresh;
mod siblings;

use super::{Context, ListKind, access, distinct_addresses, heads, log};
use crate::document::{
    Limits, ProxyDocument,
    caching::{Policy, Where},
    heads::Replies,
    proxy as document,
};
use crate::schema::{
    notation::{Bind, FieldName},
    proxy as schema,
};

/// Fewer bytes than that are a moment's.
const LEAST_LOG: u64 = 64 << 10;
/// A cache in memory that is larger is a slip.
const MOST_MEMORY: u64 = 16 << 40;
/// Larger ones are worth a second look.
const MUCH_MEMORY: u64 = 256 << 30;

/// The document, unless something is wrong.
pub fn compile(context: &mut Context) -> Option<ProxyDocument> {
    let section: schema::Proxy = context.read()?;
    let listen = listen(context, section.listen)?;
    let always = section.hierarchy.direct.always.clone();
    let mut direct =
        direct(context, section.hierarchy.direct, section.hierarchy.parents.is_empty());
    let parents = parents(context, section.hierarchy.parents);
    let icp = siblings::icp(context, section.hierarchy.icp);
    let siblings = siblings::siblings(context, section.hierarchy.siblings, icp.is_some());
    let mut written = section.cache;
    let stores = std::mem::take(&mut written.rules);
    let purgers = std::mem::take(&mut written.purge.allow);
    let mut cache = cache(context, written);
    let (access, others) = access::compile(context, section.access, stores, &purgers, &always);
    (cache.policy.rules, cache.purge.allow) = (others.stores, others.purgers);
    direct.always = others.direct;
    if cache.disk == 0 {
        let rules = cache.policy.rules.iter().enumerate();
        for (index, _) in rules.filter(|(_, rule)| rule.store == Where::Disk) {
            let message = "what is for the disk alone is not kept at all where there is none";
            let path = format!("cache/rules/{index}/disk");
            context.warning(&path, message, "give the cache a `disk`");
        }
    }
    let origin_tls = origin_tls(context, section.origin_tls);
    let request_header_max_size =
        heads::size(context, section.request_header_max_size, "request_header_max_size");
    let reply_header_max_size =
        heads::size(context, section.reply_header_max_size, "reply_header_max_size");
    timeouts(context, &section.timeouts);
    if section.access_log.rotate.size.value < LEAST_LOG {
        context.error(
            "access_log/rotate/size",
            "the access log would be moved aside all the time",
            "write at least 64KiB",
        );
    }
    let off = matches!(section.access_log.format, schema::AccessLogFormat::Off);
    let log_targets = log::of_node(context, section.log_targets, off);
    Some(ProxyDocument {
        listen,
        visible_hostname: section
            .visible_hostname
            .or_else(|| context.variables.get("name").cloned())
            .unwrap_or_default(),
        trusted_downstreams: section
            .trusted_downstreams
            .into_iter()
            .map(|network| network.value)
            .collect(),
        forwarded_for: section.forwarded_for.into(),
        workers: section.workers,
        max_connections: section.max_connections,
        request_header_max_size,
        replies: Replies {
            max_size: reply_header_max_size,
            relaxed: section.relaxed_header_parser,
        },
        compression: compression::compile(context, section.compression, cache.memory),
        cache,
        parents,
        direct,
        icp,
        siblings,
        access,
        origin_tls,
        timeouts: section.timeouts.into(),
        access_log: section.access_log.into(),
        log_targets,
    })
}

fn origin_tls(context: &mut Context, written: schema::OriginTls) -> document::OriginTls {
    let named = written.ca_file.is_some();
    let ca_file = written
        .ca_file
        .and_then(|name| context.file("origin_tls/ca_file", "authorities", &name.value, "pem"));
    if let Some(file) = &ca_file {
        context.lists.insert((file.path.clone(), ListKind::Authorities));
    }
    if !named && !written.system_ca {
        let message = "without any authority no origin is believed, and every https:// in absolute \
            form fails";
        context.warning(
            "origin_tls/system_ca",
            message,
            "name a ca_file, or trust the system's authorities",
        );
    }
    document::OriginTls { ca_file, system_ca: written.system_ca }
}

/// Every deadline is one; none of them is off at zero.
fn timeouts(context: &mut Context, written: &schema::Timeouts) {
    let all = [
        ("connect", &written.connect),
        ("dns", &written.dns),
        ("read", &written.read),
        ("write", &written.write),
        ("request_head", &written.request_head),
        ("request_body", &written.request_body),
        ("client_idle", &written.client_idle),
        ("tunnel_idle", &written.tunnel_idle),
    ];
    for (name, _) in all.into_iter().filter(|(_, time)| time.value.is_zero()) {
        context.error(
            &format!("timeouts/{name}"),
            "a time of zero leaves no time at all",
            "write a longer one",
        );
    }
}

fn listen(
    context: &mut Context,
    written: Option<Vec<schema::Listen>>,
) -> Option<Vec<document::Listen>> {
    let Some(listeners) = written else {
        return Some(vec![document::Listen {
            bind: own_listener(context)?,
            health_path: Some("/".to_owned()),
            proxy_protocol: false,
            limits: Limits::default(),
        }]);
    };
    if listeners.is_empty()
        && context.written.get("listen").is_some_and(|listen| listen.items().is_empty())
    {
        context.error(
            "listen",
            "a proxy without a listener serves nobody",
            "write at least one `{bind: …}`, or remove the key for the default",
        );
    }
    let bind = |(index, it): (usize, &schema::Listen)| {
        (format!("listen/{index}/bind"), it.bind.value.into(), it.bind.text().to_owned())
    };
    let binds: Vec<_> = listeners.iter().enumerate().map(bind).collect();
    distinct_addresses(context, "listeners", &binds);
    let listener = |listener: schema::Listen| document::Listen {
        bind: listener.bind.value,
        health_path: listener.health_path.map(|path| path.value),
        proxy_protocol: listener.proxy_protocol,
        limits: listener.limits.into(),
    };
    Some(listeners.into_iter().map(listener).collect())
}

fn own_listener(context: &mut Context) -> Option<std::net::SocketAddr> {
    let written = context.variables.get("listen.proxy").cloned().unwrap_or_default();
    match Bind::parse(&written) {
        Ok(bind) => Some(bind.value),
        Err(invalid) => {
            context.error(
                "",
                format!("the node's listen.proxy: {}", invalid.message),
                "start the node with --proxy ADDRESS:PORT",
            );
            None
        }
    }
}

fn parents(context: &mut Context, written: Vec<schema::Parent>) -> Vec<document::Parents> {
    let (mut parents, mut names, mut paths) = (Vec::new(), Vec::new(), Vec::new());
    for (index, parent) in written.into_iter().enumerate() {
        let path = format!("hierarchy/parents/{index}");
        let (login, select) = (parent.login.map(|login| login.value), parent.select.into());
        match (parent.address, parent.service) {
            (Some(address), None) => {
                if parent.tags.is_some() {
                    context.error(
                        &format!("{path}/tags"),
                        "`tags` go with `service`, and a parent by address has none",
                        "remove them",
                    );
                }
                let (host, port) = address.value;
                let (weight, tls) = (parent.weight.unwrap_or(1), parent.tls);
                if parent.weight.is_some() && matches!(select, document::Select::First) {
                    context.warning(
                        &format!("{path}/weight"),
                        "the first parent that lives is asked, whatever its weight",
                        "write select: round_robin, carp or source, or remove the weight",
                    );
                }
                names.push(format!("{host}:{port}"));
                paths.push(path);
                let written = document::Parent { host, port, login, select, weight, tls };
                parents.push(written.into());
            }
            (None, Some(service)) => {
                for (key, is_there) in [("weight", parent.weight.is_some()), ("tls", parent.tls)] {
                    if is_there {
                        context.error(
                            &format!("{path}/{key}"),
                            format!("`{key}` goes with `address`: nodes have none"),
                            "remove it",
                        );
                    }
                }
                let tags: Vec<String> =
                    parent.tags.into_iter().flatten().map(|tag| tag.value).collect();
                if service.value != "proxy-node" {
                    let message =
                        format!("`{}` is no service that requests could go through", service.value);
                    context.error(
                        &format!("{path}/service"),
                        message,
                        "write proxy-node, or name each parent by `address`",
                    );
                } else if tags.is_empty() {
                    let message = "every node would be a parent of itself";
                    context.error(
                        &path,
                        message,
                        "add the `tags` that the parents have and the \
                        others have not, as in tags: [parent]",
                    );
                }
                names.push(format!("proxy-node {}", tags.join(" ")));
                paths.push(path);
                parents.push(document::Parents::Nodes(document::ParentNodes {
                    tags,
                    login,
                    select,
                }));
            }
            (Some(_), Some(_)) => {
                context.error(
                    &path,
                    "a parent has an `address` or a `service`, not both",
                    "make two of it",
                );
            }
            (None, None) => {
                // Without its address because that, or its service, was refused: said already.
                let place = context.place(&path);
                if !context
                    .written
                    .place_keys(&place)
                    .iter()
                    .any(|key| ["address", "service"].contains(&key.as_str()))
                {
                    context.error(
                        &path,
                        "a parent without an address",
                        "write {address: \"host:port\"}, or {service: proxy-node, tags: [parent]}",
                    );
                }
            }
        }
    }
    context.unique("parent", names.iter().map(String::as_str), |index| paths[index].clone());
    parents
}

fn direct(
    context: &mut Context,
    written: schema::Direct,
    without_parents: bool,
) -> document::Direct {
    let direct = document::Direct {
        dstdomain: written.dstdomain.into_iter().map(|domain| domain.value).collect(),
        dst: written.dst.into_iter().map(|network| network.value).collect(),
        always: Vec::new(),
    };
    if without_parents && (direct != document::Direct::default() || !written.always.is_empty()) {
        context.warning(
            "hierarchy/direct",
            "without parents everything goes straight to its origin",
            "remove it, or add parents",
        );
    }
    direct
}

/// The least that a disk cache may have, in bytes.
const LEAST_DISK: u64 = 4 << 20;

fn quick_abort(context: &mut Context, written: &schema::QuickAbort) -> document::QuickAbort {
    if written.percent > 100 {
        context.error(
            "cache/quick_abort/percent",
            format!("{} percent of a body never come", written.percent),
            "write a number from 0 to 100",
        );
    }
    if written.min.value > written.max.value {
        context.warning(
            "cache/quick_abort/min",
            "min is larger than max, which is never looked at then",
            "write a min that is no larger than max",
        );
    }
    document::QuickAbort {
        min: written.min.value,
        max: written.max.value,
        percent: written.percent,
    }
}

/// Names of targeted fields, in lower case.
fn targeted(context: &mut Context, written: Vec<FieldName>) -> Vec<String> {
    let names: Vec<String> =
        written.into_iter().map(|name| name.value.to_ascii_lowercase()).collect();
    for (index, name) in names.iter().enumerate() {
        if matches!(name.as_str(), "cache-control" | "expires" | "pragma") {
            context.error(
                &format!("cache/targeted_fields/{index}"),
                format!("{name} is for every cache"),
                "name fields for caches of one kind, like CDN-Cache-Control, or none",
            );
        }
    }
    context.unique("field", names.iter().map(String::as_str), |index| {
        format!("cache/targeted_fields/{index}")
    });
    names
}

/// Names of the request fields.
fn negotiated(context: &mut Context, written: &[schema::Negotiated]) -> Vec<String> {
    let name = |field: &schema::Negotiated| match field {
        schema::Negotiated::Accept => "accept",
        schema::Negotiated::AcceptEncoding => "accept-encoding",
        schema::Negotiated::AcceptLanguage => "accept-language",
    };
    context.unique("field", written.iter().map(name), |index| {
        format!("cache/vary_normalized/{index}")
    });
    written.iter().map(|field| name(field).to_owned()).collect()
}

fn cache(context: &mut Context, written: schema::Cache) -> document::Cache {
    let (memory, largest) = (written.memory.value, written.max_object_size.value);
    if memory > MOST_MEMORY {
        let message =
            format!("a cache of {} is more than any machine's memory", written.memory.text());
        context.error(
            "cache/memory",
            message,
            "write at most 16TiB, and less than the smallest node has",
        );
    } else if memory > MUCH_MEMORY {
        let message = format!(
            "a cache of {} has to fit into the memory of every node",
            written.memory.text()
        );
        context.warning(
            "cache/memory",
            message,
            "make sure that the nodes have it; an override gives one node less",
        );
    }
    if memory == 0 && written.owners {
        context.warning(
            "cache/owners",
            "without memory nothing is cached, and nobody owns anything",
            "give the cache some memory, or remove owners",
        );
    }
    let disk = written.disk.as_ref().map_or(0, |disk| disk.value);
    if memory != 0 && largest > memory.max(disk / 4) {
        let remedy = "make max_object_size smaller, or memory or disk larger";
        context.warning(
            "cache/max_object_size",
            "max_object_size is larger than the memory and a quarter of the disk: such objects are \
             never kept",
            remedy,
        );
    }
    if disk != 0 && disk < LEAST_DISK {
        context.error(
            "cache/disk",
            "the disk is smaller than what the smallest disk cache needs",
            "write at least 4MiB, or remove it",
        );
    }
    if disk != 0 && memory == 0 {
        context.warning(
            "cache/disk",
            "without memory nothing is cached, on the disk neither",
            "give the cache some memory, or remove the disk",
        );
    }
    document::Cache {
        memory,
        disk,
        max_object_size: largest,
        collapsed_forwarding: written.collapsed_forwarding,
        owners: written.owners,
        follow_timeout: written.follow_timeout.value,
        range_offset_limit: written.range_offset_limit.value,
        quick_abort: written.quick_abort.map(|written| quick_abort(context, &written)),
        store_until_close: written.store_until_close,
        stale_if_unreachable: written.stale_if_unreachable.value,
        targeted_fields: targeted(context, written.targeted_fields),
        vary_normalized: negotiated(context, &written.vary_normalized),
        refresh_patterns: refresh::compile(context, written.refresh_patterns),
        policy: Policy {
            rules: Vec::new(),
            default_ttls: caching::default_ttls(context, written.default_ttls),
            authorization: written.authorization.into(),
            keys: caching::keys(context, written.keys),
        },
        purge: document::Purge {
            confirm_within: written.purge.confirm_within.value,
            allow: Vec::new(),
            everywhere: written.purge.everywhere,
        },
    }
}
