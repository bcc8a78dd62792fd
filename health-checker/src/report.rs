//! Opinions on their way to the registry: collected, sent together, repeated until they arrive or a
//! newer one replaces them.

use std::{collections::BTreeMap, time::Duration};

use chassis::connect::ServiceChannel;
use cluster::Opinion;
use metrics::counter;
use proto::registry::{ReportOpinionsRequest, registry_client::RegistryClient};
use tokio::{sync::mpsc, time::timeout};
use tonic::Request;

use crate::{metrics as names, targets::Key};

/// Opinions that arrive within this time travel together.
const GATHER: Duration = Duration::from_millis(100);
/// Between two tries while the registry is out of reach.
const RETRY: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(5);

/// Sends what comes until the prober ends. Never more than one opinion of a check and target waits.
pub async fn run(channel: ServiceChannel, opinions: &mut mpsc::Receiver<Opinion>) {
    let mut client = RegistryClient::new(channel);
    let mut waiting: BTreeMap<Key, Opinion> = BTreeMap::new();
    let mut pause = GATHER;
    loop {
        if waiting.is_empty() {
            let Some(opinion) = opinions.recv().await else { return };
            waiting.insert((opinion.check.clone(), opinion.target_id), opinion);
        }
        let gathered = timeout(pause, async {
            while let Some(opinion) = opinions.recv().await {
                waiting.insert((opinion.check.clone(), opinion.target_id), opinion);
            }
        });
        let ended = gathered.await.is_ok();
        let mut request = Request::new(ReportOpinionsRequest {
            opinions: waiting.values().map(Into::into).collect(),
        });
        request.set_timeout(DEADLINE);
        pause = match timeout(DEADLINE, client.report_opinions(request)).await {
            Ok(Ok(_)) => {
                waiting.clear();
                GATHER
            }
            Ok(Err(status)) => failed(&status.to_string()),
            Err(_) => failed("no answer in time"),
        };
        if ended {
            return;
        }
    }
}

fn failed(why: &str) -> Duration {
    counter!(names::FAILED_REPORTS).increment(1);
    tracing::warn!(why, "the registry did not take the opinions; they are sent again");
    RETRY
}
