//! A registry on a socket. Who a client is, it says itself: certificates are the chassis's
//! business, names and roles are tested here.

use std::{net::SocketAddr, path::Path, time::Duration};

use chassis::{Clock, Identity, Peer, StopSignal};
use jiff::{SignedDuration, Timestamp};
use proto::purge::Purge;
use proto::registry::{
    DeregisterRequest, FollowPurgesRequest, FollowPurgesResponse, Instance, InstanceStatus,
    KeepAliveRequest, ListInstancesRequest, ListInstancesResponse, ListPurgesRequest,
    ListPurgesResponse, LoggedPurge, Opinion, PurgeRequest, RegisterRequest, RegisterResponse,
    RemoveInstanceRequest, ReportOpinionsRequest, SetAdminStateRequest, State, Verdict,
    WatchRequest, WatchResponse, registry_client::RegistryClient,
};
use proto::state::{
    state_transfer_client::StateTransferClient, state_transfer_server::StateTransferServer,
};
use registry::{
    api::{Api, RegistryServer, Transfer},
    endpoints::Trusted,
    feed::Feed,
    lease,
    owner::Owner,
    store::{Sqlite, Store},
    time::Time,
};
use tokio::{
    net::TcpListener,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Status, Streaming,
    body::Body,
    codegen::http,
    service::Routes,
    transport::{Channel, Server},
};
use uuid::Uuid;

/// Longer than anything here takes; running into it is a failure.
pub const LIMIT: Duration = Duration::from_secs(20);

pub struct Running {
    pub address: SocketAddr,
    pub clock: Clock,
    tasks: Vec<JoinHandle<()>>,
}

/// Puts the peer that the client claims to be where the chassis puts the peer that the certificate
/// proves.
fn claim(mut request: http::Request<Body>) -> http::Request<Body> {
    // `spiffe://…/name`, and `*3` behind it where the certificate is for three.
    let claimed =
        request.headers().get("test-peer").and_then(|value| value.to_str().ok()).and_then(|text| {
            let (uri, replicas) = text.split_once('*').unwrap_or((text, ""));
            let identity = Identity::from_uri(uri)?;
            Some(Identity { replicas: replicas.parse().unwrap_or(identity.replicas), ..identity })
        });
    let peer = Peer {
        identity: claimed,
        address: SocketAddr::from(([10, 0, 0, 1], 1)),
        hosts: Vec::new(),
    };
    request.extensions_mut().insert(peer);
    request
}

impl Running {
    pub async fn start(dir: &Path, clock: &Clock) -> Self {
        let mut store = Sqlite::open(&dir.join("registry.db")).await.expect("opens");
        let identity = store.identity(chassis::random::id()).await.expect("has an identity");
        let (owner, handle) = Owner::new(
            Box::new(store),
            Time::Given(clock.clone()),
            Feed::new(identity, chassis::random::id()),
            Default::default(),
        );
        let owner = tokio::spawn(async move { owner.run().await.expect("the store is read") });
        let transfer =
            StateTransferServer::new(Transfer::new(handle.clone(), clock.clone(), dir.to_owned()));
        let routes = Routes::new(RegistryServer::new(Api::new(
            handle,
            StopSignal::default(),
            lease::DEFAULT_TTL,
            Trusted::default(),
        )))
        .add_service(transfer);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("is bound");
        let server =
            Server::builder().layer(tower::util::MapRequestLayer::new(claim)).add_routes(routes);
        let serving = tokio::spawn(async move {
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.expect("serves")
        });
        Self { address, clock: clock.clone(), tasks: vec![serving, owner] }
    }

    /// Everything in memory is gone, as after kill -9.
    pub async fn crash(self) {
        for task in self.tasks {
            task.abort();
            assert!(
                task.await.is_err_and(|error| error.is_cancelled()),
                "it was running until now"
            );
        }
    }

    pub async fn client(&self, peer: &str) -> Client {
        let channel = Channel::from_shared(format!("http://{}", self.address))
            .expect("an address")
            .connect()
            .await
            .expect("connects");
        Client { inner: RegistryClient::new(channel), peer: format!("spiffe://shoal/{peer}") }
    }

    pub async fn transfer(&self) -> StateTransferClient<Channel> {
        StateTransferClient::connect(format!("http://{}", self.address)).await.expect("connects")
    }

    pub fn pass(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
    }
}

pub fn clock() -> Clock {
    Clock::fixed(Timestamp::from_second(1_700_000_000).expect("in range"))
}

/// The `n`th process start.
pub fn id(n: u64) -> String {
    Uuid::from_u64_pair((0x0190_0000_0000 << 16) | 0x7000, (0x8 << 60) | n).to_string()
}

pub fn instance(service: &str, name: &str, start: u64) -> Instance {
    Instance {
        service: service.to_owned(),
        name: name.to_owned(),
        id: id(start),
        endpoints: [("proxy".to_owned(), "10.0.0.1:3128".to_owned())].into(),
        weight: 1,
        ..Instance::default()
    }
}

#[derive(Clone)]
pub struct Client {
    inner: RegistryClient<Channel>,
    peer: String,
}

impl Client {
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("test-peer", self.peer.parse().expect("a header"));
        request
    }

    pub async fn register(
        &mut self,
        instance: Instance,
        ready: bool,
    ) -> Result<RegisterResponse, Status> {
        let message = RegisterRequest { instance: Some(instance), lease_ttl: None, ready };
        Ok(self.inner.register(self.request(message)).await?.into_inner())
    }

    pub async fn deregister(
        &mut self,
        name: &str,
        start: u64,
        drain_for: u64,
    ) -> Result<(), Status> {
        let drain_for = Some(prost_types::Duration {
            seconds: i64::try_from(drain_for).expect("short"),
            nanos: 0,
        });
        let message = DeregisterRequest { name: name.to_owned(), id: id(start), drain_for };
        self.inner.deregister(self.request(message)).await.map(drop)
    }

    pub async fn set(
        &mut self,
        message: SetAdminStateRequest,
    ) -> Result<Option<InstanceStatus>, Status> {
        Ok(self.inner.set_admin_state(self.request(message)).await?.into_inner().status)
    }

    /// Whether it was listed.
    pub async fn remove(&mut self, name: &str) -> Result<bool, Status> {
        let message =
            RemoveInstanceRequest { name: name.to_owned(), reason: "gone for good".to_owned() };
        Ok(self.inner.remove_instance(self.request(message)).await?.into_inner().was_listed)
    }

    pub async fn report(&mut self, opinions: Vec<Opinion>) -> Result<Vec<String>, Status> {
        let message = ReportOpinionsRequest { opinions };
        Ok(self.inner.report_opinions(self.request(message)).await?.into_inner().unknown_target_ids)
    }

    pub async fn list(&mut self) -> ListInstancesResponse {
        let message = self.request(ListInstancesRequest::default());
        self.inner.list_instances(message).await.expect("lists").into_inner()
    }

    pub async fn status(&mut self, name: &str) -> Option<InstanceStatus> {
        let named = |status: &InstanceStatus| {
            status.instance.as_ref().is_some_and(|instance| instance.name == name)
        };
        self.list().await.instances.into_iter().find(named)
    }

    pub async fn state(&mut self, name: &str) -> Option<State> {
        self.status(name).await.map(|status| status.state())
    }

    pub async fn until(&mut self, name: &str, state: Option<State>) {
        let reached = async {
            while self.state(name).await != state {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LIMIT, reached).await.unwrap_or_else(|_| panic!("{name} never becomes {state:?}"));
    }

    pub async fn keep_alive(
        &mut self,
        messages: impl tokio_stream::Stream<Item = KeepAliveRequest> + Send + 'static,
    ) -> Streaming<proto::registry::KeepAliveResponse> {
        let mut request = Request::new(messages);
        request.metadata_mut().insert("test-peer", self.peer.parse().expect("a header"));
        self.inner.keep_alive(request).await.expect("opens").into_inner()
    }

    /// One renewal on a stream of its own.
    pub async fn renew(
        &mut self,
        message: KeepAliveRequest,
    ) -> Result<proto::registry::KeepAliveResponse, Status> {
        let mut responses = self.keep_alive(tokio_stream::once(message)).await;
        Ok(responses.message().await?.expect("an answer"))
    }

    pub async fn purge(&mut self, purge: Purge) -> Result<LoggedPurge, Status> {
        let message = PurgeRequest { purge: Some(purge), reason: "a test".to_owned() };
        let answer = self.inner.purge(self.request(message)).await?.into_inner();
        Ok(answer.logged.expect("what was logged"))
    }

    pub async fn list_purges(&mut self, limit: u32) -> Result<ListPurgesResponse, Status> {
        let message = self.request(ListPurgesRequest { limit });
        Ok(self.inner.list_purges(message).await?.into_inner())
    }

    pub async fn follow_purges(
        &mut self,
        messages: impl tokio_stream::Stream<Item = FollowPurgesRequest> + Send + 'static,
    ) -> Result<Streaming<FollowPurgesResponse>, Status> {
        let mut request = Request::new(messages);
        request.metadata_mut().insert("test-peer", self.peer.parse().expect("a header"));
        Ok(self.inner.follow_purges(request).await?.into_inner())
    }

    pub async fn watch(
        &mut self,
        services: &[&str],
        resume_token: &str,
    ) -> Result<Streaming<WatchResponse>, Status> {
        let services = services.iter().map(ToString::to_string).collect();
        let message = WatchRequest { services, resume_token: resume_token.to_owned() };
        Ok(self.inner.watch(self.request(message)).await?.into_inner())
    }
}

pub fn renewal(name: &str, start: u64, generation: u64) -> KeepAliveRequest {
    KeepAliveRequest {
        name: name.to_owned(),
        id: id(start),
        generation,
        ready: true,
        ..KeepAliveRequest::default()
    }
}

pub fn critical(checker: &str, target: &str, start: u64, at: Timestamp) -> Opinion {
    Opinion {
        checker: checker.to_owned(),
        check: "tcp".to_owned(),
        target_id: id(start),
        target_name: target.to_owned(),
        verdict: Verdict::Critical.into(),
        observed_at: Some(cluster::wire::timestamp(at)),
        ttl: Some(prost_types::Duration { seconds: 30, nanos: 0 }),
        detail: "refused".to_owned(),
        assigned: 3,
    }
}
