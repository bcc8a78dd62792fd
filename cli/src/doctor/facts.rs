//! What is known about a cluster at one moment. Checks are functions of this, and of nothing else.

use std::time::Duration;

use chassis::{certificate::Certificate, scrape::Metrics, silence::Silence};
use cluster::{AdminState, InstanceStatus, PoolGuard, Service, State};
use jiff::Timestamp;
use proto::{
    balancer::Stats,
    config::Cause,
    proxy::{GetStatsResponse, RouteKind},
};

/// An answer, or in one sentence why there is none.
pub type Answer<T> = Result<T, Silence>;

/// Everything.
#[derive(Clone, Debug)]
pub struct Facts {
    /// This machine's clock.
    pub now: Timestamp,
    /// What the registry says.
    pub registry: Answer<Register>,
    /// Everybody the registry lists, and in a lab everybody who should be there.
    pub processes: Vec<Process>,
    /// What the config-service says; none: there is none to ask.
    pub configuration: Option<Answer<Configuration>>,
    /// What the balancers see, by name; those who do not answer are among `processes`.
    pub balancers: Vec<(String, Stats)>,
    /// What the nodes count, by name; as above.
    pub nodes: Vec<(String, GetStatsResponse)>,
    /// What the health-checkers check, by name: how many checks.
    pub checkers: Vec<(String, usize)>,
    /// The operator's own certificate.
    pub operator: Result<Certificate, String>,
    /// The authority's.
    pub authorities: Result<Vec<Certificate>, String>,
    /// What the backup-service says; none: there is none, or nobody could say.
    pub backups: Option<Answer<Backups>>,
    /// The directory of the authority and its key, when they are on this machine.
    pub pki: Option<String>,
}

impl Facts {
    /// The newest backup that can be restored.
    pub fn way_back(&self) -> Option<&Backup> {
        self.backups.as_ref()?.as_ref().ok()?.newest.as_ref()
    }

    /// One process by name.
    pub fn process(&self, name: &str) -> Option<&Process> {
        self.processes.iter().find(|process| process.name == name)
    }
}

/// The registry's list.
#[derive(Clone, Debug, Default)]
pub struct Register {
    pub guards: Vec<PoolGuard>,
    pub cluster_id: String,
}

/// What the config-service says.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    /// The released revision; empty: none yet.
    pub released: String,
    /// Nodes that do not run what they were assigned.
    pub drift: Vec<Drift>,
    /// The newest rollout, if it failed.
    pub failed_rollout: Option<FailedRollout>,
}

/// A node that does not run what it was assigned.
#[derive(Clone, Debug, Default)]
pub struct Drift {
    /// Its name.
    pub name: String,
    /// Why, for who decides by it.
    pub cause: Cause,
    /// Why, in the config-service's words.
    pub why: String,
}

/// A rollout that failed.
#[derive(Clone, Debug, Default)]
pub struct FailedRollout {
    /// The number of its revision.
    pub revision: String,
    /// The node that refused it and why; none: one that did not answer, or went away.
    pub refused: Option<(String, Cause)>,
    /// Why it failed, in the config-service's words.
    pub why: String,
}

/// The backups.
#[derive(Clone, Debug, Default)]
pub struct Backups {
    /// The newest that can be restored; what a restore put aside before it began does not count.
    pub newest: Option<Backup>,
    /// Id and problem of those that cannot be restored.
    pub damaged: Vec<(String, String)>,
}

/// One backup.
#[derive(Clone, Debug)]
pub struct Backup {
    pub made: Timestamp,
    /// Of which cluster; empty: it does not say.
    pub cluster_id: String,
}

/// A port besides gRPC and admin HTTP.
#[derive(Clone, Debug)]
pub struct Port {
    pub purpose: String,
    pub address: String,
    pub open: Open,
}

/// Whether a port takes connections from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Open {
    Yes,
    /// Its machine answers, and nothing listens there.
    Refused,
    /// Nothing answers; why, in words.
    Unreached(String),
}

/// A request that a node has answered.
#[derive(Clone, Debug)]
pub struct Answered {
    /// By the node's clock.
    pub at: Timestamp,
    pub method: String,
    pub url: String,
    pub status: u32,
}

/// One process.
#[derive(Clone, Debug)]
pub struct Process {
    pub name: String,
    pub service: Service,
    /// As the registry sees it; none: it is not listed there.
    pub listed: Option<InstanceStatus>,
    /// Where its log is, when that is known.
    pub log: Option<String>,
    /// What the gRPC health service says: serving or not.
    pub grpc: Answer<bool>,
    /// What `/readyz` says: ready, or why not.
    pub ready: Answer<Result<(), String>>,
    pub metrics: Answer<Metrics>,
    pub clock: Option<Reading>,
    /// None: it speaks without TLS.
    pub certificate: Answer<Option<Certificate>>,
    /// Its other ports: purpose, address, and whether they take connections from here.
    pub ports: Vec<Port>,
    /// Of a node: the last requests that it answered, oldest first; health checks are not among
    /// them.
    pub answered: Vec<Answered>,
    /// Errors that it has logged in the last hour, newest first: how long ago, and the line. None:
    /// it does not tell.
    pub complaints: Option<Complaints>,
    /// Of a node: where the last of them that failed was to go, as the node explains it: `parent
    /// 10.0.0.9:3128`.
    pub failed_on: Option<(RouteKind, String)>,
}

/// What a process complains about in its log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Complaints {
    pub errors: Vec<Complaint>,
    /// There were more.
    pub more: bool,
}

/// One error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    pub age: Duration,
    pub target: String,
    pub text: String,
}

/// A reading of another clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// So much it is ahead of this machine's clock, in seconds.
    pub ahead: f64,
    /// So much it may be off, in seconds: half the time that reading took, or the clock's own
    /// steps.
    pub exact_to: f64,
    /// How long the answer took.
    pub took: Duration,
}

impl Answered {
    /// Whether the client got an error that is not its own.
    pub fn has_failed(&self) -> bool {
        self.status >= 500
    }
}

impl Process {
    /// Whether anything of it answered.
    pub fn answers(&self) -> bool {
        self.grpc.is_ok() || self.ready.is_ok()
    }

    /// What to look at when something is wrong with it.
    pub fn log_hint(&self) -> String {
        self.log.as_ref().map_or_else(|| format!("the log of {}", self.name), Clone::clone)
    }

    /// Why nothing of it answers, if nothing does: once when both ports say the same.
    pub fn silence(&self) -> Option<Silence> {
        match (&self.grpc, &self.ready) {
            (Err(grpc), Err(admin)) => Some(grpc.beside("gRPC", admin, "admin HTTP")),
            _ => None,
        }
    }

    pub fn state(&self) -> Option<State> {
        Some(self.listed.as_ref()?.state)
    }

    /// It said that it stops, and nobody has started it again.
    pub fn was_stopped(&self) -> bool {
        self.listed.as_ref().is_some_and(|status| {
            status.state == State::Draining && status.admin_state == AdminState::Ready
        })
    }

    /// Whether it is to be taken for gone: what else is wrong with it follows from that.
    pub fn is_away(&self) -> bool {
        !self.answers() || self.state() == Some(State::Lost)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A process with which nothing is wrong.
    pub fn process(service: Service, name: &str) -> Process {
        Process {
            name: name.to_owned(),
            service,
            listed: Some(status(service, name)),
            log: None,
            grpc: Ok(true),
            ready: Ok(Ok(())),
            metrics: Ok(Metrics::default()),
            clock: Some(Reading { ahead: 0.0, exact_to: 0.001, took: Duration::from_millis(2) }),
            certificate: Ok(Some(certificate(90, 300))),
            ports: Vec::new(),
            answered: Vec::new(),
            complaints: Some(Complaints::default()),
            failed_on: None,
        }
    }

    pub fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    /// A certificate that ends in so many days of the so many that it was made for.
    pub fn certificate(left: i64, whole: i64) -> Certificate {
        let day = |days: i64| now() + jiff::SignedDuration::from_hours(24 * days);
        Certificate { identity: None, not_before: day(left - whole), not_after: day(left) }
    }

    pub fn status(service: Service, name: &str) -> InstanceStatus {
        let instance = proto::registry::Instance {
            service: service.to_string(),
            name: name.to_owned(),
            id: "019d0000-0000-7000-8000-000000000001".into(),
            endpoints: [("grpc".to_owned(), "127.0.0.1:1".to_owned())].into(),
            applied_revision: "4f2a".into(),
            version: "1".into(),
            ..Default::default()
        };
        let at = Some(cluster::wire::timestamp(now()));
        let status = proto::registry::InstanceStatus {
            instance: Some(instance),
            admin_state: proto::registry::AdminState::Ready.into(),
            state: proto::registry::State::Usable.into(),
            registered_at: at,
            changed_at: at,
            lease_expires_at: at,
            effective_weight: 1,
            ..Default::default()
        };
        status.try_into().unwrap()
    }

    /// A cluster with which nothing is wrong.
    pub fn facts(processes: Vec<Process>) -> Facts {
        Facts {
            now: now(),
            registry: Ok(Register::default()),
            processes,
            configuration: Some(Ok(Configuration {
                released: "4f2a".into(),
                ..Configuration::default()
            })),
            balancers: Vec::new(),
            nodes: Vec::new(),
            checkers: Vec::new(),
            operator: Ok(certificate(90, 300)),
            authorities: Ok(vec![certificate(900, 3000)]),
            backups: None,
            pki: None,
        }
    }
}
