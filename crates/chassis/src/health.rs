//! The standard health service: says what `/readyz` says, for the process as a whole and for its
//! services by name.
//!
//! A watcher of a service that is not known hears so and stays: it may be asking a process that
//! gets the service with its next version (grpc/proto/grpc/health/v1/health.proto).

use std::pin::Pin;

use tokio::sync::watch;
use tokio_stream::{Stream, StreamExt, wrappers::WatchStream};
use tonic::{Request, Response};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_server::Health,
};

use crate::{authorize::Policy, lifecycle::StopSignal, status::Status};

/// The service of one process.
pub(crate) struct Api {
    pub(crate) status: watch::Receiver<Status>,
    pub(crate) policy: &'static Policy,
    /// Raised when watches have to end.
    pub(crate) closing: StopSignal,
}

impl Api {
    fn knows(&self, service: &str) -> bool {
        service.is_empty() || self.policy.services().contains(service)
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

fn serving(ready: bool) -> HealthCheckResponse {
    response(if ready { ServingStatus::Serving } else { ServingStatus::NotServing })
}

#[tonic::async_trait]
impl Health for Api {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, tonic::Status> {
        let service = &request.get_ref().service;
        if !self.knows(service) {
            return Err(tonic::Status::not_found(format!(
                "this process has no service {service:?}"
            )));
        }
        Ok(Response::new(serving(self.status.borrow().ready)))
    }

    type WatchStream =
        Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, tonic::Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, tonic::Status> {
        let known = self.knows(&request.get_ref().service);
        let mut said = None;
        // Other things change in the status too: who watches hears of a change of readiness only.
        let told = WatchStream::new(self.status.clone()).filter_map(move |status| {
            let now =
                if known { serving(status.ready) } else { response(ServingStatus::ServiceUnknown) };
            (said.replace(now.status) != Some(now.status)).then_some(Ok(now))
        });
        let closing = self.closing.clone();
        let until_closed =
            futures::StreamExt::take_until(told, async move { closing.wait().await });
        Ok(Response::new(Box::pin(until_closed)))
    }
}
