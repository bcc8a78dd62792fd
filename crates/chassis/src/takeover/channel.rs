//! A connection between two processes of one host: messages and descriptors, each by a deadline.

use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use nix::{
    cmsg_space,
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, UnixCredentials, getsockopt, recvmsg,
        sendmsg, sockopt::PeerCredentials,
    },
};
use serde::{Serialize, de::DeserializeOwned};

use super::message;

/// Descriptors in one message; the kernel takes 253 (`SCM_MAX_FD`).
const AT_ONCE: usize = 240;
/// Descriptors that one process hands over, at most.
const MOST: usize = 16_384;
/// What is read at a time, so that a length that lies takes no memory.
const PIECE: usize = 64 << 10;

/// What went wrong between the two.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the other process has gone")]
    Gone,
    #[error("the other process does not answer in time")]
    Late,
    #[error("the other process says {0}")]
    Message(#[from] message::Error),
    #[error("descriptors are missing, or there are too many")]
    Descriptors,
    #[error("the connection fails: {0}")]
    Io(io::Error),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset => Self::Gone,
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Late,
            _ => Self::Io(error),
        }
    }
}

/// One end.
#[derive(Debug)]
pub(super) struct Channel(UnixStream);

impl Channel {
    pub(super) const fn new(stream: UnixStream) -> Self {
        Self(stream)
    }

    /// Who is at the other end.
    pub(super) fn peer(&self) -> Option<UnixCredentials> {
        getsockopt(&self.0, PeerCredentials).ok()
    }

    pub(super) fn send(&mut self, message: &impl Serialize, within: Duration) -> Result<(), Error> {
        self.0.set_write_timeout(Some(within))?;
        Ok(self.0.write_all(&message::write(message)?)?)
    }

    /// The next message; waits for it as long as it takes where no time is given.
    pub(super) fn receive<T: DeserializeOwned>(
        &mut self,
        within: Option<Duration>,
    ) -> Result<T, Error> {
        let deadline = within.map(|within| now() + within);
        let mut prefix = [0; message::PREFIX];
        self.fill(&mut prefix, deadline)?;
        let mut left = message::length(prefix)?;
        let mut body = Vec::new();
        while left > 0 {
            let (begun, piece) = (body.len(), left.min(PIECE));
            body.resize(begun + piece, 0);
            self.fill(&mut body[begun..], deadline)?;
            left -= piece;
        }
        Ok(message::read(&body)?)
    }

    fn fill(&mut self, mut buffer: &mut [u8], deadline: Option<Instant>) -> Result<(), Error> {
        while !buffer.is_empty() {
            self.until(deadline)?;
            match self.0.read(buffer) {
                Ok(0) => return Err(Error::Gone),
                Ok(read) => buffer = &mut buffer[read..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn until(&self, deadline: Option<Instant>) -> Result<(), Error> {
        let left = deadline.map(|at| at.saturating_duration_since(now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(Error::Late);
        }
        Ok(self.0.set_read_timeout(left)?)
    }

    pub(super) fn send_descriptors(
        &mut self,
        all: &[OwnedFd],
        within: Duration,
    ) -> Result<(), Error> {
        self.0.set_write_timeout(Some(within))?;
        for some in all.chunks(AT_ONCE) {
            let raw: Vec<RawFd> = some.iter().map(AsRawFd::as_raw_fd).collect();
            let rights = [ControlMessage::ScmRights(&raw)];
            let (octet, flags) = ([IoSlice::new(b"d")], MsgFlags::MSG_NOSIGNAL);
            sendmsg::<()>(self.0.as_raw_fd(), &octet, &rights, flags, None)
                .map_err(io::Error::from)?;
        }
        Ok(())
    }

    /// Exactly so many.
    pub(super) fn receive_descriptors(
        &mut self,
        count: usize,
        within: Duration,
    ) -> Result<Vec<OwnedFd>, Error> {
        if count > MOST {
            return Err(Error::Descriptors);
        }
        let deadline = Some(now() + within);
        let mut all = Vec::new();
        while all.len() < count {
            self.until(deadline)?;
            let received = self.receive_some(&mut all)?;
            if received == 0 || all.len() > count {
                return Err(Error::Descriptors);
            }
        }
        Ok(all)
    }

    fn receive_some(&self, all: &mut Vec<OwnedFd>) -> Result<usize, Error> {
        let (mut octet, mut space) = ([0], cmsg_space!([RawFd; AT_ONCE]));
        let mut into = [IoSliceMut::new(&mut octet)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let before = all.len();
        let message = recvmsg::<()>(self.0.as_raw_fd(), &mut into, Some(&mut space), flags)
            .map_err(io::Error::from)?;
        for part in message.cmsgs().map_err(io::Error::from)? {
            if let ControlMessageOwned::ScmRights(raw) = part {
                // SAFETY: the kernel has made these descriptors for this process with this very
                // message, and nobody else knows their numbers.
                all.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        if message.bytes == 0 {
            return Err(Error::Gone);
        }
        if message.flags.contains(MsgFlags::MSG_CTRUNC) {
            return Err(Error::Descriptors);
        }
        Ok(all.len() - before)
    }
}

/// What waits for sockets waits in real time.
#[allow(clippy::disallowed_methods, reason = "deadlines of blocking calls, on no runtime")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    fn pair() -> (Channel, UnixStream) {
        let (one, other) = UnixStream::pair().unwrap();
        (Channel::new(one), other)
    }

    #[test]
    fn messages_and_more_descriptors_than_fit_into_one() {
        let (mut one, other) = pair();
        let mut other = Channel::new(other);
        let (kept, mut end) = UnixStream::pair().unwrap();
        let count = AT_ONCE + 3;
        let all: Vec<_> = (0..count).map(|_| kept.as_fd().try_clone_to_owned().unwrap()).collect();
        one.send(&"before", SOON).unwrap();
        one.send_descriptors(&all, SOON).unwrap();
        one.send(&"after", SOON).unwrap();
        assert_eq!(other.receive::<String>(Some(SOON)).unwrap(), "before");
        let received = other.receive_descriptors(count, SOON).unwrap();
        assert_eq!(other.receive::<String>(Some(SOON)).unwrap(), "after");
        drop((kept, all));
        UnixStream::from(received.into_iter().next_back().unwrap()).write_all(b"x").unwrap();
        let mut octet = [0];
        end.read_exact(&mut octet).unwrap();
        assert_eq!(&octet, b"x");
        assert_eq!(other.peer().unwrap().pid(), i32::try_from(std::process::id()).unwrap());
    }

    #[test]
    fn a_peer_that_goes_lies_or_says_nothing_is_an_error() {
        let (mut one, other) = pair();
        drop(other);
        assert!(matches!(one.receive::<String>(Some(SOON)), Err(Error::Gone)));
        assert!(matches!(one.send(&"x", SOON), Err(Error::Gone)));

        let (mut one, mut other) = pair();
        other.write_all(&[0, 0, 0, 9, b'"']).unwrap();
        drop(other);
        assert!(matches!(one.receive::<String>(Some(SOON)), Err(Error::Gone)), "half a message");

        let (mut one, mut other) = pair();
        other.write_all(&[0xff; 4]).unwrap();
        assert!(matches!(one.receive::<String>(Some(SOON)), Err(Error::Message(_))));

        let (mut one, _other) = pair();
        let short = Duration::from_millis(20);
        assert!(matches!(one.receive::<String>(Some(short)), Err(Error::Late)));
        assert!(matches!(one.receive_descriptors(1, short), Err(Error::Late)));
        assert!(matches!(one.receive_descriptors(MOST + 1, short), Err(Error::Descriptors)));

        let (mut one, mut other) = pair();
        other.write_all(b"no descriptor").unwrap();
        assert!(matches!(one.receive_descriptors(1, SOON), Err(Error::Descriptors)));
    }
}
