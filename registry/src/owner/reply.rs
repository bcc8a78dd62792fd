//! Answers: held until what they promise is on the disk and can be seen.

use cluster::InstanceStatus;
use tokio::sync::{oneshot, watch};

use super::Owned;
use crate::{
    command::{self, Outcome},
    handle::{self, Answer},
    membership::Holding,
    recollection::Recollection,
};

/// One thing to say once the batch is safe.
pub(super) enum Reply {
    Applied(
        oneshot::Sender<Result<Answer, handle::Error>>,
        Result<Outcome, command::Error>,
        Option<String>,
    ),
    Changed(oneshot::Sender<Result<InstanceStatus, handle::Error>>, Result<String, command::Error>),
    Followed(oneshot::Sender<Option<watch::Receiver<Holding>>>, String),
    Recollected(oneshot::Sender<Recollection>),
    /// It is done, or failed, already.
    Restored(oneshot::Sender<Result<Recollection, handle::Error>>, Result<(), handle::Error>),
}

impl Owned<'_> {
    /// Who does not wait for the answer any more does not get one.
    pub(super) fn reply(&mut self, reply: Reply, written: &Result<(), handle::Error>) {
        match reply {
            Reply::Applied(answer, result, name) => {
                let holding = name.and_then(|name| self.membership.holding(&name));
                let safe = result.map_err(handle::Error::from).and_then(|outcome| {
                    let needs_disk =
                        !matches!(outcome, Outcome::Renewed { .. } | Outcome::Reported { .. });
                    if needs_disk {
                        written.clone()?
                    }
                    Ok(Answer { outcome, holding })
                });
                drop(answer.send(safe));
            }
            Reply::Changed(answer, result) => {
                let status = |name: String| {
                    self.membership
                        .status(&name)
                        .ok_or(handle::Error::Refused(command::Error::Unknown { name }))
                };
                drop(
                    answer.send(
                        result
                            .map_err(handle::Error::from)
                            .and_then(|name| written.clone().and_then(|()| status(name))),
                    ),
                );
            }
            Reply::Followed(answer, name) => drop(answer.send(self.follow(name))),
            Reply::Recollected(answer) => {
                drop(answer.send(Recollection::of(&self.membership, self.feed.identity())))
            }
            Reply::Restored(answer, result) => {
                drop(answer.send(
                    result.map(|()| Recollection::of(&self.membership, self.feed.identity())),
                ));
            }
        }
    }
}
