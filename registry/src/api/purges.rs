//! Purge, ListPurges and FollowPurges.
//!
//! A follower has a stream of its own beside that of the membership: the order of purges counts and
//! none may be left out, where a watcher of members hears the newest state of each alone; and it
//! answers, which a watch cannot. The node asks over this stream whether it has heard everything,
//! and so knows as of when it knows: what comes from the socket after a pause may be older.

use std::{sync::Arc, time::Duration};

use chassis::{Peer, Role, StopSignal, audit};
use cluster::{Service, wire};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use proto::registry as pb;
use tokio::{sync::watch, time::timeout};
use tonic::{Request, Status, Streaming};

use super::{Api, refuse, register::may_be_named, watches};
use crate::{
    command::{Command, Outcome},
    feed::Feed,
    handle, metrics,
    purge::{Logged, What},
    store::Identity,
};

/// Longest reason that is kept.
const MAX_REASON: usize = 1024;
/// Purges of one answer, where nothing else is asked for.
const LISTED: u32 = 100;
/// Purges of one message.
const BATCH: usize = 256;
/// A follower asks every second; one that says nothing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(30);
/// Outcomes that a follower tells at once.
const MOST_OUTCOMES: usize = 1024;
/// Bytes of what a follower says is wrong.
const MOST_PROBLEM: usize = 1024;

pub(super) async fn purge(
    api: &Api,
    request: Request<pb::PurgeRequest>,
) -> Result<pb::PurgeResponse, Status> {
    let peer = Peer::of(&request);
    let message = request.get_ref();
    if message.reason.len() > MAX_REASON {
        return Err(refuse::invalid("reason", "has more than 1024 bytes"));
    }
    let logged = Logged::asked(message.purge.as_ref(), peer.to_string(), message.reason.clone())
        .map_err(|problem| refuse::invalid("purge", problem))?;
    audit::note(&request, logged.describe());
    let of_a_node = peer
        .identity
        .as_ref()
        .is_some_and(|identity| identity.role == Role::Service(Service::ProxyNode));
    if of_a_node && !matches!(logged.what, What::Url(_)) {
        return Err(refuse::denied(
            "WRONG_ROLE",
            "a proxy-node may purge single URLs only".to_owned(),
        ));
    }
    let answer = api.handle.apply(Command::Purge(logged)).await;
    match answer.map_err(|failed| refuse::failed(&failed))?.outcome {
        Outcome::Purged { logged } => Ok(pb::PurgeResponse { logged: Some(told(&logged)) }),
        _ => Err(refuse::failed(&handle::Error::Busy)),
    }
}

pub(super) async fn list(
    api: &Api,
    request: &pb::ListPurgesRequest,
) -> Result<pb::ListPurgesResponse, Status> {
    // Once the store is replayed.
    api.handle.snapshot().await.map_err(|error| refuse::failed(&error))?;
    let feed = api.handle.feed();
    let (log, identity) = (feed.purges().log(), feed.identity());
    let limit = if request.limit == 0 { LISTED } else { request.limit };
    let followers = feed.purges().followers().into_iter().map(|(name, known)| pb::PurgeFollower {
        name,
        id: known.id,
        applied: known.applied,
        silent_for: Some(wire::duration(known.heard_at.elapsed())),
        connected: known.open > 0,
        outcomes: known.outcomes.into(),
    });
    Ok(pb::ListPurgesResponse {
        purges: log.iter().rev().take(limit as usize).map(|logged| told(logged)).collect(),
        newest: Some(place(&identity, log.newest())),
        reaches_back_to: log.floor(),
        followers: followers.collect(),
    })
}

fn told(logged: &Logged) -> pb::LoggedPurge {
    pb::LoggedPurge {
        position: logged.position,
        at: Some(wire::timestamp(logged.at)),
        purge: Some(logged.message()),
        by: logged.by.clone(),
        reason: logged.reason.clone(),
    }
}

fn place(identity: &Identity, position: u64) -> pb::PurgePlace {
    pb::PurgePlace { cluster_id: identity.cluster_id.to_string(), epoch: identity.epoch, position }
}

pub(super) fn follow(
    api: &Api,
    request: Request<Streaming<pb::FollowPurgesRequest>>,
) -> Result<BoxStream<'static, Result<pb::FollowPurgesResponse, Status>>, Status> {
    let peer = Peer::of(&request);
    let counted = api.watches.open(&peer).ok_or_else(|| refuse::too_many(watches::OF_ONE))?;
    let feed = Arc::clone(api.handle.feed());
    let line = Line {
        peer,
        changes: feed.purges().changes(),
        identity: feed.identity(),
        feed,
        handle: api.handle.clone(),
        closing: api.closing.clone(),
        inbound: request.into_inner(),
        follower: None,
        _open: metrics::Open::stream(metrics::PURGE_FOLLOWERS),
        _counted: counted,
    };
    let stream = stream::unfold(Some(line), |line| async {
        let mut line = line?;
        match line.next().await {
            Ok(Some(response)) => Some((Ok(response), Some(line))),
            Ok(None) => None,
            Err(status) => Some((Err(status), None)),
        }
    });
    Ok(stream.boxed())
}

/// One follower's stream.
struct Line {
    peer: Peer,
    feed: Arc<Feed>,
    handle: handle::Handle,
    closing: StopSignal,
    changes: watch::Receiver<u64>,
    /// Of the log that it follows.
    identity: Identity,
    inbound: Streaming<pb::FollowPurgesRequest>,
    follower: Option<Following>,
    _open: metrics::Open,
    _counted: watches::Watch,
}

/// What the first message was about; the others are about the same.
struct Following {
    feed: Arc<Feed>,
    name: String,
    id: String,
    /// Up to where it has been told; `None`: it has been told nothing yet, and where it was means
    /// nothing here.
    told: Option<u64>,
    /// A question that is not answered yet; 0: there is none.
    question: u64,
    /// It has something to hear, whatever the log says.
    begins: bool,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.feed.purges().closed(&self.name);
    }
}

impl Line {
    /// The next thing to say; `None` ends the stream well.
    async fn next(&mut self) -> Result<Option<pb::FollowPurgesResponse>, Status> {
        loop {
            if let Some(response) = self.response()? {
                return Ok(Some(response));
            }
            let following = self.follower.is_some();
            tokio::select! {
                message = timeout(PATIENCE, self.inbound.message()) => match message {
                    Ok(Ok(Some(message))) => self.hear(message).await?,
                    Ok(Ok(None)) => return Ok(None),
                    Ok(Err(status)) => return Err(status),
                    Err(_) => {
                        let silent = "no word for 30 s: open another stream";
                        return Err(Status::deadline_exceeded(silent));
                    }
                },
                // Its sender lives in the feed.
                _ = self.changes.changed(), if following => {}
                () = self.closing.wait() => {
                    return Err(Status::unavailable("the registry stops: follow again"));
                }
            }
        }
    }

    async fn hear(&mut self, message: pb::FollowPurgesRequest) -> Result<(), Status> {
        let name = wire::name(message.name).map_err(|problem| refuse::invalid("name", problem))?;
        if message.outcomes.len() > MOST_OUTCOMES {
            return Err(refuse::invalid("outcomes", "1024 are the most"));
        }
        let at = message.place.as_ref().filter(|place| self.is_here(place)).map(|it| it.position);
        if self.follower.is_none() {
            may_be_named(&self.peer, &name)?;
            // Before the store is replayed, the log is shorter than it is.
            self.handle.snapshot().await.map_err(|error| refuse::failed(&error))?;
            wire::id(&message.id).map_err(|problem| refuse::invalid("id", problem))?;
            if !self.feed.purges().opened(&name, &message.id) {
                return Err(Status::resource_exhausted("10,000 nodes follow the log already"));
            }
            self.follower = Some(Following {
                feed: Arc::clone(&self.feed),
                name: name.clone(),
                id: message.id.clone(),
                told: at,
                question: 0,
                begins: true,
            });
        }
        let Some(follower) = &mut self.follower else { return Ok(()) };
        if follower.name != name || follower.id != message.id {
            return Err(refuse::invalid("name", "one stream is about one node: open another"));
        }
        follower.question = follower.question.max(message.question);
        let mut outcomes = message.outcomes;
        for outcome in &mut outcomes {
            outcome.problem.truncate(outcome.problem.floor_char_boundary(MOST_PROBLEM));
        }
        let applied = at.unwrap_or(0);
        self.feed.purges().heard(&name, &message.id, applied, outcomes);
        Ok(())
    }

    fn is_here(&self, place: &pb::PurgePlace) -> bool {
        place.cluster_id == self.identity.cluster_id.to_string()
            && place.epoch == self.identity.epoch
    }

    /// What there is to say now, if anything.
    fn response(&mut self) -> Result<Option<pb::FollowPurgesResponse>, Status> {
        self.changes.borrow_and_update();
        if self.feed.identity() != self.identity {
            return Err(Status::unavailable("the registry was restored: follow again"));
        }
        let Some(follower) = &mut self.follower else { return Ok(None) };
        let log = self.feed.purges().log();
        let next = follower.told.and_then(|position| log.after(position, BATCH));
        let Some(next) = next else {
            // It goes on from where the log ends.
            let newest = log.newest();
            (follower.told, follower.begins) = (Some(newest), false);
            return Ok(Some(pb::FollowPurgesResponse {
                purges: Vec::new(),
                place: Some(place(&self.identity, newest)),
                gap: true,
                answers: std::mem::take(&mut follower.question),
            }));
        };
        if next.is_empty() && follower.question == 0 && !follower.begins {
            return Ok(None);
        }
        let position = next.last().map_or(follower.told.unwrap_or(0), |last| last.position);
        (follower.told, follower.begins) = (Some(position), false);
        let complete = position == log.newest();
        Ok(Some(pb::FollowPurgesResponse {
            purges: next.iter().map(|logged| told(logged)).collect(),
            place: Some(place(&self.identity, position)),
            gap: false,
            answers: if complete { std::mem::take(&mut follower.question) } else { 0 },
        }))
    }
}
