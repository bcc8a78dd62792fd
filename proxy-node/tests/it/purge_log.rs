//! A node that follows the registry's log of purges, a registry that does as it is told, and what
//! the node serves meanwhile.

use std::{
    io::Write,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chassis::StopSignal;
use cluster_config::document::{Acl, ProxyDocument, Term};
use futures::stream::BoxStream;
use proto::{
    purge::{Purge, purge::Scope},
    registry::{
        self as pb, FollowPurgesRequest, FollowPurgesResponse, LoggedPurge, PurgePlace,
        registry_server::{Registry, RegistryServer},
    },
};
use proxy_node::purging::{Follower, petition::Clerk};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, transport::Channel};

use crate::support::{Origin, Proxy, Reply, Then, response, until};

/// A registry with a log.
#[derive(Clone, Default)]
struct Double {
    log: Arc<Mutex<Vec<LoggedPurge>>>,
    epoch: Arc<Mutex<u64>>,
    heard: Arc<Mutex<Vec<FollowPurgesRequest>>>,
    /// It takes questions and says nothing.
    silent: Arc<AtomicBool>,
}

impl Double {
    fn purge(&self, scope: Scope, soft: bool) -> u64 {
        let mut log = self.log.lock().unwrap();
        let position = log.len() as u64 + 1;
        let purge = Some(Purge { scope: Some(scope), soft });
        log.push(LoggedPurge { position, purge, ..LoggedPurge::default() });
        position
    }

    fn heard(&self) -> Vec<FollowPurgesRequest> {
        self.heard.lock().unwrap().clone()
    }

    /// What came of a purge, once that was told.
    fn outcome(&self, position: u64) -> pb::PurgeOutcome {
        until("its outcome is told", || {
            let outcomes = self.heard().into_iter().flat_map(|heard| heard.outcomes);
            outcomes.into_iter().find(|outcome| outcome.position == position)
        })
    }

    fn answer(&self, told: &mut Option<u64>, heard: &FollowPurgesRequest) -> FollowPurgesResponse {
        let (log, epoch) = (self.log.lock().unwrap(), *self.epoch.lock().unwrap());
        if told.is_none() {
            *told = heard.place.as_ref().filter(|it| it.epoch == epoch).map(|it| it.position);
        }
        let newest = log.len() as u64;
        let place = Some(PurgePlace { cluster_id: "c".into(), epoch, position: newest });
        let gap = told.is_none();
        let from = told.replace(newest).unwrap_or(newest);
        let purges = log.iter().filter(|logged| logged.position > from).cloned().collect();
        FollowPurgesResponse { purges, place, gap, answers: heard.question }
    }
}

type Answered<T> = Result<Response<T>, Status>;

fn nothing<T>() -> Answered<T> {
    Err(Status::unimplemented("it knows of purges alone"))
}

#[tonic::async_trait]
impl Registry for Double {
    type KeepAliveStream = BoxStream<'static, Result<pb::KeepAliveResponse, Status>>;
    type WatchStream = BoxStream<'static, Result<pb::WatchResponse, Status>>;
    type FollowPurgesStream = BoxStream<'static, Result<FollowPurgesResponse, Status>>;

    async fn register(&self, _: Request<pb::RegisterRequest>) -> Answered<pb::RegisterResponse> {
        nothing()
    }

    async fn deregister(
        &self,
        _: Request<pb::DeregisterRequest>,
    ) -> Answered<pb::DeregisterResponse> {
        nothing()
    }

    async fn set_admin_state(
        &self,
        _: Request<pb::SetAdminStateRequest>,
    ) -> Answered<pb::SetAdminStateResponse> {
        nothing()
    }

    async fn remove_instance(
        &self,
        _: Request<pb::RemoveInstanceRequest>,
    ) -> Answered<pb::RemoveInstanceResponse> {
        nothing()
    }

    async fn report_opinions(
        &self,
        _: Request<pb::ReportOpinionsRequest>,
    ) -> Answered<pb::ReportOpinionsResponse> {
        nothing()
    }

    async fn list_instances(
        &self,
        _: Request<pb::ListInstancesRequest>,
    ) -> Answered<pb::ListInstancesResponse> {
        nothing()
    }

    async fn purge(&self, request: Request<pb::PurgeRequest>) -> Answered<pb::PurgeResponse> {
        if self.silent.load(Ordering::Relaxed) {
            return nothing();
        }
        let purge = request.into_inner().purge.unwrap();
        let position = self.purge(purge.scope.unwrap(), purge.soft);
        let logged = Some(LoggedPurge { position, ..LoggedPurge::default() });
        Ok(Response::new(pb::PurgeResponse { logged }))
    }

    async fn list_purges(
        &self,
        _: Request<pb::ListPurgesRequest>,
    ) -> Answered<pb::ListPurgesResponse> {
        nothing()
    }

    async fn keep_alive(
        &self,
        _: Request<Streaming<pb::KeepAliveRequest>>,
    ) -> Answered<Self::KeepAliveStream> {
        nothing()
    }

    async fn watch(&self, _: Request<pb::WatchRequest>) -> Answered<Self::WatchStream> {
        nothing()
    }

    async fn follow_purges(
        &self,
        request: Request<Streaming<FollowPurgesRequest>>,
    ) -> Result<Response<Self::FollowPurgesStream>, Status> {
        let (sender, receiver) = tokio::sync::mpsc::channel(8);
        let (this, mut inbound) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            let mut told = None;
            while let Ok(Some(heard)) = inbound.message().await {
                if this.silent.load(Ordering::Relaxed) {
                    continue;
                }
                let answer = this.answer(&mut told, &heard);
                this.heard.lock().unwrap().push(heard);
                if sender.send(Ok(answer)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

struct World {
    runtime: tokio::runtime::Runtime,
    address: SocketAddr,
    registry: Double,
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let registry = Double::default();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tonic::transport::Server::builder()
            .add_service(RegistryServer::new(registry.clone()))
            .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener));
        runtime.spawn(serving);
        Self { runtime, address, registry, dir: tempfile::tempdir().unwrap() }
    }

    /// Has a node do what its clients ask for with PURGE.
    fn petitions(&self, proxy: &Proxy) {
        let _runtime = self.runtime.enter();
        let channel = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        let clerk = Clerk {
            node: proxy.node.clone(),
            channel: channel.connect_lazy().into(),
            journal: self.open_journal(),
            petitions: Arc::new(tokio::sync::Mutex::new(proxy.node.petitions.serve().unwrap())),
            stop: StopSignal::default(),
        };
        self.runtime.spawn(clerk.run());
    }

    fn open_journal(&self) -> chassis::audit::Journal {
        let path = self.dir.path().join("audit.jsonl");
        chassis::audit::Journal::open(&path, chassis::Clock::system()).unwrap()
    }

    fn journal(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("audit.jsonl")).unwrap_or_default()
    }

    /// Has a node follow, until the signal is raised.
    fn follow(&self, proxy: &Proxy) -> StopSignal {
        let _runtime = self.runtime.enter();
        let channel = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        let stop = StopSignal::default();
        let follower = Follower {
            node: proxy.node.clone(),
            channel: channel.connect_lazy().into(),
            journal: self.open_journal(),
            name: "proxy-node-1".into(),
            id: "1".into(),
            memory: self.memory(),
            stop: stop.clone(),
        };
        follower.begin();
        self.runtime.spawn(follower.run());
        self.runtime.spawn(proxy_node::purging::stay_awake(proxy.node.clone()));
        stop
    }

    fn memory(&self) -> std::path::PathBuf {
        self.dir.path().join("purges.json")
    }
}

fn confirmed(proxy: &Proxy) {
    until("it is confirmed", || proxy.node.confirmation.is_confirmed().then_some(()));
}

/// What lives for a minute, with a tag, and is validated by its ETag.
fn origin() -> Origin {
    Origin::start(|stream, head| {
        let fields = "Cache-Control: max-age=60\r\nETag: \"v\"\r\nCache-Tag: t\r\n";
        let answer = if head.contains("If-None-Match: \"v\"") {
            format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n")
        } else {
            response(fields, "body")
        };
        drop(stream.write_all(answer.as_bytes()));
        Then::Keep
    })
}

fn status(reply: &Reply) -> String {
    reply.field("cache-status").unwrap_or_default().to_owned()
}

fn is_hit(reply: &Reply) -> bool {
    status(reply).contains("; hit; ")
}

fn remembered(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn it_does_what_the_log_says_and_says_what_came_of_it() {
    let (world, origin, proxy) = (World::new(), origin(), Proxy::start());
    let url = origin.url("/x");
    world.follow(&proxy);
    confirmed(&proxy);
    proxy.get(&url);
    assert!(is_hit(&proxy.get(&url)));
    let position = world.registry.purge(Scope::Tag("t".into()), false);
    let outcome = world.registry.outcome(position);
    assert_eq!((outcome.concerned, outcome.problem.as_str()), (1, ""));
    assert!(!is_hit(&proxy.get(&url)));
    // One that makes no sense is passed over, and those behind it are not.
    let nonsense = world.registry.purge(Scope::Regex("(".into()), false);
    let soft = world.registry.purge(Scope::Everything(true), true);
    assert!(world.registry.outcome(nonsense).problem.contains("cannot be used"));
    assert_eq!(world.registry.outcome(soft).concerned, 1);
    assert!(status(&proxy.get(&url)).contains("detail=purged"));
    until("its place is remembered", || {
        remembered(&world.memory()).contains("\"position\":3").then_some(())
    });
}

#[test]
fn who_was_away_hears_what_it_missed_before_it_trusts_what_it_has() {
    let (world, origin, proxy) = (World::new(), origin(), Proxy::start());
    let urls = [origin.url("/a"), origin.url("/b")];
    let stop = world.follow(&proxy);
    confirmed(&proxy);
    for url in &urls {
        proxy.get(url);
    }
    world.registry.outcome(world.registry.purge(Scope::Tag("other".into()), false));
    until("its place is remembered", || {
        remembered(&world.memory()).contains("\"position\":1").then_some(())
    });
    stop.raise();
    // While nobody tells it, and the registry does not answer when it comes back.
    world.registry.silent.store(true, Ordering::Relaxed);
    world.registry.purge(Scope::Url(urls[0].clone()), false);
    // When something came is known in seconds.
    let before = proxy.node.steady.seconds();
    until("it is later", || (proxy.node.steady.seconds() > before).then_some(()));
    let stop = world.follow(&proxy);
    let doubted = proxy.get(&urls[1]);
    assert!(status(&doubted).contains("detail=unconfirmed; fwd-status=304"), "{doubted:?}");
    // What has been validated is as good as what has just come.
    until("it is trusted", || is_hit(&proxy.get(&urls[1])).then_some(()));
    let said = |proxy: &Proxy| {
        let headers = Default::default();
        let client = [127, 0, 0, 1].into();
        let now = proxy_node::clock::unix_millis();
        let told =
            proxy_node::explain::explain(&proxy.node, &urls[0], "GET", client, &headers, now);
        world.runtime.block_on(told).unwrap().steps.join("\n")
    };
    assert!(said(&proxy).contains("may have been purged without this node's knowledge"));
    stop.raise();
    world.registry.silent.store(false, Ordering::Relaxed);
    world.follow(&proxy);
    confirmed(&proxy);
    let place = world.registry.heard().pop().unwrap().place.unwrap();
    assert!(place.position >= 1);
    assert_eq!(world.registry.outcome(2).concerned, 1);
    assert!(said(&proxy).contains("nothing is stored"), "{}", said(&proxy));
    assert!(is_hit(&proxy.get(&urls[1])), "nobody purged it");
}

#[test]
fn from_another_epoch_or_from_nowhere_everything_is_validated() {
    let (world, origin, proxy) = (World::new(), origin(), Proxy::start());
    let url = origin.url("/x");
    let stop = world.follow(&proxy);
    confirmed(&proxy);
    proxy.get(&url);
    assert!(is_hit(&proxy.get(&url)));
    stop.raise();
    *world.registry.epoch.lock().unwrap() = 7;
    world.follow(&proxy);
    confirmed(&proxy);
    let validated = proxy.get(&url);
    assert!(status(&validated).contains("detail=purged; fwd-status=304"), "{validated:?}");
    assert!(is_hit(&proxy.get(&url)));
    until("its place is remembered", || {
        remembered(&world.memory()).contains("\"epoch\":7").then_some(())
    });
}

/// The registry is there and cannot be heard: a partition.
#[test]
fn who_cannot_be_told_serves_for_a_while_and_validates_then() {
    const WITHIN: Duration = Duration::from_millis(2500);
    let (world, origin) = (World::new(), origin());
    let proxy = Proxy::with(|document| document.cache.purge.confirm_within = WITHIN);
    let url = origin.url("/x");
    let stop = world.follow(&proxy);
    confirmed(&proxy);
    proxy.get(&url);
    world.registry.silent.store(true, Ordering::Relaxed);
    world.registry.purge(Scope::Url(url.clone()), false);
    assert!(is_hit(&proxy.get(&url)), "it goes on serving");
    let validated = until("it is validated", || {
        let reply = proxy.get(&url);
        assert_eq!(reply.text(), "body");
        (!is_hit(&reply)).then_some(reply)
    });
    assert!(status(&validated).contains("detail=unconfirmed; fwd-status=304"), "{validated:?}");
    assert!(is_hit(&proxy.get(&url)), "the origin has confirmed it");
    stop.raise();
    // It hears of it when the partition is over.
    world.registry.silent.store(false, Ordering::Relaxed);
    world.follow(&proxy);
    let outcome = world.registry.outcome(1);
    assert_eq!(outcome.concerned, 1);
    assert!(!is_hit(&proxy.get(&url)));
}

/// Clients of this network may purge.
fn allowing(network: &str) -> impl FnOnce(&mut ProxyDocument) {
    let network = network.parse().unwrap();
    move |document| {
        document.access.acls.insert("editors".into(), Acl::Src(vec![network]));
        let term = Term { acl: "editors".into(), negated: false };
        document.cache.purge.allow = vec![vec![term]];
    }
}

#[test]
fn a_trusted_client_purges_one_url_and_others_are_denied() {
    let (world, origin) = (World::new(), origin());
    let (trusted, others) =
        (Proxy::with(allowing("127.0.0.0/8")), Proxy::with(allowing("10.0.0.0/8")));
    let nobody = Proxy::start();
    let url = origin.url("/x");
    world.petitions(&trusted);
    for proxy in [&trusted, &others, &nobody] {
        proxy.get(&url);
        proxy.get(&origin.url("/y"));
    }
    let asked = origin.requests().len();
    for proxy in [&others, &nobody] {
        let denied = proxy.ask("PURGE", &url, "");
        assert_eq!(denied.status, 403);
        assert!(is_hit(&proxy.get(&url)), "nothing has happened");
    }
    // Whatever the spelling is.
    let spelled = format!("http://{}/./%78", origin.address);
    for (method, status) in [("PURGE", 200), ("PURGE", 404)] {
        let reply = trusted.ask(method, &spelled, "");
        assert_eq!((reply.status, reply.complete), (status, true), "{}", reply.text());
    }
    assert_eq!(origin.requests().len(), asked, "it is never sent on");
    assert!(!is_hit(&trusted.get(&url)) && is_hit(&trusted.get(&origin.url("/y"))));
    let journal = world.journal();
    assert!(journal.contains("client 127.0.0.1") && journal.contains("1 removed"), "{journal}");
    let explained = |proxy: &Proxy| {
        let headers = Default::default();
        let client = [127, 0, 0, 1].into();
        let told = proxy_node::explain::explain(&proxy.node, &url, "PURGE", client, &headers, 0);
        let told = world.runtime.block_on(told).unwrap();
        (told.allowed, told.steps.join("\n"))
    };
    let (allowed, said) = explained(&trusted);
    assert!(allowed && said.contains("purges at this node") && said.contains("editors"), "{said}");
    let (allowed, said) = explained(&others);
    assert!(!allowed && said.contains("denied with 403"), "{said}");
}

#[test]
fn a_purge_of_a_client_may_be_for_all_nodes() {
    let (world, origin) = (World::new(), origin());
    let everywhere = |document: &mut ProxyDocument| {
        allowing("127.0.0.0/8")(document);
        document.cache.purge.everywhere = true;
    };
    let (first, second) = (Proxy::with(everywhere), Proxy::start());
    let url = origin.url("/x");
    world.petitions(&first);
    world.follow(&second);
    confirmed(&second);
    second.get(&url);
    let told = first.ask("PURGE", &url, "");
    assert_eq!(told.status, 200, "not stored here, and elsewhere: {}", told.text());
    assert_eq!(world.registry.outcome(1).concerned, 1);
    assert!(!is_hit(&second.get(&url)));
    // Who cannot tell the others says so.
    world.registry.silent.store(true, Ordering::Relaxed);
    first.get(&url);
    let told = first.ask("PURGE", &url, "");
    assert!(told.status == 503 && told.text().contains("here alone"), "{}", told.text());
    assert!(!is_hit(&first.get(&url)));
}
