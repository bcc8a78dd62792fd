//! Where protobuf messages end: each becomes one of the console's own values. What a newer version
//! says and this one does not know is `unknown`.

use cluster::{
    AdminState,
    recent::Traffic,
    wire::{from_duration, from_timestamp, holder},
};
use proto::{balancer as pb, config, health, proxy};

use crate::{
    configuration::{
        Answer, AnswerState, FileDifference, Follower, Revision, Rollout, RolloutState,
    },
    traffic::{
        Backend, BalancerStats, DiskStats, Finding, Frontend, NodeStats, Parent, Server,
        ServerCounts, Standing,
    },
};

/// What a balancer counts.
pub fn balancer(name: &str, stats: pb::Stats) -> BalancerStats {
    let at = from_timestamp(stats.taken_at);
    let addresses = stats.virtual_routers.iter().map(|it| holder(name, it, at)).collect();
    BalancerStats {
        addresses,
        revision: stats.revision,
        frontends: stats.frontends.into_iter().map(frontend).collect(),
        backends: stats
            .backends
            .into_iter()
            .map(|backend| Backend {
                name: backend.name,
                balance: backend.balance,
                panic: backend.panic,
                servers: backend.servers.into_iter().map(server).collect(),
            })
            .collect(),
    }
}

fn frontend(frontend: pb::Frontend) -> Frontend {
    Frontend {
        name: frontend.name,
        address: frontend.address,
        backend: frontend.backend,
        connections: frontend.connections,
        active: frontend.active_connections,
        requests: frontend.requests,
        failed: frontend.failed,
        refused: frontend.refused,
        tunnels: frontend.tunnels,
        cut: frontend.cut_tunnels.saturating_add(frontend.cut_responses),
        last_minute: frontend
            .last_minute
            .map(|it| Traffic {
                seconds: it.seconds.into(),
                requests: it.requests,
                failed: it.failed,
            })
            .unwrap_or_default(),
    }
}

/// One server, in the eyes of a balancer.
pub fn server(server: pb::Server) -> Server {
    let admin = match server.admin_state() {
        pb::ServerState::Ready => Some(AdminState::Ready),
        pb::ServerState::Drain => Some(AdminState::Drain),
        pb::ServerState::Maintenance => Some(AdminState::Maintenance),
        pb::ServerState::Unspecified => None,
    };
    let standing = match server.standing() {
        pb::Standing::Usable => Standing::Usable,
        pb::Standing::Last => Standing::Last,
        pb::Standing::Unwell => Standing::Unwell,
        pb::Standing::Excluded => Standing::Excluded,
        pb::Standing::Unspecified => Standing::Unknown,
    };
    Server {
        admin,
        standing,
        counts: counts(server.counters.unwrap_or_default()),
        changed_at: from_timestamp(server.changed_at),
        name: server.name,
        address: server.address,
        reasons: server.reasons,
        weight: server.weight,
        backup: server.backup,
        discovered: server.discovered,
        drift: server.drift,
    }
}

fn counts(counters: pb::ServerCounters) -> ServerCounts {
    ServerCounts {
        requests: counters.requests,
        failures: counters.failures,
        retries_away: counters.retries_away,
        connections_opened: counters.connections_opened,
        connections_reused: counters.connections_reused,
        active_requests: counters.active_requests,
        active_tunnels: counters.active_tunnels,
        bytes_in: counters.bytes_in,
        bytes_out: counters.bytes_out,
        checks_passed: counters.checks_passed,
        checks_failed: counters.checks_failed,
        ejections: counters.ejections,
    }
}

/// What a node counts.
pub fn node(stats: proxy::GetStatsResponse) -> NodeStats {
    NodeStats {
        requests: stats.requests,
        hits: stats.hits,
        revalidated: stats.revalidated,
        misses: stats.misses,
        collapsed: stats.collapsed,
        denied: stats.denied,
        errors: stats.errors,
        tunnels: stats.tunnels,
        active_tunnels: stats.active_tunnels,
        active_connections: stats.active_connections,
        cache_objects: stats.cache_objects,
        cache_bytes: stats.cache_bytes,
        cache_capacity: stats.cache_capacity_bytes,
        bytes_to_clients: stats.bytes_to_clients,
        bytes_from_origins: stats.bytes_from_origins,
        log_records_dropped: stats.log_records_dropped,
        revision: stats.revision,
        last_minute: stats
            .last_minute
            .map(|it| Traffic {
                seconds: it.seconds.into(),
                requests: it.requests,
                failed: it.errors,
            })
            .unwrap_or_default(),
        parents: stats.parents.into_iter().map(parent).collect(),
        disk: stats.disk.map(|it| DiskStats {
            problem: it.problem,
            objects: it.objects,
            bytes: it.bytes,
            capacity: it.capacity_bytes,
            hits: it.hits,
        }),
        from_owners: stats.owners.filter(|it| it.others > 0).map(|it| it.hits),
    }
}

fn parent(stats: proxy::ParentStats) -> Parent {
    Parent {
        address: stats.address,
        alive: stats.alive,
        dead_since: stats
            .dead_since
            .and_then(|since| jiff::Timestamp::from_second(since.seconds).ok()),
        requests: stats.requests,
        failures: stats.failures,
        last_failure: stats.last_failure,
    }
}

/// Every check on every target, in the checker's order.
pub fn findings(answer: health::ListChecksResponse) -> Vec<Finding> {
    let mut findings = Vec::new();
    for check in answer.checks {
        for target in check.targets {
            let passing = match target.standing() {
                health::Outcome::Passed => Some(true),
                health::Outcome::Failed => Some(false),
                health::Outcome::Unspecified => None,
            };
            let last = target.last.unwrap_or_default();
            findings.push(Finding {
                check: check.name.clone(),
                kind: check.r#type.clone(),
                target: last.target_name,
                passing,
                detail: last.detail,
                took: from_duration(last.took).unwrap_or_default(),
                finished_at: from_timestamp(last.finished_at),
            });
        }
    }
    findings
}

/// An immutable bundle.
pub fn revision(revision: config::Revision) -> Revision {
    Revision {
        committed_at: from_timestamp(revision.committed_at),
        id: revision.id,
        number: revision.number,
        parent: revision.parent,
        author: revision.author,
        committer: revision.committer,
        message: revision.message,
        released: revision.released,
    }
}

/// A revision on its way.
pub fn rollout(rollout: config::Rollout) -> Rollout {
    let state = match rollout.state() {
        config::RolloutState::Unspecified => RolloutState::Unknown,
        config::RolloutState::Trying => RolloutState::Trying,
        config::RolloutState::Spreading => RolloutState::Spreading,
        config::RolloutState::Paused => RolloutState::Paused,
        config::RolloutState::Done => RolloutState::Done,
        config::RolloutState::Failed => RolloutState::Failed,
        config::RolloutState::Aborted => RolloutState::Aborted,
    };
    Rollout {
        state,
        started_at: from_timestamp(rollout.started_at),
        changed_at: from_timestamp(rollout.changed_at),
        id: rollout.id,
        revision: revision(rollout.revision.unwrap_or_default()),
        nodes: rollout.nodes.into_iter().map(answer).collect(),
        explanation: rollout.explanation,
    }
}

fn answer(node: config::NodeRollout) -> Answer {
    let state = match node.state() {
        config::NodeRolloutState::Unspecified => AnswerState::Unknown,
        config::NodeRolloutState::Waiting => AnswerState::Waiting,
        config::NodeRolloutState::Assigned => AnswerState::Assigned,
        config::NodeRolloutState::Applied => AnswerState::Applied,
        config::NodeRolloutState::Rejected => AnswerState::Rejected,
        config::NodeRolloutState::Reverted => AnswerState::Reverted,
        config::NodeRolloutState::Gone => AnswerState::Gone,
    };
    let problems = node.problems.into_iter().map(problem).collect();
    Answer { state, service: node.service, name: node.name, problems }
}

/// `cluster.yaml:12:3: unknown key; remove it`
fn problem(problem: config::Problem) -> String {
    let config::Problem { file, line, column, message, remedy, .. } = problem;
    let place = match (file.as_str(), line) {
        ("", _) => String::new(),
        (file, 0) => format!("{file}: "),
        (file, line) => format!("{file}:{line}:{column}: "),
    };
    let remedy = if remedy.is_empty() { String::new() } else { format!("; {remedy}") };
    format!("{place}{message}{remedy}")
}

/// One node, in step or not.
pub fn follower(drift: config::Drift) -> Follower {
    Follower {
        service: drift.service,
        name: drift.name,
        assigned: drift.assigned_revision,
        applied: drift.applied_revision,
        in_step: drift.in_step,
        explanation: drift.explanation,
    }
}

/// What differs in one file.
pub fn difference(file: config::FileDifference) -> FileDifference {
    FileDifference {
        path: file.path,
        unified: file.unified,
        added: file.from_sha256.is_empty(),
        removed: file.to_sha256.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_unknown_and_nothing_panics() {
        let odd = pb::Server { standing: 99, admin_state: -1, ..Default::default() };
        let server = server(odd);
        assert_eq!((server.standing, server.admin), (Standing::Unknown, None));
        assert_eq!(
            rollout(config::Rollout { state: 77, ..Default::default() }).state,
            RolloutState::Unknown
        );
        let check = health::Check {
            targets: vec![health::TargetStanding::default()],
            ..Default::default()
        };
        assert_eq!(findings(health::ListChecksResponse { checks: vec![check] })[0].passing, None);
    }

    #[test]
    fn problems_have_their_place() {
        let told = |file: &str, line| {
            let message = "unknown key".into();
            problem(config::Problem {
                file: file.into(),
                line,
                column: 3,
                message,
                remedy: "remove it".into(),
                ..Default::default()
            })
        };
        assert_eq!(told("cluster.yaml", 12), "cluster.yaml:12:3: unknown key; remove it");
        assert_eq!(told("pages/x.html", 0), "pages/x.html: unknown key; remove it");
        assert_eq!(told("", 0), "unknown key; remove it");
    }
}
