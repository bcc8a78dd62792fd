//! The gRPC server: a service's routes with audit records, health and reflection, behind the
//! chassis's acceptor and guard.

use std::{collections::BTreeSet, time::Duration};

use proto::{
    audit::audit_server::AuditServer, follower::follower_server::FollowerServer,
    log::log_server::LogServer,
};
use tokio::{net::TcpListener, runtime::Handle, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{service::Routes, transport::Server};
use tonic_health::pb::health_server::HealthServer;

use crate::{
    accept,
    audit::{self, Journal},
    authorize::Policy,
    complaints::{self, Complaints},
    configuration,
    connect::Transport,
    error::{Error, ErrorContext},
    guard::GuardLayer,
    health,
    lifecycle::StopSignal,
    ports::ADMIN_REMEDY,
    status::StatusHandle,
};

/// What every process serves beside its service's own routes.
pub(crate) struct Common {
    pub(crate) policy: &'static Policy,
    pub(crate) transport: Transport,
    pub(crate) audit: Journal,
    pub(crate) status: StatusHandle,
    pub(crate) complaints: Complaints,
    pub(crate) follower: configuration::serve::Api,
}

/// Serves `routes` and what is common until `closing`.
pub(crate) fn serve(
    listener: std::net::TcpListener,
    routes: Routes,
    common: Common,
    runtime: &Handle,
    closing: StopSignal,
) -> Result<JoinHandle<()>, Error> {
    let _runtime = runtime.enter();
    let listener = TcpListener::from_std(listener).context("listen for gRPC", ADMIN_REMEDY)?;
    let Common { policy, transport, audit: journal, .. } = &common;
    let incoming = ReceiverStream::new(accept::accept(
        accept::GRPC,
        listener,
        transport.clone(),
        closing.clone(),
    ));
    let server = Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(5)))
        .max_concurrent_streams(1024)
        .layer(GuardLayer { policy, journal: journal.clone() })
        .add_routes(with_common(routes, common, closing.clone())?);
    Ok(runtime.spawn(async move {
        if let Err(error) =
            server.serve_with_incoming_shutdown(incoming, async move { closing.wait().await }).await
        {
            tracing::error!("the gRPC server ended: {error}");
        }
    }))
}

fn with_common(routes: Routes, common: Common, closing: StopSignal) -> Result<Routes, Error> {
    let Common { policy, audit, status, complaints, follower, .. } = common;
    let health = health::Api { status: status.subscribe(), policy, closing };
    // Only what this port serves: the descriptors are everybody's.
    let described = |services: BTreeSet<&'static str>| {
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        services
            .into_iter()
            .chain(["grpc.health.v1.Health"])
            .fold(builder, |builder, service| builder.with_service_name(service))
    };
    let (attempted, remedy) = ("offer gRPC reflection", "this is a defect: please report it");
    // Python's client still asks for v1alpha.
    let (reflection, older) = (
        described(policy.services()).build_v1().context(attempted, remedy)?,
        described(policy.services()).build_v1alpha().context(attempted, remedy)?,
    );
    Ok(routes
        .add_service(HealthServer::new(health))
        .add_service(reflection)
        .add_service(older)
        .add_service(AuditServer::new(audit::Api::new(audit)))
        .add_service(FollowerServer::new(follower))
        .add_service(LogServer::new(complaints::Api(complaints))))
}
