//! `shoal backup`: making, looking at and putting back what the cluster must not lose.

mod list;
mod restore;
mod steps;

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::{Args, Subcommand};
use cluster::{InstanceStatus, Service, State};
use proto::backup::{
    CreateBackupRequest, ListBackupsRequest, VerifyBackupRequest,
    backup_service_client::BackupServiceClient,
};
use serde::Serialize;

use crate::{
    cluster::{Cluster, call, one_of},
    context::Target,
    output::{self, Format, View},
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
  shoal backup restore-pki /mnt/backups/shoal-20261122T030000Z-4f2a9c.tar.zst --identity key.txt \
  --to pki

A backup holds every revision with its author, message and files, what is released, every rollout, \
and what operators want of
instances. It is an ordinary archive: `tar --zstd -tf FILE` lists what is in it.")]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// Ask this backup-service, where several run; without it, the first by name that is well
    #[arg(long, global = true, value_name = "NAME")]
    on: Option<String>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make a backup now and verify it
    Create {
        #[command(flatten)]
        format: Format,
    },
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
        #[command(flatten)]
        format: Format,
    },
}

/// What was taken out of an archive.
#[derive(Serialize)]
struct TakenOut {
    directory: PathBuf,
    files: Vec<String>,
}

impl View for TakenOut {
    fn text(&self) -> String {
        output::fitted(
            &format!(
                "{} files are in {}: {}",
                self.files.len(),
                self.directory.display(),
                self.files.join(", ")
            ),
            "  ",
        )
    }
}

/// A backup that was just made.
#[derive(Serialize)]
struct Made {
    backup: list::Backup,
}

impl View for Made {
    fn text(&self) -> String {
        let list::Backup { id, size, stores, .. } = &self.backup;
        output::fitted(
            &format!(
                "backup {id} is made and verified: {} in {}",
                list::size(*size),
                stores.join(", ")
            ),
            "  ",
        )
    }
}

/// Runs `shoal backup …`.
///
/// # Errors
/// The backup-service refuses or does not answer.
pub async fn run(options: Options) -> Result<()> {
    let (target, on) = (&options.target, options.on.as_deref());
    match options.action {
        Action::RestorePki { archive, identity, to, format } => {
            let files = backup_service::pki::open(&archive, &identity, &to)?;
            output::show(&TakenOut { directory: to, files }, format)
        }
        Action::List { format } => {
            let cluster = Cluster::open(target)?;
            list(
                &cluster,
                client(&cluster, cluster.last_instances(Service::BackupService).await?, on)?,
                format,
            )
            .await
        }
        Action::Verify { backup, format } => {
            let cluster = Cluster::open(target)?;
            verify(
                &cluster,
                client(&cluster, cluster.last_instances(Service::BackupService).await?, on)?,
                backup,
                format,
            )
            .await
        }
        Action::Create { format } => {
            let cluster = Cluster::open_to_change(target)?;
            create(
                &cluster,
                client(&cluster, cluster.instances(Service::BackupService).await?, on)?,
                format,
            )
            .await
        }
        Action::Restore(wanted) => {
            let cluster = if wanted.only_looks() {
                Cluster::open(target)?
            } else {
                Cluster::open_to_change(target)?
            };
            restore::run(
                &cluster,
                client(&cluster, cluster.instances(Service::BackupService).await?, on)?,
                wanted,
            )
            .await
        }
    }
}

type Client = BackupServiceClient<ServiceChannel>;

/// The one that is asked: by name, or else the first that is well.
fn client(
    cluster: &Cluster,
    mut instances: Vec<InstanceStatus>,
    on: Option<&str>,
) -> Result<Client> {
    if let Some(name) = on {
        return cluster.backup(&one_of(instances, Service::BackupService, name)?);
    }
    // One that is lost stays listed for a while.
    instances.sort_by_key(|status| status.state != State::Usable);
    let none = || {
        anyhow!(
            "no backup-service is registered: start one with `shoal serve backup-service`, see \
             `shoal status`"
        )
    };
    let first = instances.first().ok_or_else(none)?;
    let others: Vec<_> = instances[1..]
        .iter()
        .filter(|status| status.state == State::Usable)
        .map(|status| status.instance.name.as_str())
        .collect();
    if !others.is_empty() {
        let (name, others) = (&first.instance.name, others.join(", "));
        output::remark(&format!(
            "{name} is asked, which has what is in its own stores; --on asks another ({others})"
        ));
    }
    cluster.backup(first)
}

async fn create(cluster: &Cluster, mut client: Client, format: Format) -> Result<()> {
    let mut stream = call(SERVICE, client.create_backup(CreateBackupRequest {})).await?;
    cluster.announce(format)?;
    let mut shown = Shown::beside(format);
    loop {
        let (lost, left) = (
            "what was not finished counts for nothing: make another",
            "what was not finished counts for nothing; see `shoal backup list`",
        );
        let message = steps::next_or_interrupted(&mut stream, lost, left).await?;
        if let Some(step) = message.step {
            shown.show(&step)?;
        }
        if let Some(backup) = message.backup {
            drop(shown);
            return output::show_after(&cluster.head(), &Made { backup: backup.into() }, format);
        }
    }
}

async fn list(cluster: &Cluster, mut client: Client, format: Format) -> Result<()> {
    let answer = call(SERVICE, client.list_backups(ListBackupsRequest {})).await?;
    cluster.show(&list::Backups::from(answer), format)
}

async fn verify(
    cluster: &Cluster,
    mut client: Client,
    backup: String,
    format: Format,
) -> Result<()> {
    let mut stream = call(SERVICE, client.verify_backup(VerifyBackupRequest { backup })).await?;
    let mut shown = Shown::on_stderr();
    loop {
        let message =
            steps::next_or_interrupted(&mut stream, "verify it again", "nothing was changed")
                .await?;
        if let Some(step) = message.step {
            shown.show(&step)?;
        }
        if let Some(backup) = message.backup {
            drop(shown);
            return cluster.show(&list::Backup::from(backup), format);
        }
    }
}
