//! One connection of a worker: bytes in with a buffer only while there are any, vectored writes
//! out, a deadline on both.
//!
//! Polling methods are the foundation, as a proxy reads and writes two connections at a time in one
//! task; the `async` methods on top are for everybody who does one thing at a time. `transport` is
//! what carries the bytes (TCP, TLS after `secure`, memory: `duplex`), `heads` reads message heads,
//! `end` says how a connection ends, `watch` notices that it has.

mod duplex;
mod end;
mod heads;
mod io;
mod secure;
mod transport;
mod unsent;
mod watch;

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::net::TcpStream;

pub use self::duplex::Duplex;
pub use self::heads::Patience;
pub(crate) use self::transport::Io;
use self::unsent::Bound;
pub use self::watch::Ahead;
pub(crate) use self::watch::Watch;
use crate::clients::{Allowance, Source};
use crate::clock;
use crate::fault::{Fault, out_of_descriptors};
use crate::proof::{Answer, Challenge, Key};
use crate::wheel::{Kind, Timer};
use crate::worker::{NOBODY, Phase, Place, Worker};

/// A body of so many bytes is kept for another attempt without asking what its client has.
const KEPT_FREELY: usize = 4 * 1024;

/// A connection. A pointer, as it is moved through futures, each of which keeps room for what
/// passes through it.
pub struct Stream(Box<Inner>);

struct Inner {
    io: Io,
    worker: Worker,
    /// What has been received and not been consumed: the beginning of the next message.
    input: BytesMut,
    /// Bytes that go out in front of the first write.
    preamble: Bytes,
    reading: Deadline,
    writing: Deadline,
    /// The peer has sent its last byte.
    ended: bool,
    /// The peer has gone without saying, as it would have had to, that it had sent its last byte.
    truncated: bool,
    /// When it has, it has left.
    whole: bool,
    /// Bytes of the next answer's beginning that have been sent.
    ahead: u8,
    received: u64,
    sent: u64,
    opened: Instant,
    /// Messages exchanged, counted by whoever uses the connection.
    uses: u8,
    /// The peer sent a response after which nothing may follow.
    sloppy: bool,
    /// What the kernel keeps for a peer that does not read is bounded.
    unsent: Bound,
    /// Among the connections of its client.
    place: Place,
}

/// A timer that is armed at the first wait and stays armed until there is progress.
struct Deadline {
    timer: Timer,
    armed: Cell<bool>,
}

impl Deadline {
    fn new(worker: &Worker) -> Self {
        Self { timer: Timer::new(worker.wheel()), armed: Cell::new(false) }
    }

    fn progressed(&self) {
        if self.armed.replace(false) {
            self.timer.disarm();
        }
    }

    fn arm(&self, kind: Kind, after: Duration) {
        self.timer.arm(kind, after);
        self.armed.set(true);
    }

    /// To be called while there is no progress.
    fn poll(&self, cx: &mut Context<'_>, kind: Kind, after: Duration) -> Poll<Fault> {
        if !self.armed.get() {
            self.arm(kind, after);
        }
        self.timer.poll(cx).map(|elapsed| {
            self.progressed();
            Fault::from(elapsed)
        })
    }
}

impl Stream {
    /// Wraps a connection of this worker's runtime.
    pub fn new(worker: &Worker, tcp: TcpStream) -> Self {
        Self::over(worker, Io::Tcp(tcp))
    }

    /// Wraps one end of a connection in memory.
    pub fn in_memory(worker: &Worker, end: Duplex) -> Self {
        Self::over(worker, Io::Duplex(Box::new(end)))
    }

    fn over(worker: &Worker, io: Io) -> Self {
        Self(Box::new(Inner {
            io,
            worker: worker.clone(),
            input: BytesMut::new(),
            preamble: Bytes::new(),
            reading: Deadline::new(worker),
            writing: Deadline::new(worker),
            ended: false,
            truncated: false,
            whole: false,
            ahead: 0,
            received: 0,
            sent: 0,
            opened: clock::now(),
            uses: 0,
            sloppy: false,
            unsent: Bound::NotYet,
            place: NOBODY,
        }))
    }

    /// Wraps a connection that was accepted from a client.
    pub(crate) fn accepted(
        worker: &Worker,
        tcp: TcpStream,
        source: Source,
        allowance: &Arc<Allowance>,
    ) -> Self {
        let mut stream = Self::new(worker, tcp);
        stream.0.place =
            worker.connections().place(source, stream.0.reading.timer.key(), allowance);
        stream
    }

    /// Whether it was accepted from a client.
    fn is_of_client(&self) -> bool {
        self.0.place != NOBODY
    }

    /// Its peer is no client: it has proved to be one of the cluster, or is trusted otherwise, and
    /// is not limited as clients are.
    pub fn exempt(&mut self) {
        if self.is_of_client() {
            self.0.worker.connections().leave(std::mem::replace(&mut self.0.place, NOBODY));
        }
    }

    /// It waits with so many bytes of a head that is not whole.
    fn hold(&self, bytes: usize) {
        self.0.worker.connections().hold(self.0.place, bytes);
    }

    /// Whether so many bytes of its request may be kept beyond what is being sent. Little always
    /// may.
    pub(crate) fn may_keep(&self, bytes: usize) -> bool {
        bytes <= KEPT_FREELY
            || !self.is_of_client()
            || self.0.worker.connections().may_hold(self.0.place, bytes)
    }

    /// It holds nothing any more.
    pub(crate) fn release(&self) {
        if self.is_of_client() {
            self.0.worker.connections().release(self.0.place);
        }
    }

    /// Connects, at the latest after `deadline`. The caller has checked that the address may be
    /// connected to.
    ///
    /// # Errors
    /// `Refused`, `Unreachable`, `Timeout(Connect)`, `Exhausted`, `Io`.
    pub async fn connect(
        worker: &Worker,
        address: SocketAddr,
        deadline: Duration,
    ) -> Result<Self, Fault> {
        let timer = Timer::new(worker.wheel());
        let tcp = timer
            .within(Kind::Connect, deadline, TcpStream::connect(address))
            .await?
            .inspect_err(|error| {
                if out_of_descriptors(error) {
                    worker.descriptors().measure();
                }
            })?;
        tcp.set_nodelay(true)?;
        Ok(Self::new(worker, tcp))
    }

    /// Proves to the node called `name` that we hold the cluster key, and has it prove the same,
    /// before `deadline`. Our proof goes out in front of the first write.
    ///
    /// # Errors
    /// `Unproven`: it is another, or holds another key. `Closed`, `Reset`, `Timeout(Connect)`,
    /// `Io`.
    pub async fn prove(
        &mut self,
        challenge: &Challenge,
        key: &Key,
        name: &str,
        deadline: Duration,
    ) -> Result<(), Fault> {
        let timer = Timer::new(self.0.worker.wheel());
        let proved = async {
            self.write_all(&[challenge.header()], deadline).await?;
            while self.0.input.len() < size_of::<Answer>() {
                if self.fill(Kind::Connect, deadline).await? == 0 {
                    return Err(Fault::Closed);
                }
            }
            // Whoever says more than it was asked is no node: nothing was sent that could be
            // answered.
            let answer = Answer::try_from(&self.0.input[..]).map_err(|_| Fault::Unproven)?;
            let confirmation = challenge.confirm(key, name, &answer).ok_or(Fault::Unproven)?;
            self.0.input.clear();
            self.settle();
            self.set_preamble(Bytes::copy_from_slice(&confirmation));
            Ok(())
        };
        timer.within(Kind::Connect, deadline, proved).await?
    }

    /// Bytes to be sent in front of the first write, with it: a PROXY header costs no system call
    /// and no packet of its own.
    pub fn set_preamble(&mut self, preamble: Bytes) {
        self.0.preamble = preamble;
    }

    /// The worker that this connection belongs to.
    pub fn worker(&self) -> &Worker {
        &self.0.worker
    }

    /// What has been received and not been consumed.
    pub fn input(&mut self) -> &mut BytesMut {
        &mut self.0.input
    }

    /// As [`input`](Self::input), to look at.
    pub(crate) fn input_ref(&self) -> &[u8] {
        &self.0.input
    }

    /// The peer has closed its direction. There may still be unconsumed [`input`](Self::input).
    pub fn ended(&self) -> bool {
        self.0.ended
    }

    /// Bytes received since the connection was made.
    pub fn received(&self) -> u64 {
        self.0.received
    }

    /// Bytes sent since the connection was made.
    pub fn sent(&self) -> u64 {
        self.0.sent
    }

    /// When the connection was made.
    pub fn opened(&self) -> Instant {
        self.0.opened
    }

    /// Exchanges begun on this connection (counted by [`crate::exchange::Exchange::send`]); above 1
    /// it has been reused.
    pub fn uses(&self) -> u32 {
        self.0.uses.into()
    }

    pub(crate) fn count_use(&mut self) {
        self.0.uses = self.0.uses.saturating_add(1);
    }

    /// A response came from the peer after which its next one could begin elsewhere than we think:
    /// this connection is not used again.
    pub(crate) fn note_sloppy(&mut self, sloppy: bool) {
        self.0.sloppy |= sloppy;
    }

    /// The peer's address.
    ///
    /// # Errors
    /// When the connection is gone already, or is one in memory.
    pub fn peer_addr(&self) -> std::io::Result<SocketAddr> {
        self.socket()?.peer_addr()
    }

    /// The local address.
    ///
    /// # Errors
    /// When the connection is gone already, or is one in memory.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.socket()?.local_addr()
    }

    fn socket(&self) -> std::io::Result<&TcpStream> {
        self.0.io.socket().ok_or_else(|| std::io::ErrorKind::NotConnected.into())
    }

    /// The socket that splice(2) may move this connection's bytes from and to; none where they have
    /// to be copied.
    pub(crate) fn spliceable(&self) -> Option<&TcpStream> {
        self.0.io.spliceable()
    }

    /// Bytes were moved past this type; none means that the peer has sent its last one.
    pub(crate) fn count_spliced(&mut self, n: usize) {
        self.0.received += n as u64;
        self.0.ended |= n == 0;
    }

    pub(crate) fn count_sent(&mut self, n: usize) {
        self.0.writing.progressed();
        self.note_sent(n);
    }

    /// Polls the deadline for reading, arming it if it is not; to be called while there is nothing
    /// to read.
    pub(crate) fn poll_reading_deadline(
        &self,
        cx: &mut Context<'_>,
        kind: Kind,
        after: Duration,
    ) -> Poll<Fault> {
        self.0.reading.poll(cx, kind, after)
    }

    /// As [`poll_reading_deadline`](Self::poll_reading_deadline), while the peer takes nothing.
    pub(crate) fn poll_writing_deadline(
        &self,
        cx: &mut Context<'_>,
        after: Duration,
    ) -> Poll<Fault> {
        self.0.writing.poll(cx, Kind::Write, after)
    }

    /// Nothing is expected from the peer just now.
    pub(crate) fn expect_nothing(&self) {
        self.0.reading.progressed();
    }

    /// Whether an idle connection has been closed by the peer, or has said something unasked, as
    /// far as the event loop knows: no system call unless there is something to read.
    pub fn looks_dead(&mut self) -> bool {
        // Without readiness this is answered from memory.
        self.0.ended
            || self.0.truncated
            || self.0.sloppy
            || !self.0.input.is_empty()
            || self.0.io.has_spoken()
    }

    /// As [`looks_dead`](Self::looks_dead), asking the kernel: for what cannot be sent twice.
    pub fn is_dead(&mut self) -> bool {
        self.0.ended
            || self.0.truncated
            || !self.0.input.is_empty()
            || self.0.io.has_spoken_to_the_kernel()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.exempt();
        if std::thread::panicking() || self.0.worker.phase() == Phase::Aborting {
            // It is cut: half an answer must not look like a whole one.
            self.0.io.cut();
        }
        self.0.io.say_last();
        let input = std::mem::take(&mut self.0.input);
        if input.capacity() > 0 {
            self.0.worker.buffers().give(input);
        }
    }
}

#[cfg(test)]
mod tests;
