//! From options to a serving process, and from there to its end.

mod configuration;
pub mod disk;
pub mod icp;
mod membership;
mod succession;
pub mod upkeep;

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use chassis::{Error, ErrorContext, Process};
use cluster::Service;
use dataplane::{count::PerWorker, trace::span::Tracer};
use jiff::tz::TimeZone;
use relay::{
    proof::Key,
    worker::{Phase, Settings, Workers},
};
use tokio::sync::Notify;

use crate::{
    api::{Api, POLICY},
    cache::sketch::Sketch,
    clock::{Steady, unix_millis},
    confirmation::Confirmation,
    dns::{self, Resolver},
    listen::{self, Listeners},
    load,
    local::Local,
    memory,
    metrics::{self, Metrics},
    node::{Node, Store, Throttle, structured},
    options::Options,
    purging::{self, Follower, petition::Clerk},
    record::{self, Recorder},
};
use configuration::{Published, applier, doubt_memory};
use membership::{follow_membership, follow_names, pseudonym, refresh_ports};

/// So long the end of the process waits for the last lines of the access log.
const LAST_LINES_WITHIN: Duration = Duration::from_millis(500);
/// So long a start waits to hear what was purged while this node was not there. Then it serves, and
/// validates what it has stored.
const CATCH_UP: Duration = Duration::from_secs(1);
/// How often dead parents are tried and their credentials read.
const PARENTS: Duration = Duration::from_secs(5);

/// 2 to the power of so many bytes say how often what other nodes own was asked for.
const POPULAR: u32 = 16;

/// Runs the node on the control runtime until it is drained.
pub async fn serve(process: Process, options: Options) -> Result<(), Error> {
    let cluster_key = Key::new(process.cluster_key()?.as_bytes());
    let proxy = succession::entrance(&process, "proxy", options.proxy)?;
    let relay = succession::entrance(&process, "relay", options.relay)?;
    let entrances = (proxy.address(), relay.address());
    let variables = variables(&entrances.0, &entrances.1);
    let workers = options
        .workers
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let sources = (process.ports.inherited().clone(), process.predecessor().cloned());
    let listeners = Listeners::new(relay, proxy, workers, sources);
    let listeners = Arc::new(listeners.context("open the listeners", "choose other addresses")?);
    let log = process.data_dir.path("access.log");
    let (recorder, log_thread) = record::start(log, process.identity.name())
        .context("open access.log in the data dir", "check its permissions and the disk")?;
    let resolver = resolver(&process);
    process.serve_admin(axum::Router::new())?;

    let published = Arc::new(Mutex::new(Published::Nothing));
    let cache_dir = options.cache_dir.clone().unwrap_or_else(|| process.data_dir.path("cache"));
    let follower = process.configuration(
        variables,
        applier(
            &process,
            &listeners,
            &published,
            &cache_dir,
            options.test_crash_on_visible_hostname.clone(),
        ),
    )?;
    follower.first().await?;
    let traces = Traces {
        tracer: process.spans.clone().map(|spans| Tracer::new(options.traces, spans)),
        origins: options.trace_origins,
    };
    let node = node(&process, &published, cluster_key, resolver, (recorder, traces), workers)?;
    let purges = purge_follower(&process, &node);
    disk::apply(&node, &cache_dir);
    follow_purges(&process, purges);
    let told = node.clone();
    process.exposition.add(move |out| metrics::write(&told.answers, out));
    refresh_ports(&process, &node, &listeners);
    spawn_followers(&process, &node, &listeners);

    let workers = start_workers(&node, &listeners, workers)?;
    let (counting, clients) = (node.clone(), workers.clients());
    process
        .tasks
        .spawn("clients", move || upkeep::count_clients(counting.clone(), clients.clone()));
    let api = Api {
        node: node.clone(),
        clients: workers.clients(),
        clock: process.clock.clone(),
        closing: process.lifecycle.closing(),
        status: process.status.subscribe(),
    };
    process.serve_grpc(
        tonic::service::Routes::new(proto::proxy::proxy_node_server::ProxyNodeServer::new(api)),
        &POLICY,
    )?;
    refresh_ports(&process, &node, &listeners);
    if node.store.disk().is_some() && !purging::caught_up(&node, CATCH_UP).await {
        tracing::warn!(
            "the registry has not told of purges in time: what is on the disk is validated until \
             it has"
        );
    }
    let estate = succession::Estate::new(&node, &listeners, entrances);
    estate.take_over(&process).await?;
    process.register();
    process.set_ready(true);
    let addresses = listeners.addresses();
    tracing::info!(revision = %node.current.load().revision, listeners = ?addresses, "serving");

    process.offer(Arc::new(estate));

    let workers = Arc::new(workers);
    let leaving = tokio::spawn(leave(process.clone(), node.clone(), workers.clone()));
    let finish_within = process.options.drain_timeout;
    let drained = process
        .drain(async move {
            drop(leaving.await);
            if let Some(workers) = Arc::into_inner(workers) {
                let drained = workers.drain(finish_within).await;
                tracing::info!(cut = drained.aborted, "drained");
            }
        })
        .await;
    disk::stop(&node).await;
    node.recorder.finish(&log_thread, LAST_LINES_WITHIN).await;
    node.recorder.log().targets.finish(LAST_LINES_WITHIN).await;
    drained
}

fn variables(
    proxy: &std::io::Result<SocketAddr>,
    relay: &std::io::Result<SocketAddr>,
) -> BTreeMap<String, String> {
    let text = |address: &std::io::Result<SocketAddr>| {
        address.as_ref().map(ToString::to_string).unwrap_or_default()
    };
    [("listen.proxy".to_owned(), text(proxy)), ("listen.relay".to_owned(), text(relay))].into()
}

fn resolver(process: &Process) -> Resolver {
    let system = Arc::new(dns::files::System::new(dns::files::Files::default()));
    let (resolver, questions) = Resolver::new();
    resolver.renew(system.refresh().unwrap_or_default());
    let (looking, told) = (system.clone(), resolver.clone());
    process.tasks.spawn("dns-files", move || dns::follow(looking.clone(), told.clone()));
    // A run after a panic goes on with the same questions.
    let questions = Arc::new(tokio::sync::Mutex::new(questions));
    let answering = resolver.clone();
    process.tasks.spawn("dns", move || {
        let (resolver, questions, system) = (answering.clone(), questions.clone(), system.clone());
        async move {
            let mut questions = questions.lock().await;
            dns::serve(resolver, &mut questions, |host, early| {
                dns::look_up(system.clone(), host, early)
            })
            .await;
        }
    });
    resolver
}

/// What is traced, and who hears of it.
struct Traces {
    tracer: Option<Tracer>,
    origins: bool,
}

fn node(
    process: &Process,
    published: &Mutex<Published>,
    cluster_key: Key,
    resolver: Resolver,
    (recorder, traces): (Recorder, Traces),
    workers: usize,
) -> Result<Arc<Node>, Error> {
    let mut published = published.lock().unwrap_or_else(PoisonError::into_inner);
    let Published::First(generation) = &*published else {
        return Err(Error::new("there is no configuration although one was applied")
            .remedy("this is a defect: please report it"));
    };
    record::configure(&recorder, &generation.document);
    doubt_memory(generation);
    let node = Arc::new(Node {
        name: process.identity.name().to_owned(),
        cache_name: structured(process.identity.name()),
        pseudonym: ArcSwap::from_pointee(pseudonym(process)),
        cluster_key,
        store: Store::new(generation.document.cache.memory),
        current: ArcSwap::new(generation.clone()),
        ports: ArcSwap::default(),
        cluster_names: ArcSwap::default(),
        owners: ArcSwap::default(),
        icp: Arc::default(),
        popular: Sketch::new(POPULAR),
        probe_targets: ArcSwap::default(),
        resolver,
        recorder,
        confirmation: Confirmation::default(),
        petitions: Default::default(),
        metrics: Metrics::new(),
        compressor: Default::default(),
        answers: PerWorker::new(workers),
        tracer: traces.tracer,
        trace_origins: traces.origins,
        load: AtomicU8::default(),
        serving: AtomicBool::new(true),
        zone: TimeZone::system(),
        steady: Steady::start(unix_millis()),
        refusals: Throttle::default(),
        shares: Throttle::default(),
    });
    *published = Published::Running(node.clone());
    Ok(node)
}

/// From here on what is stored waits until the registry says what was purged of it.
fn purge_follower(process: &Process, node: &Arc<Node>) -> Follower {
    let follower = Follower {
        node: node.clone(),
        channel: process.network.channel(Service::Registry),
        journal: process.audit.clone(),
        name: process.identity.name().to_owned(),
        id: process.identity.id().to_string(),
        memory: process.data_dir.path("purges.json"),
        stop: process.lifecycle.closing(),
    };
    follower.begin();
    follower
}

fn follow_purges(process: &Process, follower: Follower) {
    let awake = follower.node.clone();
    if let Some(petitions) = follower.node.petitions.serve() {
        let clerk = Clerk {
            node: follower.node.clone(),
            channel: follower.channel.clone(),
            journal: follower.journal.clone(),
            petitions: Arc::new(tokio::sync::Mutex::new(petitions)),
            stop: follower.stop.clone(),
        };
        process.tasks.spawn("petitions", move || clerk.clone().run());
    }
    process.tasks.spawn("purges", move || follower.clone().run());
    process.tasks.spawn("awake", move || purging::stay_awake(awake.clone()));
}

fn spawn_followers(process: &Process, node: &Arc<Node>, listeners: &Arc<Listeners>) {
    let resolved = Arc::new(Notify::new());
    let (watched, following, listeners, told) =
        (process.clone(), node.clone(), listeners.clone(), resolved.clone());
    process.tasks.spawn("cluster-ports", move || {
        follow_membership(
            watched.clone(),
            watched.network.membership(),
            following.clone(),
            listeners.clone(),
            told.clone(),
        )
    });
    let (membership, naming) = (process.network.membership(), node.clone());
    process.tasks.spawn("cluster-names", move || {
        follow_names(membership.clone(), naming.clone(), resolved.clone())
    });
    let served = Arc::new(icp::Served { process: process.clone(), node: node.clone() });
    process.tasks.spawn("icp", move || crate::icp::serve(served.node.icp.clone(), served.clone()));
    let parents = node.clone();
    process.tasks.spawn("parents", move || upkeep::look_after_parents(parents.clone(), PARENTS));
    let exporting = node.clone();
    process.tasks.spawn("metrics-export", move || upkeep::export(exporting.clone()));
    let watching = node.clone();
    process.tasks.spawn("memory", move || memory::watch(watching.clone()));
    let loaded = Arc::clone(node);
    process.tasks.spawn("load", move || load::watch(loaded.clone()));
}

/// One runtime per core.
pub fn start_workers(
    node: &Arc<Node>,
    listeners: &Arc<Listeners>,
    workers: usize,
) -> Result<Workers, Error> {
    let (node, listeners, seed) = (node.clone(), listeners.clone(), RandomState::new());
    Workers::start(Settings { name: "proxy", workers }, move |worker| {
        let local = Local::new(node.clone(), &worker, seed.hash_one(worker.index()));
        listen::serve(worker, local, listeners.follow())
    })
    .context("start the workers", "check the limits of this process")
}

/// The drain begins: the health path says so, answers close their connections, new ones are still
/// accepted.
async fn leave(process: Process, node: Arc<Node>, workers: Arc<Workers>) {
    process.lifecycle.stop().wait().await;
    // Who checks this node's health on a kept connection hears that a node is there: its successor.
    if !process.lifecycle.is_handed_over() {
        node.serving.store(false, std::sync::atomic::Ordering::Relaxed);
    }
    workers.advance(Phase::Leaving);
}
