//! The gRPC server: a service's routes with audit records, health and reflection, behind the
//! chassis's acceptor and guard.

use std::{net::SocketAddr, time::Duration};

use proto::{
    audit::audit_server::AuditServer, follower::follower_server::FollowerServer,
    log::log_server::LogServer,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{service::Routes, transport::Server};
use tonic_health::pb::health_server::HealthServer;

use crate::{
    Failure, accept, audit,
    authorize::Policy,
    complaints, configuration,
    failure::Fail,
    guard::GuardLayer,
    health,
    process::{ADMIN_REMEDY, Process},
};

/// Binds the gRPC port and serves until the process closes.
pub(crate) fn serve(
    process: &Process,
    routes: Routes,
    policy: &'static Policy,
) -> Result<SocketAddr, Failure> {
    let listener = process.bind("grpc", process.options().grpc_address(process.service()))?;
    let address = listener.local_addr().fail("read the gRPC port's address", ADMIN_REMEDY)?;
    let _runtime = process.runtime().enter();
    let listener = TcpListener::from_std(listener).fail("listen for gRPC", ADMIN_REMEDY)?;
    let closing = process.servers_closing();
    let health = HealthServer::new(health::Api {
        status: process.status(),
        policy,
        closing: closing.clone(),
    });
    // Only what this port serves: the descriptors are everybody's.
    let described = || {
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        policy
            .services()
            .into_iter()
            .chain(["grpc.health.v1.Health"])
            .fold(builder, |builder, service| builder.with_service_name(service))
    };
    let (attempted, remedy) = ("offer gRPC reflection", "this is a defect: please report it");
    // Python's client still asks for v1alpha.
    let (reflection, older) = (
        described().build_v1().fail(attempted, remedy)?,
        described().build_v1alpha().fail(attempted, remedy)?,
    );
    let audit = AuditServer::new(audit::Api::new(process.audit().clone()));
    let follower = FollowerServer::new(configuration::serve::Api::new(process.clone()));
    let log = LogServer::new(complaints::Api(process.complaints()));
    let routes = routes
        .add_service(health)
        .add_service(reflection)
        .add_service(older)
        .add_service(audit)
        .add_service(follower)
        .add_service(log);
    let incoming =
        ReceiverStream::new(accept::accept(listener, process.transport().clone(), closing.clone()));
    let server = Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(5)))
        .max_concurrent_streams(1024)
        .layer(GuardLayer { policy, journal: process.audit().clone() })
        .add_routes(routes);
    process.server(async move {
        if let Err(error) =
            server.serve_with_incoming_shutdown(incoming, async move { closing.wait().await }).await
        {
            tracing::error!("the gRPC server ended: {error}");
        }
    });
    Ok(address)
}
