//! The config-service: versioned bundles and their rollout.
//!
//! It keeps every revision, checks a bundle before any node sees it, renders it for each node, and
//! rolls it out: a canary of each service, and once those have soaked everybody; everything back at
//! the first refusal. It does not know what a bundle means (that is `cluster-config`), and no
//! request of a client ever waits for it: nodes keep on disk what they were given.
//!
//! Reading order, the way of a revision: [`api`] (who asks, what) → [`revision`] → [`store`] →
//! [`diff`] → [`rollout`] (who gets what when, pure) → [`publish`] (the task that acts on it) →
//! [`outcome`] (what became of it). [`first`] is the very first revision, [`history`] what a backup
//! takes and a restore puts back; [`metrics`] what is counted.

pub mod api;
pub mod diff;
pub mod first;
pub mod history;
pub mod metrics;
pub mod outcome;
pub mod publish;
pub mod revision;
pub mod rollout;
pub mod store;

use api::{Api, POLICY, Roster, Seen, transfer::Transfer};
use chassis::{Error, ErrorContext, Network, Process};
use cluster_config::bundle::FOLLOWERS;
use database::{BadLocation, Location};
use proto::config::config_service_server::ConfigServiceServer;
use proto::state::state_transfer_server::StateTransferServer;
use publish::{Handle, Owner};
use rollout::Times;
use std::{path::PathBuf, sync::Arc, time::Duration};
use store::Store;
use tokio::sync::Mutex;
use tonic::service::Routes;

/// The largest message: the account of an import or export, which has a line for every file.
const MESSAGE: usize = 64 << 20;

/// Options of the config-service.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// What every service takes
    #[command(flatten)]
    pub chassis: chassis::Options,
    /// Where revisions are kept [default: config.db in the data dir]
    #[arg(long, env = "SHOAL_DATABASE", value_name = "sqlite:PATH")]
    pub database: Option<String>,
    /// Directory of the bundle that becomes the first revision, released at once, when there is
    /// none yet
    #[arg(long, env = "SHOAL_BUNDLE", value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// A node that does not acknowledge within this ends a rollout
    #[arg(
        long,
        env = "SHOAL_ACK_TIMEOUT",
        default_value = "15s",
        value_parser = duration,
        value_name = "DURATION",
    )]
    pub ack_timeout: Duration,
    /// The canaries of a rollout, the first node of each service, must run a revision this long
    /// before the others get it
    #[arg(
        long,
        env = "SHOAL_ROLLOUT_SOAK",
        default_value = "1s",
        value_parser = duration,
        value_name = "DURATION",
    )]
    pub rollout_soak: Duration,
}

fn duration(text: &str) -> Result<Duration, String> {
    cluster_config::units::parse_duration(text)
        .map_err(|invalid| format!("{}; {}", invalid.message, invalid.remedy))
}

/// Runs the config-service until it is drained.
///
/// # Errors
/// Whatever keeps it from starting, before anything was changed.
pub fn run(options: Options) -> Result<(), Error> {
    let chassis = options.chassis.clone();
    chassis::run(
        "config-service",
        &chassis,
        move |process| async move { serve(process, options).await },
    )
}

async fn serve(process: Process, options: Options) -> Result<(), Error> {
    metrics::describe();
    let path = database(&process, options.database.as_deref())?;
    let remedy = "check that the file is the config-service's and that its disk can be written; or \
        name another with --database";
    let store = Store::open(&path)
        .await
        .context(format!("open the database {}", path.display()), remedy)?;
    if let Some(directory) = &options.bundle {
        first::commit(&store, directory, process.identity.name(), process.clock.now()).await?;
    }
    let times = Times { acknowledge: options.ack_timeout, soak: options.rollout_soak };
    let owner = owner(&process, store.clone(), times);
    let transfer = transfer(&process, store.clone(), owner.clone());
    let api = Api {
        store,
        owner,
        clock: process.clock.clone(),
        stop: process.lifecycle.closing(),
        roster: roster(&process.network),
    };
    let transfer = StateTransferServer::new(transfer)
        .max_decoding_message_size(MESSAGE)
        .max_encoding_message_size(MESSAGE);
    process
        .serve_grpc(Routes::new(ConfigServiceServer::new(api)).add_service(transfer), &POLICY)?;
    process.serve_admin(axum::Router::new())?;
    process.register();
    process.set_ready(true);
    process.drain(std::future::ready(())).await
}

fn database(process: &Process, written: Option<&str>) -> Result<PathBuf, Error> {
    let remedy = "write sqlite:PATH, or leave it out to keep revisions in the data dir";
    let refused =
        |bad: BadLocation| Error::new(format!("--database: {bad}")).remedy(remedy).exit_code(2);
    let Location::Sqlite(path) =
        Location::parse(written, &process.data_dir.path("config.db")).map_err(refused)?;
    Ok(path)
}

/// Starts the owner of the fleet.
fn owner(process: &Process, store: Store, times: Times) -> Handle {
    let (handle, commands) = Handle::new();
    let owner = Owner {
        handle: handle.clone(),
        commands: Arc::new(Mutex::new(commands)),
        store,
        times,
        clock: process.clock.clone(),
        stop: process.lifecycle.closing(),
    };
    let lifecycle = process.lifecycle.clone();
    process.tasks.spawn("owner", move || {
        let (owner, lifecycle) = (owner.clone(), lifecycle.clone());
        async move {
            if let Err(error) = owner.run().await {
                let remedy = "check the disk that holds the config-service's database";
                lifecycle.request_stop(
                    Error::new(format!("the config-service's database cannot be used: {error}"))
                        .remedy(remedy),
                );
            }
        }
    });
    handle
}

/// What a backup takes and a restore puts back.
fn transfer(process: &Process, store: Store, owner: Handle) -> Transfer {
    let (network, directory) = (process.network.clone(), process.data_dir.root().to_owned());
    let cluster = Arc::new(move || (network.cluster_id(), network.membership().borrow().epoch));
    Transfer { store, owner, clock: process.clock.clone(), cluster, directory }
}

/// The nodes that follow the configuration, as the registry knows them.
fn roster(network: &Network) -> Roster {
    let membership = network.membership();
    Arc::new(move || {
        let members = membership.borrow();
        let seen = FOLLOWERS
            .into_iter()
            .flat_map(|service| members.of(service).map(move |status| (service, status.clone())));
        seen.map(|(service, status)| Seen {
            service: service.as_str().to_owned(),
            name: status.instance.name.clone(),
            revision: status.instance.applied_revision.clone(),
            hash: status.instance.applied_hash.clone(),
        })
        .collect()
    })
}
