//! The gRPC face: `shoal.health.v1.HealthChecker`.

use std::{collections::BTreeMap, pin::Pin, sync::Arc};

use chassis::authorize::{ANYONE, OPERATORS, Policy, Rule};
use cluster::Verdict;
use cluster_config::document::checks::{Check, Probe};
use futures::{Stream, StreamExt, future::join_all};
use proto::health as wire;
use tokio_stream::wrappers::{BroadcastStream, errors::BroadcastStreamRecvError};
use tonic::{Request, Response, Status};

use crate::prober::{Finding, Handle, Position};

/// Who may call what.
pub static POLICY: Policy = Policy::new(&[
    Rule::read("/shoal.health.v1.HealthChecker/ListChecks", ANYONE),
    Rule::read("/shoal.health.v1.HealthChecker/WatchResults", ANYONE),
    Rule::read("/shoal.health.v1.HealthChecker/RunCheck", OPERATORS),
]);

#[derive(Clone, Debug)]
pub struct Api {
    prober: Handle,
}

impl Api {
    /// Answers from this prober.
    #[must_use]
    pub const fn new(prober: Handle) -> Self {
        Self { prober }
    }
}

type Results = Pin<Box<dyn Stream<Item = Result<wire::WatchResultsResponse, Status>> + Send>>;

#[tonic::async_trait]
impl wire::health_checker_server::HealthChecker for Api {
    type WatchResultsStream = Results;

    async fn list_checks(
        &self,
        _request: Request<wire::ListChecksRequest>,
    ) -> Result<Response<wire::ListChecksResponse>, Status> {
        let positions = self.prober.list().await.map_err(unavailable)?;
        let mut checks: BTreeMap<String, wire::Check> = BTreeMap::new();
        for (_, position) in positions {
            let check = Arc::clone(&position.wanted.check);
            checks
                .entry(check.name.clone())
                .or_insert_with(|| describe(&check))
                .targets
                .push(standing(position));
        }
        Ok(Response::new(wire::ListChecksResponse { checks: checks.into_values().collect() }))
    }

    async fn run_check(
        &self,
        request: Request<wire::RunCheckRequest>,
    ) -> Result<Response<wire::RunCheckResponse>, Status> {
        let asked = request.into_inner();
        let mut chosen = self.prober.list().await.map_err(unavailable)?;
        chosen.retain(|(_, position)| position.wanted.check.name == asked.check);
        if chosen.is_empty() {
            return Err(Status::not_found(format!(
                "this checker runs no check named {:?}: see `shoal check list`",
                asked.check
            )));
        }
        chosen.retain(|(_, position)| {
            asked.target.is_empty() || position.wanted.name == asked.target
        });
        if chosen.is_empty() {
            return Err(Status::not_found(format!(
                "check {:?} has no target named {:?}: see `shoal check list`",
                asked.check, asked.target
            )));
        }
        let probes =
            chosen.iter().map(|(key, position)| self.prober.probe(key.clone(), &position.wanted));
        let results = join_all(probes).await.iter().map(result).collect();
        Ok(Response::new(wire::RunCheckResponse { results }))
    }

    async fn watch_results(
        &self,
        request: Request<wire::WatchResultsRequest>,
    ) -> Result<Response<Self::WatchResultsStream>, Status> {
        let check = request.into_inner().check;
        let mut missed = 0;
        let stream = BroadcastStream::new(self.prober.results()).filter_map(move |received| {
            let answer = match received {
                Err(BroadcastStreamRecvError::Lagged(count)) => {
                    missed += count;
                    None
                }
                Ok(finding) if check.is_empty() || finding.check == check => {
                    Some(Ok(wire::WatchResultsResponse {
                        result: Some(result(&finding)),
                        missed: std::mem::take(&mut missed),
                    }))
                }
                Ok(_) => None,
            };
            std::future::ready(answer)
        });
        Ok(Response::new(Box::pin(stream)))
    }
}

fn unavailable(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

fn describe(check: &Check) -> wire::Check {
    let kind = match check.probe {
        Probe::Tcp => "tcp",
        Probe::Http { .. } => "http",
        Probe::Proxy { .. } => "proxy",
        Probe::Connect { .. } => "connect",
    };
    wire::Check {
        name: check.name.clone(),
        r#type: kind.into(),
        service: check.service.clone(),
        interval: prost_types::Duration::try_from(check.interval).ok(),
        timeout: prost_types::Duration::try_from(check.timeout).ok(),
        rise: check.rise,
        fall: check.fall,
        targets: Vec::new(),
    }
}

fn standing(position: Position) -> wire::TargetStanding {
    let outcome = match position.standing.verdict() {
        None => wire::Outcome::Unspecified,
        Some(Verdict::Passing) => wire::Outcome::Passed,
        Some(Verdict::Critical) => wire::Outcome::Failed,
    };
    let unprobed = || wire::CheckResult {
        check: position.wanted.check.name.clone(),
        target_name: position.wanted.name.clone(),
        address: position.wanted.address.clone(),
        ..wire::CheckResult::default()
    };
    wire::TargetStanding {
        last: Some(position.last.as_deref().map_or_else(unprobed, result)),
        standing: outcome.into(),
        streak: position.standing.streak(),
        assigned: position.wanted.assigned,
    }
}

fn result(finding: &Finding) -> wire::CheckResult {
    let (outcome, detail) = match &finding.result {
        Ok(found) => (wire::Outcome::Passed, found),
        Err(failure) => (wire::Outcome::Failed, failure),
    };
    wire::CheckResult {
        check: finding.check.clone(),
        target_name: finding.name.clone(),
        target_id: finding.key.1.to_string(),
        address: finding.address.clone(),
        outcome: outcome.into(),
        detail: detail.clone(),
        took: prost_types::Duration::try_from(finding.took).ok(),
        finished_at: Some(cluster::wire::timestamp(finding.finished_at)),
    }
}
