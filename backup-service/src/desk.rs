//! What is done to backups, one thing at a time: make one, look at one, let go of some. Restoring is in [`crate::restore`].

use std::{
    io::{self, BufWriter, Write},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chassis::{
    Clock,
    transfer::{Parcel, Spool},
};
use jiff::Timestamp;
use proto::state::State;
use tokio::sync::{OwnedMutexGuard, watch};

use crate::{
    archive::{
        self, FORMAT, Manifest, Opened, Part, Reason,
        manifest::{self, Entry, PKI, part_of},
    },
    catalog::{Catalog, Listed, NotFound, Note, find},
    metrics, pki, retain,
    schedule::Schedule,
    settings::Settings,
    steps::Steps,
    store::Store,
    transfer::{self, Keeper},
};

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// One thing at a time.
    #[error("another backup, verification or restore is under way: try again when it is done")]
    Busy,
    /// No such backup.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// An archive that is not what it was.
    #[error("backup {0}: {1}")]
    Refused(String, #[source] archive::Refused),
    /// A service did not do its part.
    #[error(transparent)]
    Transfer(#[from] transfer::Failed),
    /// A store.
    #[error("the store {0} cannot be written: {1}; see whether its disk is full or gone")]
    Store(String, #[source] io::Error),
    /// The PKI.
    #[error(transparent)]
    Pki(#[from] pki::Failed),
    /// The archive is not the one that was planned with.
    #[error("backup {0} is not what it was when the restore was planned: plan it again (`shoal backup restore {0}`)")]
    Changed(String),
    /// Another cluster's.
    #[error(transparent)]
    Foreign(#[from] crate::restore::Foreign),
    /// A restore that ended in the middle.
    #[error(
        "{service} is not restored: {source}; {done}; run the same restore again, or go back to what was there with `shoal backup restore {before}`"
    )]
    Half {
        /// Whose part failed.
        service: cluster::Service,
        /// Why.
        source: transfer::Failed,
        /// What is restored already.
        done: String,
        /// Id of the backup of what was there.
        before: String,
    },
    /// Something that cannot happen, has.
    #[error("this is a defect, please report it: {0}")]
    Defect(String),
}

/// What the desk works with.
#[derive(Debug)]
pub struct Tools {
    /// Role and name, for what it does by itself.
    pub name: String,
    /// Wall-clock time.
    pub clock: Clock,
    /// The services whose state is kept, in the order in which it is put back.
    pub keepers: Vec<Keeper>,
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
pub struct Desk {
    tools: Arc<Tools>,
    catalog: Arc<Mutex<Catalog>>,
    busy: Arc<tokio::sync::Mutex<()>>,
}

/// The right to do something; nobody else does anything meanwhile.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "held, not looked at")] OwnedMutexGuard<()>);

/// Every backup, and when the next is due.
#[derive(Clone, Debug)]
pub struct List {
    /// Newest first.
    pub backups: Vec<Listed>,
    /// Stores that cannot be read.
    pub problems: Vec<String>,
    /// As configured.
    pub schedule: Option<String>,
    /// When the schedule makes the next one.
    pub next_at: Option<Timestamp>,
}

impl Desk {
    /// Reads what is written down.
    #[must_use]
    pub fn new(tools: Tools) -> Self {
        let catalog = Catalog::load(&tools.notes);
        Self { tools: Arc::new(tools), catalog: Arc::new(Mutex::new(catalog)), busy: Arc::default() }
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
    fn write_down(&self, change: impl FnOnce(&mut Catalog)) {
        let mut catalog = self.catalog();
        change(&mut catalog);
        if let Err(error) = catalog.save(&self.tools.notes) {
            tracing::error!("cannot write down what is known of backups: {error}");
        }
    }

    /// Takes a turn, if nobody else has it.
    ///
    /// # Errors
    /// [`Failed::Busy`]
    pub fn turn(&self) -> Result<Turn, Failed> {
        Arc::clone(&self.busy).try_lock_owned().map(Turn).map_err(|_| Failed::Busy)
    }

    /// Waits for a turn.
    pub async fn in_turn(&self) -> Turn {
        Turn(Arc::clone(&self.busy).lock_owned().await)
    }

    /// Every backup.
    ///
    /// # Errors
    /// [`Failed::Defect`]
    pub async fn list(&self) -> Result<List, Failed> {
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
        let made = backups.iter().find(|backup| backup.is_scheduled() && backup.problem().is_none());
        let made = made.and_then(|backup| backup.manifest.as_ref().ok()).map(|manifest| manifest.created_at);
        let since = made.or(self.catalog().followed_since).unwrap_or_else(|| self.tools.clock.now());
        schedule.due(since)
    }

    /// Notes since when there is a schedule: what is missed from now on is made up for.
    pub(crate) fn followed(&self) {
        if self.catalog().followed_since.is_none() {
            let now = self.tools.clock.now();
            self.write_down(|catalog| catalog.followed_since = Some(now));
        }
    }

    /// Makes a backup in every store, verifies it, and lets go of those that have had their time.
    ///
    /// # Errors
    /// A service, the PKI, a store; nothing is left then but what is whole.
    pub async fn create(&self, _: &Turn, reason: Reason, by: &str, steps: &mut Steps) -> Result<Listed, Failed> {
        let made = self.make(reason, by, steps).await;
        let label = match reason {
            Reason::Scheduled => "scheduled",
            Reason::AskedFor => "asked-for",
            Reason::BeforeRestore => "before-restore",
        };
        metrics::run(label, made.is_ok());
        match &made {
            Ok(backup) => tracing::info!(id = backup.id, size = backup.size, "backup made and verified"),
            Err(failed) => tracing::error!("no backup was made: {failed}"),
        }
        made
    }

    async fn make(&self, reason: Reason, by: &str, steps: &mut Steps) -> Result<Listed, Failed> {
        let taken = self.take(steps).await?;
        let manifest = self.manifest(&taken, reason, by);
        let id = manifest.id.clone();
        let stores = self.settings().stores.clone();
        let (manifest, parcels) = (Arc::new(manifest), Arc::new(taken.parcels));
        let mut first: Option<Store> = None;
        for store in &stores {
            steps.begin(format!("write the archive to {}", store.url)).await;
            let (to, from, manifest, parcels) = (store.clone(), first.clone(), Arc::clone(&manifest), Arc::clone(&parcels));
            let written = blocking(move || put(&to, from.as_ref(), &manifest, &parcels)).await?;
            let size = written.map_err(|error| Failed::Store(store.url.clone(), error))?;
            steps.done(format!("{id}, {size} bytes")).await;
            first.get_or_insert_with(|| store.clone());
        }
        let listed = self.look(&id, steps).await?;
        self.let_go(steps).await?;
        Ok(listed)
    }

    /// Takes the state out of every service, and the PKI where it is to be kept.
    async fn take(&self, steps: &mut Steps) -> Result<Taken, Failed> {
        let mut taken = Taken::default();
        for keeper in &self.tools.keepers {
            steps.begin(format!("take the state of {}", keeper.service())).await;
            let (state, parcel) = keeper.export(&self.tools.scratch, |come| steps.progress(come, 0)).await?;
            steps.done(counted(&state)).await;
            taken.parcels.push((keeper.service().to_string(), parcel));
            taken.states.push(state);
        }
        if let Some(source) = self.tools.pki.clone() {
            steps.begin("encrypt the PKI").await;
            let sealed = blocking(move || pki::seal(&source)).await??;
            let directory = &self.tools.scratch;
            let disk = |error| Failed::Store(directory.display().to_string(), error);
            let mut spool = Spool::create(directory, sealed.len() as u64).map_err(disk)?;
            let kept = spool.begin(pki::ENTRY).and_then(|()| spool.write(&sealed));
            kept.map_err(|error| Failed::Defect(error.to_string()))?;
            taken.parcels.push((PKI.to_owned(), spool.close()));
            steps
                .done(format!("{} bytes, for {} recipients", sealed.len(), self.tools.pki.as_ref().map_or(0, |pki| pki.recipients.len())))
                .await;
        }
        Ok(taken)
    }

    fn manifest(&self, taken: &Taken, reason: Reason, by: &str) -> Manifest {
        let now = self.tools.clock.now();
        let part = |state: &State| {
            let taken_at = state.taken_at.as_ref().and_then(|at| Timestamp::new(at.seconds, at.nanos).ok()).unwrap_or(now);
            let (counts, facts) = (state.counts.clone(), state.facts.clone());
            (state.service.clone(), Part { format: state.format, taken_at, counts, facts })
        };
        // The registry knows which cluster this is; the others have heard of it.
        let registry = taken.states.iter().find(|state| state.service == "registry");
        let entries = taken.parcels.iter().flat_map(|(part, parcel)| {
            parcel.entries().map(move |entry| Entry {
                name: format!("{part}/{}", entry.name),
                size: entry.size,
                sha256: entry.sha256.clone(),
            })
        });
        Manifest {
            format: FORMAT,
            id: manifest::id(now, uuid::Uuid::now_v7().as_u128()),
            created_at: now,
            created_by: by.to_owned(),
            reason,
            version: chassis::VERSION.to_owned(),
            cluster_id: registry.map(|state| state.cluster_id.clone()).unwrap_or_default(),
            epoch: registry.map_or(0, |state| state.epoch),
            authorities: self.tools.authorities.clone(),
            parts: taken.states.iter().map(part).collect(),
            entries: entries.collect(),
        }
    }

    /// Looks at every byte of a backup, wherever it is.
    ///
    /// # Errors
    /// There is none, or it is damaged.
    pub async fn verify(&self, _: &Turn, meant: &str, steps: &mut Steps) -> Result<Listed, Failed> {
        let list = self.list().await?;
        let id = find(&list.backups, meant)?.id.clone();
        self.look(&id, steps).await
    }

    async fn look(&self, id: &str, steps: &mut Steps) -> Result<Listed, Failed> {
        let listed = self.listed(id).await?;
        for (store, _) in &listed.places {
            steps.begin(format!("verify it in {}", store.url)).await;
            let opened = self.open(&listed, store, false, steps).await?;
            steps.done(format!("{} bytes are what they were, sha256 {}", opened.size, &opened.sha256[..16])).await;
        }
        self.listed(id).await
    }

    pub(crate) async fn listed(&self, id: &str) -> Result<Listed, Failed> {
        let list = self.list().await?;
        list.backups.into_iter().find(|backup| backup.id == id).ok_or_else(|| NotFound::Unknown(id.to_owned()).into())
    }

    /// Reads an archive from beginning to end and writes down what came of it.
    pub(crate) async fn open(&self, listed: &Listed, store: &Store, unpack: bool, steps: &Steps) -> Result<Opened, Failed> {
        let (path, told) = (store.path(&listed.id), steps.clone());
        let scratch = unpack.then(|| self.tools.scratch.clone());
        let opened = blocking(move || archive::read::read(&path, scratch.as_deref(), |done, total| told.progress(done, total))).await?;
        let opened = opened.and_then(|opened| {
            let same = opened.manifest.id == listed.id;
            let other = format!("it is the backup {} under another name", opened.manifest.id);
            if same { Ok(opened) } else { Err(archive::Refused::Damaged(other)) }
        });
        let note = |sha256: String, problem| Note { sha256, size: listed.size, verified_at: self.tools.clock.now(), problem };
        let note = match &opened {
            Ok(opened) => Some(note(opened.sha256.clone(), None)),
            // A disk that cannot be read now says nothing of the archive.
            Err(archive::Refused::Disk(_) | archive::Refused::Spool(_)) => None,
            Err(refused) => Some(note(String::new(), Some(format!("in {}: {refused}", store.url)))),
        };
        if let Some(note) = note {
            self.write_down(|catalog| drop(catalog.notes.insert(listed.id.clone(), note)));
        }
        opened.map_err(|refused| Failed::Refused(listed.id.clone(), refused))
    }

    /// Lets go of what has had its time.
    async fn let_go(&self, steps: &mut Steps) -> Result<(), Failed> {
        let settings = self.settings();
        let Some(keep) = settings.keep else { return Ok(()) };
        let backups = self.list().await?.backups;
        let held: Vec<_> = backups.iter().filter_map(held).collect();
        let expired = retain::expired(&held, keep, &settings.zone);
        if expired.is_empty() {
            return Ok(());
        }
        steps.begin("let go of what has had its time").await;
        let (stores, gone) = (settings.stores.clone(), expired.clone());
        let removed = blocking(move || {
            let remove =
                |store: &Store| gone.iter().try_for_each(|id| store.remove(id)).map_err(|error| Failed::Store(store.url.clone(), error));
            stores.iter().try_for_each(remove)
        });
        removed.await??;
        self.write_down(|catalog| catalog.notes.retain(|id, _| !expired.contains(id)));
        steps.done(format!("{} removed: {}", expired.len(), expired.join(", "))).await;
        Ok(())
    }
}

/// What was taken.
#[derive(Default)]
struct Taken {
    states: Vec<State>,
    parcels: Vec<(String, Parcel)>,
}

fn held(listed: &Listed) -> Option<retain::Held> {
    let manifest = listed.manifest.as_ref().ok()?;
    let (id, good) = (listed.id.clone(), listed.problem().is_none());
    Some(retain::Held { id, at: manifest.created_at, scheduled: listed.is_scheduled(), good })
}

/// Puts the archive into a store: copied from the first that has it.
fn put(to: &Store, from: Option<&Store>, manifest: &Manifest, parcels: &[(String, Parcel)]) -> io::Result<u64> {
    to.prepare()?;
    to.put(&manifest.id, |file| {
        if let Some(from) = from {
            return io::copy(&mut std::fs::File::open(from.path(&manifest.id))?, file);
        }
        let content = |name: &str| {
            let part = part_of(name);
            let parcel = parcels.iter().find(|(known, _)| known == part);
            let found = parcel.and_then(|(_, parcel)| parcel.open(name.get(part.len() + 1..)?));
            found.ok_or_else(|| io::Error::other(format!("{name} was not taken")))
        };
        let mut writer = BufWriter::with_capacity(1 << 20, file);
        let (_, size) = archive::write::write(&mut writer, manifest, content)?;
        writer.flush()?;
        Ok(size)
    })
}

/// What there is, in one line for people.
pub(crate) fn counted(state: &State) -> String {
    let counts = state.counts.iter().map(|(what, count)| format!("{what} {count}"));
    counts.collect::<Vec<_>>().join(", ")
}

/// Disks and digests are not for the threads that serve.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failed> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Failed::Defect(error.to_string()))
}
