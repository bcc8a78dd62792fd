//! What is done to backups, one thing at a time. Here: what there is, and looking at it. Making one
//! is in [`crate::make`], the way back in [`crate::restore`].

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chassis::Clock;
use jiff::Timestamp;
use proto::state::State;
use tokio::sync::{OwnedMutexGuard, watch};

use crate::{
    archive::{self, Opened},
    catalog::{Catalog, Listed, NotFound, Note, find},
    error::Error,
    metrics, pki,
    schedule::Schedule,
    settings::Settings,
    steps::Steps,
    store::Store,
    transfer::StatefulService,
};

/// What it works with.
#[derive(Debug)]
pub struct Tools {
    /// Role and name, for what it does by itself.
    pub name: String,
    pub clock: Clock,
    /// The services whose state is kept, in the order in which it is put back.
    pub services: Vec<StatefulService>,
    /// SHA-256 of the certificates of the authorities that are trusted, in hex.
    pub authorities: Vec<String>,
    /// The PKI, where it is to be kept.
    pub pki: Option<pki::Source>,
    /// Where archives are put together and taken apart.
    pub scratch: PathBuf,
    /// Where is written down what is known of archives.
    pub notes: PathBuf,
    /// What is configured.
    pub settings: watch::Receiver<Arc<Settings>>,
}

/// Does it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Backups {
    tools: Arc<Tools>,
    catalog: Arc<Mutex<Catalog>>,
    busy: Arc<tokio::sync::Mutex<()>>,
}

/// The right to do something; nobody else does anything meanwhile.
#[derive(Debug)]
pub struct Permit(#[expect(dead_code, reason = "held, not looked at")] OwnedMutexGuard<()>);

/// Every backup, and when the next is due.
#[derive(Clone, Debug)]
pub struct List {
    pub backups: Vec<Listed>,
    /// Stores that cannot be read.
    pub problems: Vec<String>,
    pub schedule: Option<String>,
    /// When the schedule makes the next one.
    pub next_at: Option<Timestamp>,
}

impl Backups {
    /// Reads what is written down.
    #[must_use]
    pub fn new(tools: Tools) -> Self {
        let catalog = Catalog::load(&tools.notes);
        Self {
            tools: Arc::new(tools),
            catalog: Arc::new(Mutex::new(catalog)),
            busy: Arc::default(),
        }
    }

    pub(crate) fn tools(&self) -> &Tools {
        &self.tools
    }

    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.tools.settings.borrow())
    }

    fn catalog(&self) -> MutexGuard<'_, Catalog> {
        self.catalog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is written down. What cannot be written is found out anew after a restart.
    pub(crate) fn write_down(&self, change: impl FnOnce(&mut Catalog)) {
        let mut catalog = self.catalog();
        change(&mut catalog);
        if let Err(error) = catalog.save(&self.tools.notes) {
            tracing::error!("cannot write down what is known of backups: {error}");
        }
    }

    /// Takes a permit, if nobody else has it.
    ///
    /// # Errors
    /// [`Error::Busy`]
    pub fn try_permit(&self) -> Result<Permit, Error> {
        Arc::clone(&self.busy).try_lock_owned().map(Permit).map_err(|_| Error::Busy)
    }

    /// Waits for a permit.
    pub async fn permit(&self) -> Permit {
        Permit(Arc::clone(&self.busy).lock_owned().await)
    }

    /// Every backup.
    ///
    /// # Errors
    /// [`Error::Defect`]
    pub async fn list(&self) -> Result<List, Error> {
        let (catalog, settings) = (self.catalog().clone(), self.settings());
        let stores = settings.stores.clone();
        let (backups, problems) = blocking(move || catalog.list(&stores)).await?;
        metrics::kept(&backups);
        let next_at = settings.schedule.as_ref().and_then(|schedule| self.due(schedule, &backups));
        let schedule = settings.schedule.as_ref().map(|schedule| schedule.written().to_owned());
        Ok(List { backups, problems, schedule, next_at })
    }

    /// When the next is due; a time that has passed was missed.
    pub(crate) fn due(&self, schedule: &Schedule, backups: &[Listed]) -> Option<Timestamp> {
        let made =
            backups.iter().find(|backup| backup.is_scheduled() && backup.problem().is_none());
        let made = made
            .and_then(|backup| backup.manifest.as_ref().ok())
            .map(|manifest| manifest.created_at);
        let since =
            made.or(self.catalog().followed_since).unwrap_or_else(|| self.tools.clock.now());
        schedule.due(since)
    }

    /// Notes since when there is a schedule: what is missed from now on is made up for.
    pub(crate) fn followed(&self) {
        if self.catalog().followed_since.is_none() {
            let now = self.tools.clock.now();
            self.write_down(|catalog| catalog.followed_since = Some(now));
        }
    }

    /// Looks at every byte of a backup, wherever it is.
    ///
    /// # Errors
    /// There is none, or it is damaged.
    pub async fn verify(
        &self,
        _: &Permit,
        meant: &str,
        steps: &mut Steps,
    ) -> Result<Listed, Error> {
        let list = self.list().await?;
        let id = find(&list.backups, meant)?.id.clone();
        self.check_everywhere(&id, steps).await
    }

    pub(crate) async fn check_everywhere(
        &self,
        id: &str,
        steps: &mut Steps,
    ) -> Result<Listed, Error> {
        let listed = self.listed(id).await?;
        for (store, _) in &listed.places {
            steps.begin(format!("verify it in {}", store.url)).await;
            let opened = self.open(&listed, store, false, steps).await?;
            steps
                .done(format!(
                    "{} bytes are what they were, sha256 {}",
                    opened.size,
                    &opened.sha256[..16]
                ))
                .await;
        }
        self.listed(id).await
    }

    pub(crate) async fn listed(&self, id: &str) -> Result<Listed, Error> {
        let list = self.list().await?;
        list.backups
            .into_iter()
            .find(|backup| backup.id == id)
            .ok_or_else(|| NotFound::Unknown(id.to_owned()).into())
    }

    /// Reads an archive from beginning to end and writes down what came of it.
    pub(crate) async fn open(
        &self,
        listed: &Listed,
        store: &Store,
        unpack: bool,
        steps: &Steps,
    ) -> Result<Opened, Error> {
        let (path, told) = (store.path(&listed.id), steps.clone());
        let scratch = unpack.then(|| self.tools.scratch.clone());
        let opened = blocking(move || {
            archive::read::read(&path, scratch.as_deref(), |done, total| told.progress(done, total))
        })
        .await?;
        let opened = opened.and_then(|opened| {
            let same = opened.manifest.id == listed.id;
            let other = format!("it is the backup {} under another name", opened.manifest.id);
            if same { Ok(opened) } else { Err(archive::Error::Damaged(other)) }
        });
        let note = |sha256: String, problem| Note {
            sha256,
            size: listed.size,
            verified_at: self.tools.clock.now(),
            problem,
        };
        let note = match &opened {
            Ok(opened) => Some(note(opened.sha256.clone(), None)),
            // A disk that cannot be read now says nothing of the archive.
            Err(archive::Error::Disk(_) | archive::Error::Spool(_)) => None,
            Err(refused) => Some(note(String::new(), Some(format!("in {}: {refused}", store.url)))),
        };
        if let Some(note) = note {
            self.write_down(|catalog| drop(catalog.notes.insert(listed.id.clone(), note)));
        }
        opened.map_err(|refused| Error::Archive(listed.id.clone(), refused))
    }
}

/// What there is, in one line for people.
pub(crate) fn counted(state: &State) -> String {
    let counts = state.counts.iter().map(|(what, count)| format!("{what} {count}"));
    counts.collect::<Vec<_>>().join(", ")
}

/// Disks and digests are not for the threads that serve.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Defect(error.to_string()))
}
