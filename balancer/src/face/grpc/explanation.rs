//! An explanation in words for people, a line a step.

use cluster_config::document::balancer::{Balance, Locality, Prefer, Retry};
use proto::balancer as pb;

use super::message;
use crate::{
    snapshot::Pool,
    view::explain::{Explanation, Own},
};

pub(super) fn message(
    explanation: &Explanation,
    revision: &str,
    limits: Option<String>,
) -> pb::ExplainPickResponse {
    let Explanation { pool, order, .. } = explanation;
    let tried = order.iter().copied().chain(explanation.excluded());
    pb::ExplainPickResponse {
        server: order
            .first()
            .map(|&index| pool.servers[index].server.name.clone())
            .unwrap_or_default(),
        backend: pool.settings.name.clone(),
        candidates: tried.map(|index| message::server(pool, &pool.servers[index])).collect(),
        explanation: limits.into_iter().chain(steps(explanation, revision)).collect(),
    }
}

fn steps(explanation: &Explanation, revision: &str) -> Vec<String> {
    let Explanation { frontend, pool, own, .. } = explanation;
    let (name, revision) =
        (&pool.settings.name, if revision.is_empty() { "none" } else { revision });
    let mut lines: Vec<_> =
        explanation.entry.iter().map(|line| format!("frontend {frontend}: {line}")).collect();
    if let Some(own) = own {
        let what = match own {
            Own::Health => "it asks whether this balancer serves",
            Own::Stats => "it asks for the statistics page",
            Own::Pac => "it asks for the proxy auto-configuration file",
        };
        lines.push(format!("frontend {frontend} answers it itself: {what} (revision {revision})"));
        return lines;
    }
    lines.extend(explanation.routing.iter().cloned());
    lines.push(format!("frontend {frontend} uses backend {name} (revision {revision})"));
    if pool.panic {
        lines.push(format!(
            "panic: fewer than {} % of the servers are well, so losses reported by the registry \
             are not acted on",
            pool.settings.panic_threshold
        ));
    }
    for listed in &pool.servers {
        let reasons: Vec<_> = listed.judgement.reasons.iter().map(ToString::to_string).collect();
        let (standing, reasons) = (listed.judgement.standing.as_str(), reasons.join("; "));
        lines.push(format!("{} is {standing}: {reasons}", listed.server.name));
    }
    lines.extend(nearness(pool));
    lines.extend(pool.missing.iter().map(|missing| format!("cannot be used: {missing}")));
    if let Some(sticky) = &pool.settings.sticky {
        lines.push(format!(
            "a client whose cookie {} names a server stays with it while that serves; the others:",
            sticky.cookie
        ));
    }
    lines.push(turn(explanation));
    lines.extend(bounds(pool));
    lines.push(retries(&pool.settings.retry));
    lines
}

/// What is tried again, and asked twice.
fn retries(retry: &Retry) -> String {
    let Retry { attempts, budget, on, hedge } = retry;
    let on: Vec<_> = on.iter().map(ToString::to_string).collect();
    let mut line = format!(
        "at most {attempts} attempts, each on another server where there is one, after {}; at most \
         {budget} % of the requests are tried again after answers and timeouts",
        if on.is_empty() { "nothing".to_owned() } else { on.join(", ") },
    );
    if let Some(hedge) = hedge {
        let usual = hedge.percentile.map(|it| format!(", or what {it} % of the latest needed"));
        line += &format!(
            "; a second server is asked after {} ms{}",
            hedge.after.as_millis(),
            usual.unwrap_or_default()
        );
    }
    line
}

/// Who comes first because they are near, if anybody does.
fn nearness(pool: &Pool) -> Option<String> {
    let Prefer { order, spill_over } = &pool.settings.prefer;
    let near = |how: &Locality| match how {
        Locality::Zone => "this balancer's zone",
        Locality::Datacenter => "its datacenter",
    };
    if order.is_empty() {
        return None;
    }
    let order: Vec<_> = order.iter().map(near).collect();
    let level = |level| {
        let names = pool.servers.iter().filter(move |it| it.level == level);
        names.map(|it| it.server.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let farthest = pool.servers.iter().map(|it| it.level).max().unwrap_or_default();
    let levels: Vec<_> = (0..=farthest).map(level).filter(|names| !names.is_empty()).collect();
    Some(format!(
        "among those of one standing, {} comes first, while {spill_over} % there are usable: {}",
        order.join(", then "),
        levels.join("; then ")
    ))
}

/// What bounds the backend, if anything does.
fn bounds(pool: &Pool) -> Option<String> {
    if !pool.bounded {
        return None;
    }
    let mut bounds: Vec<_> = pool
        .servers
        .iter()
        .filter_map(|it| {
            let (held, most) = (it.server.capacity.held(), it.maxconn?);
            Some(format!("{} has {held} of {most}", it.server.name))
        })
        .collect();
    let queue = &pool.queue;
    if let Some(most) = queue.connections.most() {
        bounds.push(format!("the backend has {} of {most}", queue.connections.held()));
    }
    Some(format!(
        "requests and tunnels have bounds: {}; what finds no room waits behind {} others (at most \
         {} for {} ms)",
        bounds.join(", "),
        queue.waiting(),
        queue.pending(),
        pool.settings.timeouts.queue.as_millis(),
    ))
}

/// Among whom the plan that live requests use picks, and with which shares.
fn turn(Explanation { pool, .. }: &Explanation) -> String {
    let Some(tier) = pool.plan.tiers().first() else {
        return "nobody can take it: the client gets 503".to_owned();
    };
    let sum: u32 = tier.members().iter().map(|(_, weight)| weight).sum();
    let shares: Vec<_> = tier
        .members()
        .iter()
        .map(|&(index, weight)| format!("{} {weight}/{sum}", pool.plan.names()[index]))
        .collect();
    let among = format!(
        "the {} servers, by the plan that live requests are picked with: {}",
        tier.standing().as_str(),
        shares.join(", ")
    );
    let policy = pool.plan.policy();
    let bound = policy.bound.map_or_else(String::new, |factor| {
        format!(", none of which gets more than {factor} % of its share of what is under way")
    });
    match &policy.balance {
        Balance::RoundRobin => {
            format!("round robin by weight, each worker in its own turn, among {among}")
        }
        Balance::LeastConnections => {
            format!("the fewest requests and tunnels for its weight among {among}")
        }
        Balance::Random => format!("the less loaded one of two drawn by weight among {among}"),
        Balance::ResponseTime => {
            format!("the one that answers sooner of two drawn by weight among {among}")
        }
        Balance::First => format!("the first of {among}"),
        Balance::IpHash => format!("by the client's address{bound} among {among}"),
        Balance::UriHash => format!("by host, path and query{bound}, among {among}"),
        Balance::HostHash => format!("by host{bound}, among {among}"),
        Balance::HeaderHash { header } => {
            format!("by the field {header}{bound} (without it: in turn by weight), among {among}")
        }
    }
}
