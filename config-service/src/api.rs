//! The rpcs: wire types end here.

pub mod bundles;
pub mod refuse;
pub mod revisions;
pub mod rollouts;
pub mod subscribe;
pub mod transfer;
pub mod upload;
pub mod wire;

use crate::publish::Handle;
use crate::store::Store;
use chassis::authorize::{OPERATORS, PEOPLE, Policy, Role, Rule, SERVICES};
use chassis::{Clock, Peer, StopSignal};
use cluster::Service;
use futures::stream::BoxStream;
use proto::config as pb;
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

const FOLLOWERS: &[Role] = &[
    Role::Service(Service::ProxyNode),
    Role::Service(Service::Balancer),
    Role::Service(Service::HealthChecker),
];

/// Who may call what.
pub static POLICY: Policy = Policy::new(&[
    Rule::read("/shoal.config.v1.ConfigService/Validate", PEOPLE),
    Rule::write("/shoal.config.v1.ConfigService/Commit", OPERATORS),
    Rule::read("/shoal.config.v1.ConfigService/GetRevision", PEOPLE),
    Rule::read("/shoal.config.v1.ConfigService/ListRevisions", PEOPLE),
    Rule::read("/shoal.config.v1.ConfigService/Diff", PEOPLE),
    Rule::write("/shoal.config.v1.ConfigService/Rollback", OPERATORS),
    Rule::write("/shoal.config.v1.ConfigService/StartRollout", OPERATORS),
    Rule::write("/shoal.config.v1.ConfigService/ControlRollout", OPERATORS),
    Rule::read("/shoal.config.v1.ConfigService/WatchRollout", PEOPLE),
    Rule::read("/shoal.config.v1.ConfigService/GetDrift", PEOPLE),
    Rule::read("/shoal.config.v1.ConfigService/Subscribe", SERVICES),
    Rule::read("/shoal.config.v1.ConfigService/FetchFile", FETCHERS),
    Rule::read("/shoal.state.v1.StateTransfer/Describe", BACKUP),
    Rule::write("/shoal.state.v1.StateTransfer/Export", BACKUP),
    Rule::write("/shoal.state.v1.StateTransfer/Import", BACKUP),
]);

/// Who takes the state out and puts it back.
const BACKUP: &[Role] = &[Role::Operator, Role::Service(Service::BackupService)];

/// Nodes fetch what they were assigned; people what they look at.
const FETCHERS: &[Role] =
    &[FOLLOWERS[0], FOLLOWERS[1], FOLLOWERS[2], Role::Operator, Role::Service(Service::Console)];

/// A node as the registry knows it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub service: String,
    pub name: String,
    /// What it says that it runs.
    pub revision: String,
    /// Hash of that.
    pub hash: String,
}

/// Nodes that follow the configuration, as the registry knows them.
pub type Roster = Arc<dyn Fn() -> Vec<Seen> + Send + Sync>;

/// The service. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    pub store: Store,
    /// Nodes and rollouts.
    pub owner: Handle,
    pub clock: Clock,
    pub stop: StopSignal,
    /// Who else is there.
    pub roster: Roster,
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl pb::config_service_server::ConfigService for Api {
    async fn validate(
        &self,
        request: Request<Streaming<pb::ValidateRequest>>,
    ) -> Answer<pb::ValidateResponse> {
        bundles::validate(request).await.map(Response::new)
    }

    async fn commit(
        &self,
        request: Request<Streaming<pb::CommitRequest>>,
    ) -> Answer<pb::CommitResponse> {
        bundles::commit(self, request).await.map(Response::new)
    }

    async fn get_revision(
        &self,
        request: Request<pb::GetRevisionRequest>,
    ) -> Answer<pb::GetRevisionResponse> {
        revisions::get(self, request.into_inner()).await.map(Response::new)
    }

    async fn list_revisions(
        &self,
        request: Request<pb::ListRevisionsRequest>,
    ) -> Answer<pb::ListRevisionsResponse> {
        revisions::list(self, request.into_inner()).await.map(Response::new)
    }

    async fn diff(&self, request: Request<pb::DiffRequest>) -> Answer<pb::DiffResponse> {
        revisions::diff(self, &Peer::of(&request), request.into_inner()).await.map(Response::new)
    }

    async fn rollback(
        &self,
        request: Request<pb::RollbackRequest>,
    ) -> Answer<pb::RollbackResponse> {
        bundles::rollback(self, request).await.map(Response::new)
    }

    async fn start_rollout(
        &self,
        request: Request<pb::StartRolloutRequest>,
    ) -> Answer<pb::StartRolloutResponse> {
        rollouts::start(self, request).await.map(Response::new)
    }

    async fn control_rollout(
        &self,
        request: Request<pb::ControlRolloutRequest>,
    ) -> Answer<pb::ControlRolloutResponse> {
        rollouts::control(self, request).await.map(Response::new)
    }

    type WatchRolloutStream = BoxStream<'static, Result<pb::WatchRolloutResponse, Status>>;

    async fn watch_rollout(
        &self,
        request: Request<pb::WatchRolloutRequest>,
    ) -> Answer<Self::WatchRolloutStream> {
        rollouts::watch(self, request.into_inner()).await.map(Response::new)
    }

    async fn get_drift(&self, _: Request<pb::GetDriftRequest>) -> Answer<pb::GetDriftResponse> {
        rollouts::drift(self).await.map(Response::new)
    }

    type SubscribeStream = BoxStream<'static, Result<pb::SubscribeResponse, Status>>;

    async fn subscribe(
        &self,
        request: Request<Streaming<pb::SubscribeRequest>>,
    ) -> Answer<Self::SubscribeStream> {
        subscribe::subscribe(self, request).await.map(Response::new)
    }

    type FetchFileStream = BoxStream<'static, Result<pb::FetchFileResponse, Status>>;

    async fn fetch_file(
        &self,
        request: Request<pb::FetchFileRequest>,
    ) -> Answer<Self::FetchFileStream> {
        revisions::fetch(self, &Peer::of(&request), request.into_inner()).await.map(Response::new)
    }
}
