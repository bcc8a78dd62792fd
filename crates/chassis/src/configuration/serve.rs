//! The rpc that every process serves to operators: forget what was rejected, and try it once more.

use proto::follower::{
    ForgetRejectionsRequest, ForgetRejectionsResponse, Rejection, follower_server::Follower,
};
use tonic::{Request, Response, Status};

use crate::{audit, process::Process};

/// The service.
pub(crate) struct Api(Process);

impl Api {
    pub(crate) const fn new(process: Process) -> Self {
        Self(process)
    }
}

#[tonic::async_trait]
impl Follower for Api {
    async fn forget_rejections(
        &self,
        request: Request<ForgetRejectionsRequest>,
    ) -> Result<Response<ForgetRejectionsResponse>, Status> {
        let nothing =
            || Status::failed_precondition(format!("{} follows no configuration", self.0.name()));
        let keeper = self.0.keeper().ok_or_else(nothing)?;
        let forgotten = tokio::task::spawn_blocking(move || keeper.forget()).await;
        let forgotten = forgotten.map_err(|error| Status::internal(error.to_string()))?;
        let forgotten = forgotten
            .map_err(|error| Status::internal(format!("cannot write to the data dir: {error}")))?;
        let hashes: Vec<_> = forgotten.iter().map(|rejection| rejection.hash.as_str()).collect();
        audit::note(
            &request,
            format!("{} forgets {} rejections: {}", self.0.name(), hashes.len(), hashes.join(", ")),
        );
        let rejections = forgotten
            .into_iter()
            .map(|it| Rejection { hash: it.hash, reason: it.reason })
            .collect();
        Ok(Response::new(ForgetRejectionsResponse { rejections }))
    }
}
