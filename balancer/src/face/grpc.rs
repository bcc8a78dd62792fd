//! The gRPC service `shoal.balancer.v1.Balancer`.

mod access;
mod explanation;
pub mod message;

use std::{net::IpAddr, pin::Pin, time::Duration};

use chassis::authorize::{ANYONE, OPERATORS, Policy, Rule};
use cluster::wire;
use proto::balancer::{self as pb, balancer_server::Balancer};
use tokio::sync::watch;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use crate::{
    membership::Desired,
    operate::{Change, Error, Operator, registry::Reply},
    snapshot::Snapshot,
    view::{
        View,
        explain::{self, Question},
    },
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

pub struct Face {
    view: View,
    operator: Operator,
    status: watch::Receiver<chassis::Status>,
    closing: chassis::StopSignal,
}

impl Face {
    /// Of a process that says this of itself. Streams without an end of their own end when
    /// `closing` is raised.
    #[must_use]
    pub const fn new(
        view: View,
        operator: Operator,
        status: watch::Receiver<chassis::Status>,
        closing: chassis::StopSignal,
    ) -> Self {
        Self { view, operator, status, closing }
    }

    /// What the client has of its share at the frontend, where that matters.
    fn limits(
        &self,
        snapshot: &Snapshot,
        explanation: &explain::Explanation,
        client: Option<IpAddr>,
    ) -> Option<String> {
        let frontends = &snapshot.generation.document.frontends;
        let settings = frontends.iter().find(|it| it.name == explanation.frontend)?;
        dataplane::limits::tell(self.view.clients.get()?, &settings.limits, client?)
    }

    async fn set(
        &self,
        request: &Request<impl Sync>,
        change: Change,
    ) -> Result<pb::Server, Status> {
        chassis::audit::note(request, change.reason());
        let shown = self.operator.set(&change).await?;
        Ok(message::server(&shown.pool, shown.listed()))
    }
}

/// Everything now; the revision is what the process calls it, as one that changes nothing here
/// gives what is in force its name.
fn stats(view: &View, status: &watch::Receiver<chassis::Status>) -> pb::Stats {
    let stats = message::stats(&view.stats());
    pb::Stats { revision: status.borrow().called_now(&stats.revision), ..stats }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        match error {
            Error::NoBackend { .. } | Error::NoServer { .. } => Self::not_found(error.to_string()),
            Error::Weight | Error::Discovered { .. } => Self::invalid_argument(error.to_string()),
            Error::Refused(Reply(status)) => *status,
        }
    }
}

impl From<explain::Error> for Status {
    fn from(error: explain::Error) -> Self {
        match error {
            explain::Error::NoFrontend(_) => Self::not_found(error.to_string()),
            explain::Error::NotYet => Self::unavailable(error.to_string()),
        }
    }
}

fn interval(asked: Option<::prost_types::Duration>) -> Result<Duration, Status> {
    let interval = match asked {
        None => Duration::from_secs(1),
        some => wire::from_duration(some)
            .ok_or_else(|| Status::invalid_argument("interval is no duration"))?,
    };
    let allowed = Duration::from_millis(100)..=Duration::from_secs(60);
    if allowed.contains(&interval) {
        Ok(interval)
    } else {
        Err(Status::invalid_argument("interval has to be 100 ms to 1 min"))
    }
}

#[tonic::async_trait]
impl Balancer for Face {
    async fn get_stats(
        &self,
        _: Request<pb::GetStatsRequest>,
    ) -> Result<Response<pb::GetStatsResponse>, Status> {
        Ok(Response::new(pb::GetStatsResponse { stats: Some(stats(&self.view, &self.status)) }))
    }

    type WatchStatsStream =
        Pin<Box<dyn Stream<Item = Result<pb::WatchStatsResponse, Status>> + Send>>;

    async fn watch_stats(
        &self,
        request: Request<pb::WatchStatsRequest>,
    ) -> Result<Response<Self::WatchStatsStream>, Status> {
        let ticks = tokio::time::interval(interval(request.into_inner().interval)?);
        // Each tick is asked for by the reader: a slow one gets fewer, never a backlog.
        let answers = futures::stream::unfold(
            (ticks, self.view.clone(), self.status.clone()),
            |(mut ticks, view, status)| async move {
                ticks.tick().await;
                let answer = pb::WatchStatsResponse { stats: Some(stats(&view, &status)) };
                Some((Ok(answer), (ticks, view, status)))
            },
        );
        Ok(Response::new(Box::pin(answers)))
    }

    async fn set_server_state(
        &self,
        request: Request<pb::SetServerStateRequest>,
    ) -> Result<Response<pb::SetServerStateResponse>, Status> {
        let asked = request.get_ref();
        let desired = Desired::from(message::desired_state(asked.state)?);
        let change = Change {
            backend: asked.backend.clone(),
            server: asked.server.clone(),
            desired,
            force: asked.force,
        };
        let server = self.set(&request, change).await?;
        Ok(Response::new(pb::SetServerStateResponse { server: Some(server) }))
    }

    async fn set_server_weight(
        &self,
        request: Request<pb::SetServerWeightRequest>,
    ) -> Result<Response<pb::SetServerWeightResponse>, Status> {
        let asked = request.get_ref();
        let desired = Desired { weight: Some(asked.weight), ..Desired::default() };
        let change = Change {
            backend: asked.backend.clone(),
            server: asked.server.clone(),
            desired,
            force: asked.force,
        };
        let server = self.set(&request, change).await?;
        Ok(Response::new(pb::SetServerWeightResponse { server: Some(server) }))
    }

    async fn explain_pick(
        &self,
        request: Request<pb::ExplainPickRequest>,
    ) -> Result<Response<pb::ExplainPickResponse>, Status> {
        let snapshot = self.view.snapshot();
        let pb::ExplainPickRequest { frontend, method, target, client_address } =
            request.into_inner();
        let client = client_address.parse().ok();
        let question = Question { frontend, method, target, client };
        let explanation = explain::explain(&snapshot, &question, self.view.uptime_millis())?;
        let revision = self.status.borrow().called_now(&snapshot.generation.revision);
        let limits = self.limits(&snapshot, &explanation, client);
        Ok(Response::new(explanation::message(&explanation, &revision, limits)))
    }

    type TailAccessStream =
        Pin<Box<dyn Stream<Item = Result<pb::TailAccessResponse, Status>> + Send>>;

    async fn tail_access(
        &self,
        request: Request<pb::TailAccessRequest>,
    ) -> Result<Response<Self::TailAccessStream>, Status> {
        Ok(Response::new(access::tail(&self.view, request.get_ref(), self.closing.clone()).await?))
    }
}
