//! The registry: who is there, who may serve, and why.
//!
//! It keeps the list of all instances of all services, with leases, what operators want, and what
//! checkers find; derives one state for each; and tells whoever watches. It does not probe anything
//! itself, does not configure anything, and no request of a client ever waits for it.
//!
//! Reading order, the way of a call: [`api`] (who asks, what; [`endpoints`] says where they may be)
//! → [`command`] → [`membership`] with [`member`] and [`lease`] (the facts) → [`settle`] (the
//! conclusions) → [`store`] (what survives) → [`snapshot`] → [`feed`] (who hears of it).
//! [`purge`] is the log of what caches are to forget, which proxy-nodes follow. [`recollection`] is
//! what a backup keeps of it all. [`owner`] is the task that takes them through,
//! [`handle`] is what others have of it; [`time`] tells it when, [`metrics`] what is counted. The
//! rules about opinions and implausible losses are `cluster::health` and `cluster::guard`.

pub mod api;
pub mod command;
pub mod endpoints;
pub mod feed;
pub mod handle;
pub mod lease;
pub mod member;
pub mod membership;
pub mod metrics;
pub mod owner;
pub mod purge;
pub mod recollection;
pub mod settle;
pub mod snapshot;
pub mod store;
pub mod time;

use std::{net::IpAddr, path::Path};

use chassis::{Error, ErrorContext, Process};
use cluster::guard::Threshold;
use database::{BadLocation, Location};
use proto::state::state_transfer_server::StateTransferServer;
use tonic::service::Routes;

use crate::{
    api::{Api, POLICY, RegistryServer, Transfer},
    endpoints::{Advertised, Trusted},
    feed::Feed,
    handle::Handle,
    owner::Owner,
    snapshot::Filter,
    store::{Sqlite, Store},
    time::Time,
};

/// Where the membership is kept in the data dir.
const FILE: &str = "registry.db";
/// The largest message: the account of an import, which has a line for every entry.
const MESSAGE: usize = 64 << 20;

/// Options of the registry.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// What every service takes
    #[command(flatten)]
    pub chassis: chassis::Options,
    /// Where the membership is kept [default: registry.db in the data dir]
    #[arg(long, env = "SHOAL_DATABASE", value_name = "sqlite:PATH")]
    pub database: Option<String>,
    /// Involuntary losses that would leave less than this share of a pool (percent) are not acted
    /// on until they are confirmed
    #[arg(
        long,
        env = "SHOAL_PANIC_THRESHOLD",
        value_name = "PERCENT",
        default_value_t = 50,
        value_parser = clap::value_parser!(u8).range(0..=100),
    )]
    pub panic_threshold: u8,
    /// Where instances may be beside the address that they register from and the hosts in their
    /// certificates: networks, or `any` (behind NAT)
    #[arg(long, env = "SHOAL_ADVERTISED", value_delimiter = ',', value_name = "NETWORK")]
    pub advertised: Vec<Advertised>,
}

/// Runs the registry until it is drained.
///
/// # Errors
/// Whatever keeps it from starting, before anything was changed.
pub fn run(options: Options) -> Result<(), Error> {
    let chassis = options.chassis.clone();
    // Before the data dir is touched.
    Location::parse(options.database.as_deref(), Path::new(FILE)).map_err(bad_location)?;
    chassis::run("registry", &chassis, move |process| async move { serve(process, options).await })
}

async fn serve(process: Process, options: Options) -> Result<(), Error> {
    metrics::describe();
    let threshold = Threshold::percent(options.panic_threshold).unwrap_or_default();
    let location = Location::parse(options.database.as_deref(), &process.data_dir.path(FILE))
        .map_err(bad_location)?;
    let handle = own(&process, location, threshold).await?;
    let mut replayed = handle.feed().reader(Filter::of(&[]), "");
    let api = Api::new(
        handle.clone(),
        process.lifecycle.closing(),
        lease::DEFAULT_TTL,
        Trusted { own: own_addresses(), advertised: options.advertised },
    );
    let transfer = Transfer::new(handle, process.clock.clone(), process.data_dir.root().to_owned());
    let routes = Routes::new(RegistryServer::new(api))
        .add_service(StateTransferServer::new(transfer).max_decoding_message_size(MESSAGE));
    process.serve_grpc(routes, &POLICY)?;
    process.serve_admin(axum::Router::new())?;
    process.register();
    let stop = process.lifecycle.stop();
    tokio::select! {
        () = replayed.ready() => process.set_ready(true),
        () = stop.wait() => {}
    }
    process.drain(std::future::ready(())).await
}

/// The addresses of this host's interfaces.
fn own_addresses() -> Vec<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let ip = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
    };
    interfaces.filter_map(ip).collect()
}

/// Opens the store and starts the owner of what it holds.
async fn own(process: &Process, location: Location, threshold: Threshold) -> Result<Handle, Error> {
    let Location::Sqlite(path) = location;
    let what = format!("open the registry's database {}", path.display());
    let remedy = "check that the file is the registry's, that no other registry uses it, and that \
        its disk can be written; or name another with --database";
    let mut store = Sqlite::open(&path).await.context(&what, remedy)?;
    let identity = store.identity(chassis::random::id()).await.context(&what, remedy)?;
    store.load().await.context(&what, remedy)?;
    tracing::info!(
        cluster_id = %identity.cluster_id,
        epoch = identity.epoch,
        database = %path.display(),
        "database opened",
    );
    let feed = Feed::new(identity, process.identity.id().0);
    let (owner, handle) =
        Owner::new(Box::new(store), Time::machine(process.clock.clone()), feed, threshold);
    let lifecycle = process.lifecycle.clone();
    process.tasks.spawn("owner", move || {
        let (owner, lifecycle) = (owner.clone(), lifecycle.clone());
        async move {
            if let Err(error) = owner.run().await {
                lifecycle.request_stop(
                    Error::new(format!("the registry's database cannot be read: {error}"))
                        .remedy("check the disk that holds it"),
                );
            }
        }
    });
    Ok(handle)
}

fn bad_location(problem: BadLocation) -> Error {
    Error::new(format!("--database: {problem}"))
        .remedy("write sqlite:PATH, or leave it out to keep the membership in the data dir")
}
