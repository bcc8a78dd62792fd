//! Listening sockets that are files: who may connect says the file's mode, what a dead process left
//! is replaced, and what a living one listens on is left alone.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Group, User};
use socket2::{Domain, SockAddr, Socket, Type};

/// The kernel takes no longer path of a socket.
pub const LONGEST_PATH: usize = 107;

/// Who may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// The file's mode; whoever may write to it may connect.
    pub mode: u32,
    /// Number of the user whose file it is; none: the process's own.
    pub user: Option<u32>,
    /// Number of its group; none: the process's own.
    pub group: Option<u32>,
}

impl Access {
    /// For the process's user alone.
    pub const OWN: Self = Self { mode: 0o600, user: None, group: None };

    /// By the names of user and group.
    ///
    /// # Errors
    /// Who is unknown on this host.
    pub fn named(mode: u32, user: Option<&str>, group: Option<&str>) -> Result<Self, String> {
        let unknown = |what: &str, name: &str| format!("there is no {what} {name} on this host");
        let number = |name: &str| {
            let found = User::from_name(name).ok().flatten();
            found.map(|user| user.uid.as_raw()).ok_or_else(|| unknown("user", name))
        };
        let user = user.map(number).transpose()?;
        let number = |name: &str| {
            let found = Group::from_name(name).ok().flatten();
            found.map(|group| group.gid.as_raw()).ok_or_else(|| unknown("group", name))
        };
        let group = group.map(number).transpose()?;
        Ok(Self { mode, user, group })
    }

    /// Gives a file to whom it is for, then lets them in.
    ///
    /// # Errors
    /// The kernel's: only root gives files away, and only to groups of its own does a user.
    pub fn apply(&self, path: &Path) -> io::Result<()> {
        if self.user.is_some() || self.group.is_some() {
            std::os::unix::fs::chown(path, self.user, self.group)?;
        }
        fs::set_permissions(path, Permissions::from_mode(self.mode))
    }
}

/// Why there can be no socket.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel would not take it.
    #[error("its path is longer than {LONGEST_PATH} bytes; choose a shorter one")]
    TooLong,
    /// Somebody's file.
    #[error("a file is there that is no socket; remove it, or choose another path")]
    NoSocket,
    /// A living process has it.
    #[error("{0} listens there; stop it, or choose another path")]
    InUse(String),
    /// Anything else.
    #[error("{0}; make the directory, and let this process write to it")]
    Io(#[from] io::Error),
}

/// The file of a socket.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    /// Device and inode: a successor's file of the same name is another.
    identity: (u64, u64),
    /// Another process has it now, and removes it in its time.
    given_away: AtomicBool,
}

impl File {
    /// The file of a socket that listens already.
    ///
    /// # Errors
    /// The kernel's: there is none.
    pub fn of(path: &Path) -> io::Result<Self> {
        let identity = identity(path)?;
        Ok(Self { path: path.to_owned(), identity, given_away: AtomicBool::new(false) })
    }

    /// Leaves it to another process: it is not removed any more.
    pub fn give_away(&self) {
        self.given_away.store(true, Ordering::Release);
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, so that nobody connects any more; not what somebody else has put in its place.
    /// That it is gone already is no error.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove(&self) -> io::Result<()> {
        if self.given_away.load(Ordering::Acquire) {
            return Ok(());
        }
        let removed = match identity(&self.path) {
            Ok(there) if there == self.identity => fs::remove_file(&self.path),
            other => other.map(drop),
        };
        removed.or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// Listens at a file, non-blocking.
///
/// # Errors
/// Why not, with the remedy.
pub fn bind(path: &Path, access: &Access) -> Result<(UnixListener, File), Error> {
    if path.as_os_str().len() > LONGEST_PATH {
        return Err(Error::TooLong);
    }
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(Error::NoSocket),
        Ok(_) => {
            if let Some(holder) = holder(path)? {
                return Err(Error::InUse(holder));
            }
        }
        Err(_) => {}
    }
    let listener = put(path, access)?;
    listener.set_nonblocking(true)?;
    Ok((listener, File::of(path)?))
}

/// The living process that listens at a file, in words; none: a dead one left it.
fn holder(path: &Path) -> io::Result<Option<String>> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A process whose queue is full lives, and is not waited for.
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(Some(name(&socket))),
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Ok(None),
            io::ErrorKind::WouldBlock => Ok(Some("a busy process".to_owned())),
            _ => Err(error),
        },
    }
}

/// The process at the other end of a connection.
fn name(socket: &Socket) -> String {
    let pid = getsockopt(socket, PeerCredentials).map_or(0, |peer| peer.pid());
    let command = fs::read_to_string(format!("/proc/{pid}/comm"));
    match command {
        Ok(command) if pid > 0 => format!("{} (process {pid})", command.trim()),
        _ => "another process".to_owned(),
    }
}

/// Under another name first, so that nobody finds it with a mode that lets them in, or not at all.
fn put(path: &Path, access: &Access) -> io::Result<UnixListener> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    // The longest path has no room for it.
    let new = if name.len() > LONGEST_PATH { path.to_owned() } else { PathBuf::from(name) };
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&new)?;
    let placed =
        access.apply(&new).and_then(|()| if new == path { Ok(()) } else { fs::rename(&new, path) });
    if placed.is_err() {
        // Nobody is to find what nobody listens on.
        drop(fs::remove_file(&new));
    }
    placed.map(|()| listener)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_a_dead_process_left_is_replaced_and_a_living_one_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("http.sock");
        let access = Access { mode: 0o660, ..Access::OWN };
        let (first, file) = bind(&path, &access).unwrap();
        assert_eq!(mode(&path), 0o660);
        let refused = bind(&path, &access).map(drop).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        UnixStream::connect(&path).expect("it is left alone");
        drop(first);
        let (_second, other) = bind(&path, &Access::OWN).expect("replaced");
        assert_eq!(mode(&path), 0o600);
        file.remove().unwrap();
        UnixStream::connect(&path).expect("the first one's file is not this one");
        other.remove().unwrap();
        assert!(!path.exists());
        other.remove().expect("it is gone already");
    }

    #[test]
    fn what_cannot_be_a_socket_is_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "mine").unwrap();
        assert!(matches!(bind(&file, &Access::OWN), Err(Error::NoSocket)));
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
        let long = directory.path().join("x".repeat(120));
        assert!(matches!(bind(&long, &Access::OWN), Err(Error::TooLong)));
        let nowhere = directory.path().join("missing/http.sock");
        assert!(matches!(bind(&nowhere, &Access::OWN), Err(Error::Io(_))));
        let longest = directory
            .path()
            .join("y".repeat(LONGEST_PATH - directory.path().as_os_str().len() - 1));
        bind(&longest, &Access::OWN).expect("without a name for a moment");
        assert_eq!(mode(&longest), 0o600);
    }

    #[test]
    fn a_queue_that_is_full_is_a_living_process_s() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("full.sock");
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        socket.listen(0).unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = {
            let client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            client.connect(&SockAddr::unix(&path).unwrap()).map(|()| client)
        } {
            waiting.push(stream);
        }
        assert!(matches!(bind(&path, &Access::OWN), Err(Error::InUse(_))));
    }

    #[test]
    fn names_are_looked_up() {
        let access = Access::named(0o660, Some("root"), Some("root")).unwrap();
        assert_eq!((access.user, access.group), (Some(0), Some(0)));
        let refused = Access::named(0o660, None, Some("no-such-group")).unwrap_err();
        assert!(refused.contains("no group no-such-group"), "{refused}");
    }
}
