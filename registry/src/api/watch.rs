//! ListInstances and Watch. Watch is answered with bytes that all watchers at the same position
//! share.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{BufMut, Bytes};
use chassis::{Peer, StopSignal};
use cluster::{Service, wire};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use prost::Message;
use proto::registry::{self as pb, registry_server};
use tokio::time::{sleep, timeout};
use tonic::{
    Request, Response, Status,
    body::Body,
    codec::{Codec, EncodeBuf, Encoder},
    codegen::{BoxFuture, Service as TowerService, http},
    server::{Grpc, NamedService, ServerStreamingService},
};
use tonic_prost::{ProstCodec, ProstDecoder};

use super::{
    Api, refuse,
    watches::{OF_ONE, Watch},
};
use crate::{
    feed::{Event, Reader, Step, StepKey},
    metrics,
    snapshot::{Filter, Listed},
};

/// A watcher hears something at least this often; ten seconds are promised.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// A watcher hears something at most this often; what happens meanwhile comes together.
const PACE: Duration = Duration::from_millis(50);
/// Encoded messages kept for watchers that stand at the same position.
const ENCODED: usize = 16;
/// What tonic would answer itself, were Watch not answered here.
const WATCH: &str = "/shoal.registry.v1.Registry/Watch";

pub(super) async fn list(
    api: &Api,
    request: Request<pb::ListInstancesRequest>,
) -> Result<pb::ListInstancesResponse, Status> {
    let filter = Filter::of(&services(&request.get_ref().services)?);
    let snapshot = api.handle.snapshot().await.map_err(|error| refuse::failed(&error))?;
    Ok(pb::ListInstancesResponse {
        instances: snapshot.members(filter).map(listed).collect(),
        guards: snapshot.guards(filter).map(|guard| (&**guard).into()).collect(),
        cluster_id: snapshot.identity.cluster_id.to_string(),
        epoch: snapshot.identity.epoch,
    })
}

fn listed(listed: &Listed) -> pb::InstanceStatus {
    pb::InstanceStatus {
        lease_expires_at: Some(wire::timestamp(listed.lease_expires_at)),
        ..(&*listed.status).into()
    }
}

/// A stream of what a watcher has to hear.
pub(super) fn watch(
    api: &Api,
    request: Request<pb::WatchRequest>,
) -> Result<BoxStream<'static, Result<Step, Status>>, Status> {
    let counted = api.watches.open(&Peer::of(&request)).ok_or_else(|| refuse::too_many(OF_ONE))?;
    let pb::WatchRequest { services: wanted, resume_token } = request.into_inner();
    let reader = api.handle.feed().reader(Filter::of(&services(&wanted)?), &resume_token);
    let watcher = Watcher {
        reader,
        closing: api.closing.clone(),
        spoke: false,
        _open: metrics::Open::stream(metrics::WATCHERS),
        _counted: counted,
    };
    let stream = stream::unfold(Some(watcher), |watcher| async {
        let mut watcher = watcher?;
        match watcher.next().await {
            Ok(step) => Some((Ok(step), Some(watcher))),
            Err(status) => Some((Err(status), None)),
        }
    });
    Ok(stream.boxed())
}

/// As a message.
pub(super) fn response(step: &Step) -> pb::WatchResponse {
    let event = match step.event() {
        Event::Delta(delta) => pb::watch_response::Event::Delta(pb::Delta {
            upserted: delta.upserted.iter().map(|status| (&**status).into()).collect(),
            removed: delta.removed,
            guards: delta.guards.iter().map(|guard| (&**guard).into()).collect(),
        }),
        Event::Snapshot(snapshot) => {
            metrics::snapshot_sent();
            pb::watch_response::Event::Snapshot(pb::Snapshot {
                instances: snapshot.members(step.filter()).map(listed).collect(),
                guards: snapshot.guards(step.filter()).map(|guard| (&**guard).into()).collect(),
                cluster_id: snapshot.identity.cluster_id.to_string(),
                epoch: snapshot.identity.epoch,
            })
        }
    };
    pb::WatchResponse { event: Some(event), resume_token: step.resume_token() }
}

/// Messages that were encoded last: equal steps of many watchers are encoded once.
#[derive(Debug, Default)]
pub(super) struct Encoded(Mutex<VecDeque<(StepKey, Bytes)>>);

impl Encoded {
    fn of(&self, step: &Step) -> Bytes {
        let mut encoded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = step.key();
        if let Some((_, bytes)) = encoded.iter().find(|(known, _)| *known == key) {
            return bytes.clone();
        }
        let bytes = Bytes::from(response(step).encode_to_vec());
        if encoded.len() == ENCODED {
            encoded.pop_front();
        }
        encoded.push_back((key, bytes.clone()));
        bytes
    }
}

fn services(names: &[String]) -> Result<Vec<Service>, Status> {
    names
        .iter()
        .map(|name| name.parse().map_err(|problem| refuse::invalid("services", problem)))
        .collect()
}

struct Watcher {
    reader: Reader,
    closing: StopSignal,
    spoke: bool,
    _open: metrics::Open,
    _counted: Watch,
}

impl Watcher {
    /// The first word is said at once, so that a watcher knows where it stands.
    async fn next(&mut self) -> Result<Step, Status> {
        let spoke = std::mem::replace(&mut self.spoke, true);
        let worth_saying = async {
            self.reader.ready().await;
            if spoke {
                sleep(PACE).await;
                // In time or not, there is something to say.
                drop(timeout(SIGN_OF_LIFE, self.reader.changed()).await);
            }
        };
        tokio::select! {
            () = worth_saying => Ok(self.reader.read()),
            () = self.closing.wait() => Err(Status::unavailable("the registry stops: watch again, \
                with the last resume token")),
        }
    }
}

/// The registry's gRPC service: tonic's own, except that Watch sends bytes as they are.
#[derive(Clone, Debug)]
pub struct RegistryServer {
    api: Api,
    inner: registry_server::RegistryServer<Api>,
}

impl RegistryServer {
    /// Around `api`.
    #[must_use]
    pub fn new(api: Api) -> Self {
        Self { inner: registry_server::RegistryServer::new(api.clone()), api }
    }
}

impl NamedService for RegistryServer {
    const NAME: &'static str = <registry_server::RegistryServer<Api> as NamedService>::NAME;
}

impl TowerService<http::Request<Body>> for RegistryServer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        TowerService::<http::Request<Body>>::poll_ready(&mut self.inner, context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != WATCH {
            return self.inner.call(request);
        }
        let watch = SharedWatch(self.api.clone());
        Box::pin(async move { Ok(Grpc::new(Shared).server_streaming(watch, request).await) })
    }
}

struct SharedWatch(Api);

impl ServerStreamingService<pb::WatchRequest> for SharedWatch {
    type Response = Bytes;
    type ResponseStream = BoxStream<'static, Result<Bytes, Status>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<pb::WatchRequest>) -> Self::Future {
        let encoded = Arc::clone(&self.0.encoded);
        let stream = watch(&self.0, request)
            .map(|steps| steps.map(move |step| step.map(|step| encoded.of(&step))).boxed());
        Box::pin(std::future::ready(stream.map(Response::new)))
    }
}

/// Protobuf inwards, bytes that are protobuf already outwards.
#[derive(Clone, Copy, Debug, Default)]
struct Shared;

impl Codec for Shared {
    type Encode = Bytes;
    type Decode = pb::WatchRequest;
    type Encoder = Self;
    type Decoder = ProstDecoder<pb::WatchRequest>;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<(), pb::WatchRequest>::default().decoder()
    }
}

impl Encoder for Shared {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}
