//! The rpcs: wire types end here.

mod refuse;
mod wire;

use std::{pin::Pin, sync::Arc};

use chassis::{
    Peer, Policy, audit,
    authorize::{OPERATORS, PEOPLE, Rule},
};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use proto::backup::{self as pb, backup_service_server::BackupService};
use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status};

use crate::{
    archive::Reason,
    backups::{Backups, Permit},
    error::Error,
    restore::Members,
    steps::{QUEUE, Step, Steps},
};

/// Who may call what. A backup holds everything that operators may read; only they may make one,
/// look into it, or put it back.
pub static POLICY: Policy = Policy::new(&[
    Rule::write("/shoal.backup.v1.BackupService/CreateBackup", OPERATORS),
    Rule::read("/shoal.backup.v1.BackupService/ListBackups", PEOPLE),
    Rule::read("/shoal.backup.v1.BackupService/VerifyBackup", OPERATORS),
    Rule::read("/shoal.backup.v1.BackupService/PlanRestore", OPERATORS),
    Rule::write("/shoal.backup.v1.BackupService/Restore", OPERATORS),
]);

/// The longest id, in bytes.
const LONGEST: usize = 64;

/// The rpcs. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    pub backups: Backups,
    /// Who is there.
    pub members: Arc<Members>,
}

type Answers<T> = BoxStream<'static, Result<T, Status>>;
type Working<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

/// Begins something that goes on to its end even when nobody listens any more, and tells of it:
/// every step, then what came of it.
fn begin<T: Send + 'static, M: Send + 'static>(
    work: impl FnOnce(Steps) -> Working<T>,
    step: fn(Step) -> M,
    result: fn(T) -> M,
) -> Answers<M> {
    let (told, steps) = mpsc::channel(QUEUE);
    let (answer, answered) = oneshot::channel();
    let working = work(Steps::new(told));
    // A panic in it ends this stream, which its caller is told, and gives the permit back.
    tokio::spawn(async move {
        let came = working.await;
        // Who has gone is not told.
        drop(answer.send(came));
    });
    let steps =
        stream::unfold(steps, |mut steps| async { steps.recv().await.map(|step| (step, steps)) });
    let last = stream::once(async move {
        match answered.await {
            Ok(Ok(came)) => Ok(result(came)),
            Ok(Err(failed)) => Err(refuse::failed(&failed)),
            Err(_) => Err(Status::internal(
                "this is a defect, please report it: it ended without an answer; see the log",
            )),
        }
    });
    steps.map(move |told| Ok(step(told))).chain(last).boxed()
}

impl Api {
    fn try_permit(&self) -> Result<Permit, Status> {
        self.backups.try_permit().map_err(|failed| refuse::failed(&failed))
    }
}

fn meant(id: &str) -> Result<String, Status> {
    if id.len() > LONGEST {
        Err(Status::invalid_argument("this is too long for the id of a backup"))
    } else {
        Ok(id.to_owned())
    }
}

/// Tells of the failure as the last step, too.
async fn concluded<T>(steps: &Steps, came: Result<T, Error>) -> Result<T, Error> {
    if let Err(failed) = &came {
        steps.failed(failed.to_string()).await;
    }
    came
}

#[tonic::async_trait]
impl BackupService for Api {
    type CreateBackupStream = Answers<pb::CreateBackupResponse>;
    type VerifyBackupStream = Answers<pb::VerifyBackupResponse>;
    type PlanRestoreStream = Answers<pb::PlanRestoreResponse>;
    type RestoreStream = Answers<pb::RestoreResponse>;

    async fn create_backup(
        &self,
        request: Request<pb::CreateBackupRequest>,
    ) -> Result<Response<Self::CreateBackupStream>, Status> {
        let (backups, permit, by) =
            (self.backups.clone(), self.try_permit()?, Peer::of(&request).to_string());
        audit::note(&request, "what came of it is in the list of backups");
        let work = |mut steps: Steps| -> Working<_> {
            Box::pin(async move {
                let came = backups.create(&permit, Reason::AskedFor, &by, &mut steps).await;
                concluded(&steps, came).await
            })
        };
        let step = |step| pb::CreateBackupResponse { step: Some(wire::step(step)), backup: None };
        let result =
            |backup| pb::CreateBackupResponse { step: None, backup: Some(wire::backup(&backup)) };
        Ok(Response::new(begin(work, step, result)))
    }

    async fn list_backups(
        &self,
        _: Request<pb::ListBackupsRequest>,
    ) -> Result<Response<pb::ListBackupsResponse>, Status> {
        let list = self.backups.list().await.map_err(|failed| refuse::failed(&failed))?;
        Ok(Response::new(pb::ListBackupsResponse {
            backups: list.backups.iter().map(wire::backup).collect(),
            next_at: list.next_at.map(cluster::wire::timestamp),
            schedule: list.schedule.unwrap_or_default(),
            problems: list.problems,
        }))
    }

    async fn verify_backup(
        &self,
        request: Request<pb::VerifyBackupRequest>,
    ) -> Result<Response<Self::VerifyBackupStream>, Status> {
        let (backups, permit, meant) =
            (self.backups.clone(), self.try_permit()?, meant(&request.get_ref().backup)?);
        let work = |mut steps: Steps| -> Working<_> {
            Box::pin(async move {
                let came = backups.verify(&permit, &meant, &mut steps).await;
                concluded(&steps, came).await
            })
        };
        let step = |step| pb::VerifyBackupResponse { step: Some(wire::step(step)), backup: None };
        let result =
            |backup| pb::VerifyBackupResponse { step: None, backup: Some(wire::backup(&backup)) };
        Ok(Response::new(begin(work, step, result)))
    }

    async fn plan_restore(
        &self,
        request: Request<pb::PlanRestoreRequest>,
    ) -> Result<Response<Self::PlanRestoreStream>, Status> {
        let pb::PlanRestoreRequest { backup, adopt } = request.into_inner();
        let (backups, permit, meant) = (self.backups.clone(), self.try_permit()?, meant(&backup)?);
        let work = |mut steps: Steps| -> Working<_> {
            Box::pin(async move {
                let came = backups.plan(&permit, &meant, adopt, &mut steps).await;
                concluded(&steps, came).await
            })
        };
        let step = |step| pb::PlanRestoreResponse { step: Some(wire::step(step)), plan: None };
        let result = |plan| pb::PlanRestoreResponse { step: None, plan: Some(wire::plan(&plan)) };
        Ok(Response::new(begin(work, step, result)))
    }

    async fn restore(
        &self,
        request: Request<pb::RestoreRequest>,
    ) -> Result<Response<Self::RestoreStream>, Status> {
        let by = Peer::of(&request).to_string();
        let pb::RestoreRequest { backup, sha256, adopt } = request.get_ref().clone();
        audit::note(
            &request,
            format!("backup {backup}{}", if adopt { ", adopting another cluster's" } else { "" }),
        );
        let (backups, permit, meant, members) =
            (self.backups.clone(), self.try_permit()?, meant(&backup)?, Arc::clone(&self.members));
        let work = |mut steps: Steps| -> Working<_> {
            Box::pin(async move {
                let came = backups
                    .restore(&permit, (&meant, &sha256, adopt), &by, &*members, &mut steps)
                    .await;
                concluded(&steps, came).await
            })
        };
        let step = |step| pb::RestoreResponse { step: Some(wire::step(step)), before: None };
        let result =
            |before| pb::RestoreResponse { step: None, before: Some(wire::backup(&before)) };
        Ok(Response::new(begin(work, step, result)))
    }
}
