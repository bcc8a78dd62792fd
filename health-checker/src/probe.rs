//! The probes themselves: each does to an instance what its users do, on a connection of its own,
//! under one deadline.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use chassis::probe::Signer;
use cluster_config::document::checks::{Check, Expect, Probe, ProbeUrl};
use tokio::time::timeout;

use crate::builtin;

mod connect;
mod http;
mod tcp;

/// What a probe needs to know besides its check.
#[derive(Clone, Debug)]
pub struct Target {
    /// The endpoint to probe, `host:port`.
    pub address: String,
    /// The built-in target as the probed instance reaches it.
    pub builtin: SocketAddr,
    /// Something that no cache can know.
    pub nonce: String,
    /// Signs what is asked of the built-in target.
    pub signer: Arc<Signer>,
}

impl Target {
    /// What shows a proxy that the built-in target may be asked for.
    fn proof(&self, wanted: &Wanted, method: &str, target: &str) -> Option<String> {
        wanted.body.is_some().then(|| self.signer.sign(method, target))
    }
}

/// Why a probe failed, in words for people.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("connect to {0}: {1}")]
    Connect(String, String),
    /// No answer, or a broken one.
    #[error("{0}")]
    Exchange(String),
    /// An answer that does not count as well.
    #[error("status {0} instead of {1}")]
    Status(u16, String),
    /// The built-in target was not who answered.
    #[error("the answer is not the built-in target's: it came from a cache or from somebody else")]
    ForeignAnswer,
    /// Nothing in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

/// Runs a check's probe once. The answer says, in words for people, what was found.
///
/// # Errors
/// What the instance did wrong.
pub async fn run(check: &Check, target: &Target) -> Result<String, Error> {
    let probe = async {
        match &check.probe {
            Probe::Tcp => tcp::probe(target).await,
            Probe::Http { path, expect } => http::direct(target, path, expect).await,
            Probe::Proxy { url, expect } => {
                http::proxied(target, &wanted(url, target), expect).await
            }
            Probe::Connect { url, expect } => {
                let wanted = wanted(url, target);
                // An https URL through a proxy is a CONNECT already.
                if wanted.url.starts_with("https://") {
                    http::proxied(target, &wanted, expect).await
                } else {
                    connect::probe(target, &wanted, expect).await
                }
            }
        }
    };
    timeout(check.timeout, probe).await.unwrap_or(Err(Error::TimedOut(check.timeout)))
}

/// A URL to ask for, and the body that proves who answered.
struct Wanted {
    url: String,
    body: Option<String>,
}

fn wanted(url: &ProbeUrl, target: &Target) -> Wanted {
    match url {
        ProbeUrl::BuiltIn => Wanted {
            url: builtin::url(target.builtin, &target.nonce),
            body: Some(target.nonce.clone()),
        },
        ProbeUrl::Url(url) => Wanted { url: url.clone(), body: None },
    }
}

fn judge(status: u16, expect: &Expect) -> Result<String, Error> {
    if expect.accepts(status) {
        return Ok(format!("status {status}"));
    }
    let ranges = expect.status.iter().map(|(first, last)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    });
    Err(Error::Status(status, ranges.collect::<Vec<_>>().join(", ")))
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    std::iter::once(error.to_string())
        .chain(causes.map(ToString::to_string))
        .collect::<Vec<_>>()
        .join(": ")
}
