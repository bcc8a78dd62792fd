//! `StateTransfer`: what a backup takes out of the config-service, and what a restore puts back.

use super::refuse;
use crate::history::{FORMAT, History, file};
use crate::publish::{Command, Handle, Restoring};
use crate::store::Store;
use chassis::transfer::{self, Accepts, Gone, NEXT_WITHIN, Parcel, Sender};
use chassis::{Clock, audit};
use cluster::wire;
use cluster_config::{Bundle, Problem};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use proto::state::{self as pb, export_response::Part, state_transfer_server::StateTransfer};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

const SERVICE: &str = "config-service";
/// All files of all revisions together.
const LARGEST: u64 = 8 << 30;

/// Id and epoch of the cluster, as far as they are known.
pub type Cluster = Arc<dyn Fn() -> (String, u64) + Send + Sync>;

/// The rpcs. Cheap to clone.
#[derive(Clone)]
pub struct Transfer {
    pub store: Store,
    /// Nodes and rollouts.
    pub owner: Handle,
    pub clock: Clock,
    /// Which cluster this is.
    pub cluster: Cluster,
    /// Where imports are put together.
    pub directory: PathBuf,
}

impl Transfer {
    fn state(&self, history: &History) -> Result<pb::State, Status> {
        let (cluster_id, epoch) = (self.cluster)();
        Ok(pb::State {
            service: SERVICE.to_owned(),
            format: FORMAT,
            cluster_id,
            epoch,
            taken_at: Some(wire::timestamp(self.clock.now())),
            counts: history.counts(),
            facts: history.facts(),
            fingerprint: history
                .fingerprint()
                .map_err(|error| Status::internal(error.to_string()))?,
        })
    }

    fn accepts(&self) -> Accepts<'_> {
        Accepts { service: SERVICE, format: FORMAT, directory: &self.directory, limit: LARGEST }
    }

    async fn history(&self) -> Result<History, Status> {
        self.store.history().await.map_err(refuse::store)
    }

    async fn import(
        &self,
        header: pb::ImportHeader,
        parcel: Parcel,
    ) -> Result<pb::ImportResponse, Status> {
        let content = parcel.clone();
        let read = tokio::task::spawn_blocking(move || read(&content)).await;
        let history = read.map_err(|error| {
            Status::internal(format!("the history cannot be checked: {error}"))
        })??;
        let changes = history.changes(&self.history().await?);
        let state = self.state(&history)?;
        if header.check_only {
            self.owner
                .ask(Command::MayRestore)
                .await
                .map_err(refuse::rollout)?
                .map_err(refuse::rollout)?;
        } else {
            let expected = Some(header.expected).filter(|expected| !expected.is_empty());
            let restoring = Restoring { history, content: parcel, expected };
            let restored =
                self.owner.ask(|answer| Command::Restore(Box::new(restoring), answer)).await;
            restored.map_err(refuse::rollout)?.map_err(refuse::rollout)?;
        }
        Ok(pb::ImportResponse { state: Some(state), changes })
    }

    /// Files do not change, and none goes away but by a restore: they are read one by one.
    async fn send(
        &self,
        history: &History,
        sender: &mut Sender<pb::ExportResponse>,
    ) -> Result<(), Stopped> {
        sender
            .send(pb::ExportResponse {
                part: Some(Part::State(self.state(history).map_err(Stopped::Failed)?)),
            })
            .await?;
        for (name, content) in history
            .entries()
            .map_err(|error| Stopped::Failed(Status::internal(error.to_string())))?
        {
            sender.entry(name, content).await?;
        }
        for sha256 in history.files().into_keys() {
            let found = timeout(NEXT_WITHIN, self.store.blob(sha256)).await;
            let found = found
                .map_err(|_| Stopped::Failed(Status::unavailable("the store does not answer")))?;
            let lost = || {
                Stopped::Failed(Status::data_loss(format!(
                    "the file {sha256} is gone; was something restored meanwhile?"
                )))
            };
            let content =
                found.map_err(|error| Stopped::Failed(refuse::store(error)))?.ok_or_else(lost)?;
            sender.entry(&file(sha256), content).await?;
        }
        Ok(())
    }
}

/// Why an export ended before its end.
enum Stopped {
    Gone,
    Failed(Status),
}

impl From<Gone> for Stopped {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

/// Everything is looked at before anything is touched, the released bundle as closely as a new one.
fn read(parcel: &Parcel) -> Result<History, Status> {
    // An entry that the disk does not give back is as good as missing.
    let content = |name: &str| parcel.read(name).ok().flatten();
    let history = History::read(parcel.entries(), content)
        .map_err(|problem| Status::invalid_argument(problem.to_string()))?;
    if let Some(released) = history.released() {
        let files = released.files.iter().filter_map(|reference| {
            Some((reference.path.clone(), content(&file(&reference.sha256))?))
        });
        let (_, problems) = Bundle::from_files(&files.collect::<BTreeMap<_, _>>());
        if let Some(error) = problems.iter().find(|problem| Problem::is_error(problem)) {
            let message = format!(
                "the released revision {} of the backup has errors in this version of Shoal: \
                 {error}: restore it with the version that made it",
                released.number
            );
            return Err(Status::failed_precondition(message));
        }
    }
    Ok(history)
}

#[tonic::async_trait]
impl StateTransfer for Transfer {
    type ExportStream = BoxStream<'static, Result<pb::ExportResponse, Status>>;
    type ImportStream = BoxStream<'static, Result<pb::ImportResponse, Status>>;

    async fn describe(
        &self,
        _: Request<pb::DescribeRequest>,
    ) -> Result<Response<pb::DescribeResponse>, Status> {
        let state = self.state(&self.history().await?)?;
        Ok(Response::new(pb::DescribeResponse { state: Some(state) }))
    }

    async fn export(
        &self,
        _: Request<pb::ExportRequest>,
    ) -> Result<Response<Self::ExportStream>, Status> {
        let (this, history) = (self.clone(), self.history().await?);
        let (mut sender, receiver) = Sender::new(transfer::exported);
        // Ends with the stream, at the latest a minute after its reader stopped reading; a panic in
        // it would end this stream only.
        tokio::spawn(async move {
            match this.send(&history, &mut sender).await {
                Ok(()) => sender.end().await.unwrap_or_default(),
                Err(Stopped::Gone) => {}
                Err(Stopped::Failed(status)) => sender.fail(status).await,
            }
        });
        let stream = stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|message| (message, receiver))
        });
        Ok(Response::new(stream.boxed()))
    }

    async fn import(
        &self,
        request: Request<Streaming<pb::ImportRequest>>,
    ) -> Result<Response<Self::ImportStream>, Status> {
        let (metadata, extensions, mut incoming) = request.into_parts();
        let caller = Request::from_parts(metadata, extensions, ());
        let this = self.clone();
        let header = transfer::header(&mut incoming, this.accepts()).await?;
        audit::note(&caller, transfer::describe(&header));
        let answer = async move {
            let parcel = transfer::content(&mut incoming, this.accepts()).await?;
            this.import(header, parcel).await
        };
        Ok(Response::new(stream::once(answer).boxed()))
    }
}
