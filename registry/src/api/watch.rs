//! ListInstances and Watch. Watch is answered with bytes that all watchers at the same position share.

use std::{
    convert::Infallible,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{BufMut, Bytes};
use chassis::StopSignal;
use cluster::Service;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use proto::registry::{self as pb, registry_server::RegistryServer};
use tokio::time::{sleep, timeout};
use tonic::{
    Request, Response, Status,
    body::Body,
    codec::{Codec, EncodeBuf, Encoder},
    codegen::{BoxFuture, Service as TowerService, http},
    server::{Grpc, NamedService, ServerStreamingService},
};
use tonic_prost::{ProstCodec, ProstDecoder};

use super::{Api, refuse};
use crate::{
    feed::{Filter, Reader},
    metrics,
};

/// A watcher hears something at least this often; ten seconds are promised.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// A watcher hears something at most this often; what happens meanwhile comes together.
const PACE: Duration = Duration::from_millis(50);
/// What tonic would answer itself, were Watch not answered here.
const WATCH: &str = "/shoal.registry.v1.Registry/Watch";

pub(super) async fn list(api: &Api, request: Request<pb::ListInstancesRequest>) -> Result<pb::ListInstancesResponse, Status> {
    let services = services(&request.get_ref().services)?;
    let list = api.handle.list(services).await.map_err(|failed| refuse::failed(&failed))?;
    let identity = api.handle.feed().identity();
    Ok(pb::ListInstancesResponse {
        instances: list.instances.iter().map(Into::into).collect(),
        guards: list.guards.iter().map(Into::into).collect(),
        cluster_id: identity.cluster_id.to_string(),
        epoch: identity.epoch,
    })
}

/// A stream of encoded `WatchResponse`s.
pub(super) fn watch(api: &Api, request: Request<pb::WatchRequest>) -> Result<BoxStream<'static, Result<Bytes, Status>>, Status> {
    let pb::WatchRequest { services: wanted, resume_token } = request.into_inner();
    let reader = api.handle.feed().reader(Filter::of(&services(&wanted)?), &resume_token);
    let watcher = Watcher { reader, closing: api.closing.clone(), spoke: false, _open: metrics::Open::stream(metrics::WATCHERS) };
    let stream = stream::unfold(Some(watcher), |watcher| async {
        let mut watcher = watcher?;
        match watcher.next().await {
            Ok(bytes) => Some((Ok(bytes), Some(watcher))),
            Err(status) => Some((Err(status), None)),
        }
    });
    Ok(stream.boxed())
}

fn services(names: &[String]) -> Result<Vec<Service>, Status> {
    names.iter().map(|name| name.parse().map_err(|problem| refuse::invalid("services", problem))).collect()
}

struct Watcher {
    reader: Reader,
    closing: StopSignal,
    spoke: bool,
    _open: metrics::Open,
}

impl Watcher {
    /// The first word is said at once, so that a watcher knows where it stands.
    async fn next(&mut self) -> Result<Bytes, Status> {
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
            () = self.closing.wait() => Err(Status::unavailable("the registry stops: watch again, with the last resume token")),
        }
    }
}

/// The registry's gRPC service: tonic's own, except that Watch sends bytes as they are.
#[derive(Clone, Debug)]
pub struct Door {
    api: Api,
    inner: RegistryServer<Api>,
}

impl Door {
    /// Around `api`.
    #[must_use]
    pub fn new(api: Api) -> Self {
        Self { inner: RegistryServer::new(api.clone()), api }
    }
}

impl NamedService for Door {
    const NAME: &'static str = <RegistryServer<Api> as NamedService>::NAME;
}

impl TowerService<http::Request<Body>> for Door {
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
        Box::pin(std::future::ready(watch(&self.0, request).map(Response::new)))
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
