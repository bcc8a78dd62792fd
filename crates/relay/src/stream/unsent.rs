//! What waits for a peer that does not read: how many bytes in the kernel, how many connections of
//! one client, and for how long.

use std::task::{Context, Poll};
use std::time::Duration;

use super::Stream;
use crate::fault::Fault;
use crate::pace::Slowest;
use crate::wheel::Kind;

/// Bytes that may wait in the kernel without having been sent. Enough for any link: what has been
/// sent and is not acknowledged does not count.
const UNSENT: u32 = 256 * 1024;
/// A peer that has taken so many bytes reads: as many as a send buffer may hold. With a bound, a
/// stream of gigabytes is written in pieces of what was acknowledged last, which costs nearly twice
/// the processor time.
const TAKEN: u64 = 4 << 20;
/// For the kernel: as the system has it.
const AS_USUAL: u32 = 0;

/// Whether what waits in the kernel is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// Little has been sent.
    NotYet,
    /// The peer has not taken much yet.
    Set,
    /// The peer reads.
    Lifted,
}

/// Whether a client takes what is sent to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// It was never waited for.
    All,
    /// It is waited for, and that is counted.
    Nothing,
    /// It was, and how it keeps up is looked at.
    Some,
}

/// How a peer has to take what is sent to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taking {
    /// So much in a time.
    AtAPace,
    /// As it likes: a tunnel may idle.
    AsItLikes,
}

impl Stream {
    /// To be called before much is sent. A send buffer grows to megabytes, which are nobody's
    /// account; a peer that reads nothing would have them for the asking. Costs a system call the
    /// first time on a connection, and one more when the peer has shown that it reads.
    pub fn bound_unsent(&mut self) {
        if self.0.unsent == Bound::NotYet && self.0.sent < TAKEN {
            self.0.unsent = Bound::Set;
            self.set_unsent(UNSENT);
        }
    }

    /// Bytes have gone to the kernel.
    pub(super) fn note_sent(&mut self, n: usize) {
        self.0.sent += n as u64;
        self.took(n);
        if self.0.unsent == Bound::Set && self.0.sent >= TAKEN {
            self.0.unsent = Bound::Lifted;
            self.set_unsent(AS_USUAL);
        }
    }

    /// Polls the deadline for writing, arming it if it is not; to be called while the peer takes
    /// nothing. A client that takes too little, or nothing on too many connections, is not waited
    /// for any longer.
    pub(crate) fn poll_writing_deadline(
        &mut self,
        cx: &mut Context<'_>,
        after: Duration,
    ) -> Poll<Fault> {
        if let Err(fault) = self.wait(Taking::AtAPace) {
            return Poll::Ready(fault);
        }
        self.0.writing.poll(cx, Kind::Write, after)
    }

    /// The peer takes nothing just now, which its client may have happen on so many connections.
    ///
    /// # Errors
    /// `Timeout(Displaced)`: it happens on as many already; `Timeout(Write)`: it takes too little.
    pub(crate) fn wait(&mut self, taking: Taking) -> Result<(), Fault> {
        if self.is_of_client() {
            let paced = taking == Taking::AtAPace;
            self.0.worker.connections().wait(self.0.place, paced).map_err(Fault::Timeout)?;
            self.0.taking = Takes::Nothing;
        }
        Ok(())
    }

    /// It has taken so many bytes.
    fn took(&mut self, n: usize) {
        if self.0.taking != Takes::All {
            self.0.taking = Takes::Some;
            self.0.worker.connections().took(self.0.place, n);
        }
    }

    /// How slow the body of this client's requests may come.
    pub(crate) fn slowest_request(&self) -> Slowest {
        self.0.worker.connections().slowest_request(self.0.place)
    }

    fn set_unsent(&self, bytes: u32) {
        if let Some(tcp) = self.0.io.socket() {
            // Without it the connection works as well, and takes more memory.
            drop(socket2::SockRef::from(tcp).set_tcp_notsent_lowat(bytes));
        }
    }
}
