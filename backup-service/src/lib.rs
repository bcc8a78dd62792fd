//! The backup-service: takes the state of registry and config-service, keeps it in archives, proves
//! that they are whole, and puts it back.
//!
//! It knows nothing of what is in a state: services give it as named entries and check themselves
//! what they are sent. It keeps no state that an archive does not hold, and no request of a client
//! ever waits for it.
//!
//! Reading order, the way of a backup: [`settings`] (what is wanted) → [`schedule`] (when; pure)
//! with [`timer`] → [`transfer`] (out of a service) and [`pki`] → [`archive`] → [`store`] →
//! [`catalog`] → [`backups`] (what there is, and looking at it) → [`make`] (which takes it through)
//! → [`retain`] (what is let go; pure). [`restore`] is the way back; [`api`] who asks for what,
//! [`steps`] what they are told, [`error`] why something was not done, [`metrics`] what is counted.

pub mod api;
pub mod archive;
pub mod backups;
pub mod catalog;
pub mod error;
pub mod make;
pub mod metrics;
pub mod pki;
pub mod restore;
pub mod retain;
pub mod schedule;
pub mod settings;
pub mod steps;
pub mod store;
pub mod timer;
pub mod transfer;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use age::x25519::Recipient;
use api::{Api, POLICY};
use backups::{Backups, Tools};
use chassis::{Error, ErrorContext, Process};
use cluster_config::BackupDocument;
use proto::backup::backup_service_server::BackupServiceServer;
use restore::Heard;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use settings::Settings;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

/// Options of this service.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// What every service takes
    #[command(flatten)]
    pub chassis: chassis::Options,
    /// Directory of the PKI (as `shoal pki init` made it) that every backup keeps, encrypted for
    /// --age-recipient
    #[arg(long, env = "SHOAL_PKI_DIR", value_name = "DIR", requires = "age_recipient")]
    pub pki_dir: Option<PathBuf>,
    /// Public key (age1…) of who can open the PKI in a backup; `age-keygen` makes a pair. May be
    /// repeated
    #[arg(
        long,
        env = "SHOAL_AGE_RECIPIENT",
        value_name = "KEY",
        value_delimiter = ',',
        value_parser = pki::recipient,
        requires = "pki_dir",
    )]
    pub age_recipient: Vec<Recipient>,
}

/// Runs until it is asked to stop and has drained.
///
/// # Errors
/// What kept it from starting or serving, with the remedy.
pub fn run(options: Options) -> Result<(), Error> {
    chassis::run("backup-service", &options.chassis.clone(), move |process| async move {
        serve(process, options).await
    })
}

async fn serve(process: Process, options: Options) -> Result<(), Error> {
    metrics::describe();
    let root = process.data_dir.root().to_owned();
    let (publish, settings) = watch::channel(Arc::new(Settings::unconfigured(&root)));
    let (directory, clock) = (root.clone(), process.clock.clone());
    let follower = process.configuration(BTreeMap::new(), move |rendered| {
        let problem = |error: &dyn std::fmt::Display| {
            vec![chassis::configuration::Problem::new(error.to_string())]
        };
        let document =
            BackupDocument::from_json(&rendered.document).map_err(|error| problem(&error))?;
        let settings =
            Settings::new(&document, &directory, clock.now()).map_err(|error| problem(&error))?;
        for store in &settings.stores {
            let remedy = "make it writable for the backup-service, or name another store";
            let usable = store.prepare();
            usable.map_err(|error| {
                vec![
                    chassis::configuration::Problem::new(format!(
                        "the store {}: {error}",
                        store.url
                    ))
                    .remedy(remedy),
                ]
            })?;
        }
        publish.send_replace(Arc::new(settings));
        Ok(())
    })?;
    let backups = Backups::new(tools(&process, &options, settings)?);
    let (timed, stop) = (backups.clone(), process.lifecycle.stop());
    process.tasks.spawn("schedule", move || timer::run(timed.clone(), stop.clone()));
    let membership = process.network.membership();
    let members = Arc::new(move || {
        let known = membership.borrow();
        Heard { epoch: known.epoch, instances: known.instances.values().cloned().collect() }
    });
    let api = Api { backups, members };
    process.serve_grpc(tonic::service::Routes::new(BackupServiceServer::new(api)), &POLICY)?;
    process.serve_admin(axum::Router::new())?;
    process.register();
    // Backups have to be there to be restored when nothing else is: no configuration is waited for.
    drop(follower);
    process.set_ready(true);
    process.drain(std::future::ready(())).await
}

fn tools(
    process: &Process,
    options: &Options,
    settings: watch::Receiver<Arc<Settings>>,
) -> Result<Tools, Error> {
    let service =
        |service| transfer::StatefulService::new(service, process.network.channel(service));
    let pki = options
        .pki_dir
        .clone()
        .map(|directory| pki::Source { directory, recipients: options.age_recipient.clone() });
    if let Some(source) = &pki {
        let remedy =
            "name the directory that `shoal pki init` made, readable for the backup-service";
        std::fs::read_dir(&source.directory)
            .context(format!("read --pki-dir {}", source.directory.display()), remedy)?;
    }
    Ok(Tools {
        name: format!("{} {}", process.identity.service(), process.identity.name()),
        clock: process.clock.clone(),
        services: transfer::STATEFUL.map(service).into(),
        authorities: authorities(options)?,
        pki,
        scratch: process.data_dir.root().to_owned(),
        notes: process.data_dir.path("catalog.json"),
        settings,
    })
}

/// The authorities that this process trusts, by the SHA-256 of their certificates.
fn authorities(options: &Options) -> Result<Vec<String>, Error> {
    let Some(path) = &options.chassis.ca else { return Ok(Vec::new()) };
    let what = format!("read the certificates of the cluster's authority in {}", path.display());
    let remedy = "give --ca the ca.crt that `shoal pki init` made";
    let certificates = CertificateDer::pem_file_iter(path).context(&what, remedy)?;
    certificates
        .map(|der| der.context(&what, remedy).map(|der| hex::encode(Sha256::digest(&der))))
        .collect()
}
