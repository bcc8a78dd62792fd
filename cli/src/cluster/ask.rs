//! Asking: a deadline and a readable failure for every rpc, of one process or of many.

use std::{future::Future, time::Duration};

use anyhow::{Result, anyhow};
use chassis::connect::explain;
use cluster::InstanceStatus;
use futures::StreamExt;
use tonic::{Code, Response, Status};

/// Longest wait for one answer.
pub const ANSWER: Duration = Duration::from_secs(10);

/// What several instances answered.
pub struct Answers<T> {
    /// By name, of those that answered.
    pub given: Vec<(String, T)>,
    /// A failure that tells of the others, if any.
    pub verdict: Result<()>,
}

/// Asks every one of `instances`.
///
/// # Errors
/// None of them answered.
pub async fn ask_all<T>(
    instances: &[InstanceStatus],
    ask: impl AsyncFn(&InstanceStatus) -> Result<T>,
) -> Result<Answers<T>> {
    let (mut given, mut failures) = (Vec::new(), Vec::new());
    for status in instances {
        match ask(status).await {
            Ok(answer) => given.push((status.instance.name.clone(), answer)),
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    let failed = failures.len();
    failures.dedup();
    let failure = || anyhow!("{}", failures.join("; "));
    match failed {
        0 => Ok(Answers { given, verdict: Ok(()) }),
        _ if given.is_empty() => Err(failure()),
        _ => Ok(Answers {
            given,
            verdict: Err(
                failure().context(format!("{failed} of {} did not answer", instances.len()))
            ),
        }),
    }
}

/// Instances asked at the same time.
const AT_ONCE: usize = 64;

/// Asks every one of `instances` at the same time, each for at most `within`, so that one that is
/// frozen holds nobody up. The answers come by name.
pub async fn ask_together<T>(
    instances: &[InstanceStatus],
    within: Duration,
    ask: impl AsyncFn(&InstanceStatus) -> Result<Result<Response<T>, Status>>,
) -> Vec<(String, Result<T>)> {
    let ask = &ask;
    let asking = instances.iter().map(|status| async move {
        let whom = &status.instance.name;
        let answer = match tokio::time::timeout(within, ask(status)).await {
            Ok(Ok(Ok(response))) => Ok(response.into_inner()),
            Ok(Ok(Err(status))) => Err(failed(whom, &status)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(anyhow!(
                "{whom} did not answer within {} s: see `shoal status` and its log",
                within.as_secs()
            )),
        };
        (whom.clone(), answer)
    });
    let mut answers: Vec<_> =
        futures::stream::iter(asking).buffer_unordered(AT_ONCE).collect().await;
    answers.sort_by(|(one, _), (other, _)| one.cmp(other));
    answers
}

/// Waits for one answer, at most [`ANSWER`].
///
/// # Errors
/// `whom` refused or did not answer, in words for people.
pub async fn call<T>(
    whom: &str,
    answer: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T> {
    match tokio::time::timeout(ANSWER, answer).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(failed(whom, &status)),
        Err(_) => Err(silent(whom)),
    }
}

/// The failure of somebody who does not answer.
pub fn silent(whom: &str) -> anyhow::Error {
    anyhow!("{whom} did not answer within {} s: see `shoal status` and its log", ANSWER.as_secs())
}

/// What a refusal means for people.
pub fn failed(whom: &str, status: &Status) -> anyhow::Error {
    let said = status.message().trim_end_matches('.');
    match status.code() {
        // Who sends details was reached, and says itself what is wrong.
        Code::Unavailable if !status.details().is_empty() => anyhow!("{said}"),
        Code::Unavailable | Code::Unknown => {
            anyhow!(
                "{whom} cannot be reached ({}): see whether it runs (`shoal status`, its log)",
                explain(status)
            )
        }
        Code::DeadlineExceeded | Code::Cancelled => silent(whom),
        Code::PermissionDenied | Code::Unauthenticated => {
            anyhow!(
                "{whom} refuses this ({said}): use an operator's certificate (`shoal pki issue \
                 operator NAME`)"
            )
        }
        Code::Unimplemented => {
            anyhow!("{whom} does not know this command: it runs another version of Shoal")
        }
        _ => anyhow!("{said}"),
    }
}
