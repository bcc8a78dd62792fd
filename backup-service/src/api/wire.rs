//! Backups, steps and plans as messages.

use cluster::wire::timestamp;
use proto::{backup as pb, state};

use crate::{
    archive::{Manifest, Reason},
    catalog::Listed,
    restore::Plan,
    steps::{State, Step},
};

pub(super) fn step(step: Step) -> pb::Step {
    let state = match step.state {
        State::Running => pb::StepState::Running,
        State::Done => pb::StepState::Done,
        State::Failed => pb::StepState::Failed,
    };
    pb::Step {
        number: step.number,
        title: step.title,
        state: state.into(),
        detail: step.detail,
        done: step.done,
        total: step.total,
    }
}

pub(super) fn backup(listed: &Listed) -> pb::Backup {
    let condition = match (listed.problem(), &listed.note) {
        (Some(_), _) => pb::Condition::Damaged,
        (None, Some(_)) => pb::Condition::Verified,
        (None, None) => pb::Condition::Unverified,
    };
    let mut message = pb::Backup {
        id: listed.id.clone(),
        size: listed.size,
        sha256: listed.note.as_ref().map(|note| note.sha256.clone()).unwrap_or_default(),
        condition: condition.into(),
        verified_at: listed.note.as_ref().map(|note| timestamp(note.verified_at)),
        problem: listed.problem().unwrap_or_default().to_owned(),
        stores: listed.places.iter().map(|(store, _)| store.url.clone()).collect(),
        ..pb::Backup::default()
    };
    if let Ok(manifest) = &listed.manifest {
        fill(&mut message, manifest);
    }
    message
}

fn fill(message: &mut pb::Backup, manifest: &Manifest) {
    let reason = match manifest.reason {
        Reason::Scheduled => pb::Reason::Scheduled,
        Reason::AskedFor => pb::Reason::AskedFor,
        Reason::BeforeRestore => pb::Reason::BeforeRestore,
    };
    message.created_at = Some(timestamp(manifest.created_at));
    message.created_by.clone_from(&manifest.created_by);
    message.reason = reason.into();
    message.cluster_id.clone_from(&manifest.cluster_id);
    message.epoch = manifest.epoch;
    message.has_pki = manifest.has_pki();
    let part = |(service, part): (&String, &crate::archive::Part)| pb::Part {
        service: service.clone(),
        counts: part.counts.clone(),
        facts: part.facts.clone(),
        size: manifest.size_of(service),
    };
    message.parts = manifest.parts.iter().map(part).collect();
}

pub(super) fn plan(plan: &Plan) -> pb::Plan {
    let present = |state: &state::State| pb::Part {
        service: state.service.clone(),
        counts: state.counts.clone(),
        facts: state.facts.clone(),
        size: 0,
    };
    pb::Plan {
        backup: Some(backup(&plan.backup)),
        present: plan.present.iter().map(present).collect(),
        changes: plan.changes.clone(),
        left_out: plan.left_out.clone(),
    }
}
