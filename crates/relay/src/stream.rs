//! One connection of a worker. It has a read buffer only while there are bytes in it, writes with
//! vectored writes, and has a deadline for each direction (`deadline`).
//!
//! The polling methods exist because a proxy reads and writes two connections in one task; the
//! `async` methods are built on them, for callers that do one thing at a time. `transport` carries
//! the bytes (TCP, TLS after `secure`, memory with `duplex`), `io` reads and writes, `heads` reads
//! message heads, `greeting` what comes before the first, `unsent` bounds what waits in the
//! kernel, `end` closes a connection, `watch` notices that the peer has left.

mod deadline;
mod duplex;
mod end;
mod greeting;
mod heads;
mod io;
mod secure;
mod transport;
mod unsent;
mod watch;

use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, RawFd};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::net::TcpStream;

use self::deadline::Deadline;
pub use self::duplex::Duplex;
pub use self::heads::Patience;
pub(crate) use self::transport::Io;
pub(crate) use self::unsent::Taking;
use self::unsent::{Bound, Takes};
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

/// A connection. It is boxed because it is moved through many futures, and each of them would
/// otherwise reserve its whole size.
pub struct Stream(Box<Inner>);

struct Inner {
    io: Io,
    worker: Worker,
    /// What has been received and not been consumed: the beginning of the next message.
    input: BytesMut,
    /// Bytes that go out in front of the first write: of few connections, and not for long.
    preamble: Option<Box<Bytes>>,
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
    /// When a head was found to be half of one, in milliseconds from `opened`, plus one; 0: it came
    /// whole.
    half_head_at: u32,
    /// The peer sent a response after which nothing may follow.
    sloppy: bool,
    /// What the kernel keeps for a peer that does not read is bounded.
    unsent: Bound,
    /// Among the connections of its client.
    place: Place,
    /// Whether its client takes what is sent.
    taking: Takes,
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

    /// Wraps one end of a connection in memory that carries one of several requests which the
    /// client of this connection has under way: it is counted as one more connection of that
    /// client. None: the client has its share.
    pub fn beside(&self, end: Duplex) -> Option<Self> {
        let mut stream = Self::in_memory(&self.0.worker, end);
        if self.is_of_client() {
            let (place, timer) = (self.0.place, stream.0.reading.timer.key());
            stream.0.place = self.0.worker.enter_beside(place, timer)?;
        }
        Some(stream)
    }

    fn over(worker: &Worker, io: Io) -> Self {
        Self(Box::new(Inner {
            io,
            worker: worker.clone(),
            input: BytesMut::new(),
            preamble: None,
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
            half_head_at: 0,
            sloppy: false,
            unsent: Bound::NotYet,
            place: NOBODY,
            taking: Takes::All,
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

    /// Takes the connection out of the limits for clients, because its peer has proved to belong to
    /// the cluster or is trusted for another reason.
    pub fn exempt(&mut self) {
        if self.is_of_client() {
            self.0.worker.connections().leave(std::mem::replace(&mut self.0.place, NOBODY));
            self.0.taking = Takes::All;
        }
    }

    /// It waits with so many bytes of a head that is not whole.
    fn hold(&self, bytes: usize) {
        self.0.worker.connections().hold(self.0.place, bytes);
    }

    /// Whether `bytes` of the client's request may be kept beyond what is being sent. A few bytes
    /// always may.
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

    /// Connects, or fails after `deadline`. The caller has checked that the address may be
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
        worker.descriptors().note(tcp.as_raw_fd());
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

    /// Sets bytes that are sent together with the first write, in front of it, so that a PROXY
    /// header costs no system call and no packet of its own.
    pub fn set_preamble(&mut self, preamble: Bytes) {
        self.0.preamble = (!preamble.is_empty()).then(|| Box::new(preamble));
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

    /// For how long the head of the request that was read last has been coming, until now; nothing
    /// for one that came whole.
    pub fn head_took(&self) -> Duration {
        let Some(at) = self.0.half_head_at.checked_sub(1) else { return Duration::ZERO };
        clock::since(self.0.opened).saturating_sub(Duration::from_millis(at.into()))
    }

    /// A head is half of one, and has been since now if it was not known.
    fn note_half_head(&mut self) {
        if self.0.half_head_at == 0 {
            let at = clock::since(self.0.opened).as_millis();
            self.0.half_head_at = u32::try_from(at).unwrap_or(u32::MAX).saturating_add(1);
        }
    }

    /// Exchanges begun on this connection (counted by [`crate::exchange::Exchange::send`]); above 1
    /// it has been reused.
    pub fn uses(&self) -> u32 {
        self.0.uses.into()
    }

    pub(crate) fn count_use(&mut self) {
        self.0.uses = self.0.uses.saturating_add(1);
    }

    /// Notes whether the peer sent a response with an end that could be read in two ways. Such a
    /// connection is not used again, as its next response could begin elsewhere than we think.
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

    /// Its descriptor, for shutdown(2) from elsewhere on its thread while this lives; none of a
    /// connection that is gone already, or is one in memory.
    #[must_use]
    pub fn descriptor(&self) -> Option<RawFd> {
        Some(self.0.io.socket()?.as_raw_fd())
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

    /// Nothing is expected from the peer just now: no deadline for reading runs.
    pub fn expect_nothing(&self) {
        self.0.reading.progressed();
    }

    /// Whether the peer has closed an idle connection, or has sent something unasked, as far as the
    /// event loop knows. Makes no system call unless there is something to read.
    pub fn looks_dead(&mut self) -> bool {
        // Without readiness this is answered from memory.
        self.0.ended
            || self.0.truncated
            || self.0.sloppy
            || !self.0.input.is_empty()
            || self.0.io.has_spoken()
    }

    /// As [`looks_dead`](Self::looks_dead), but asks the kernel. For requests that must not be sent
    /// twice.
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
