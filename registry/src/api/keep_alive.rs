//! KeepAlive: every message renews the lease and is answered; what operators want is pushed as soon
//! as it changes.

use std::time::Duration;

use chassis::{Peer, StopSignal};
use cluster::{InstanceId, wire};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use proto::registry as pb;
use tokio::{sync::watch, time::timeout};
use tonic::{Request, Status, Streaming};

use super::{Api, refuse, register::may_be_named};
use crate::{
    command::{self, Command, Outcome, Renewal},
    handle::{self, Handle},
    membership::Holding,
    metrics,
};

/// Nobody holds a stream open for less than this without a word.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn keep_alive(
    api: &Api,
    request: Request<Streaming<pb::KeepAliveRequest>>,
) -> BoxStream<'static, Result<pb::KeepAliveResponse, Status>> {
    let peer = Peer::of(&request);
    let line = Line {
        peer,
        handle: api.handle.clone(),
        closing: api.closing.clone(),
        inbound: request.into_inner(),
        lease: None,
        _open: metrics::Open::stream(metrics::HOLDERS),
    };
    stream::unfold(Some(line), |line| async {
        let mut line = line?;
        match line.next().await {
            Ok(Some(response)) => Some((Ok(response), Some(line))),
            Ok(None) => None,
            Err(status) => Some((Err(status), None)),
        }
    })
    .boxed()
}

/// One instance's stream.
struct Line {
    peer: Peer,
    handle: Handle,
    closing: StopSignal,
    inbound: Streaming<pb::KeepAliveRequest>,
    lease: Option<Lease>,
    _open: metrics::Open,
}

/// What the first message was about; the others are about the same.
struct Lease {
    name: String,
    id: InstanceId,
    ttl: Duration,
    holding: watch::Receiver<Holding>,
}

enum Event {
    Message(Option<pb::KeepAliveRequest>),
    Silence,
    Changed,
    Closing,
}

impl Line {
    /// The next thing to say; `None` ends the stream well.
    async fn next(&mut self) -> Result<Option<pb::KeepAliveResponse>, Status> {
        match self.wait().await? {
            Event::Message(Some(message)) => self.renew(message).await.map(Some),
            Event::Message(None) => Ok(None),
            Event::Silence => {
                Err(Status::deadline_exceeded("no word for two leases: open another stream"))
            }
            Event::Changed => self.push().map(Some),
            Event::Closing => Err(Status::unavailable("the registry stops: open another stream")),
        }
    }

    async fn wait(&mut self) -> Result<Event, Status> {
        let patience = self.lease.as_ref().map_or(PATIENCE, |lease| PATIENCE.max(lease.ttl * 2));
        let changed = async {
            match self.lease.as_mut() {
                // A closed channel is a change too: nobody holds the name any more.
                Some(lease) => lease.holding.changed().await.is_ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            message = timeout(patience, self.inbound.message()) => match message {
                Ok(message) => Ok(Event::Message(message?)),
                Err(_) => Ok(Event::Silence),
            },
            _ = changed => Ok(Event::Changed),
            () = self.closing.wait() => Ok(Event::Closing),
        }
    }

    async fn renew(
        &mut self,
        message: pb::KeepAliveRequest,
    ) -> Result<pb::KeepAliveResponse, Status> {
        let renewal = self.read(message)?;
        let (name, id) = (renewal.name.clone(), renewal.id);
        let answer = self
            .handle
            .apply(Command::Renew(renewal))
            .await
            .map_err(|failed| refuse::failed(&failed))?;
        let Outcome::Renewed { ttl } = answer.outcome else {
            return Err(refuse::failed(&handle::Error::Busy));
        };
        match self.lease.as_mut() {
            Some(lease) => lease.ttl = ttl,
            None => {
                let followed = self
                    .handle
                    .follow(name.clone())
                    .await
                    .map_err(|failed| refuse::failed(&failed))?;
                let holding = followed.ok_or_else(|| {
                    refuse::failed(&command::Error::NotRegistered { name: name.clone() }.into())
                })?;
                self.lease = Some(Lease { name, id, ttl, holding });
            }
        }
        self.push()
    }

    fn read(&self, message: pb::KeepAliveRequest) -> Result<Renewal, Status> {
        let name = wire::name(message.name).map_err(|problem| refuse::invalid("name", problem))?;
        let id = wire::id(&message.id).map_err(|problem| refuse::invalid("id", problem))?;
        may_be_named(&self.peer, &name)?;
        if self.lease.as_ref().is_some_and(|lease| lease.name != name || lease.id != id) {
            return Err(refuse::invalid(
                "name",
                "one stream keeps one lease alive: open another for another instance",
            ));
        }
        for (field, text) in [
            ("applied_revision", &message.applied_revision),
            ("applied_hash", &message.applied_hash),
        ] {
            if text.len() > wire::MAX_NAME {
                return Err(refuse::invalid(field, "has more than 128 bytes"));
            }
        }
        let pb::KeepAliveRequest { generation, applied_revision, applied_hash, ready, .. } =
            message;
        Ok(Renewal { name, id, generation, applied_revision, applied_hash, ready })
    }

    /// What the instance has to know now.
    fn push(&mut self) -> Result<pb::KeepAliveResponse, Status> {
        let Some(lease) = self.lease.as_mut() else {
            return Err(refuse::failed(&handle::Error::Busy));
        };
        let gone = lease.holding.has_changed().is_err();
        let holding = *lease.holding.borrow_and_update();
        let name = lease.name.clone();
        if gone {
            return Err(refuse::failed(&command::Error::NotRegistered { name }.into()));
        }
        if holding.id != lease.id {
            return Err(refuse::failed(
                &command::Error::Superseded { name, holder: holding.id }.into(),
            ));
        }
        Ok(pb::KeepAliveResponse {
            lease_ttl: Some(wire::duration(lease.ttl)),
            admin_state: pb::AdminState::from(holding.admin_state).into(),
            effective_weight: holding.effective_weight,
        })
    }
}
