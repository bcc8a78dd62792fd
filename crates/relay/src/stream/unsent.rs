//! How much the kernel takes in advance for a peer that does not read.

use super::Stream;

/// Bytes that may wait in the kernel without having been sent. Enough for any link: what has been
/// sent and is not acknowledged does not count.
const UNSENT: u32 = 256 * 1024;

impl Stream {
    /// To be called before much is sent. A send buffer grows to megabytes, which are nobody's
    /// account; a peer that reads nothing would have them for the asking. Costs a system call the
    /// first time on a connection.
    pub fn bound_unsent(&mut self) {
        if !std::mem::replace(&mut self.0.unsent_bounded, true)
            && let Some(tcp) = self.0.io.socket()
        {
            // Without it the connection works as well, and takes more memory.
            drop(socket2::SockRef::from(tcp).set_tcp_notsent_lowat(UNSENT));
        }
    }
}
