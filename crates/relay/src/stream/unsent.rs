//! Bounds how many bytes wait in the kernel for a peer that does not read.

use super::Stream;

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
        if self.0.unsent == Bound::Set && self.0.sent >= TAKEN {
            self.0.unsent = Bound::Lifted;
            self.set_unsent(AS_USUAL);
        }
    }

    fn set_unsent(&self, bytes: u32) {
        if let Some(tcp) = self.0.io.socket() {
            // Without it the connection works as well, and takes more memory.
            drop(socket2::SockRef::from(tcp).set_tcp_notsent_lowat(bytes));
        }
    }
}
