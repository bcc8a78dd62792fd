//! The way back. Everything is looked at before anything is touched: the archive byte by byte,
//! whose cluster it is, and by every service the part that is its own. What was looked at is what
//! is put back: it lies unpacked in files of no name meanwhile.

use std::time::Duration;

use cluster::{InstanceStatus, Service, State};
use cluster_config::bundle::FOLLOWERS;
use proto::state::{self as pb, ImportHeader};
use tokio::time::{Instant, sleep};

use crate::{
    archive::{Manifest, Opened, Reason},
    backups::{Backups, Permit, counted},
    catalog::{Listed, find},
    error::Error,
    metrics,
    steps::Steps,
};

/// How long everybody may take to hear of it and to run what is released.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// An archive of another cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "backup {id} is of cluster {theirs}, and this is cluster {ours}: restore a backup of this \
     cluster, or give --adopt if this one is to become that one"
)]
pub struct Foreign {
    pub id: String,
    pub theirs: String,
    pub ours: String,
}

/// Whether a backup is one of this cluster: it has its id, or (when the registry was made anew
/// since) an authority of its PKI. Pure.
///
/// # Errors
/// It is another's, and nobody said that this cluster is to become that one.
pub fn belongs(
    manifest: &Manifest,
    cluster_id: &str,
    authorities: &[String],
    adopt: bool,
) -> Result<(), Foreign> {
    let same = manifest.cluster_id == cluster_id
        || authorities.iter().any(|authority| manifest.authorities.contains(authority));
    if same || adopt {
        return Ok(());
    }
    Err(Foreign {
        id: manifest.id.clone(),
        theirs: manifest.cluster_id.clone(),
        ours: cluster_id.to_owned(),
    })
}

/// What a restore would do.
#[derive(Clone, Debug)]
pub struct Plan {
    pub backup: Listed,
    /// What is there now.
    pub present: Vec<pb::State>,
    /// What changes, in words for people.
    pub changes: Vec<String>,
    /// What is not put back, with the reason.
    pub left_out: Vec<String>,
}

/// What the registry was last heard to say.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// Its epoch; 0: nothing was heard yet.
    pub epoch: u64,
    /// Who is there.
    pub instances: Vec<InstanceStatus>,
}

/// What the registry is heard to say.
pub type Members = dyn Fn() -> Heard + Send + Sync;

/// An archive whose every part was looked at by the service that it is for.
struct Checked {
    listed: Listed,
    opened: Opened,
    changes: Vec<String>,
    present: Vec<pb::State>,
}

impl Backups {
    /// Looks at everything and touches nothing.
    ///
    /// # Errors
    /// It could not be restored.
    pub async fn plan(
        &self,
        permit: &Permit,
        meant: &str,
        adopt: bool,
        steps: &mut Steps,
    ) -> Result<Plan, Error> {
        let checked = self.check(permit, meant, adopt, steps).await?;
        let mut left_out = vec![
            "instances: every process that runs has registered itself, and the \
            others are not there"
                .to_owned(),
        ];
        if checked.opened.manifest.has_pki() {
            left_out.push(
                "the PKI: `shoal backup restore-pki FILE` takes it out, with the identity \
                    file that it is encrypted for"
                    .to_owned(),
            );
        }
        Ok(Plan {
            backup: checked.listed,
            present: checked.present,
            changes: checked.changes,
            left_out,
        })
    }

    async fn check(
        &self,
        _: &Permit,
        meant: &str,
        adopt: bool,
        steps: &mut Steps,
    ) -> Result<Checked, Error> {
        let list = self.list().await?;
        let listed = find(&list.backups, meant)?.clone();
        let Some((store, _)) = listed.places.first().cloned() else {
            return Err(Error::Defect("a backup that is nowhere".to_owned()));
        };
        steps.begin(format!("verify backup {}", listed.id)).await;
        let opened = self.open(&listed, &store, true, steps).await?;
        steps.done(format!("{} bytes are what they were", opened.size)).await;

        steps.begin("compare it with what is there").await;
        let mut present = Vec::new();
        for stateful in &self.tools().services {
            present.push(stateful.describe().await?);
        }
        let ours = present
            .iter()
            .find(|state| state.service == Service::Registry.as_str())
            .map_or("", |state| &state.cluster_id);
        belongs(&opened.manifest, ours, &self.tools().authorities, adopt)?;
        let mut changes = Vec::new();
        for (stateful, present) in self.tools().services.iter().zip(&present) {
            let (header, parcel) = part(&opened, stateful.service())?;
            let header =
                ImportHeader { check_only: true, expected: present.fingerprint.clone(), ..header };
            changes.extend(stateful.import(header, &parcel).await?.changes);
        }
        steps.done(format!("it can be restored; changes: {}", changes.len())).await;
        Ok(Checked { listed: self.listed(&listed.id).await?, opened, changes, present })
    }

    /// Puts everything back; answers the backup of what was there before. `expected` is the SHA-256
    /// that was planned with.
    ///
    /// # Errors
    /// Before anything was touched, except [`Error::Half`].
    pub async fn restore(
        &self,
        permit: &Permit,
        wanted: (&str, &str, bool),
        by: &str,
        members: &Members,
        steps: &mut Steps,
    ) -> Result<Listed, Error> {
        let restored = self.put_back(permit, wanted, by, members, steps).await;
        metrics::restored(restored.is_ok());
        if let Err(failed) = &restored {
            tracing::error!("not restored: {failed}");
        }
        restored
    }

    async fn put_back(
        &self,
        permit: &Permit,
        (id, expected, adopt): (&str, &str, bool),
        by: &str,
        members: &Members,
        steps: &mut Steps,
    ) -> Result<Listed, Error> {
        let checked = self.check(permit, id, adopt, steps).await?;
        if checked.opened.sha256 != expected {
            return Err(Error::Changed(checked.listed.id));
        }
        let before = self.create(permit, Reason::BeforeRestore, by, steps).await?;
        let after_epoch = self.highest_epoch(&checked, members().epoch).await?;
        let mut done: Vec<String> = Vec::new();
        let mut epoch = 0;
        for (stateful, present) in self.tools().services.iter().zip(&checked.present) {
            let service = stateful.service();
            steps.begin(format!("restore {service}")).await;
            let (header, parcel) = part(&checked.opened, service)?;
            // What was looked at, and is in the backup that was just made, is what is replaced.
            let header =
                ImportHeader { expected: present.fingerprint.clone(), after_epoch, ..header };
            let answer =
                stateful.import(header, &parcel).await.map_err(|source| match done.as_slice() {
                    [] => Error::First(source),
                    done => Error::Half {
                        service,
                        source: Box::new(source),
                        done: done.join(", "),
                        before: before.id.clone(),
                    },
                })?;
            let state = answer.state.unwrap_or_default();
            // The others only say what they have heard of it.
            if service == Service::Registry {
                epoch = state.epoch;
            }
            steps.done(counted(&state)).await;
            done.push(service.to_string());
        }
        let released = checked
            .opened
            .manifest
            .parts
            .get(Service::ConfigService.as_str())
            .and_then(|part| part.facts.get("released revision"));
        self.followed_by_all(epoch, released.map_or("", String::as_str), members, steps).await;
        tracing::warn!(id = checked.listed.id, before = before.id, "restored");
        Ok(before)
    }

    /// The highest epoch that anybody remembers. A registry that was made anew counts from one, and
    /// a backup may be older than the restore before the last.
    async fn highest_epoch(&self, checked: &Checked, heard: u64) -> Result<u64, Error> {
        let backups = self.list().await?.backups;
        let manifests = backups.iter().filter_map(|backup| backup.manifest.as_ref().ok());
        let kept = manifests
            .filter(|manifest| manifest.cluster_id == checked.opened.manifest.cluster_id)
            .map(|manifest| manifest.epoch);
        Ok(kept.chain(checked.present.iter().map(|state| state.epoch)).fold(heard, u64::max))
    }

    /// Waits until every process that is well has heard of it and runs what is released. Not
    /// everybody having come round yet undoes nothing.
    async fn followed_by_all(
        &self,
        epoch: u64,
        released: &str,
        members: &Members,
        steps: &mut Steps,
    ) {
        steps.begin("wait until every process follows").await;
        // `3 (8a1c…)`: the id is what processes report.
        let released = released.split_once('(').map_or("", |(_, id)| id.trim_end_matches(')'));
        let deadline = Instant::now() + FOLLOWED_WITHIN;
        loop {
            let Heard { epoch: heard, instances } = members();
            let well =
                |status: &&InstanceStatus| !matches!(status.state, State::Lost | State::Critical);
            let following: Vec<_> = instances
                .iter()
                .filter(|status| FOLLOWERS.contains(&status.instance.service))
                .filter(well)
                .collect();
            let ready = following
                .iter()
                .filter(|status| {
                    released.is_empty() || status.instance.applied_revision == released
                })
                .count();
            if heard == epoch && ready == following.len() && ready > 0 {
                return steps
                    .done(format!("epoch {epoch}, revision {released} on all {ready} processes"))
                    .await;
            }
            if Instant::now() >= deadline {
                let text = format!(
                    "revision {released} on {ready} of {} processes so far: see `shoal config \
                     drift`",
                    following.len()
                );
                return steps.done(text).await;
            }
            steps.progress(ready as u64, following.len() as u64);
            sleep(LOOK_EVERY).await;
        }
    }
}

/// What one service is sent.
fn part(
    opened: &Opened,
    service: Service,
) -> Result<(ImportHeader, chassis::transfer::Parcel), Error> {
    let manifest = &opened.manifest;
    let lacks = || crate::archive::Error::Damaged(format!("it has nothing of the {service}"));
    let refused = |refused| Error::Archive(manifest.id.clone(), refused);
    let part = manifest.parts.get(service.as_str()).ok_or_else(|| refused(lacks()))?;
    let parcel = opened.parts.get(service.as_str()).ok_or_else(|| refused(lacks()))?;
    let state = pb::State {
        service: service.to_string(),
        format: part.format,
        cluster_id: manifest.cluster_id.clone(),
        epoch: manifest.epoch,
        taken_at: Some(cluster::wire::timestamp(part.taken_at)),
        counts: part.counts.clone(),
        facts: part.facts.clone(),
        fingerprint: String::new(),
    };
    Ok((
        ImportHeader {
            state: Some(state),
            cluster_id: manifest.cluster_id.clone(),
            ..ImportHeader::default()
        },
        parcel.clone(),
    ))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn whose_backup_it_is() {
        let manifest = Manifest {
            format: 1,
            id: "one".to_owned(),
            created_at: Timestamp::UNIX_EPOCH,
            created_by: String::new(),
            reason: Reason::AskedFor,
            version: String::new(),
            cluster_id: "a".to_owned(),
            epoch: 1,
            authorities: vec!["old".to_owned(), "new".to_owned()],
            parts: Default::default(),
            entries: Vec::new(),
        };
        for (cluster_id, authorities, adopt, ours) in [
            ("a", &["other"][..], false, true),
            // The registry was wiped, and the PKI is the same, or the renewed one of two.
            ("b", &["new"], false, true),
            ("b", &["newer", "new"], false, true),
            ("b", &["other"], false, false),
            ("b", &[], false, false),
            ("b", &["other"], true, true),
        ] {
            let authorities: Vec<_> = authorities.iter().map(|one| (*one).to_owned()).collect();
            let found = belongs(&manifest, cluster_id, &authorities, adopt);
            assert_eq!(found.is_ok(), ours, "{cluster_id} {authorities:?} {adopt}");
            if let Err(foreign) = found {
                assert!(
                    foreign.to_string().contains("is of cluster a, and this is cluster b")
                        && foreign.to_string().contains("--adopt")
                );
            }
        }
    }
}
