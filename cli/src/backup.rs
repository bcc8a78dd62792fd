//! `shoal backup`: making, looking at and putting back what the cluster must not lose.

mod list;
mod restore;
mod steps;

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::{Args, Subcommand};
use cluster::{Service, State};
use proto::backup::{CreateBackupRequest, ListBackupsRequest, VerifyBackupRequest, backup_service_client::BackupServiceClient};

use crate::{
    cluster::{Cluster, call, failed},
    context::Target,
    output::{self, Format},
};
use chassis::ServiceChannel;
use steps::Shown;

/// How the service is called in messages.
const SERVICE: &str = "the backup-service";

/// Back up configuration, history and admin states, and go back
#[derive(Args)]
#[command(after_help = "Examples:
  shoal backup create                          now; the schedule in the bundle makes them by itself
  shoal backup list
  shoal backup verify latest                   read every byte of it and compare every hash
  shoal backup restore latest --dry-run        what would change
  shoal backup restore 20261122T030000Z-4f2a9c --yes
  shoal backup restore-pki /mnt/backups/shoal-20261122T030000Z-4f2a9c.tar.zst --identity key.txt --to pki

A backup holds every revision with its author, message and files, what is released, every rollout, and what operators want of
instances. It is an ordinary archive: `tar --zstd -tf FILE` lists what is in it.")]
pub struct Options {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make a backup now and verify it
    Create,
    /// Show every backup: who made it, when, how large, and whether it is known to be whole
    List {
        #[command(flatten)]
        format: Format,
    },
    /// Read a backup from beginning to end and compare every hash
    Verify {
        /// Its id, a unique beginning of it, or `latest`
        #[arg(default_value = "latest")]
        backup: String,
        #[command(flatten)]
        format: Format,
    },
    /// Show what would change, ask, and put everything back, step by step
    Restore(restore::Options),
    /// Take the PKI out of an archive's file; needs no cluster, because without a PKI there is none
    RestorePki {
        /// The archive
        archive: PathBuf,
        /// File with the private key of age that the PKI is encrypted for
        #[arg(long, value_name = "FILE")]
        identity: PathBuf,
        /// Directory to make
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
}

/// Runs `shoal backup …`.
///
/// # Errors
/// The backup-service refuses or does not answer.
pub async fn run(options: Options) -> Result<()> {
    let open = || Cluster::open(&options.target);
    match options.action {
        Action::Create => create(&open()?).await,
        Action::List { format } => list(&open()?, format).await,
        Action::Verify { backup, format } => verify(&open()?, backup, format).await,
        Action::Restore(wanted) => restore::run(&open()?, wanted).await,
        Action::RestorePki { archive, identity, to } => {
            let files = backup_service::pki::open(&archive, &identity, &to)?;
            output::print(&format!("{} files are in {}: {}", files.len(), to.display(), files.join(", ")))
        }
    }
}

/// A client of the one that runs.
async fn client(cluster: &Cluster) -> Result<BackupServiceClient<ServiceChannel>> {
    let mut instances = cluster.instances(Service::BackupService).await?;
    // One that is lost stays listed for a while.
    instances.sort_by_key(|status| status.state != State::Usable);
    let known = || anyhow!("no backup-service is registered: start one with `shoal serve backup-service`, see `shoal status`");
    cluster.backup(instances.first().ok_or_else(known)?)
}

async fn create(cluster: &Cluster) -> Result<()> {
    let mut stream = call(SERVICE, client(cluster).await?.create_backup(CreateBackupRequest {})).await?;
    let mut shown = Shown::on_stdout();
    while let Some(message) = stream.message().await.map_err(|status| failed(SERVICE, &status))? {
        if let Some(step) = message.step {
            shown.show(&step)?;
        }
        if let Some(backup) = message.backup {
            let size = list::size(backup.size);
            return output::print(&format!("backup {} is made and verified: {size} in {}", backup.id, backup.stores.join(", ")));
        }
    }
    Err(steps::cut())
}

async fn list(cluster: &Cluster, format: Format) -> Result<()> {
    let answer = call(SERVICE, client(cluster).await?.list_backups(ListBackupsRequest {})).await?;
    output::show(&list::Backups::from(answer), format)
}

async fn verify(cluster: &Cluster, backup: String, format: Format) -> Result<()> {
    let mut stream = call(SERVICE, client(cluster).await?.verify_backup(VerifyBackupRequest { backup })).await?;
    let mut shown = Shown::on_stderr();
    while let Some(message) = stream.message().await.map_err(|status| failed(SERVICE, &status))? {
        if let Some(step) = message.step {
            shown.show(&step)?;
        }
        if let Some(backup) = message.backup {
            return output::show(&list::Backup::from(backup), format);
        }
    }
    Err(steps::cut())
}
