//! Subscribes to the config-service and acknowledges what it assigns.

use std::{sync::Arc, time::Duration};

use cluster::Service;
use proto::config::{
    Acknowledgement, SubscribeRequest, config_service_client::ConfigServiceClient,
    subscribe_request::Message,
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;

use super::{Problem, owner::Owner};
use crate::{
    connect::{ServiceChannel, explain},
    lifecycle::StopSignal,
    membership::Watch,
    metrics,
    retry::Retry,
};

/// How long the first membership may take before its absence is worth a line in the log.
const FIRST_HEARD: Duration = Duration::from_secs(2);
const CALL_WITHIN: Duration = Duration::from_secs(10);

/// Follows the config-service until the process stops.
pub(crate) async fn follow(
    owner: Arc<Owner>,
    channel: ServiceChannel,
    mut membership: Watch,
    stop: StopSignal,
) {
    let mut retry = Retry::new(Duration::from_millis(200), Duration::from_secs(5));
    if membership.borrow().addresses(Service::ConfigService, "grpc").is_empty() {
        // A first start: nothing is wrong yet with a config-service that nobody has told of.
        tokio::select! {
            () = stop.wait() => return,
            () = membership.moved(Service::ConfigService) => {}
            () = tokio::time::sleep(FIRST_HEARD) => {}
        }
    }
    loop {
        let ended = tokio::select! {
            () = stop.wait() => return,
            // What is being applied goes on to its end; the new hello tells what came of it.
            () = owner.forgiven() => continue,
            ended = once(&owner, &channel, &mut retry) => ended,
        };
        metrics::flag(metrics::CONFIGURATION_LIVE, false);
        let pause = retry.failed(
            "the config-service is not followed now, the configuration in force stays",
            &ended,
        );
        tokio::select! {
            () = stop.wait() => return,
            () = tokio::time::sleep(pause) => {}
            () = membership.moved(Service::ConfigService) => {}
        }
    }
}

/// One subscription, to its end.
async fn once(owner: &Arc<Owner>, channel: &ServiceChannel, retry: &mut Retry) -> String {
    let (answers, requests) = mpsc::channel(8);
    let gone = "the config-service ended the stream";
    if answers.send(owner.hello()).await.is_err() {
        return gone.to_owned();
    }
    let mut client = ConfigServiceClient::new(channel.clone()).max_decoding_message_size(64 << 20);
    let mut stream =
        match timeout(CALL_WITHIN, client.subscribe(ReceiverStream::new(requests))).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return explain(&status),
            Err(_) => return "the config-service does not answer".to_owned(),
        };
    metrics::flag(metrics::CONFIGURATION_LIVE, true);
    loop {
        // No deadline here: nothing has to come. HTTP/2 pings find a dead peer.
        let assignment = match stream.message().await {
            Ok(Some(message)) => message.assignment,
            Ok(None) => return gone.to_owned(),
            Err(status) => return explain(&status),
        };
        retry.well();
        let Some(assignment) = assignment else { continue };
        let (revision, hash) = (assignment.revision.clone(), assignment.hash.clone());
        let refused = owner.take(channel, assignment).await.err().unwrap_or_default();
        report(&revision, &refused.problems);
        let acknowledgement = Acknowledgement { revision, hash, problems: refused.to_wire() };
        let answer = SubscribeRequest { message: Some(Message::Acknowledgement(acknowledgement)) };
        match timeout(CALL_WITHIN, answers.send(answer)).await {
            Ok(Ok(())) => {}
            _ => return gone.to_owned(),
        }
    }
}

fn report(revision: &str, problems: &[Problem]) {
    let result = if problems.is_empty() { "applied" } else { "rejected" };
    ::metrics::counter!(metrics::CONFIGURATIONS, "result" => result).increment(1);
    match problems.first() {
        None => tracing::info!(revision, "configuration applied"),
        Some(first) => {
            tracing::error!(
                revision,
                problems = problems.len(),
                "configuration rejected, the one in force stays: {}",
                first.message
            );
        }
    }
}
