//! Asks the agent beside a server what it says of it; what that means is in
//! [`crate::standing::agent`]. One that does not answer has said nothing: what it said last lasts,
//! as with HAProxy.

use std::{net::SocketAddr, sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{roster, server::Server};

/// As much of an answer as anybody reads.
const LONGEST: usize = 1024;
/// An agent that has not answered within this time has not answered.
const WITHIN: Duration = Duration::from_secs(2);

/// How often it is looked whether an operator has the questions go on.
const PAUSED: Duration = Duration::from_millis(200);

/// For as long as the server is in the roster.
pub(super) async fn rounds(backend: &str, server: &Server, roster: &roster::Handle) {
    let mut asked = false;
    loop {
        let snapshot = roster.snapshot();
        let agent = snapshot.pool(backend).and_then(|pool| pool.settings.agent_check.clone());
        if agent.is_some() && server.tally.checks.agent_paused.load(Relaxed) {
            sleep(PAUSED).await;
            continue;
        }
        let Some(agent) = agent else {
            if std::mem::take(&mut asked) {
                roster.agent_said(server.key, None).await;
            }
            if !roster.newer_than(snapshot.number).await {
                return;
            }
            continue;
        };
        asked = true;
        let began = Instant::now();
        let address = SocketAddr::new(server.address.ip(), agent.port);
        match timeout(agent.inter.min(WITHIN), ask(address)).await {
            Ok(Ok(line)) => roster.agent_said(server.key, Some(line)).await,
            Ok(Err(error)) => {
                tracing::debug!(server = server.name, "no word of its agent: {error}")
            }
            Err(_) => tracing::debug!(server = server.name, "no word of its agent in time"),
        }
        sleep_until(began + agent.inter.max(super::SHORTEST)).await;
    }
}

/// The first line of what it says.
async fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let mut bytes = Vec::with_capacity(64);
    while bytes.len() < LONGEST && !bytes.contains(&b'\n') {
        if stream.read_buf(&mut bytes).await? == 0 {
            break;
        }
    }
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(String::from_utf8_lossy(&line[..line.len().min(LONGEST)]).into_owned())
}
