//! Where the socket is: a file that only this process's user opens, and, if asked for, an address
//! that only operators' certificates open.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use chassis::{Error, Operators, StopSignal, takeover::Handed};
use relay::listen::unix::{self, Access};
use tokio::net::UnixListener;

use super::{Caller, Socket};

/// After an accept that failed for want of descriptors or memory.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Where the file is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// There is none.
    Nowhere,
    At(PathBuf),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::Nowhere),
            "" => Err("write the path of the socket, or none".to_owned()),
            path => Ok(Self::At(path.into())),
        }
    }
}

/// What it is handed over as.
pub const SOCKET: &str = "runtime-socket";

/// A socket, and its file.
pub struct Bound {
    listener: UnixListener,
    file: unix::File,
}

/// Binds the file: what a dead process left is replaced, where somebody listens is an error.
///
/// # Errors
/// Why not, with the remedy.
pub fn bind(path: &Path) -> Result<Bound, Error> {
    let error = |why: &dyn std::fmt::Display| {
        Error::new(format!("cannot listen on the runtime socket {}: {why}", path.display()))
            .remedy("choose another path with --socket, or none with --socket none")
    };
    let (listener, file) = unix::bind(path, &Access::OWN).map_err(|why| error(&why))?;
    let listener = UnixListener::from_std(listener).map_err(|why| error(&why))?;
    Ok(Bound { listener, file })
}

/// Goes on with the socket of a process that this one takes over from.
///
/// # Errors
/// Its file is gone.
pub fn resume(path: &Path, listener: OwnedFd) -> std::io::Result<Bound> {
    let listener = std::os::unix::net::UnixListener::from(listener);
    listener.set_nonblocking(true)?;
    Ok(Bound { listener: UnixListener::from_std(listener)?, file: unix::File::of(path)? })
}

impl Bound {
    /// Leaves the file to a successor.
    pub fn give_away(&self) {
        self.file.give_away();
    }

    /// For a successor.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn handed(&self) -> std::io::Result<Handed> {
        Handed::one(SOCKET, self.file.path().display(), &self.listener)
    }
}

/// Serves operators until the process closes its servers.
pub async fn accept_operators(operators: &mut Operators, socket: &Socket) {
    while let Some(stream) = operators.next().await {
        let peer = stream.peer();
        let caller = Caller { who: peer.to_string(), from: peer.address.to_string() };
        let socket = socket.clone();
        tokio::spawn(async move { socket.serve(stream, caller).await });
    }
}

/// Accepts on the file until `closing`, and removes it then.
pub async fn accept(bound: &Bound, socket: &Socket, closing: &StopSignal) {
    loop {
        let accepted = tokio::select! {
            () = closing.wait() => break,
            accepted = bound.listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let user = stream
                    .peer_cred()
                    .map_or_else(|_| "somebody".to_owned(), |peer| format!("user {}", peer.uid()));
                let caller = Caller { who: user, from: "runtime socket".to_owned() };
                let socket = socket.clone();
                tokio::spawn(async move { socket.serve(stream, caller).await });
            }
            Err(error) => {
                tracing::warn!("cannot accept on the runtime socket: {error}");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
    // What cannot be removed is replaced by whoever listens there next.
    drop(bound.file.remove());
}
