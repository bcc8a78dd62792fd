//! `proxy.hierarchy.icp` and `proxy.hierarchy.siblings`.

use super::{Context, document, schema};

/// How others ask this node.
pub(super) fn icp(context: &mut Context, written: Option<schema::Icp>) -> Option<document::Icp> {
    let written = written?;
    let allow: Vec<_> = written.allow.into_iter().map(|network| network.value).collect();
    if allow.is_empty() {
        context.error(
            "hierarchy/icp/allow",
            "nobody would be answered",
            "name the addresses of the caches that ask",
        );
    }
    if let Some(at) = allow.iter().position(|network| network.prefix_len() == 0) {
        context.warning(
            &format!("hierarchy/icp/allow/{at}"),
            "whoever forges an address has this node send answers there",
            "name the addresses of the caches that ask",
        );
    }
    Some(document::Icp { bind: written.bind.value, allow, max_rate: written.max_rate })
}

/// Whom this node asks.
pub(super) fn siblings(
    context: &mut Context,
    written: Option<schema::Siblings>,
    has_icp: bool,
) -> document::Siblings {
    let Some(written) = written else { return document::Siblings::default() };
    let nodes = written.service.is_some();
    if let Some(service) = written.service.filter(|it| it.value != "proxy-node") {
        context.error(
            "hierarchy/siblings/service",
            format!("`{}` is no service that has a cache", service.value),
            "write proxy-node, or name each sibling in `peers`",
        );
    } else if nodes && !has_icp {
        context.warning(
            "hierarchy/siblings/service",
            "without `icp` no node has a port at which others could ask it",
            "write hierarchy: {icp: {bind: …, allow: […]}}, or use cache: {owners: true} instead",
        );
    }
    if !nodes && written.peers.is_empty() {
        context.error(
            "hierarchy/siblings",
            "nobody would be asked",
            "list `peers`, or write service: proxy-node",
        );
    }
    if written.max_timeout.value.is_zero() {
        context.error(
            "hierarchy/siblings/max_timeout",
            "a time of zero leaves no time at all",
            "write a longer one",
        );
    }
    let schema::SiblingProtocol::Icp = written.protocol;
    let listed: Vec<_> = written
        .peers
        .into_iter()
        .map(|peer| {
            let (host, port) = peer.address.value;
            document::Sibling { host, port, icp_port: peer.icp_port }
        })
        .collect();
    let names: Vec<String> = listed.iter().map(|it| format!("{}:{}", it.host, it.port)).collect();
    context.unique("sibling", names.iter().map(String::as_str), |index| {
        format!("hierarchy/siblings/peers/{index}")
    });
    document::Siblings {
        listed,
        nodes,
        proxy_only: written.proxy_only,
        max_timeout: written.max_timeout.value,
    }
}
