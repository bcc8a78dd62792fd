//! A registry that believes everything, remembers what it was told, and can be made to answer
//! badly.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
};

use futures::{Stream, StreamExt};
use proto::registry::{
    DeregisterRequest, DeregisterResponse, FollowPurgesRequest, FollowPurgesResponse,
    InstanceStatus, KeepAliveRequest, KeepAliveResponse, ListInstancesRequest,
    ListInstancesResponse, ListPurgesRequest, ListPurgesResponse, PurgeRequest, PurgeResponse,
    RegisterRequest, RegisterResponse, RemoveInstanceRequest, RemoveInstanceResponse,
    ReportOpinionsRequest, ReportOpinionsResponse, SetAdminStateRequest, SetAdminStateResponse,
    Snapshot, State, WatchRequest, WatchResponse, registry_server::Registry,
    registry_server::RegistryServer, watch_response::Event,
};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::support::{POLICY, Running, World, start};

#[derive(Default)]
pub struct Memory {
    pub registrations: Vec<RegisterRequest>,
    pub beats: Vec<KeepAliveRequest>,
    pub deregistrations: Vec<DeregisterRequest>,
    pub tokens: Vec<String>,
    pub members: BTreeMap<String, InstanceStatus>,
    /// The next beat of this instance ends the stream with this code.
    pub answer: Option<(String, Code)>,
}

#[derive(Clone)]
pub struct RegistryDouble {
    memory: Arc<Mutex<Memory>>,
    events: broadcast::Sender<WatchResponse>,
}

impl RegistryDouble {
    pub fn new() -> Self {
        Self { memory: Arc::default(), events: broadcast::channel(64).0 }
    }

    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap()
    }

    pub fn start(&self, world: &World) -> Running {
        let double = self.clone();
        start("registry", world.options("registry-1", None, &[]), move |process| {
            process
                .serve_grpc(tonic::service::Routes::new(RegistryServer::new(double)), &POLICY)?;
            process.serve_admin(axum::Router::new())?;
            process.set_ready(true);
            Ok(())
        })
    }

    /// Puts somebody into the membership and tells every watcher.
    pub fn add(&self, status: InstanceStatus) {
        let name = status.instance.as_ref().unwrap().name.clone();
        self.memory().members.insert(name, status.clone());
        self.tell(Event::Delta(proto::registry::Delta {
            upserted: vec![status],
            ..Default::default()
        }));
    }

    fn tell(&self, event: Event) {
        // Nobody may be watching.
        drop(
            self.events
                .send(WatchResponse { event: Some(event), resume_token: "token-2".to_owned() }),
        );
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Registry for RegistryDouble {
    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        chassis::audit::note(&request, "a note");
        let request = request.into_inner();
        let status = InstanceStatus {
            instance: request.instance.clone(),
            state: State::Usable.into(),
            ..now()
        };
        self.memory().registrations.push(request);
        self.add(status);
        Ok(Response::new(RegisterResponse {
            generation: 7,
            cluster_id: "cluster-1".to_owned(),
            ..Default::default()
        }))
    }

    type KeepAliveStream = Answers<KeepAliveResponse>;

    async fn keep_alive(
        &self,
        request: Request<Streaming<KeepAliveRequest>>,
    ) -> Result<Response<Self::KeepAliveStream>, Status> {
        let this = self.clone();
        let answers = request.into_inner().map(move |beat| {
            let beat = beat?;
            let mut memory = this.memory();
            let name = beat.name.clone();
            memory.beats.push(beat);
            match memory.answer.take_if(|(whom, _)| *whom == name) {
                Some((_, code)) => Err(Status::new(code, "as the test wishes")),
                None => Ok(KeepAliveResponse {
                    admin_state: 2,
                    effective_weight: 5,
                    ..Default::default()
                }),
            }
        });
        // A stream ends with its first error.
        let ended = answers.scan(false, |ended, answer| {
            let before = std::mem::replace(ended, answer.is_err());
            std::future::ready((!before).then_some(answer))
        });
        Ok(Response::new(Box::pin(ended)))
    }

    async fn deregister(
        &self,
        request: Request<DeregisterRequest>,
    ) -> Result<Response<DeregisterResponse>, Status> {
        self.memory().deregistrations.push(request.into_inner());
        Ok(Response::new(DeregisterResponse {}))
    }

    async fn set_admin_state(
        &self,
        request: Request<SetAdminStateRequest>,
    ) -> Result<Response<SetAdminStateResponse>, Status> {
        chassis::audit::note(
            &request,
            format!("{}: {}", request.get_ref().name, request.get_ref().reason),
        );
        Err(Status::not_found("nobody of that name"))
    }

    async fn remove_instance(
        &self,
        request: Request<RemoveInstanceRequest>,
    ) -> Result<Response<RemoveInstanceResponse>, Status> {
        let was_listed = self.memory().members.remove(&request.get_ref().name).is_some();
        Ok(Response::new(RemoveInstanceResponse { was_listed }))
    }

    async fn report_opinions(
        &self,
        _: Request<ReportOpinionsRequest>,
    ) -> Result<Response<ReportOpinionsResponse>, Status> {
        Ok(Response::new(ReportOpinionsResponse::default()))
    }

    async fn list_instances(
        &self,
        _: Request<ListInstancesRequest>,
    ) -> Result<Response<ListInstancesResponse>, Status> {
        let instances = self.memory().members.values().cloned().collect();
        Ok(Response::new(ListInstancesResponse {
            instances,
            cluster_id: "cluster-1".to_owned(),
            ..Default::default()
        }))
    }

    async fn purge(&self, _: Request<PurgeRequest>) -> Result<Response<PurgeResponse>, Status> {
        Err(Status::unimplemented("it keeps no log"))
    }

    async fn list_purges(
        &self,
        _: Request<ListPurgesRequest>,
    ) -> Result<Response<ListPurgesResponse>, Status> {
        Err(Status::unimplemented("it keeps no log"))
    }

    type FollowPurgesStream = Answers<FollowPurgesResponse>;

    async fn follow_purges(
        &self,
        _: Request<Streaming<FollowPurgesRequest>>,
    ) -> Result<Response<Self::FollowPurgesStream>, Status> {
        Err(Status::unimplemented("it keeps no log"))
    }

    type WatchStream = Answers<WatchResponse>;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let later = BroadcastStream::new(self.events.subscribe())
            .map(|event| event.map_err(|_| Status::data_loss("fell behind")));
        let token = request.into_inner().resume_token;
        let mut memory = self.memory();
        memory.tokens.push(token);
        let instances = memory.members.values().cloned().collect();
        let snapshot = Snapshot {
            instances,
            cluster_id: "cluster-1".to_owned(),
            epoch: 3,
            ..Default::default()
        };
        let first = WatchResponse {
            event: Some(Event::Snapshot(snapshot)),
            resume_token: "token-1".to_owned(),
        };
        Ok(Response::new(Box::pin(tokio_stream::iter([Ok(first)]).chain(later))))
    }
}

/// A status with all its times set.
pub fn now() -> InstanceStatus {
    let now = Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 });
    InstanceStatus {
        registered_at: now,
        changed_at: now,
        lease_expires_at: now,
        admin_state: 1,
        state: State::Usable.into(),
        effective_weight: 1,
        ..Default::default()
    }
}
