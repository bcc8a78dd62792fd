//! The accept loop. It pauses instead of spinning when accepting fails, survives a panic (which
//! costs only the connection that was being accepted), and empties the backlog before it closes.

use std::fs::File;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::{Phase, Worker, bump};
use crate::clients::Allowance;
use crate::fault::out_of_descriptors;
use crate::listen::Listener;
use crate::stream::Stream;

/// A backlog is never longer than this: the closing of a listener that is flooded has to end.
const BACKLOG_MOST: usize = 65_536;

/// How long accepting pauses when the process is out of descriptors or memory: long enough not to
/// spin, short enough not to be seen.
const BACK_OFF: Duration = Duration::from_millis(5);

/// How long a closing listener waits for handshakes that its kernel has answered: a round trip
/// around the world.
const HANDSHAKE: Duration = Duration::from_millis(300);

/// Why a worker no longer accepts at a listener.
#[derive(Debug, PartialEq, Eq)]
pub enum Unwanted {
    /// Nobody is to listen there any more.
    Closed,
    /// The other workers accept there on.
    LeftToOthers,
}

impl Worker {
    /// Accepts connections until the drain reaches [`Phase::Closing`]; then lets handshakes under
    /// way come to their end, empties the backlog and closes the listener.
    ///
    /// `handler` runs as one isolated task per connection (see [`Worker::spawn`]).
    pub async fn serve<H, Fut>(&self, listener: Listener, handler: H)
    where
        H: Fn(Worker, Stream, SocketAddr) -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        self.serve_until(listener, std::future::pending(), handler).await;
    }

    /// As [`serve`](Self::serve), and until `unwanted`: the configuration wants nobody to listen
    /// there any more, or not this worker.
    pub async fn serve_until<H, Fut>(
        &self,
        listener: Listener,
        unwanted: impl Future<Output = Unwanted>,
        handler: H,
    ) where
        H: Fn(Worker, Stream, SocketAddr) -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let mut unwanted = std::pin::pin!(unwanted);
        self.listening().send_modify(|open| *open += 1);
        let _open = Open(self.clone());
        let mut reserve = Reserve::new();
        let mut why = Unwanted::Closed;
        let mut closing = std::pin::pin!(self.reached(Phase::Closing));
        // The phase is looked at as well, since connections that keep coming would be all that is
        // ever ready.
        while self.phase() < Phase::Closing {
            let accepted = tokio::select! {
                biased;
                accepted = listener.accept() => accepted,
                () = &mut closing => break,
                because = &mut unwanted => {
                    why = because;
                    break;
                }
            };
            if !survives(self.take(accepted, &listener, &mut reserve, &handler)).await {
                bump(&self.meter().panics, 1);
                tokio::time::sleep(BACK_OFF).await;
            }
        }
        if listener.is_handed_over() || (why == Unwanted::LeftToOthers && listener.shared) {
            return;
        }
        // What waits in a queue that outlives this process is for the next one.
        if !listener.outlives {
            listener.unlink();
            self.settle(&listener, &mut reserve, &handler).await;
            self.empty(&listener, &handler);
        }
    }

    /// Accepts the connections whose handshakes are under way, while no others begin.
    async fn settle<H, Fut>(&self, listener: &Listener, reserve: &mut Reserve, handler: &H)
    where
        H: Fn(Worker, Stream, SocketAddr) -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        // A kernel that takes no filter goes on accepting; some of those connections are reset.
        drop(listener.take_no_more());
        let mut settled = std::pin::pin!(tokio::time::sleep(HANDSHAKE));
        let mut cut = std::pin::pin!(self.reached(Phase::Aborting));
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut cut => return,
                () = &mut settled => return,
                accepted = listener.accept() => accepted,
            };
            if !survives(self.take(accepted, listener, reserve, handler)).await {
                bump(&self.meter().panics, 1);
            }
        }
    }

    /// Accepts what is in the backlog by the kernel's word, not the event loop's, which may not
    /// have heard of the latest; then closes.
    fn empty<H, Fut>(&self, listener: &Listener, handler: &H)
    where
        H: Fn(Worker, Stream, SocketAddr) -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        for _ in 0..BACKLOG_MOST {
            let Ok((tcp, peer)) = listener.accept_now() else { return };
            self.admit(tcp, peer, &listener.allowance, handler);
        }
    }

    /// Starts a connection's task, if the client and its network may have one more connection.
    /// Otherwise the connection is closed at once, so that the client goes to another balancer.
    fn admit<H, Fut>(
        &self,
        tcp: tokio::net::TcpStream,
        peer: SocketAddr,
        allowance: &Arc<Allowance>,
        handler: &H,
    ) where
        H: Fn(Worker, Stream, SocketAddr) -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let source = allowance.source(peer.ip());
        let (left, all) = self.descriptors().left(tcp.as_raw_fd());
        // With the last descriptors upstreams are reached.
        if left == 0 && !self.connections().make_way(&source) {
            return bump(&self.meter().refused, 1);
        }
        if self.connections().enter(&source, allowance.connections(left, all), allowance) {
            self.handle(Stream::accepted(self, tcp, source, allowance), peer, handler);
        }
    }

    /// Starts a connection's task.
    fn handle<H, Fut>(&self, stream: Stream, peer: SocketAddr, handler: &H)
    where
        H: Fn(Worker, Stream, SocketAddr) -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        bump(&self.meter().accepted, 1);
        // The handler makes the future here, as a future inside a future would take twice the room;
        // what it does before its first await is isolated all the same.
        let make = AssertUnwindSafe(|| handler(self.clone(), stream, peer));
        match catch_unwind(make) {
            Ok(connection) => self.spawn(connection),
            Err(_) => bump(&self.meter().panics, 1),
        }
    }

    async fn take<H, Fut>(
        &self,
        accepted: io::Result<(tokio::net::TcpStream, SocketAddr)>,
        listener: &Listener,
        reserve: &mut Reserve,
        handler: &H,
    ) where
        H: Fn(Worker, Stream, SocketAddr) -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        #[cfg(test)]
        super::tests::fault();
        match accepted {
            Ok((tcp, peer)) => self.admit(tcp, peer, &listener.allowance, handler),
            // The peer was quicker to leave; nothing is wrong here.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                ) => {}
            Err(error) => {
                if out_of_descriptors(&error) {
                    self.descriptors().measure();
                    bump(&self.meter().refused, reserve.refuse_one(listener).await);
                }
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

/// Counts a listener as closed when the loop ends, however it ends.
struct Open(Worker);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.listening().send_modify(|open| *open = open.saturating_sub(1));
    }
}

/// A descriptor kept back, so that a connection can be accepted and closed when there are none
/// left: a client that is told at once goes to another balancer, one that sits in the backlog
/// waits.
struct Reserve(Option<File>);

impl Reserve {
    fn new() -> Self {
        Self(File::open("/dev/null").ok())
    }

    /// Returns how many were refused: 1 or 0.
    async fn refuse_one(&mut self, listener: &Listener) -> i64 {
        drop(self.0.take());
        let refused = matches!(poll_once(listener.accept()).await, Some(Ok(_)));
        *self = Self::new();
        i64::from(refused)
    }
}

/// Runs one step of a loop that must go on; false when the step panicked.
async fn survives(step: impl Future<Output = ()>) -> bool {
    let mut step = std::pin::pin!(step);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| step.as_mut().poll(context))) {
        Ok(poll) => poll.map(|()| true),
        Err(_) => std::task::Poll::Ready(false),
    })
    .await
}

/// The future's output if it is ready now.
async fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = std::future::ready(()) => None,
    }
}
