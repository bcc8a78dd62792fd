//! The gRPC service: what this balancer sees, and what operators want of its servers.

mod access;

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use chassis::authorize::{ANYONE, OPERATORS, Policy, Rule};
use cluster::{AdminState, wire};
use proto::{
    balancer::{self as pb, balancer_server::Balancer},
    registry::{SetAdminStateRequest, registry_client::RegistryClient},
};
use tokio::sync::watch;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use crate::{
    lately::Lately,
    listen::Bound,
    membership::{Override, override_key},
    pick::Picker,
    record::recent::Recent,
    roster,
    server::Server,
    snapshot::{Listed, Pool, Snapshot},
    standing::Standing,
    stats::{FrontendCounts, PerWorker},
};

/// Who may call what.
pub static POLICY: Policy = Policy::new(&[
    Rule::read("/shoal.balancer.v1.Balancer/GetStats", ANYONE),
    Rule::read("/shoal.balancer.v1.Balancer/WatchStats", ANYONE),
    Rule::read("/shoal.balancer.v1.Balancer/ExplainPick", ANYONE),
    Rule::read("/shoal.balancer.v1.Balancer/TailAccess", OPERATORS),
    Rule::write("/shoal.balancer.v1.Balancer/SetServerState", OPERATORS),
    Rule::write("/shoal.balancer.v1.Balancer/SetServerWeight", OPERATORS),
]);

/// The registry has so long to take a change before it is kept here.
pub const WRITE_WITHIN: Duration = Duration::from_secs(2);
/// A change that the registry took shows here within this time, or is answered as far as it is known.
const SHOWN_WITHIN: Duration = Duration::from_secs(2);
/// The heaviest weight, as in HAProxy.
const MAX_WEIGHT: u32 = cluster::instance::MAX_WEIGHT;

/// What can be seen of this process's data path from outside it.
#[derive(Clone)]
pub struct View {
    /// Who the servers are.
    pub roster: roster::Handle,
    /// What is bound.
    pub bound: watch::Receiver<Bound>,
    /// The wall clock.
    pub clock: chassis::Clock,
    /// The last access records.
    pub recent: Recent,
    /// What the frontends' clients got lately.
    pub lately: Lately,
}

impl View {
    /// Servers now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.roster.snapshot()
    }

    /// Frontends now with their counters.
    #[must_use]
    pub fn frontends(&self) -> Vec<(String, Arc<PerWorker<FrontendCounts>>)> {
        self.bound.borrow().values().map(|it| (it.frontend.name.clone(), Arc::clone(&it.frontend.counts))).collect()
    }

    /// Everything at one moment.
    #[must_use]
    pub fn stats(&self) -> pb::Stats {
        let snapshot = self.snapshot();
        let bound = self.bound.borrow().clone();
        let backend_of = |name: &str| snapshot.generation.document.frontends.iter().find(|it| it.name == name).map(|it| it.backend.clone());
        let frontend = |it: &Arc<crate::listen::Frontend>| pb::Frontend {
            name: it.name.clone(),
            address: it.address().to_string(),
            backend: backend_of(&it.name).unwrap_or_default(),
            connections: it.counts.sum(|it| &it.connections),
            active_connections: it.counts.sum(|it| &it.active_connections),
            requests: it.counts.sum(|it| &it.requests),
            failed: it.counts.sum(|it| &it.failed),
            refused: it.counts.sum(|it| &it.refused),
            tunnels: it.counts.sum(|it| &it.tunnels),
            cut_tunnels: it.counts.sum(|it| &it.cut_tunnels),
            cut_responses: it.counts.sum(|it| &it.cut_responses),
            last_minute: Some(last_minute(self.lately.of(&it.name, &it.counts))),
        };
        let backend = |pool: &Arc<Pool>| pb::Backend {
            name: pool.settings.name.clone(),
            balance: "round_robin".to_owned(),
            servers: pool.servers.iter().map(|listed| server(pool, listed)).collect(),
            panic: pool.panic,
        };
        pb::Stats {
            frontends: bound.values().map(|it| frontend(&it.frontend)).collect(),
            backends: snapshot.pools.iter().map(backend).collect(),
            taken_at: Some(wire::timestamp(self.clock.now())),
            revision: snapshot.generation.revision.clone(),
        }
    }
}

fn last_minute(traffic: cluster::recent::Traffic) -> pb::LastMinute {
    let seconds = u32::try_from(traffic.seconds).unwrap_or(u32::MAX);
    pb::LastMinute { seconds, requests: traffic.requests, failed: traffic.failed }
}

fn stats(view: &View, status: &watch::Receiver<chassis::Status>) -> pb::Stats {
    let stats = view.stats();
    pb::Stats { revision: status.borrow().called_now(&stats.revision), ..stats }
}

fn server(pool: &Pool, listed: &Listed) -> pb::Server {
    pb::Server {
        backend: pool.settings.name.clone(),
        name: listed.server.name.clone(),
        address: listed.server.address.to_string(),
        standing: match listed.judgement.standing {
            Standing::Usable => pb::Standing::Usable,
            Standing::Last | Standing::Backup => pb::Standing::Last,
            Standing::Unwell => pb::Standing::Unwell,
            Standing::Excluded => pb::Standing::Excluded,
        }
        .into(),
        reasons: listed.judgement.reasons.clone(),
        admin_state: match listed.admin {
            AdminState::Ready => pb::ServerState::Ready,
            AdminState::Drain => pb::ServerState::Drain,
            AdminState::Maintenance => pb::ServerState::Maintenance,
        }
        .into(),
        weight: listed.weight,
        backup: listed.server.backup,
        discovered: listed.server.discovered,
        drift: listed.drift,
        counters: Some(counters(&listed.server)),
        changed_at: Some(wire::timestamp(listed.changed_at)),
    }
}

fn counters(server: &Server) -> pb::ServerCounters {
    let (counts, checks) = (&server.tally.counts, &server.tally.checks);
    pb::ServerCounters {
        requests: counts.sum(|it| &it.requests),
        failures: counts.sum(|it| &it.failures),
        retries_away: counts.sum(|it| &it.retries_away),
        connections_opened: counts.sum(|it| &it.connections_opened),
        connections_reused: counts.sum(|it| &it.connections_reused),
        active_requests: counts.sum(|it| &it.active_requests),
        active_tunnels: counts.sum(|it| &it.active_tunnels),
        bytes_in: counts.sum(|it| &it.bytes_in),
        bytes_out: counts.sum(|it| &it.bytes_out),
        checks_passed: checks.passed.load(Relaxed),
        checks_failed: checks.failed.load(Relaxed),
        ejections: checks.ejections.load(Relaxed),
        answers: counts.sum(|it| &it.answers),
        answers_own_microseconds: counts.sum(|it| &it.own_microseconds),
    }
}

/// Writes changes through to the registry.
#[derive(Clone)]
pub struct Registry(RegistryClient<chassis::ServiceChannel>);

impl Registry {
    /// Over this channel.
    #[must_use]
    pub fn new(channel: chassis::ServiceChannel) -> Self {
        Self(RegistryClient::new(channel))
    }

    /// Sets it there.
    ///
    /// # Errors
    /// The registry's refusal, or that it is out of reach (see [`is_out_of_reach`]).
    pub async fn write(&self, server: &str, set: Override, reason: &str, force: bool) -> Result<(), Status> {
        let admin_state = set.admin.map_or(proto::registry::AdminState::Unspecified, |admin| match admin {
            AdminState::Ready => proto::registry::AdminState::Ready,
            AdminState::Drain => proto::registry::AdminState::Drain,
            AdminState::Maintenance => proto::registry::AdminState::Maintenance,
        });
        let mut request = Request::new(SetAdminStateRequest {
            name: server.to_owned(),
            admin_state: admin_state.into(),
            weight: set.weight,
            reason: reason.to_owned(),
            force,
            ..SetAdminStateRequest::default()
        });
        request.set_timeout(WRITE_WITHIN);
        let mut client = self.0.clone();
        match tokio::time::timeout(WRITE_WITHIN, client.set_admin_state(request)).await {
            Ok(answer) => answer.map(|_| ()),
            Err(_) => Err(Status::deadline_exceeded("the registry does not answer")),
        }
    }
}

/// Whether a refusal only means that the registry cannot be asked now.
#[must_use]
pub fn is_out_of_reach(status: &Status) -> bool {
    matches!(status.code(), tonic::Code::Unavailable | tonic::Code::DeadlineExceeded | tonic::Code::Cancelled | tonic::Code::Unknown)
}

/// The service.
pub struct Api {
    view: View,
    registry: Registry,
    status: watch::Receiver<chassis::Status>,
    closing: chassis::StopSignal,
}

impl Api {
    /// Over this view, of a process that says this of itself. Streams without an end of their own end when `closing` is raised.
    #[must_use]
    pub const fn new(view: View, registry: Registry, status: watch::Receiver<chassis::Status>, closing: chassis::StopSignal) -> Self {
        Self { view, registry, status, closing }
    }

    fn find(&self, backend: &str, name: &str) -> Result<pb::Server, Status> {
        let snapshot = self.view.snapshot();
        let known = || snapshot.pools.iter().map(|pool| pool.settings.name.as_str()).collect::<Vec<_>>().join(", ");
        let pool = if backend.is_empty() { snapshot.pools.first() } else { snapshot.pool(backend) };
        let pool = pool.ok_or_else(|| Status::not_found(format!("there is no backend {backend:?}; there are: {}", known())))?;
        let names = || pool.servers.iter().map(|it| it.server.name.as_str()).collect::<Vec<_>>().join(", ");
        let listed = pool.servers.iter().find(|it| it.server.name == name);
        let listed = listed
            .ok_or_else(|| Status::not_found(format!("backend {} has no server {name:?}; it has: {}", pool.settings.name, names())))?;
        Ok(server(pool, listed))
    }

    /// Sets something of a server: in the registry if it is from there and the registry can be asked, here otherwise.
    async fn set(&self, backend: &str, name: &str, set: Override, reason: &str, force: bool) -> Result<pb::Server, Status> {
        let before = self.find(backend, name)?;
        let key = override_key(&before.backend, name, before.discovered);
        let number = self.view.snapshot().number;
        if before.discovered {
            match self.registry.write(name, set, reason, force).await {
                Ok(()) => self.view.roster.written(&key).await,
                Err(status) if is_out_of_reach(&status) => {
                    tracing::warn!(server = name, "kept here, as the registry is out of reach: {}", status.message());
                    self.view.roster.set(&key, set).await;
                }
                Err(status) => return Err(status),
            }
        } else {
            self.view.roster.set(&key, set).await;
        }
        self.shown(&before.backend, name, set, number).await
    }

    /// Waits until the roster shows what was set.
    async fn shown(&self, backend: &str, name: &str, set: Override, mut number: u64) -> Result<pb::Server, Status> {
        let deadline = tokio::time::Instant::now() + SHOWN_WITHIN;
        loop {
            let now = self.find(backend, name)?;
            let admin = set.admin.is_none_or(|admin| now.admin_state == state_code(admin));
            if admin && set.weight.is_none_or(|weight| now.weight == weight) {
                return Ok(now);
            }
            if !matches!(tokio::time::timeout_at(deadline, self.view.roster.newer_than(number)).await, Ok(true)) {
                return Ok(now);
            }
            number = self.view.snapshot().number;
        }
    }

    fn explain(&self, request: &pb::ExplainPickRequest) -> Result<pb::ExplainPickResponse, Status> {
        let snapshot = self.view.snapshot();
        let frontends = &snapshot.generation.document.frontends;
        let frontend = frontends.iter().find(|it| request.frontend.is_empty() || it.name == request.frontend);
        let frontend = frontend.ok_or_else(|| Status::not_found(format!("there is no frontend {:?}", request.frontend)))?;
        let pool = snapshot.pool(&frontend.backend).ok_or_else(|| Status::unavailable("the configuration is being applied; try again"))?;
        let order = Picker::default().order(&pool.candidates);
        let mut candidates: Vec<_> = order.iter().map(|&index| server(pool, &pool.servers[index])).collect();
        let excluded = pool.servers.iter().filter(|it| it.judgement.standing == Standing::Excluded);
        let first = candidates.first().map(|it| it.name.clone()).unwrap_or_default();
        let revision = self.status.borrow().called_now(&snapshot.generation.revision);
        let explanation = explanation(&revision, &frontend.name, pool, &order);
        candidates.extend(excluded.map(|listed| server(pool, listed)));
        Ok(pb::ExplainPickResponse { server: first, backend: pool.settings.name.clone(), candidates, explanation })
    }
}

/// A line a step.
fn explanation(revision: &str, frontend: &str, pool: &Pool, order: &[usize]) -> Vec<String> {
    let name = &pool.settings.name;
    let mut lines =
        vec![format!("frontend {frontend} uses backend {name} (revision {})", if revision.is_empty() { "none" } else { revision })];
    if pool.panic {
        lines.push(format!(
            "panic: fewer than {} % of the servers are well, so losses reported by the registry are not acted on",
            pool.settings.panic_threshold
        ));
    }
    for listed in &pool.servers {
        let (standing, reasons) = (listed.judgement.standing.as_str(), listed.judgement.reasons.join("; "));
        lines.push(format!("{} is {standing}: {reasons}", listed.server.name));
    }
    lines.extend(pool.missing.iter().map(|missing| format!("cannot be used: {missing}")));
    let best = order.first().map(|&index| pool.candidates[index].standing);
    let turn: Vec<_> = order.iter().filter(|&&index| Some(pool.candidates[index].standing) == best).collect();
    let sum: u32 = turn.iter().map(|&&index| pool.candidates[index].weight).sum();
    match best {
        None => lines.push("nobody can take it: the client gets 503".to_owned()),
        Some(standing) => {
            let share = |&&index: &&usize| format!("{} {}/{sum}", pool.servers[index].server.name, pool.candidates[index].weight);
            let shares: Vec<_> = turn.iter().map(share).collect();
            lines.push(format!(
                "round robin by weight among the {} servers, each worker in its own turn: {}",
                standing.as_str(),
                shares.join(", ")
            ));
        }
    }
    lines.push(format!("at most {} attempts, each on another server where there is one", pool.settings.retry.attempts));
    lines
}

fn state_code(admin: AdminState) -> i32 {
    match admin {
        AdminState::Ready => pb::ServerState::Ready,
        AdminState::Drain => pb::ServerState::Drain,
        AdminState::Maintenance => pb::ServerState::Maintenance,
    }
    .into()
}

fn requested_state(code: i32) -> Result<AdminState, Status> {
    match pb::ServerState::try_from(code) {
        Ok(pb::ServerState::Ready) => Ok(AdminState::Ready),
        Ok(pb::ServerState::Drain) => Ok(AdminState::Drain),
        Ok(pb::ServerState::Maintenance) => Ok(AdminState::Maintenance),
        _ => Err(Status::invalid_argument("state has to be READY, DRAIN or MAINTENANCE")),
    }
}

fn interval(asked: Option<::prost_types::Duration>) -> Result<Duration, Status> {
    let interval = match asked {
        None => Duration::from_secs(1),
        some => wire::from_duration(some).ok_or_else(|| Status::invalid_argument("interval is no duration"))?,
    };
    let allowed = Duration::from_millis(100)..=Duration::from_secs(60);
    if allowed.contains(&interval) { Ok(interval) } else { Err(Status::invalid_argument("interval has to be 100 ms to 1 min")) }
}

#[tonic::async_trait]
impl Balancer for Api {
    async fn get_stats(&self, _: Request<pb::GetStatsRequest>) -> Result<Response<pb::GetStatsResponse>, Status> {
        Ok(Response::new(pb::GetStatsResponse { stats: Some(stats(&self.view, &self.status)) }))
    }

    type WatchStatsStream = Pin<Box<dyn Stream<Item = Result<pb::WatchStatsResponse, Status>> + Send>>;

    async fn watch_stats(&self, request: Request<pb::WatchStatsRequest>) -> Result<Response<Self::WatchStatsStream>, Status> {
        let ticks = tokio::time::interval(interval(request.into_inner().interval)?);
        // Each tick is asked for by the reader: a slow one gets fewer, never a backlog.
        let answers = futures::stream::unfold((ticks, self.view.clone(), self.status.clone()), |(mut ticks, view, status)| async move {
            ticks.tick().await;
            let answer = pb::WatchStatsResponse { stats: Some(stats(&view, &status)) };
            Some((Ok(answer), (ticks, view, status)))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn set_server_state(&self, request: Request<pb::SetServerStateRequest>) -> Result<Response<pb::SetServerStateResponse>, Status> {
        let asked = request.get_ref();
        let admin = requested_state(asked.state)?;
        let reason = format!("{}: {admin:?}, by a balancer", asked.server);
        chassis::audit::note(&request, reason.clone());
        let set = Override { admin: Some(admin), weight: None };
        let server = self.set(&asked.backend, &asked.server, set, &reason, asked.force).await?;
        Ok(Response::new(pb::SetServerStateResponse { server: Some(server) }))
    }

    async fn set_server_weight(
        &self,
        request: Request<pb::SetServerWeightRequest>,
    ) -> Result<Response<pb::SetServerWeightResponse>, Status> {
        let asked = request.get_ref();
        if asked.weight > MAX_WEIGHT {
            return Err(Status::invalid_argument(format!("weight is 0 to {MAX_WEIGHT}")));
        }
        let reason = format!("{}: weight {}, by a balancer", asked.server, asked.weight);
        chassis::audit::note(&request, reason.clone());
        let set = Override { admin: None, weight: Some(asked.weight) };
        let server = self.set(&asked.backend, &asked.server, set, &reason, asked.force).await?;
        Ok(Response::new(pb::SetServerWeightResponse { server: Some(server) }))
    }

    async fn explain_pick(&self, request: Request<pb::ExplainPickRequest>) -> Result<Response<pb::ExplainPickResponse>, Status> {
        self.explain(request.get_ref()).map(Response::new)
    }

    type TailAccessStream = Pin<Box<dyn Stream<Item = Result<pb::TailAccessResponse, Status>> + Send>>;

    async fn tail_access(&self, request: Request<pb::TailAccessRequest>) -> Result<Response<Self::TailAccessStream>, Status> {
        Ok(Response::new(access::tail(self.view.recent.clone(), request.get_ref(), self.closing.clone()).await?))
    }
}
