//! The balancer's own checks and its probes of suspects, on the control runtime: never on a worker,
//! which a slow check could stall.
//!
//! A Shoal node is asked `OPTIONS *` with `Max-Forwards: 0` through its relay listener, which its
//! data path itself answers; another server has to accept a TCP connection, or to answer a request
//! ([`http`]). What an agent beside a server says is asked here, too ([`agent`]). A probe asks the
//! same on a fresh connection when a node that owes answers is silent.

mod agent;
mod http;

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use cluster_config::document::balancer::{Backend, OwnCheck};
use relay::head::{Limits, Progress, ResponseHead};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};

use crate::{
    evidence::{Fault, Seen},
    handshake, roster,
    server::{Protocol, Server},
    stats::Uptime,
};

/// The shortest time between two checks of one server, however impatient.
const SHORTEST: Duration = Duration::from_millis(200);
/// In which a node says how full it is, in percent.
const LOAD: &str = "Shoal-Load";
/// A server whose standing is about to change is checked this much more often.
const HURRY: u32 = 5;
/// While checks are switched off, the configuration is looked at again after so long.
const SWITCHED_OFF: Duration = Duration::from_secs(1);

/// Why a server did not pass.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection was not made.
    #[error("connect to {address}: {error}")]
    Connect { address: std::net::SocketAddr, error: std::io::Error },
    /// The connection broke.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It did not prove that it holds the cluster key.
    #[error(
        "it did not prove that it is this node: it has another cluster key, another name, or \
         another version"
    )]
    Unproven,
    /// It closed before it had answered.
    #[error("closed without an answer")]
    Closed,
    /// It answered with something that is no HTTP.
    #[error("malformed answer: {0}")]
    Malformed(#[from] relay::malformed::Malformed),
    /// It answered that it is not well.
    #[error("answered {0}")]
    Status(u16),
    /// Its answer has not what it has to have.
    #[error("its answer does not contain {0:?}")]
    Body(String),
    /// Nothing within the time allowed.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
}

/// Checks one server for as long as it is in the roster.
pub async fn follow(backend: String, server: Arc<Server>, roster: roster::Handle) {
    let run = || {
        let (backend, server, roster) = (backend.clone(), Arc::clone(&server), roster.clone());
        async move {
            tokio::join!(
                rounds(&backend, &server, &roster),
                agent::rounds(&backend, &server, &roster)
            );
        }
    };
    chassis::supervise::run("check", chassis::StopSignal::default(), run).await;
}

async fn rounds(backend: &str, server: &Server, roster: &roster::Handle) {
    loop {
        // Read anew each time: the settings change under a server that stays.
        let settings = roster.snapshot().pool(backend).map(|pool| Arc::clone(&pool.settings));
        let paused = server.tally.checks.paused.load(Relaxed);
        let Some(check) =
            settings.as_ref().map(|it| &it.check).filter(|check| check.enabled && !paused)
        else {
            // Not yet published, or switched off.
            let number = roster.snapshot().number;
            if tokio::time::timeout(SWITCHED_OFF, roster.newer_than(number)).await == Ok(false) {
                return;
            }
            continue;
        };
        let began = tokio::time::Instant::now();
        let seen = match check_once(server, check).await {
            Ok(()) => Seen::Passed,
            Err(error) => Seen::Failed(Fault::Check(error.to_string())),
        };
        let failed = seen != Seen::Passed;
        roster.observe(server.key, seen);
        let inter = match failed || server.signs.is_in_transition() {
            true if server.signs.is_down() => check.downinter,
            true => check.fastinter,
            false => check.inter,
        };
        // Documents of the version before do not say the first two.
        let inter = if inter.is_zero() { check.inter / HURRY } else { inter };
        tokio::time::sleep_until(began + inter.max(SHORTEST)).await;
    }
}

async fn check_once(server: &Server, check: &OwnCheck) -> Result<(), Error> {
    let within = check.timeout;
    let asked = async {
        if !server.protocol.is_relay() {
            return match &check.http {
                Some(check) => http::ask(server, check).await,
                None => connect(server).await.map(drop),
            };
        }
        let (status, load) = ask(server).await?;
        server.signs.set_load(load);
        match status {
            200..=299 => Ok(()),
            status => Err(Error::Status(status)),
        }
    };
    tokio::time::timeout(within, asked).await.unwrap_or(Err(Error::Timeout(within)))
}

async fn connect(server: &Server) -> Result<TcpStream, Error> {
    let address = server.address;
    TcpStream::connect(address).await.map_err(|error| Error::Connect { address, error })
}

/// Asks a node's data path for a sign of life; the status of its answer, and how full the node says
/// that it is.
async fn ask(server: &Server) -> Result<(u16, Option<u8>), Error> {
    let mut stream = connect(server).await?;
    let mut request = match &server.protocol {
        Protocol::Relay { key } => {
            handshake::begin(&mut stream, key, &server.name).await?.ok_or(Error::Unproven)?
        }
        Protocol::Plain => Vec::new(),
    };
    request.extend_from_slice(b"OPTIONS * HTTP/1.1\r\nHost: ");
    request.extend_from_slice(server.address.to_string().as_bytes());
    request.extend_from_slice(b"\r\nMax-Forwards: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(&request).await?;
    let (mut head, mut bytes, limits) =
        (ResponseHead::new(), Vec::with_capacity(512), Limits::default());
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(Error::Closed);
        }
        if let Progress::Complete(_) = head.parse(&bytes, &limits)? {
            let told = head.view(&bytes).lines().named(LOAD).next();
            let load = told.and_then(|told| std::str::from_utf8(told).ok()?.parse().ok());
            return Ok((head.status(), load));
        }
    }
}

/// A worker's wish to have a late server probed.
#[derive(Clone, Debug)]
pub struct Suspect {
    pub server: Arc<Server>,
    pub settings: Arc<Backend>,
}

/// Probes suspects until nobody can name one any more. Whoever sends one has taken
/// [`crate::server::Signs::begin_probe`].
pub async fn probe_suspects(
    suspects: &mut mpsc::Receiver<Suspect>,
    roster: &roster::Handle,
    uptime: Uptime,
) {
    while let Some(suspect) = suspects.recv().await {
        let roster = roster.clone();
        tokio::spawn(async move {
            probe(&suspect, &roster, uptime).await;
        });
    }
}

/// Gives the right to probe back, also when the probing task panics.
struct Probing<'a>(&'a Server);

impl Drop for Probing<'_> {
    fn drop(&mut self) {
        self.0.signs.end_probe();
    }
}

async fn probe(suspect: &Suspect, roster: &roster::Handle, uptime: Uptime) {
    let (server, settings) = (&*suspect.server, &suspect.settings.suspicion);
    let _probing = Probing(server);
    for _ in 0..settings.probes.max(1) {
        // Any answer is a sign of life: the data path works, whatever it thinks of its own health.
        let answered = tokio::time::timeout(settings.probe_timeout, ask(server)).await;
        if matches!(answered, Ok(Ok(_))) {
            tracing::debug!(
                server = server.name,
                "late, but it answers a probe: its origins are slow"
            );
            server.signs.probe_answered(uptime, relay::clock::now());
            return;
        }
        metrics::counter!(crate::metrics::PROBES_UNANSWERED).increment(1);
    }
    roster.observe(server.key, Seen::Failed(Fault::Silent));
}
