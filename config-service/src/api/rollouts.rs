//! StartRollout, ControlRollout, WatchRollout, GetDrift.

use super::revisions::{find, released};
use super::{Api, refuse, wire};
use crate::publish::Command;
use crate::revision::Name;
use crate::rollout::{Control, Key, Target};
use crate::store::Record;
use chassis::audit;
use futures::{StreamExt, stream, stream::BoxStream};
use proto::config as pb;
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::watch;
use tonic::{Request, Status};

async fn message(api: &Api, record: &Record) -> Result<pb::Rollout, Status> {
    let revision =
        api.store.find(&Name::Id(record.revision.clone())).await.map_err(refuse::store)?;
    let released = released(api).await?;
    Ok(wire::rollout(record, Some(wire::revision(&revision, released.as_deref()))))
}

pub(super) async fn start(
    api: &Api,
    request: Request<pb::StartRolloutRequest>,
) -> Result<pb::StartRolloutResponse, Status> {
    let revision = find(api, &request.get_ref().revision).await?;
    audit::note(&request, format!("revision {}", revision.id));
    let record = api
        .owner
        .ask(|answer| Command::Start(revision.id, answer))
        .await
        .and_then(|record| record)
        .map_err(refuse::rollout)?;
    Ok(pb::StartRolloutResponse { rollout: Some(message(api, &record).await?) })
}

pub(super) async fn control(
    api: &Api,
    request: Request<pb::ControlRolloutRequest>,
) -> Result<pb::ControlRolloutResponse, Status> {
    let asked = request.get_ref().clone();
    let control = match asked.action() {
        pb::RolloutAction::Pause => Control::Pause,
        pb::RolloutAction::Resume => Control::Resume,
        pb::RolloutAction::Abort => Control::Abort,
        pb::RolloutAction::Unspecified => {
            return Err(Status::invalid_argument("say which action: pause, resume or abort"));
        }
    };
    audit::note(&request, format!("{control:?} {}", asked.rollout_id));
    // Done already, by an earlier call whose answer was lost: the same answer again.
    if control == Control::Abort
        && let Some(record) =
            api.store.rollout(Some(&asked.rollout_id)).await.map_err(refuse::store)?
        && record.state == crate::rollout::State::Aborted
    {
        return Ok(pb::ControlRolloutResponse { rollout: Some(message(api, &record).await?) });
    }
    let record = api
        .owner
        .ask(|answer| Command::Control(asked.rollout_id, control, answer))
        .await
        .and_then(|record| record)
        .map_err(refuse::rollout)?;
    Ok(pb::ControlRolloutResponse { rollout: Some(message(api, &record).await?) })
}

type Stream = BoxStream<'static, Result<pb::WatchRolloutResponse, Status>>;

pub(super) async fn watch(api: &Api, request: pb::WatchRolloutRequest) -> Result<Stream, Status> {
    // Subscribed before asking, so that no change falls in between.
    let rollouts = api.owner.rollouts();
    let newest = api.owner.ask(Command::Newest).await.map_err(refuse::rollout)?.map(Arc::new);
    let id = match (&newest, request.rollout_id.as_str()) {
        (None, "") => return Err(Status::not_found("there was no rollout yet")),
        (Some(newest), "") => newest.id.clone(),
        (_, id) => id.to_owned(),
    };
    let first = match newest.filter(|newest| newest.id == id) {
        Some(record) => record,
        // An earlier one, which has ended.
        None => {
            let gone = || Status::not_found(format!("there is no rollout {id}"));
            Arc::new(api.store.rollout(Some(&id)).await.map_err(refuse::store)?.ok_or_else(gone)?)
        }
    };
    let state = Watching { api: api.clone(), rollouts, next: Some(first), over: false, id };
    Ok(stream::unfold(state, Watching::step).boxed())
}

struct Watching {
    api: Api,
    rollouts: watch::Receiver<Option<Arc<Record>>>,
    /// Known already, and not told yet.
    next: Option<Arc<Record>>,
    /// Nothing comes after what was told last.
    over: bool,
    id: String,
}

impl Watching {
    async fn step(mut self) -> Option<(Result<pb::WatchRolloutResponse, Status>, Self)> {
        let record = match self.next.take() {
            Some(known) => known,
            None if self.over => return None,
            None => self.change().await?,
        };
        self.over = !record.state.is_under_way();
        let answer = message(&self.api, &record)
            .await
            .map(|rollout| pb::WatchRolloutResponse { rollout: Some(rollout) });
        Some((answer, self))
    }
}

impl Watching {
    /// The next state of this rollout; none once another is the newest, or the service stops.
    async fn change(&mut self) -> Option<Arc<Record>> {
        let stop = self.api.stop.clone();
        tokio::select! {
            () = stop.wait() => None,
            changed = self.rollouts.changed() => {
                changed.ok()?;
                self.rollouts.borrow_and_update().clone().filter(|record| record.id == self.id)
            }
        }
    }
}

/// Subscribed nodes, and those that only the registry knows of.
pub(super) async fn drift(api: &Api) -> Result<pb::GetDriftResponse, Status> {
    let known = api.owner.ask(Command::Drift).await.map_err(refuse::rollout)?;
    let released = released(api).await?.unwrap_or_default();
    let part = |target: &Option<Target>| {
        target.clone().map(|target| (target.revision, target.hash)).unwrap_or_default()
    };
    let mut nodes: BTreeMap<Key, pb::Drift> = BTreeMap::new();
    for drift in known {
        let ((assigned_revision, assigned_hash), (applied_revision, applied_hash)) =
            (part(&drift.assigned), part(&drift.applied));
        let Key { service, name } = drift.key.clone();
        let (in_step, explanation) = (drift.in_step, drift.why.to_string());
        let cause = wire::drift_cause(&drift.why).into();
        let drift = pb::Drift {
            service,
            name,
            assigned_revision,
            applied_revision,
            assigned_hash,
            applied_hash,
            in_step,
            explanation,
            cause,
        };
        nodes.insert(Key { service: drift.service.clone(), name: drift.name.clone() }, drift);
    }
    for seen in (api.roster)() {
        let key = Key { service: seen.service.clone(), name: seen.name.clone() };
        nodes.entry(key).or_insert_with(|| pb::Drift {
            service: seen.service,
            name: seen.name,
            assigned_revision: released.clone(),
            applied_revision: seen.revision,
            assigned_hash: String::new(),
            applied_hash: seen.hash,
            in_step: false,
            explanation:
                "registered, but not subscribed here: it cannot reach the config-service, \
                or has not yet"
                    .to_owned(),
            cause: pb::Cause::NotConnected.into(),
        });
    }
    Ok(pb::GetDriftResponse { nodes: nodes.into_values().collect() })
}
