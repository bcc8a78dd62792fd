//! Whether a server has just died: asked when a tunnel or a response broke off, because a dead
//! server and a dead origin look the same then, and they are counted apart (invariant 3).

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use relay::{fault::Fault, stream::Stream, wheel::Kind, worker::Worker};

use crate::{
    evidence::{self, Seen},
    roster,
    server::Server,
};

/// How long what was seen is believed.
const BELIEVED_FOR: Duration = Duration::from_millis(200);
/// For one connection.
const CONNECT_WITHIN: Duration = Duration::from_millis(250);
/// A process that is being killed may close its listener last: a connection has to last this long.
const LASTS: Duration = Duration::from_millis(30);

/// What was last found out about a server, by one worker.
#[derive(Default)]
pub struct Last {
    /// When, and whether it was dead.
    found: Cell<Option<(Instant, bool)>>,
    /// Taken while somebody finds out.
    asking: tokio::sync::Mutex<()>,
}

/// Finds out. Many may ask at once: one connection answers all of them.
pub async fn is_dead(
    worker: &Worker,
    server: &Server,
    last: &Last,
    roster: &roster::Handle,
) -> bool {
    let _turn = last.asking.lock().await;
    if let Some((at, dead)) = last.found.get()
        && relay::clock::since(at) < BELIEVED_FOR
    {
        return dead;
    }
    let dead = match Stream::connect(worker, server.address, CONNECT_WITHIN).await {
        // A server that speaks first lives.
        Ok(mut stream) => {
            !matches!(stream.fill(Kind::Other, LASTS).await, Ok(1..) | Err(Fault::Timeout(_)))
        }
        // Nobody's fault but this process's.
        Err(Fault::Exhausted) => false,
        Err(_) => true,
    };
    last.found.set(Some((relay::clock::now(), dead)));
    if dead {
        roster.observe(server.key, Seen::Failed(evidence::Fault::Refused));
    }
    dead
}
