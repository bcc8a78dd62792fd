//! What is seen, as messages.

use std::sync::atomic::Ordering::Relaxed;

use cluster::{AdminState, recent::Traffic, wire};
use proto::balancer as pb;
use tonic::Status;

use crate::{
    queue::Queue,
    server::Server,
    snapshot::{Listed, Pool},
    standing::{Reason, Source, Standing},
    stats::{FrontendTotals, ServerTotals},
    view::{Frontend, Stats},
    vrrp::seen,
};

#[must_use]
pub fn stats(stats: &Stats) -> pb::Stats {
    pb::Stats {
        frontends: stats.frontends.iter().map(frontend).collect(),
        backends: stats.snapshot.pools.iter().map(|pool| backend(pool)).collect(),
        taken_at: Some(wire::timestamp(stats.taken_at)),
        revision: stats.snapshot.generation.revision.clone(),
        virtual_routers: stats.virtual_routers.iter().map(virtual_router).collect(),
    }
}

fn virtual_router(it: &seen::Seen) -> pb::VirtualRouter {
    let (state, fault) = match &it.standing {
        seen::Standing::Master => (pb::VirtualRouterState::Master, String::new()),
        seen::Standing::Backup => (pb::VirtualRouterState::Backup, String::new()),
        seen::Standing::Fault(why) => (pb::VirtualRouterState::Fault, why.clone()),
    };
    pb::VirtualRouter {
        name: it.instance.name.clone(),
        interface: it.instance.interface.clone(),
        virtual_router_id: it.instance.agreed.virtual_router_id.into(),
        version: it.version().into(),
        addresses: it.addresses().map(ToString::to_string).collect(),
        state: state.into(),
        fault,
        since: Some(wire::timestamp(it.since)),
        priority: it.priority.into(),
        configured_priority: it.instance.priority.into(),
        ailment: it.ailment.clone().unwrap_or_default(),
        master: it.master.map(|it| it.to_string()).unwrap_or_default(),
        became_master: it.became_master,
    }
}

fn frontend(it: &Frontend) -> pb::Frontend {
    let FrontendTotals {
        connections,
        active_connections,
        requests,
        failed,
        refused,
        tunnels,
        cut_tunnels,
        cut_responses,
        ..
    } = it.totals;
    pb::Frontend {
        name: it.name.clone(),
        address: it.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        backend: it.backend.clone(),
        connections,
        active_connections,
        requests,
        failed,
        refused,
        tunnels,
        cut_tunnels,
        cut_responses,
        last_minute: Some(last_minute(it.last_minute)),
    }
}

fn last_minute(Traffic { seconds, requests, failed }: Traffic) -> pb::LastMinute {
    pb::LastMinute { seconds: u32::try_from(seconds).unwrap_or(u32::MAX), requests, failed }
}

fn backend(pool: &Pool) -> pb::Backend {
    pb::Backend {
        name: pool.settings.name.clone(),
        balance: pool.settings.balance.as_str().to_owned(),
        servers: pool.servers.iter().map(|listed| server(pool, listed)).collect(),
        panic: pool.panic,
        queue: Some(queue(pool)),
    }
}

fn queue(pool: &Pool) -> pb::Queue {
    let Queue { connections, retries, counts, .. } = &*pool.queue;
    pb::Queue {
        waiting: pool.queue.waiting() as u64,
        most_waiting: pool.queue.pending(),
        peak_waiting: counts.peak.load(Relaxed) as u64,
        deadline: Some(wire::duration(pool.settings.timeouts.queue)),
        waited: counts.waited.load(Relaxed),
        waited_microseconds: counts.micros.load(Relaxed),
        full: counts.full.load(Relaxed),
        late: counts.late.load(Relaxed),
        connections: connections.held(),
        most_connections: connections.most(),
        retries: retries.held(),
        most_retries: retries.most(),
    }
}

/// A server of a backend.
#[must_use]
pub fn server(pool: &Pool, listed: &Listed) -> pb::Server {
    pb::Server {
        backend: pool.settings.name.clone(),
        name: listed.server.name.clone(),
        address: listed.server.address.to_string(),
        standing: standing(listed.judgement.standing).into(),
        reasons: listed.judgement.reasons.iter().map(ToString::to_string).collect(),
        admin_state: state(listed.admin).into(),
        weight: listed.weight,
        backup: listed.server.backup,
        discovered: listed.server.discovered,
        drift: listed.drift,
        counters: Some(counters(&listed.server)),
        changed_at: Some(wire::timestamp(listed.changed_at)),
        explained: listed.judgement.reasons.iter().map(reason).collect(),
        maxconn: listed.maxconn,
        held: listed.server.capacity.held(),
        datacenter: listed.place.datacenter.clone(),
        zone: listed.place.zone.clone(),
        level: listed.level.into(),
        load: listed.server.signs.load().map(u32::from),
        percent: listed.percent.into(),
        peak_held: listed.server.capacity.peak(),
    }
}

fn reason(reason: &Reason) -> pb::Reason {
    let source = match reason.source() {
        Source::Balancer => pb::ReasonSource::Balancer,
        Source::Registry => pb::ReasonSource::Registry,
    };
    pb::Reason { source: source.into(), text: reason.text().into_owned() }
}

const fn standing(standing: Standing) -> pb::Standing {
    match standing {
        Standing::Usable => pb::Standing::Usable,
        Standing::Last | Standing::Backup | Standing::LastResort => pb::Standing::Last,
        Standing::Unwell => pb::Standing::Unwell,
        Standing::Excluded => pb::Standing::Excluded,
    }
}

const fn state(admin: AdminState) -> pb::ServerState {
    match admin {
        AdminState::Ready => pb::ServerState::Ready,
        AdminState::Drain => pb::ServerState::Drain,
        AdminState::Maintenance => pb::ServerState::Maintenance,
    }
}

/// The state that a caller wants.
///
/// # Errors
/// It is none.
pub fn desired_state(code: i32) -> Result<AdminState, Status> {
    match pb::ServerState::try_from(code) {
        Ok(pb::ServerState::Ready) => Ok(AdminState::Ready),
        Ok(pb::ServerState::Drain) => Ok(AdminState::Drain),
        Ok(pb::ServerState::Maintenance) => Ok(AdminState::Maintenance),
        _ => Err(Status::invalid_argument("state has to be READY, DRAIN or MAINTENANCE")),
    }
}

fn counters(server: &Server) -> pb::ServerCounters {
    let totals = ServerTotals::of(&server.tally.counts);
    let checks = server.tally.checks.totals();
    pb::ServerCounters {
        requests: totals.requests,
        failures: totals.failures,
        retries_away: totals.retries_away,
        connections_opened: totals.connections_opened,
        connections_reused: totals.connections_reused,
        active_requests: totals.active_requests,
        active_tunnels: totals.active_tunnels,
        bytes_in: totals.bytes_in,
        bytes_out: totals.bytes_out,
        checks_passed: checks.passed,
        checks_failed: checks.failed,
        ejections: checks.ejections,
        answers: totals.answers,
        answers_own_microseconds: totals.own_microseconds,
    }
}
