//! Subscribe: the nodes' side. Hello, then assignments down and acknowledgements up.

use super::{Api, refuse, wire};
use crate::publish::{ASSIGNMENTS, Assignment, Command, Handle, Hello, Session};
use crate::rollout::{Key, Target};
use chassis::{Peer, StopSignal};
use cluster::Service;
use futures::{StreamExt, stream, stream::BoxStream};
use proto::config as pb;
use proto::config::subscribe_request::Message;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tonic::{Request, Status, Streaming};

/// From the beginning of the call to the hello.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// More would be an attack.
const MOST_ENTRIES: usize = 1000;
/// A uuid is shorter.
const LONGEST_ID: usize = 128;

type Stream = BoxStream<'static, Result<pb::SubscribeResponse, Status>>;

pub(super) async fn subscribe(
    api: &Api,
    request: Request<Streaming<pb::SubscribeRequest>>,
) -> Result<Stream, Status> {
    let peer = Peer::of(&request);
    let mut inbound = request.into_inner();
    let late = |_| Status::deadline_exceeded("no hello came");
    let first = timeout(HELLO_WITHIN, inbound.message()).await.map_err(late)??;
    let Some(pb::SubscribeRequest { message: Some(Message::Hello(hello)) }) = first else {
        return Err(Status::invalid_argument("a subscription begins with a hello"));
    };
    let (sender, assignments) = mpsc::channel(ASSIGNMENTS);
    let hello = read_hello(hello, &peer, sender)?;
    let key = hello.key.clone();
    let session =
        api.owner.ask(|answer| Command::Hello(hello, answer)).await.map_err(refuse::rollout)?;
    tracing::info!(service = key.service, name = key.name, "subscribed");
    // Ends with the inbound stream, with the session, or with the service: whichever comes first.
    tokio::spawn(attend(api.owner.clone(), key, session, inbound, api.stop.clone()));
    Ok(outbound(assignments, api.stop.clone()))
}

fn read_hello(
    hello: pb::Hello,
    peer: &Peer,
    assignments: mpsc::Sender<Assignment>,
) -> Result<Hello, Status> {
    let service: Service =
        hello.service.parse().map_err(|error: cluster::instance::UnknownService| {
            Status::invalid_argument(error.to_string())
        })?;
    if !peer.is_service(service) || !peer.may_be_named(&hello.name) {
        return Err(Status::permission_denied(format!(
            "{peer} may not subscribe as {service} {}",
            hello.name
        )));
    }
    if hello.name.is_empty()
        || hello.id.len() > LONGEST_ID
        || hello.variables.len() > MOST_ENTRIES
        || hello.rejected_hashes.len() > MOST_ENTRIES
    {
        return Err(Status::invalid_argument(
            "the hello has no name, a long id, or too many entries",
        ));
    }
    let mut variables: cluster_config::Variables = hello.variables.into_iter().collect();
    variables.entry("name".to_owned()).or_insert_with(|| hello.name.clone());
    variables.entry("service".to_owned()).or_insert_with(|| hello.service.clone());
    for name in ["datacenter", "zone", "tags"] {
        variables.entry(name.to_owned()).or_default();
    }
    Ok(Hello {
        key: Key { service: hello.service, name: hello.name },
        variables,
        process: hello.id,
        applied: hello.applied.and_then(wire::read_applied),
        rejected: hello.rejected_hashes.into_iter().collect(),
        assignments,
    })
}

/// Listens to a subscriber to the end of its session, and says then that it is gone, whatever the
/// end was.
async fn attend<S>(owner: Handle, key: Key, session: Session, inbound: S, stop: StopSignal)
where
    S: futures::Stream<Item = Result<pb::SubscribeRequest, Status>> + Unpin,
{
    let Session { number, over } = session;
    chassis::supervise::once("subscription", listen(&owner, &key, number, over, inbound, stop))
        .await;
    tracing::info!(service = key.service, name = key.name, "no longer subscribed");
    // It fails only when the owner has ended, and the sessions with it.
    owner.tell(Command::Gone(key, number)).await.unwrap_or_default();
}

async fn listen<S>(
    owner: &Handle,
    key: &Key,
    number: u64,
    mut over: oneshot::Receiver<()>,
    mut inbound: S,
    stop: StopSignal,
) where
    S: futures::Stream<Item = Result<pb::SubscribeRequest, Status>> + Unpin,
{
    loop {
        let message = tokio::select! {
            () = stop.wait() => break,
            _ = &mut over => break,
            message = inbound.next() => message,
        };
        let command = match message {
            Some(Ok(pb::SubscribeRequest { message: Some(message) })) => read(key, number, message),
            Some(Ok(_)) => None,
            None | Some(Err(_)) => break,
        };
        if let Some(command) = command
            && owner.tell(command).await.is_err()
        {
            break;
        }
    }
}

/// A second hello, and what says nothing, is passed over.
fn read(key: &Key, session: u64, message: Message) -> Option<Command> {
    match message {
        Message::Hello(_) => None,
        Message::Applied(applied) => {
            Some(Command::Applied(key.clone(), session, wire::read_applied(applied)?))
        }
        Message::Acknowledgement(answer) => {
            let target = Target { revision: answer.revision, hash: answer.hash };
            let problems = answer.problems.into_iter().map(wire::read_problem).collect();
            Some(Command::Acknowledged(key.clone(), session, target, problems))
        }
    }
}

fn outbound(assignments: mpsc::Receiver<Assignment>, stop: StopSignal) -> Stream {
    let step = |(mut assignments, stop): (mpsc::Receiver<Assignment>, StopSignal)| async move {
        let assignment = tokio::select! {
            () = stop.wait() => None,
            assignment = assignments.recv() => assignment,
        }?;
        Some((
            Ok(pb::SubscribeResponse { assignment: Some(wire::assignment(&assignment)) }),
            (assignments, stop),
        ))
    };
    stream::unfold((assignments, stop), step).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_subscription_that_panics_is_reported_as_gone() {
        let (owner, mut commands) = Handle::new();
        let (_end, over) = oneshot::channel();
        let key = Key { service: "proxy-node".to_owned(), name: "proxy-node-1".to_owned() };
        let inbound = stream::poll_fn(|_| panic!("a stream panics (expected by this test)"));
        attend(owner, key.clone(), Session { number: 7, over }, inbound, StopSignal::default())
            .await;
        assert!(matches!(commands.try_recv(), Ok(Command::Gone(gone, 7)) if gone == key));
    }
}
