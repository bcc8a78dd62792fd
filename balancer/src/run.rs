//! The balancer as a process: options → roster and workers → configuration → serve → drain.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    num::NonZero,
    path::PathBuf,
    sync::Arc,
};

use chassis::{Error, ErrorContext, Ports, Process, configuration::Problem};
use cluster::Service;
use dataplane::trace::span::{self, Tracer};
use proto::balancer::balancer_server::BalancerServer;

use crate::{
    engine::{Engine, Running, Surroundings},
    face::{grpc, prometheus},
    lately, metrics,
    operate::{Operator, registry::Registry},
};

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
    let frontend = free(&process.ports, options.frontend)?;
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
    let told = Arc::clone(&view);
    process.exposition.add(move |out| prometheus::write(&told, out));
    process.serve_admin(axum::Router::new())?;
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
    let seen = engine.view();
    process.tasks.spawn("lately", move || {
        let (lately, seen) = (seen.lately.clone(), seen.clone());
        lately::follow(lately, move || seen.frontends())
    });
    let clients = running.clients();
    process.tasks.spawn("metrics", move || prometheus::follow(Arc::clone(&view), clients.clone()));
    process.tasks.spawn("drift", move || operator.clone().offer_drift());
    process.register();
    process.set_ready(true);
    leave_when_stopped(&process, &running);
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
        cluster_key: *process.cluster_key()?.as_bytes(),
        membership: process.network.membership(),
        clock: process.clock.clone(),
        access_log: process.data_dir.path("access.log"),
        announce: Box::new(move |name, address| ports.announce(name, address)),
        inherited: process.ports.inherited().clone(),
        tracer: process.spans.clone().map(|spans| Tracer::new(options.traces, spans)),
        secrets: options.secrets.clone().unwrap_or_else(|| process.data_dir.path("secrets")),
        notify: options.vrrp_notify.clone(),
        spawn: Arc::new(move |name, task| drop(tasks.spawn(name, move || task()))),
    })
}

/// Makes sure that nobody listens where clients are to come in; the frontends themselves are bound
/// when the configuration names them. Port 0 becomes a real one. An inherited socket says itself
/// where it listens.
fn free(ports: &Ports, address: SocketAddr) -> Result<SocketAddr, Error> {
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
