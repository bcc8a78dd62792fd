//! A tunnel between a client and an upstream, from its opening to the end of both connections.
//!
//! Nobody lingers here as after an answer. Where both sides have said their last, there is nothing
//! to read that could be lost. Where nothing has moved for the idle time, everything that was sent
//! has arrived long ago, or never will. Only a reset has something to wait for: it goes on as a
//! reset, behind what came before it, as neither side may take what it got for everything.

use std::time::Duration;

use relay::{
    stream::Stream,
    tunnel::{self, Options, Report},
};

pub use relay::tunnel::{End, Framed};

/// For how long a side that takes nothing any more keeps the reset of the other one waiting.
const DELIVERED_WITHIN: Duration = Duration::from_secs(1);

/// A tunnel in which nothing moves any more. Its connections are open until it is
/// [closed](Ended::close), so that it can be written down first.
#[must_use]
pub struct Ended {
    /// The client's connection.
    pub client: Stream,
    /// What moved, from the client (a) to the upstream (b) and back, and why it ended.
    pub report: Report,
    upstream: Stream,
    framed: Framed,
}

/// Moves bytes both ways until both sides have closed, nothing has moved for `idle`, or one side
/// fails. One of the connections may outlive it.
pub async fn run(client: Stream, upstream: Stream, idle: Duration, framed: Framed) -> Ended {
    run_until(client, upstream, idle, framed, std::future::pending()).await
}

/// As [`run`], and at the latest until `stop` ends.
pub async fn run_until(
    mut client: Stream,
    mut upstream: Stream,
    idle: Duration,
    framed: Framed,
    stop: impl Future<Output = ()>,
) -> Ended {
    let options = Options { idle, framed };
    let report = tunnel::run_until(&mut client, &mut upstream, &options, stop).await;
    Ended { client, report, upstream, framed }
}

impl Ended {
    /// Closes both connections as the tunnel has ended, but for the one that outlives it: that is
    /// returned.
    pub async fn close(self) -> Option<Stream> {
        let Self { client, upstream, report, framed } = self;
        match report.end {
            End::Finished => {
                return match framed {
                    Framed::Neither => None,
                    Framed::A => Some(client),
                    Framed::B => Some(upstream),
                };
            }
            End::Idle => {}
            // Nobody may take what came for everything.
            End::Stopped => {
                client.abort();
                upstream.abort();
            }
            End::A(_) => {
                client.abort();
                Box::pin(upstream.reset_when_delivered(DELIVERED_WITHIN)).await;
            }
            End::B(_) => {
                upstream.abort();
                Box::pin(client.reset_when_delivered(DELIVERED_WITHIN)).await;
            }
        }
        None
    }
}
