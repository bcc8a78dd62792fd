//! Making a backup: the state is taken, written to every store, looked at once more, and what has
//! had its time is let go.

use std::{
    io::{self, BufWriter, Write},
    sync::Arc,
};

use chassis::transfer::{Parcel, Spool};
use jiff::Timestamp;
use proto::state::State;

use crate::{
    archive::{
        self, FORMAT, Manifest, Part, Reason,
        manifest::{self, Entry, PKI, part_of},
    },
    backups::{Backups, Permit, blocking, counted},
    catalog::Listed,
    error::Error,
    metrics, pki, retain,
    schedule::Schedule,
    steps::Steps,
    store::{Hold, Store},
};

impl Backups {
    /// Makes a backup in every store, verifies it, and lets go of those that have had their time.
    ///
    /// # Errors
    /// A service, the PKI, a store; nothing is left then but what is whole.
    pub async fn create(
        &self,
        _: &Permit,
        reason: Reason,
        by: &str,
        steps: &mut Steps,
    ) -> Result<Listed, Error> {
        let holds = self.hold().await?;
        self.count(holds, reason, by, steps).await
    }

    /// Makes the backup that the schedule wants; none when another backup-service has made it in
    /// one of the stores, or is about to.
    ///
    /// # Errors
    /// As for [`Backups::create`].
    pub async fn create_if_due(
        &self,
        _: &Permit,
        schedule: &Schedule,
    ) -> Result<Option<Listed>, Error> {
        let holds = match self.hold().await {
            Err(Error::InUse(_)) => return Ok(None),
            holds => holds?,
        };
        // What is there is looked at again, now that nobody else adds to it.
        let due = self.due(schedule, &self.list().await?.backups);
        if due.is_none_or(|due| due > self.tools().clock.now()) {
            return Ok(None);
        }
        self.count(holds, Reason::Scheduled, &self.tools().name, &mut Steps::unheard())
            .await
            .map(Some)
    }

    /// Keeps other backup-services from writing to our stores.
    async fn hold(&self) -> Result<Vec<Hold>, Error> {
        let stores = self.settings().stores.clone();
        let hold = move || {
            let hold = |store: &Store| match store.hold() {
                Ok(Some(hold)) => Ok(hold),
                Ok(None) => Err(Error::InUse(store.url.clone())),
                Err(error) => Err(unwritten(store, error)),
            };
            stores.iter().map(hold).collect()
        };
        blocking(hold).await?
    }

    async fn count(
        &self,
        holds: Vec<Hold>,
        reason: Reason,
        by: &str,
        steps: &mut Steps,
    ) -> Result<Listed, Error> {
        let made = self.make(reason, by, steps).await;
        drop(holds);
        let label = match reason {
            Reason::Scheduled => "scheduled",
            Reason::AskedFor => "asked-for",
            Reason::BeforeRestore => "before-restore",
        };
        metrics::run(label, made.is_ok());
        match &made {
            Ok(backup) => {
                tracing::info!(id = backup.id, size = backup.size, "backup made and verified")
            }
            Err(failed) => tracing::error!("no backup was made: {failed}"),
        }
        made
    }

    async fn make(&self, reason: Reason, by: &str, steps: &mut Steps) -> Result<Listed, Error> {
        let taken = self.take(steps).await?;
        let manifest = self.manifest(&taken, reason, by);
        let id = manifest.id.clone();
        let stores = self.settings().stores.clone();
        let (manifest, parcels) = (Arc::new(manifest), Arc::new(taken.parcels));
        let mut first: Option<Store> = None;
        for store in &stores {
            steps.begin(format!("write the archive to {}", store.url)).await;
            let (to, from, manifest, parcels) =
                (store.clone(), first.clone(), Arc::clone(&manifest), Arc::clone(&parcels));
            let written = blocking(move || put(&to, from.as_ref(), &manifest, &parcels)).await?;
            let size = written.map_err(|error| unwritten(store, error))?;
            steps.done(format!("{id}, {size} bytes")).await;
            first.get_or_insert_with(|| store.clone());
        }
        let listed = self.check_everywhere(&id, steps).await?;
        self.let_go(steps).await?;
        Ok(listed)
    }

    /// Takes the state out of every service, and the PKI where it is to be kept.
    async fn take(&self, steps: &mut Steps) -> Result<Taken, Error> {
        let mut taken = Taken::default();
        for stateful in &self.tools().services {
            steps.begin(format!("take the state of {}", stateful.service())).await;
            let (state, parcel) =
                stateful.export(&self.tools().scratch, |come| steps.progress(come, 0)).await?;
            steps.done(counted(&state)).await;
            taken.parcels.push((stateful.service().to_string(), parcel));
            taken.states.push(state);
        }
        if let Some(source) = self.tools().pki.clone() {
            steps.begin("encrypt the PKI").await;
            let sealed = blocking(move || pki::seal(&source)).await??;
            let mut spool = Spool::create(&self.tools().scratch, sealed.len() as u64)
                .map_err(Error::Scratch)?;
            spool.begin(pki::ENTRY).and_then(|()| spool.write(&sealed)).map_err(Error::Scratch)?;
            taken.parcels.push((PKI.to_owned(), spool.close()));
            steps
                .done(format!(
                    "{} bytes, for {} recipients",
                    sealed.len(),
                    self.tools().pki.as_ref().map_or(0, |pki| pki.recipients.len())
                ))
                .await;
        }
        Ok(taken)
    }

    fn manifest(&self, taken: &Taken, reason: Reason, by: &str) -> Manifest {
        let now = self.tools().clock.now();
        let part = |state: &State| {
            let taken_at = state
                .taken_at
                .as_ref()
                .and_then(|at| Timestamp::new(at.seconds, at.nanos).ok())
                .unwrap_or(now);
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
            id: manifest::id(now, chassis::random::id().as_u128()),
            created_at: now,
            created_by: by.to_owned(),
            reason,
            version: chassis::VERSION.to_owned(),
            cluster_id: registry.map(|state| state.cluster_id.clone()).unwrap_or_default(),
            epoch: registry.map_or(0, |state| state.epoch),
            authorities: self.tools().authorities.clone(),
            parts: taken.states.iter().map(part).collect(),
            entries: entries.collect(),
        }
    }

    /// Lets go of what has had its time.
    async fn let_go(&self, steps: &mut Steps) -> Result<(), Error> {
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
            let remove = |store: &Store| {
                gone.iter()
                    .try_for_each(|id| store.remove(id))
                    .map_err(|error| unwritten(store, error))
            };
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

fn unwritten(store: &Store, source: io::Error) -> Error {
    Error::Store { url: store.url.clone(), directory: store.directory().to_owned(), source }
}

/// Puts the archive into a store: copied from the first that has it.
fn put(
    to: &Store,
    from: Option<&Store>,
    manifest: &Manifest,
    parcels: &[(String, Parcel)],
) -> io::Result<u64> {
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
