//! The rpc that every process serves to operators: forget what was rejected, and try it once more.

use proto::follower::{
    ForgetRejectionsRequest, ForgetRejectionsResponse, Rejection, follower_server::Follower,
};
use tonic::{Request, Response, Status};

use super::owner::Current;
use crate::{audit, identity::ProcessIdentity};

/// The service.
pub(crate) struct Api {
    pub(crate) identity: ProcessIdentity,
    pub(crate) owner: Current,
}

#[tonic::async_trait]
impl Follower for Api {
    async fn forget_rejections(
        &self,
        request: Request<ForgetRejectionsRequest>,
    ) -> Result<Response<ForgetRejectionsResponse>, Status> {
        let nothing = || {
            Status::failed_precondition(format!(
                "{} follows no configuration",
                self.identity.name()
            ))
        };
        let owner = self.owner.get().ok_or_else(nothing)?;
        let forgotten = tokio::task::spawn_blocking(move || owner.forget()).await;
        let forgotten = forgotten.map_err(|error| Status::internal(error.to_string()))?;
        let forgotten = forgotten
            .map_err(|error| Status::internal(format!("cannot write to the data dir: {error}")))?;
        let hashes: Vec<_> = forgotten.iter().map(|rejection| rejection.hash.as_str()).collect();
        audit::note(
            &request,
            format!(
                "{} forgets {} rejections: {}",
                self.identity.name(),
                hashes.len(),
                hashes.join(", ")
            ),
        );
        let rejections = forgotten
            .into_iter()
            .map(|it| Rejection { hash: it.hash, reason: it.reason })
            .collect();
        Ok(Response::new(ForgetRejectionsResponse { rejections }))
    }
}
