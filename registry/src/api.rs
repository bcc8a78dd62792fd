//! The gRPC API: messages in, commands out. Checks who asks and what, and nothing else.

mod keep_alive;
mod operate;
mod opinions;
mod purges;
pub mod refuse;
mod register;
mod transfer;
mod watch;
mod watches;

use std::{sync::Arc, time::Duration};

use chassis::{
    Policy, Role, StopSignal,
    authorize::{ANYONE, PEOPLE, Rule, SERVICES},
};
use cluster::Service;
use futures::{StreamExt, stream::BoxStream};
use proto::registry::{self as pb, registry_server::Registry};
use tonic::{Request, Response, Status, Streaming};
pub use transfer::Transfer;
pub use watch::RegistryServer;

use crate::{endpoints::Trusted, handle::Handle};

/// Who may call what. The rules about names and lives of leases are in the handlers.
pub static POLICY: Policy = Policy::new(&[
    Rule::write("/shoal.registry.v1.Registry/Register", SERVICES),
    Rule::read("/shoal.registry.v1.Registry/KeepAlive", SERVICES),
    Rule::write("/shoal.registry.v1.Registry/Deregister", SERVICES),
    Rule::write(
        "/shoal.registry.v1.Registry/SetAdminState",
        &[Role::Operator, Role::Service(Service::Console), Role::Service(Service::Balancer)],
    ),
    Rule::write("/shoal.registry.v1.Registry/RemoveInstance", &[Role::Operator]),
    Rule::read(
        "/shoal.registry.v1.Registry/ReportOpinions",
        &[Role::Service(Service::HealthChecker)],
    ),
    Rule::read("/shoal.registry.v1.Registry/ListInstances", ANYONE),
    Rule::read("/shoal.registry.v1.Registry/Watch", ANYONE),
    Rule::write(
        "/shoal.registry.v1.Registry/Purge",
        &[Role::Operator, Role::Service(Service::ProxyNode)],
    ),
    Rule::read("/shoal.registry.v1.Registry/ListPurges", PEOPLE),
    Rule::read("/shoal.registry.v1.Registry/FollowPurges", &[Role::Service(Service::ProxyNode)]),
    Rule::read("/shoal.state.v1.StateTransfer/Describe", BACKUP),
    Rule::write("/shoal.state.v1.StateTransfer/Export", BACKUP),
    Rule::write("/shoal.state.v1.StateTransfer/Import", BACKUP),
]);

/// Who takes the state out and puts it back.
const BACKUP: &[Role] = &[Role::Operator, Role::Service(Service::BackupService)];

/// The rpcs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Api {
    handle: Handle,
    closing: StopSignal,
    default_ttl: Duration,
    trusted: Arc<Trusted>,
    encoded: Arc<watch::Encoded>,
    watches: Arc<watches::Watches>,
}

impl Api {
    /// Answers from what `handle` owns; streams end when `closing` is raised.
    #[must_use]
    pub fn new(
        handle: Handle,
        closing: StopSignal,
        default_ttl: Duration,
        trusted: Trusted,
    ) -> Self {
        Self {
            handle,
            closing,
            default_ttl,
            trusted: Arc::new(trusted),
            encoded: Arc::default(),
            watches: Arc::default(),
        }
    }
}

#[tonic::async_trait]
impl Registry for Api {
    type KeepAliveStream = BoxStream<'static, Result<pb::KeepAliveResponse, Status>>;
    type WatchStream = BoxStream<'static, Result<pb::WatchResponse, Status>>;
    type FollowPurgesStream = BoxStream<'static, Result<pb::FollowPurgesResponse, Status>>;

    async fn register(
        &self,
        request: Request<pb::RegisterRequest>,
    ) -> Result<Response<pb::RegisterResponse>, Status> {
        register::register(self, request).await.map(Response::new)
    }

    async fn keep_alive(
        &self,
        request: Request<Streaming<pb::KeepAliveRequest>>,
    ) -> Result<Response<Self::KeepAliveStream>, Status> {
        Ok(Response::new(keep_alive::keep_alive(self, request)))
    }

    async fn deregister(
        &self,
        request: Request<pb::DeregisterRequest>,
    ) -> Result<Response<pb::DeregisterResponse>, Status> {
        register::deregister(self, request).await.map(Response::new)
    }

    async fn set_admin_state(
        &self,
        request: Request<pb::SetAdminStateRequest>,
    ) -> Result<Response<pb::SetAdminStateResponse>, Status> {
        operate::set_admin_state(self, request).await.map(Response::new)
    }

    async fn remove_instance(
        &self,
        request: Request<pb::RemoveInstanceRequest>,
    ) -> Result<Response<pb::RemoveInstanceResponse>, Status> {
        operate::remove_instance(self, request).await.map(Response::new)
    }

    async fn report_opinions(
        &self,
        request: Request<pb::ReportOpinionsRequest>,
    ) -> Result<Response<pb::ReportOpinionsResponse>, Status> {
        opinions::report(self, request).await.map(Response::new)
    }

    async fn list_instances(
        &self,
        request: Request<pb::ListInstancesRequest>,
    ) -> Result<Response<pb::ListInstancesResponse>, Status> {
        watch::list(self, request).await.map(Response::new)
    }

    async fn purge(
        &self,
        request: Request<pb::PurgeRequest>,
    ) -> Result<Response<pb::PurgeResponse>, Status> {
        purges::purge(self, request).await.map(Response::new)
    }

    async fn list_purges(
        &self,
        request: Request<pb::ListPurgesRequest>,
    ) -> Result<Response<pb::ListPurgesResponse>, Status> {
        purges::list(self, request.get_ref()).await.map(Response::new)
    }

    async fn follow_purges(
        &self,
        request: Request<Streaming<pb::FollowPurgesRequest>>,
    ) -> Result<Response<Self::FollowPurgesStream>, Status> {
        purges::follow(self, request).map(Response::new)
    }

    /// [`RegistryServer`] answers Watch with bytes that watchers share; this is the same for
    /// whoever calls the trait.
    async fn watch(
        &self,
        request: Request<pb::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let stream =
            watch::watch(self, request)?.map(|step| step.map(|step| watch::response(&step)));
        Ok(Response::new(stream.boxed()))
    }
}
