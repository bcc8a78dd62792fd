//! From options to a serving process, and from there to its end.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use arc_swap::ArcSwap;
use chassis::{
    Fail, Failure, Problem, Process, Rendered,
    membership::{self, ControlEndpoints},
};
use cluster::Service;
use dataplane::{count::PerWorker, trace::span::Tracer};
use futures::StreamExt;
use jiff::tz::TimeZone;
use relay::{
    clients::{Clients, Crowding},
    proof::Key,
    worker::{Phase, Settings, Workers},
};
use tokio::sync::Notify;

use crate::{
    api::{Api, POLICY},
    clock::{Steady, unix_millis},
    config::Generation,
    dns::{self, Resolver},
    egress::{self, ClusterPorts, ProbeTargets},
    listen::{self, Listeners},
    local::Local,
    memory,
    metrics::{self, Metrics},
    node::{Node, Seldom, Store, structured},
    options::Options,
    parent::{self, Member, Members},
    record::{self, Recorder},
};

/// How often counters are handed to the exporter.
const EXPORT: Duration = Duration::from_secs(1);
/// How often dead parents are tried and their credentials read.
const PARENTS: Duration = Duration::from_secs(5);
/// How often host names of the cluster's own ports are resolved again.
const NAMES: Duration = Duration::from_secs(30);
/// How long one of them may take, and how many are asked for at once.
const RESOLVE_WITHIN: Duration = Duration::from_secs(5);
const RESOLVE_AT_ONCE: usize = 16;
/// What a node takes beside its cache, at most.
const BESIDE: u64 = 64 << 20;
/// How long the crash of the test hook waits for its acknowledgement to leave.
const CRASH_AFTER: Duration = Duration::from_millis(500);

/// Runs the node on the control runtime until it is drained.
pub async fn serve(process: Process, options: Options) -> Result<(), Failure> {
    let cluster_key = Key::new(process.cluster_key()?.as_bytes());
    let proxy = process.ports.bind("proxy", options.proxy)?;
    let relay = process.ports.bind("relay", options.relay)?;
    let variables = variables(&proxy.local_addr(), &relay.local_addr());
    let workers = options
        .workers
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let listeners = Listeners::new(relay, proxy, workers, process.ports.inherited().clone());
    let listeners = Arc::new(listeners.fail("open the listeners", "choose other addresses")?);
    let log = process.data_dir.path("access.log");
    let (recorder, log_thread) = record::start(log)
        .fail("open access.log in the data dir", "check its permissions and the disk")?;
    let resolver = resolver(&process);
    process.serve_admin(axum::Router::new())?;

    let published = Arc::new(Mutex::new(Published::Nothing));
    let follower = process.configuration(
        variables,
        applier(&process, &listeners, &published, options.test_crash_on_visible_hostname.clone()),
    )?;
    follower.first().await?;
    let traces = Traces {
        tracer: process.spans.clone().map(|spans| Tracer::new(options.traces, spans)),
        origins: options.trace_origins,
    };
    let node = node(&process, &published, cluster_key, resolver, (recorder, traces), workers)?;
    let told = node.clone();
    process.exposition.add(move |out| metrics::write(&told.answers, out));
    refresh_ports(&process, &node, &listeners);
    spawn_followers(&process, &node, &listeners);

    let workers = start_workers(&node, &listeners, workers)?;
    let (counting, clients) = (node.clone(), workers.clients());
    process.tasks.spawn("clients", move || count_clients(counting.clone(), clients.clone()));
    let api = Api {
        node: node.clone(),
        clock: process.clock.clone(),
        closing: process.lifecycle.closing(),
        status: process.status.subscribe(),
    };
    process.serve_grpc(
        tonic::service::Routes::new(proto::proxy::proxy_node_server::ProxyNodeServer::new(api)),
        &POLICY,
    )?;
    refresh_ports(&process, &node, &listeners);
    process.register();
    process.set_ready(true);
    tracing::info!(revision = %node.current.load().revision, listeners = ?listeners.addresses(), "serving");

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
    drop((node, published, follower));
    last_lines(&log_thread).await;
    drained
}

/// The log's thread ends when the last recorder has gone and everything queued is written; a task
/// that still holds one is not waited for longer.
async fn last_lines(log_thread: &std::thread::JoinHandle<()>) {
    for _ in 0..20 {
        if log_thread.is_finished() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
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

/// The configuration in force, before and after there is a node to have it.
enum Published {
    Nothing,
    First(Arc<Generation>),
    Running(Arc<Node>),
}

/// What the chassis calls, on a blocking thread, with every new configuration.
fn applier(
    process: &Process,
    listeners: &Arc<Listeners>,
    published: &Arc<Mutex<Published>>,
    crash_on: Option<String>,
) -> impl FnMut(Rendered) -> Result<(), Vec<Problem>> + Send + 'static {
    let (process, listeners, published) = (process.clone(), listeners.clone(), published.clone());
    move |rendered| {
        let mut published = published.lock().unwrap_or_else(PoisonError::into_inner);
        let mut generation = Generation::build(&rendered)?;
        if let Published::Running(node) = &*published {
            generation = generation.after(&node.current.load());
        }
        let generation = Arc::new(generation);
        listeners.reconcile(&generation.document.listen).map_err(|errors| {
            errors.iter().map(|error| Problem::new(error.to_string())).collect::<Vec<_>>()
        })?;
        if let Some(first) = generation.binds().next() {
            process.ports.announce("proxy", first);
        }
        if crash_on.as_ref() == Some(&generation.document.visible_hostname) {
            crash_soon(&process);
        }
        match &*published {
            Published::Running(node) => install(&process, &listeners, node, generation),
            Published::Nothing | Published::First(_) => *published = Published::First(generation),
        }
        Ok(())
    }
}

fn install(
    process: &Process,
    listeners: &Listeners,
    node: &Arc<Node>,
    generation: Arc<Generation>,
) {
    doubt_memory(&generation);
    node.store.set_capacity(generation.document.cache.memory);
    record::configure(&node.recorder, &generation.document.access_log);
    tracing::info!(revision = %generation.revision, "configuration in force");
    node.current.store(generation);
    refresh_ports(process, node, listeners);
}

/// Says so where the cache may grow larger than what there is: the process would be killed when it
/// has.
fn doubt_memory(generation: &Generation) {
    let memory = generation.document.cache.memory;
    if let Some(limit) = chassis::memory::limit()
        && memory.saturating_add(BESIDE) > limit.bytes
    {
        let mebibytes = |bytes: u64| bytes >> 20;
        tracing::error!(
            revision = %generation.revision,
            "proxy.cache.memory ({} MiB) and the {} MiB that a node needs beside it are more than the {} MiB that {} has for it: it may be killed when \
             the cache fills. Lower proxy.cache.memory to {} MiB, or give it more memory",
            mebibytes(memory),
            mebibytes(BESIDE),
            mebibytes(limit.bytes),
            limit.of,
            mebibytes(limit.bytes.saturating_sub(BESIDE)),
        );
    }
}

/// For tests only: a revision that applies, is acknowledged, and then takes the process down.
fn crash_soon(process: &Process) {
    process.tasks.spawn("test-crash", || async {
        tokio::time::sleep(CRASH_AFTER).await;
        tracing::error!("--test-crash-on-visible-hostname: crashing as asked");
        std::process::abort();
    });
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
) -> Result<Arc<Node>, Failure> {
    let mut published = published.lock().unwrap_or_else(PoisonError::into_inner);
    let Published::First(generation) = &*published else {
        return Err(Failure::new("there is no configuration although one was applied")
            .remedy("this is a defect: please report it"));
    };
    record::configure(&recorder, &generation.document.access_log);
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
        probe_targets: ArcSwap::default(),
        resolver,
        recorder,
        metrics: Metrics::new(),
        answers: PerWorker::new(workers),
        tracer: traces.tracer,
        trace_origins: traces.origins,
        serving: AtomicBool::new(true),
        zone: TimeZone::system(),
        steady: Steady::start(unix_millis()),
        refusals: Seldom::default(),
        crowding: Seldom::default(),
    });
    *published = Published::Running(node.clone());
    Ok(node)
}

/// Name + cluster id: no request passes the same node twice, and two clusters may chain.
fn pseudonym(process: &Process) -> String {
    match process.network.cluster_id() {
        id if id.is_empty() => process.identity.name().to_owned(),
        id => format!("{}.{id}", process.identity.name()),
    }
}

/// Computes the cluster's own ports anew.
fn refresh_ports(process: &Process, node: &Node, listeners: &Listeners) {
    let membership = process.network.membership().borrow();
    node.probe_targets.store(Arc::new(ProbeTargets::new(membership.probe_targets())));
    let ControlEndpoints { addresses, names } = membership.control_endpoints();
    let endpoints = addresses.into_iter().chain(node.cluster_names.load().endpoints(&names));
    let listeners = process.ports.listeners().into_values().chain(listeners.addresses());
    let others = membership
        .of(Service::ProxyNode)
        .filter(|status| status.instance.name != process.identity.name());
    let members = Members {
        own: process.options.tags.clone(),
        others: others.filter_map(Member::of).collect(),
    };
    node.current.rcu(|current| current.among(&members).map_or_else(|| current.clone(), Arc::new));
    node.ports.store(Arc::new(
        ClusterPorts::new(endpoints, listeners, egress::own_addresses()).with_names(names),
    ));
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
    let parents = node.clone();
    process.tasks.spawn("parents", move || parent::look_after(parents.clone(), PARENTS));
    let exporting = node.clone();
    process.tasks.spawn("metrics-export", move || export(exporting.clone()));
    let watching = node.clone();
    process.tasks.spawn("memory", move || memory::watch(watching.clone()));
}

async fn follow_membership(
    process: Process,
    mut membership: membership::Watch,
    node: Arc<Node>,
    listeners: Arc<Listeners>,
    resolved: Arc<Notify>,
) {
    loop {
        refresh_ports(&process, &node, &listeners);
        node.pseudonym.store(Arc::new(pseudonym(&process)));
        tokio::select! {
            () = membership.changed() => {}
            () = resolved.notified() => {}
        }
    }
}

/// Knows endpoints that are advertised by host name by their addresses too. The names themselves
/// are denied without this.
async fn follow_names(mut membership: membership::Watch, node: Arc<Node>, resolved: Arc<Notify>) {
    loop {
        let names = membership.borrow().control_endpoints().names;
        if !names.is_empty() {
            let hosts: BTreeSet<String> = names.iter().map(|(host, _)| host.clone()).collect();
            let asking = hosts.into_iter().map(|host| async {
                let answer =
                    tokio::time::timeout(RESOLVE_WITHIN, node.resolver.resolve(&host)).await;
                let addresses = answer.ok().and_then(Result::ok).map(|found| found.to_vec());
                (host, addresses)
            });
            let answers =
                futures::stream::iter(asking).buffer_unordered(RESOLVE_AT_ONCE).collect().await;
            let known = node.cluster_names.load().as_ref().clone().resolved(answers);
            node.cluster_names.store(Arc::new(known));
            resolved.notify_one();
        }
        tokio::select! {
            () = tokio::time::sleep(NAMES) => {}
            () = other_names(&mut membership, &names) => {}
        }
    }
}

/// Returns once other names are advertised than these.
async fn other_names(membership: &mut membership::Watch, names: &HashSet<(String, u16)>) {
    while membership.borrow().control_endpoints().names == *names {
        membership.changed().await;
    }
}

async fn export(node: Arc<Node>) {
    loop {
        tokio::time::sleep(EXPORT).await;
        node.metrics.cache_objects.set(node.store.objects());
        node.metrics.cache_bytes.set(node.store.used());
        node.metrics.cache_capacity.set(node.store.capacity());
        node.metrics.cache_in_flight.set(node.store.in_flight());
        node.metrics.working.set(node.store.budget().at_work());
        node.metrics.log_dropped.set(node.recorder.dropped());
        node.metrics.export();
    }
}

/// Counts the connections that were closed because their client has its share, and names such a
/// client in the log once a minute.
async fn count_clients(node: Arc<Node>, clients: Arc<Clients>) {
    let mut tick = tokio::time::interval(EXPORT);
    loop {
        tick.tick().await;
        let Crowding { refused, displaced, unfinished } = clients.crowding();
        node.metrics.crowded_refused.set(refused);
        node.metrics.crowded_idle.set(displaced);
        node.metrics.crowded_unfinished.set(unfinished);
        if node.crowding.is_due(node.steady.seconds()) {
            match clients.take_report() {
                Some(report) => tracing::warn!("{report}"),
                None => node.crowding.forget(),
            }
        }
    }
}

/// One runtime per core.
pub fn start_workers(
    node: &Arc<Node>,
    listeners: &Arc<Listeners>,
    workers: usize,
) -> Result<Workers, Failure> {
    let (node, listeners, seed) = (node.clone(), listeners.clone(), RandomState::new());
    Workers::start(Settings { name: "proxy", workers }, move |worker| {
        let local = Local::new(node.clone(), &worker, seed.hash_one(worker.index()));
        listen::serve(worker, local, listeners.follow())
    })
    .fail("start the workers", "check the limits of this process")
}

/// The drain begins: the health path says so, answers close their connections, new ones are still
/// accepted.
async fn leave(process: Process, node: Arc<Node>, workers: Arc<Workers>) {
    process.lifecycle.stop().wait().await;
    node.serving.store(false, std::sync::atomic::Ordering::Relaxed);
    workers.advance(Phase::Leaving);
}
