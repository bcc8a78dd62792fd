//! The balancer as a process: options → roster and workers → configuration → serve → drain.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    num::NonZero,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use chassis::{
    Error, ErrorContext, Process, StopSignal,
    configuration::Problem,
    takeover::{Belongings, Totals},
};
use cluster::Service;
use dataplane::trace::span::{self, Tracer};
use proto::balancer::balancer_server::BalancerServer;
use tokio::sync::Mutex;

use crate::{
    engine::{Engine, Running, Surroundings},
    face::{
        grpc,
        page::{self, Pages},
        process::{About, Around},
        prometheus,
        socket::{
            Socket,
            answer::Runtime,
            listen::{self, Bound, Place},
        },
    },
    lately, metrics,
    operate::{Operator, registry::Registry},
    pages,
    standing::locality,
    view::rates,
};

/// A successor waits so long for the registry before it takes over with what is on the disk.
const MEMBERSHIP_WITHIN: Duration = Duration::from_secs(2);

/// Options of the balancer.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// What every service takes.
    #[command(flatten)]
    pub chassis: chassis::Options,
    /// Address for clients: what the bundle calls `${node.listen.frontend}`
    #[arg(
        long,
        env = "SHOAL_FRONTEND",
        default_value = "0.0.0.0:8080",
        value_name = "ADDRESS:PORT"
    )]
    pub frontend: SocketAddr,
    /// Threads that carry traffic [default: one per core]
    #[arg(
        long,
        env = "SHOAL_WORKERS",
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=256)
    )]
    pub workers: Option<u16>,
    /// HAProxy's runtime socket: its path, or none [default: balancer.sock in the data dir]
    #[arg(long, env = "SHOAL_SOCKET", value_name = "PATH|none")]
    pub socket: Option<Place>,
    /// The same for operators' certificates at an address
    #[arg(long, env = "SHOAL_SOCKET_ADDRESS", value_name = "ADDRESS:PORT")]
    pub socket_address: Option<SocketAddr>,
    /// What is set here while the registry is out of reach is forgotten after so long [default: it
    /// is kept]
    #[arg(long, env = "SHOAL_DRIFT_EXPIRES", value_name = "DURATION",
        value_parser = chassis::options::duration)]
    pub drift_expires: Option<Duration>,
    /// Which requests are traced.
    #[command(flatten)]
    pub traces: span::Options,
    /// Directory of secrets that the bundle refers to by name, as in `secret:vrrp_auth` [default:
    /// `secrets` in the data dir]
    #[arg(long, env = "SHOAL_SECRETS", value_name = "DIR")]
    pub secrets: Option<PathBuf>,
    /// Program that is told where virtual addresses go, as keepalived's notify: INSTANCE NAME
    /// MASTER|BACKUP|FAULT|STOP PRIORITY
    #[arg(long, env = "SHOAL_VRRP_NOTIFY", value_name = "PROGRAM")]
    pub vrrp_notify: Option<PathBuf>,
}

/// Runs until drained.
///
/// # Errors
/// Whatever keeps it from serving, in one sentence with the remedy.
pub fn run(options: Options) -> Result<(), Error> {
    let own = options.clone();
    chassis::run("balancer", &options.chassis, move |process| serve(process, own))
}

async fn serve(process: Process, options: Options) -> Result<(), Error> {
    let workers = options
        .workers
        .map_or_else(|| std::thread::available_parallelism().map_or(1, NonZero::get), usize::from);
    let frontend = free(&process, options.frontend)?;
    metrics::describe();
    let engine = Engine::new(surroundings(&process, workers, &options)?)
        .context("start the thread of the access log", "raise the limit on threads of this user")?;
    let engine = Arc::new(engine);
    let view = Arc::new(engine.view());
    let operator =
        Operator::new(engine.view(), Registry::new(process.network.channel(Service::Registry)));
    let face = grpc::Face::new(
        engine.view(),
        operator.clone(),
        process.status.subscribe(),
        process.lifecycle.closing(),
    );
    process.serve_grpc(tonic::service::Routes::new(BalancerServer::new(face)), &grpc::POLICY)?;
    let about = about(&process, workers);
    let (told, process_told) = (Arc::clone(&view), about.clone());
    process.exposition.add(move |out| {
        prometheus::write(&told, out);
        prometheus::haproxy::write(&process_told.info(&told), &process_told.rows(&told), out);
    });
    let pages = Pages::new(engine.view(), about.clone(), process.network.membership());
    make_pages(&process, &engine, &pages);
    process.serve_admin(page::router(pages))?;
    let runtime = Runtime { view: engine.view(), operator: operator.clone(), about };
    let (socket, gone) = (serve_socket(&process, &options, runtime)?, StopSignal::default());
    if let Some(socket) = &socket {
        accept_on(&process, socket, gone.clone());
    }
    let applying = Arc::clone(&engine);
    let variables = BTreeMap::from([("listen.frontend".to_owned(), frontend.to_string())]);
    let follower = process.configuration(variables, move |rendered| {
        applying
            .apply(&rendered.revision, &rendered.document, |file| rendered.files.read(&file.path))
            .map_err(|problems| problems.into_iter().map(Problem::new).collect())
    })?;
    follower.first().await?;
    let running = Arc::new(
        engine
            .start(&process.network.cluster_id())
            .context("start the workers", "raise the limits on threads and files of this user")?,
    );
    take_over(&process, &engine).await?;
    let seen = engine.view();
    process.tasks.spawn("lately", move || {
        let (lately, seen) = (seen.lately.clone(), seen.clone());
        lately::follow(lately, move || seen.frontends())
    });
    let rated = engine.view();
    process.tasks.spawn("rates", move || rates::follow(rated.clone()));
    let clients = running.clients();
    process.tasks.spawn("metrics", move || prometheus::follow(Arc::clone(&view), clients.clone()));
    let expires = options.drift_expires;
    process.tasks.spawn("drift", move || operator.clone().offer_drift(expires));
    process.register();
    process.set_ready(true);
    leave_when_stopped(&process, &running);
    process.offer(Arc::new(Estate { engine: Arc::clone(&engine), frontend, socket, gone }));
    let within = options.chassis.drain_timeout;
    let drained = async {
        let began = relay::clock::now();
        // New clients find another balancer from now on, and then nobody comes here any more.
        engine.resign().await;
        let within = within.saturating_sub(relay::clock::since(began));
        if let Some(drained) = running.drain(within).await
            && drained.aborted > 0
        {
            tracing::warn!(connections = drained.aborted, "cut at the end of the drain");
        }
    };
    let ended = process.drain(drained).await;
    engine.finish_log().await;
    ended
}

fn about(process: &Process, workers: usize) -> About {
    let network = process.network.clone();
    let around =
        move || Around { cluster: network.cluster_id(), live: network.membership().borrow().live };
    About::new(process.identity.name().to_owned(), around, workers, process.lifecycle.stop())
}

/// Pages for frontends.
fn make_pages(process: &Process, engine: &Engine, pages: &Pages) {
    let (asker, wanted) = pages::channel();
    engine.ask_for_pages(asker);
    let (pages, wanted) = (pages.clone(), Arc::new(Mutex::new(wanted)));
    process.tasks.spawn("pages", move || {
        let (pages, wanted) = (pages.clone(), Arc::clone(&wanted));
        async move { page::make(&pages, &mut *wanted.lock().await).await }
    });
}

/// HAProxy's runtime socket. Where it is by default, a path that is too long is no reason not to
/// serve.
fn serve_socket(
    process: &Process,
    options: &Options,
    runtime: Runtime,
) -> Result<Option<Arc<Serving>>, Error> {
    let about = runtime.about.clone();
    let socket = Socket::new(runtime, process.audit.clone(), process.clock.clone());
    if let Some(address) = options.socket_address {
        let operators = process.accept_operators("socket-address", address)?;
        about.listens_at(operators.address());
        let (socket, operators) = (socket.clone(), Arc::new(Mutex::new(operators)));
        process.tasks.spawn("socket-address", move || {
            let (socket, operators) = (socket.clone(), Arc::clone(&operators));
            async move { listen::accept_operators(&mut *operators.lock().await, &socket).await }
        });
    }
    let path = match &options.socket {
        Some(Place::Nowhere) => return Ok(None),
        Some(Place::At(path)) => path.clone(),
        None => process.data_dir.path("balancer.sock"),
    };
    let handed = process
        .predecessor()
        .and_then(|it| it.take(listen::SOCKET, &path.display().to_string()).into_iter().next());
    let bound = match handed.map(|it| listen::resume(&path, it)) {
        Some(Ok(resumed)) => Ok(resumed),
        Some(Err(_)) | None => listen::bind(&path),
    };
    let bound = match bound {
        Err(error) if options.socket.is_none() => {
            tracing::warn!("there is no runtime socket: {error}");
            return Ok(None);
        }
        bound => bound?,
    };
    about.listens(&path);
    Ok(Some(Arc::new(Serving { bound, socket })))
}

/// The runtime socket and what is said there.
struct Serving {
    bound: Bound,
    socket: Socket,
}

/// Until the process closes, or a successor accepts there; not before a predecessor has gone.
fn accept_on(process: &Process, serving: &Arc<Serving>, gone: StopSignal) {
    let (serving, closing) = (Arc::clone(serving), process.lifecycle.closing());
    let predecessor = process.predecessor().cloned();
    process.tasks.spawn("socket", move || {
        let (serving, closing) = (Arc::clone(&serving), closing.clone());
        let (gone, predecessor) = (gone.clone(), predecessor.clone());
        async move {
            if let Some(predecessor) = predecessor {
                predecessor.confirmed().await;
            }
            tokio::select! {
                () = gone.wait() => {}
                () = listen::accept(&serving.bound, &serving.socket, &closing) => {}
            }
        }
    });
}

/// What a successor takes over.
struct Estate {
    engine: Arc<Engine>,
    frontend: SocketAddr,
    socket: Option<Arc<Serving>>,
    /// Raised when a successor accepts on the runtime socket.
    gone: StopSignal,
}

/// Where `--frontend` is, with its real port.
const FRONTEND: &str = "frontend";

impl chassis::Estate for Estate {
    fn belongings(&self) -> std::io::Result<Belongings> {
        let mut belongings = self.engine.belongings()?;
        if let Some(socket) = &self.socket {
            belongings.handed.push(socket.bound.handed()?);
        }
        belongings.state.insert(FRONTEND.to_owned(), self.frontend.to_string());
        Ok(belongings)
    }

    fn totals(&self) -> Totals {
        self.engine.totals()
    }

    fn hand_over(&self) {
        self.engine.hand_over();
        if let Some(socket) = &self.socket {
            socket.bound.give_away();
        }
        self.gone.raise();
    }
}

/// Where there is a predecessor: lets it go, and goes on in its place.
async fn take_over(process: &Process, engine: &Arc<Engine>) -> Result<(), Error> {
    let Some(predecessor) = process.predecessor() else { return Ok(()) };
    let mut membership = process.network.membership();
    let live = async {
        while !membership.borrow().live {
            membership.changed().await;
        }
    };
    // What is on the disk may be older than what its predecessor knows.
    drop(tokio::time::timeout(MEMBERSHIP_WITHIN, live).await);
    engine.until_built().await;
    engine.count_on(predecessor.confirm().await?);
    engine.begin();
    let late = Arc::clone(engine);
    predecessor
        .hear_late(move |totals| late.count_on(totals))
        .context("hear what is counted last", "raise the limit on threads of this user")
}

fn surroundings(
    process: &Process,
    workers: usize,
    options: &Options,
) -> Result<Surroundings, Error> {
    let (ports, tasks) = (process.ports.clone(), process.tasks.clone());
    if let Some(program) = &options.vrrp_notify
        && !program.is_file()
    {
        return Err(Error::new(format!("--vrrp-notify: {} is no file", program.display()))
            .remedy("name a program of this host, or leave the option out"));
    }
    Ok(Surroundings {
        workers,
        name: process.identity.name().to_owned(),
        place: locality::Place {
            datacenter: options.chassis.datacenter.clone(),
            zone: options.chassis.zone.clone(),
        },
        cluster_key: *process.cluster_key()?.as_bytes(),
        membership: process.network.membership(),
        clock: process.clock.clone(),
        access_log: process.data_dir.path("access.log"),
        announce: Box::new(move |name, address| ports.announce(name, address)),
        inherited: process.ports.inherited().clone(),
        predecessor: process.predecessor().cloned(),
        tracer: process.spans.clone().map(|spans| Tracer::new(options.traces, spans)),
        secrets: options.secrets.clone().unwrap_or_else(|| process.data_dir.path("secrets")),
        notify: options.vrrp_notify.clone(),
        spawn: Arc::new(move |name, task| drop(tasks.spawn(name, move || task()))),
    })
}

/// Makes sure that nobody listens where clients are to come in; the frontends themselves are bound
/// when the configuration names them. Port 0 becomes a real one. An inherited socket says itself
/// where it listens.
fn free(process: &Process, address: SocketAddr) -> Result<SocketAddr, Error> {
    // Its predecessor listens there.
    let before = process.predecessor().and_then(|it| it.state(FRONTEND)?.parse().ok());
    if let Some(before) = before.filter(|it: &SocketAddr| {
        *it == address || (address.port() == 0 && it.ip() == address.ip())
    }) {
        return Ok(before);
    }
    let ports = &process.ports;
    let inherited = ports.inherited().lend("frontend", address).map(Ok);
    inherited
        .unwrap_or_else(|| TcpListener::bind(address))
        .and_then(|listener| listener.local_addr())
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::AddrInUse => Error::new(format!(
                "the frontend address {address} is \
            in use"
            ))
            .remedy("stop what listens there, or choose another address with --frontend"),
            _ => Error::new(format!("cannot listen on the frontend address {address}: {error}"))
                .remedy(
                    "give --frontend an address of this machine, with a port above 1023 unless \
                privileged",
                ),
        })
}

/// From the first signal on, answers ask clients to come anew, and so to find another balancer.
fn leave_when_stopped(process: &Process, running: &Arc<Running>) {
    let (stop, running) = (process.lifecycle.stop(), Arc::clone(running));
    process.tasks.spawn("leave", move || {
        let (stop, running) = (stop.clone(), Arc::clone(&running));
        async move {
            stop.wait().await;
            running.leave();
        }
    });
}
