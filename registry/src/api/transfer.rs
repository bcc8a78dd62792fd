//! `StateTransfer`: what a backup takes out of the registry, and what a restore puts back.

use std::path::PathBuf;

use chassis::{
    Clock, audit,
    transfer::{self, Accepts, Parcel, Sender},
};
use cluster::wire;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use proto::state::{self as pb, export_response::Part, state_transfer_server::StateTransfer};
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use super::refuse;
use crate::{
    handle::Handle,
    recollection::{FORMAT, Recollection, Restored},
};

const SERVICE: &str = "registry";
/// What operators want is small, and so is who is there.
const LARGEST: u64 = 256 << 20;

/// The rpcs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Transfer {
    handle: Handle,
    clock: Clock,
    directory: PathBuf,
}

impl Transfer {
    /// Of what `handle` owns; imports are put together in `directory`.
    #[must_use]
    pub fn new(handle: Handle, clock: Clock, directory: PathBuf) -> Self {
        Self { handle, clock, directory }
    }

    async fn recollect(&self) -> Result<Recollection, Status> {
        self.handle.recollect().await.map_err(|failed| refuse::failed(&failed))
    }

    fn state(&self, recollection: &Recollection) -> Result<pb::State, Status> {
        Ok(pb::State {
            service: SERVICE.to_owned(),
            format: FORMAT,
            cluster_id: recollection.identity.cluster_id.to_string(),
            epoch: recollection.identity.epoch,
            taken_at: Some(wire::timestamp(self.clock.now())),
            counts: recollection.counts(),
            facts: recollection.facts(),
            fingerprint: recollection
                .fingerprint()
                .map_err(|error| Status::internal(error.to_string()))?,
        })
    }

    fn accepts(&self) -> Accepts<'_> {
        Accepts { service: SERVICE, format: FORMAT, directory: &self.directory, limit: LARGEST }
    }

    async fn import(
        &self,
        header: pb::ImportHeader,
        parcel: Parcel,
    ) -> Result<pb::ImportResponse, Status> {
        let restored = read(&header, &parcel)?;
        let present = self.recollect().await?;
        let changes = restored.changes(&present);
        let after = if header.check_only {
            let (generations, desired) = (restored.generations, restored.desired.clone());
            let purges = restored.purges.clone();
            Recollection {
                identity: restored.identity(&present.identity),
                generations,
                desired,
                instances: present.instances,
                purges,
            }
        } else {
            self.handle.restore(restored).await.map_err(|failed| refuse::failed(&failed))?
        };
        Ok(pb::ImportResponse { state: Some(self.state(&after)?), changes })
    }
}

fn read(header: &pb::ImportHeader, parcel: &Parcel) -> Result<Restored, Status> {
    let state = header.state.clone().unwrap_or_default();
    let id = if header.cluster_id.is_empty() { &state.cluster_id } else { &header.cluster_id };
    let id = Uuid::try_parse(id)
        .map_err(|_| refuse::invalid("cluster_id", format!("{id:?} is no cluster's id")))?;
    // An entry that the disk does not give back is as good as missing: nothing has been touched
    // yet.
    let content = |name: &str| parcel.read(name).ok().flatten();
    let epoch = state.epoch.max(header.after_epoch);
    let restored = Restored::read(id, epoch, content)
        .map_err(|problem| refuse::invalid("entries", problem))?;
    let expected = Some(header.expected.clone()).filter(|expected| !expected.is_empty());
    Ok(Restored { expected, ..restored })
}

#[tonic::async_trait]
impl StateTransfer for Transfer {
    type ExportStream = BoxStream<'static, Result<pb::ExportResponse, Status>>;
    type ImportStream = BoxStream<'static, Result<pb::ImportResponse, Status>>;

    async fn describe(
        &self,
        _: Request<pb::DescribeRequest>,
    ) -> Result<Response<pb::DescribeResponse>, Status> {
        let state = self.state(&self.recollect().await?)?;
        Ok(Response::new(pb::DescribeResponse { state: Some(state) }))
    }

    async fn export(
        &self,
        _: Request<pb::ExportRequest>,
    ) -> Result<Response<Self::ExportStream>, Status> {
        let recollection = self.recollect().await?;
        let entries =
            recollection.entries().map_err(|error| Status::internal(error.to_string()))?;
        let first = pb::ExportResponse { part: Some(Part::State(self.state(&recollection)?)) };
        let (mut sender, receiver) = Sender::new(transfer::exported);
        // Ends with the stream, at the latest a minute after its reader stopped reading; a panic in
        // it would end this stream only.
        tokio::spawn(async move {
            sender.send(first).await?;
            for (name, content) in entries {
                sender.entry(name, content).await?;
            }
            sender.end().await
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
