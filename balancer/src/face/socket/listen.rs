//! Where the socket is: a file that only this process's user opens, and, if asked for, an address
//! that only operators' certificates open.

use std::{
    io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use chassis::{Error, Operators, StopSignal};
use tokio::net::{UnixListener, UnixStream};

use super::{Caller, Socket};

/// After an accept that failed for want of descriptors or memory.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
/// Its user reads and writes, and nobody else.
const MODE: u32 = 0o600;
/// The kernel takes no longer path of a socket.
const LONGEST_PATH: usize = 107;

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

/// Binds the file: what a dead process left is replaced, where somebody listens is an error.
///
/// # Errors
/// Why not, with the remedy.
pub async fn bind(path: &Path) -> Result<UnixListener, Error> {
    let elsewhere = "choose another path with --socket, or none with --socket none";
    let error = |sentence: String| Error::new(sentence).remedy(elsewhere);
    let shown = path.display();
    if path.as_os_str().len() > LONGEST_PATH {
        return Err(error(format!(
            "the path of the runtime socket is longer than {LONGEST_PATH} bytes: {shown}"
        )));
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(error(format!("{shown} is there and is no socket")));
        }
        Ok(_) if UnixStream::connect(path).await.is_ok() => {
            return Err(error(format!("somebody listens on the runtime socket {shown}")));
        }
        _ => {}
    }
    put(path)
        .map_err(|failed| error(format!("cannot listen on the runtime socket {shown}: {failed}")))
}

/// Under another name first, so that nobody finds it with a mode that lets them in, or not at all.
fn put(path: &Path) -> io::Result<UnixListener> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    // The longest path has no room for it.
    let new = if name.len() > LONGEST_PATH { path.to_owned() } else { PathBuf::from(name) };
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&new)?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(MODE))?;
    if new != path {
        std::fs::rename(&new, path)?;
    }
    Ok(listener)
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

/// Accepts on the file until `closing`.
pub async fn accept(listener: &UnixListener, socket: &Socket, closing: &StopSignal) {
    loop {
        let accepted = tokio::select! {
            () = closing.wait() => return,
            accepted = listener.accept() => accepted,
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
}
