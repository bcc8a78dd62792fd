//! Section `balancer` into the document of a balancer.

mod backend;
mod fields;
mod frontend;
mod outliers;
mod retry;
mod routing;
mod vrrp;

use super::{Context, distinct_addresses, log, unknown};
use crate::{
    document::{BalancerDocument, balancer as document},
    schema::balancer as schema,
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
    distinct_addresses(context, "frontends", &frontend::binds(&section.frontends));
    references(context, &section);
    let mut frontends = section.frontends;
    frontend::client_timeouts(context, &mut frontends, &section.backends);
    let acls = routing::acls(context, section.acls);
    let backends: Vec<document::Backend> = section
        .backends
        .into_iter()
        .enumerate()
        .map(|(index, backend)| {
            let path = format!("backends/{index}");
            let backend = backend::compile(context, backend, &path);
            routing::backend_mode(context, &backend, &path);
            backend
        })
        .collect();
    let frontends: Vec<document::Frontend> = frontends
        .into_iter()
        .enumerate()
        .map(|(index, frontend)| {
            let path = format!("frontends/{index}");
            frontend::compile(context, frontend, (&backends, &acls), &path)
        })
        .collect();
    let used = |name: &String| {
        let mut rules = frontends.iter().flat_map(|it| &it.use_backend);
        rules.any(|rule| rule.when.iter().any(|term| term.acl == *name))
    };
    let acls = acls.into_iter().filter(|(name, _)| used(name)).collect();
    let log_targets = log::of_balancer(context, section.log_targets);
    let vrrp = vrrp::compile(context, section.vrrp);
    let (max_connections, workers) = (section.max_connections, section.workers);
    Some(BalancerDocument {
        frontends,
        backends,
        acls,
        log_targets,
        max_connections,
        vrrp,
        workers,
    })
}

/// The backends that a frontend names, and where.
fn used_by(frontend: &schema::Frontend) -> impl Iterator<Item = (String, &str)> {
    let rules = frontend.use_backend.iter().enumerate();
    let rules = rules.map(|(at, it)| (format!("use_backend/{at}/backend"), &it.backend));
    std::iter::once(("backend".to_owned(), &frontend.backend))
        .chain(rules)
        .map(|(place, name)| (place, name.value.as_str()))
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
        for (place, name) in used_by(frontend) {
            if !declared.contains(&name) {
                context.error(
                    &format!("frontends/{index}/{place}"),
                    format!("unknown backend `{name}`"),
                    unknown(name, declared.iter().copied()),
                );
            }
        }
    }
    for (index, backend) in section.backends.iter().enumerate() {
        if !section.frontends.is_empty()
            && !section.frontends.iter().flat_map(used_by).any(|(_, it)| it == backend.name.value)
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
