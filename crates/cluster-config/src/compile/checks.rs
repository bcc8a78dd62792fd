//! Section `checks` into the document of a health-checker.

use super::Context;
use crate::document::{ChecksDocument, checks as document};
use crate::schema::checks::{Check, CheckedService, Kind};
use crate::schema::notation::ProbeTarget;
use std::time::Duration;

/// The document, unless something is wrong.
pub fn compile(context: &mut Context) -> Option<ChecksDocument> {
    let section: Vec<Check> = context.read()?;
    context.unique("check", section.iter().map(|check| check.name.value.as_str()), |index| {
        format!("{index}/name")
    });
    let checks = section
        .into_iter()
        .enumerate()
        .map(|(index, check)| self::check(context, check, &index.to_string()))
        .collect();
    Some(ChecksDocument { checks })
}

fn check(context: &mut Context, written: Check, path: &str) -> document::Check {
    for (key, given, belongs) in [
        ("path", written.path.is_some(), written.kind == Kind::Http),
        ("url", written.url.is_some(), matches!(written.kind, Kind::Proxy | Kind::Connect)),
        ("expect", written.expect.is_some(), written.kind != Kind::Tcp),
    ] {
        if given && !belongs {
            context.error(
                &format!("{path}/{key}"),
                format!("`{key}` means nothing for a check of this type"),
                "remove it, or change the type",
            );
        }
    }
    if matches!(written.kind, Kind::Proxy | Kind::Connect)
        && written.service != CheckedService::ProxyNode
        && written.service != CheckedService::Balancer
    {
        context.error(
            &format!("{path}/service"),
            "this service is not a proxy",
            "check a proxy-node or a balancer this way, or use type tcp or http",
        );
    }
    let interval = written.interval.value;
    let timeout = written
        .timeout
        .as_ref()
        .map_or(interval.min(Duration::from_secs(5)), |timeout| timeout.value);
    if interval < Duration::from_millis(10) || timeout.is_zero() {
        context.error(path, "a check with no time to run", "give interval and timeout more time");
    } else if timeout > interval {
        context.error(
            &format!("{path}/timeout"),
            "a probe may not take longer than the interval",
            "make timeout shorter than interval",
        );
    }
    document::Check {
        endpoint: written
            .endpoint
            .as_ref()
            .map_or_else(|| endpoint(&written), |endpoint| endpoint.value.clone()),
        service: service(written.service).as_str().to_owned(),
        interval,
        timeout,
        rise: written.rise,
        fall: written.fall,
        probe: probe(&written),
        name: written.name.value,
    }
}

fn service(written: CheckedService) -> cluster::Service {
    match written {
        CheckedService::ProxyNode => cluster::Service::ProxyNode,
        CheckedService::Balancer => cluster::Service::Balancer,
        CheckedService::Registry => cluster::Service::Registry,
        CheckedService::ConfigService => cluster::Service::ConfigService,
    }
}

/// A proxy-node's client listener also answers GET of its health_path, as Squid's users expect.
fn endpoint(check: &Check) -> String {
    let name = match (check.service, check.kind) {
        (CheckedService::ProxyNode, _) => "proxy",
        (_, Kind::Http) => "admin",
        (CheckedService::Balancer, _) => "frontend",
        _ => "grpc",
    };
    name.to_owned()
}

fn probe(check: &Check) -> document::Probe {
    let expect = || document::Expect {
        status: check.expect.clone().map_or_else(
            || vec![(200, 299)],
            |expect| expect.status.into_vec().into_iter().map(|status| status.value).collect(),
        ),
    };
    let url = || match &check.url {
        Some(ProbeTarget { value: Some(url), .. }) => document::ProbeUrl::Url(url.clone()),
        _ => document::ProbeUrl::BuiltIn,
    };
    let path = || {
        let default = if check.service == CheckedService::ProxyNode { "/" } else { "/readyz" };
        check.path.as_ref().map_or_else(|| default.to_owned(), |path| path.value.clone())
    };
    match check.kind {
        Kind::Tcp => document::Probe::Tcp,
        Kind::Http => document::Probe::Http { path: path(), expect: expect() },
        Kind::Proxy => document::Probe::Proxy { url: url(), expect: expect() },
        Kind::Connect => document::Probe::Connect { url: url(), expect: expect() },
    }
}
