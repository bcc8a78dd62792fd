//! People and their passwords: a file of lines `name:$argon2id$…`, made by `shoal console passwd
//! NAME`. No password is ever in it.

use std::{
    collections::BTreeMap,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use argon2::{
    Argon2,
    password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, Salt},
};
use chassis::Error;

use super::{random, replace::replace};

/// Passwords are at most so many bytes: hashing takes time.
pub const LONGEST: usize = 1024;
/// Shorter ones are guessed.
pub const SHORTEST: usize = 8;

/// Names and hashes.
pub type Hashes = BTreeMap<String, String>;

/// What is wrong with a users file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("line {0} is not `name:$argon2…`")]
    Line(usize),
    #[error("line {0} holds {1:?} a second time")]
    Twice(usize, String),
    #[error("{0:?} cannot be a name: it is 1 to 63 letters, digits, `-`, `_` or `.`")]
    Name(String),
}

/// Reads the lines; empty ones and comments are skipped.
///
/// # Errors
/// The first line that is none.
pub fn parse(text: &str) -> Result<Hashes, Unusable> {
    let mut users = Hashes::new();
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, hash) = line.split_once(':').ok_or(Unusable::Line(number))?;
        if PasswordHash::new(hash).is_err() || !hash.starts_with("$argon2") {
            return Err(Unusable::Line(number));
        }
        check_name(name)?;
        if users.insert(name.to_owned(), hash.to_owned()).is_some() {
            return Err(Unusable::Twice(number, name.to_owned()));
        }
    }
    Ok(users)
}

/// The same names as in certificates, because audit records name both.
///
/// # Errors
/// It is none.
pub fn check_name(name: &str) -> Result<(), Unusable> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let good = (1..=63).contains(&name.len()) && name.chars().all(plain);
    good.then_some(()).ok_or_else(|| Unusable::Name(name.to_owned()))
}

/// A new hash of a password, with a salt of its own. Takes tens of milliseconds and 19 MiB: never
/// on an async thread.
///
/// # Errors
/// The password is too short or too long, or the system has no randomness.
pub fn hash(password: &str) -> Result<String, Error> {
    if !(SHORTEST..=LONGEST).contains(&password.len()) {
        return Err(Error::new(format!("a password has {SHORTEST} to {LONGEST} bytes"))
            .remedy("choose another one"));
    }
    let salt = random::<16>()?;
    let failed = |error| {
        Error::new(format!("cannot hash the password: {error}"))
            .remedy("this is a defect: please report it")
    };
    let salt = Salt::from_b64(&salt).map_err(failed)?;
    Ok(Argon2::default().hash_password(password.as_bytes(), salt).map_err(failed)?.to_string())
}

/// Whether a password has this hash. As expensive as [`hash`].
#[must_use]
pub fn verify(hash: &str, password: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else { return false };
    password.len() <= LONGEST
        && Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
}

/// A hash that nobody has the password of: checking against it takes as long for a name that is
/// unknown as for one that is not.
pub const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5$Z0xRQXBTa2hYd0hUb2s1Y2VHbmV2a1h6RVFwVA";

/// Adds or replaces one user in a file (made when there is none), whole or not at all; whose it is
/// and who may read it stays.
///
/// # Errors
/// The file is none of ours, or cannot be written.
pub fn set(path: &Path, name: &str, password: &str) -> Result<(), Error> {
    let remedy = format!("check {}", path.display());
    let failed = |error: &dyn std::fmt::Display| {
        Error::new(format!("cannot change {}: {error}", path.display())).remedy(remedy.clone())
    };
    check_name(name)
        .map_err(|error| Error::new(error.to_string()).remedy("choose another name"))?;
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(failed(&error)),
    };
    parse(&text).map_err(|error| failed(&error))?;
    let others = text
        .lines()
        .filter(|line| line.trim().split_once(':').is_none_or(|(other, _)| other != name));
    let mut lines: Vec<_> = others.map(str::to_owned).collect();
    lines.push(format!("{name}:{}", hash(password)?));
    replace(path, format!("{}\n", lines.join("\n")).as_bytes()).map_err(|error| failed(&error))
}

/// The file in use: read again when it changes. One that is not there yet, or cannot be read any
/// more, lets nobody in.
#[derive(Debug)]
pub struct Users {
    path: Option<PathBuf>,
    read: Mutex<Read>,
}

#[derive(Debug, Default)]
struct Read {
    /// When it was written, how long it is, and which file: one that is replaced is another one,
    /// however soon.
    stamp: Option<(SystemTime, u64, u64)>,
    users: Hashes,
}

impl Users {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn open(path: Option<PathBuf>) -> Result<Self, Error> {
        let users = Self { path, read: Mutex::default() };
        users.refresh().map_err(|error| {
            let path = users.path.as_deref().unwrap_or(Path::new("")).display().to_string();
            Error::new(format!("cannot use the users file {path}: {error}")).remedy(
                "mend it, or move it away and make it again with `shoal console passwd \
                    NAME --users FILE`",
            )
        })?;
        Ok(users)
    }

    /// The hash of a user's password now.
    #[must_use]
    pub fn hash_of(&self, name: &str) -> Option<String> {
        if let Err(error) = self.refresh() {
            tracing::error!("the users file cannot be used, so nobody can log in: {error}");
            *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Read::default();
        }
        self.read.lock().unwrap_or_else(PoisonError::into_inner).users.get(name).cloned()
    }

    /// Whether there is nobody at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.refresh().is_err()
            || self.read.lock().unwrap_or_else(PoisonError::into_inner).users.is_empty()
    }

    fn refresh(&self) -> Result<(), String> {
        let Some(path) = &self.path else { return Ok(()) };
        let metadata = match std::fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Read::default();
                return Ok(());
            }
            metadata => metadata.map_err(|error| error.to_string())?,
        };
        let stamp = (
            metadata.modified().map_err(|error| error.to_string())?,
            metadata.len(),
            metadata.ino(),
        );
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.stamp == Some(stamp) {
            return Ok(());
        }
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        *read =
            Read { users: parse(&text).map_err(|error| error.to_string())?, stamp: Some(stamp) };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_password_is_verified_and_never_written() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("users");
        set(&path, "ann", "correct horse").unwrap();
        set(&path, "bob", "battery staple").unwrap();
        set(&path, "ann", "another one").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("horse") && !text.contains("another"), "{text}");
        assert_eq!(text.lines().count(), 2, "{text}");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let users = Users::open(Some(path.clone())).unwrap();
        let hash = users.hash_of("ann").unwrap();
        assert!(
            verify(&hash, "another one") && !verify(&hash, "correct horse") && !verify(&hash, "")
        );
        assert!(users.hash_of("eve").is_none());
        std::fs::remove_file(&path).unwrap();
        assert!(
            users.hash_of("ann").is_none() && users.is_empty(),
            "a file that is gone lets nobody in"
        );
        let later = Users::open(Some(path.clone())).unwrap();
        assert!(later.is_empty());
        set(&path, "ann", "the third one").unwrap();
        assert!(
            !later.is_empty() && later.hash_of("ann").is_some() && users.hash_of("ann").is_some(),
            "one that is made later counts"
        );
        std::fs::write(&path, "no users file").unwrap();
        assert!(
            users.hash_of("ann").is_none() && users.is_empty(),
            "one that is broken lets nobody in"
        );
        assert!(Users::open(Some(path)).is_err());
    }

    #[test]
    fn nobody_has_the_password_of_nobody() {
        assert!(PasswordHash::new(NOBODY).is_ok_and(|hash| hash.hash.is_some()));
        assert!(!verify(NOBODY, "") && !verify(NOBODY, "nobody"));
        assert!(hash("short").is_err() && hash(&"x".repeat(LONGEST + 1)).is_err());
    }

    #[test]
    fn files() {
        let good = "# people\n\nann:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo\n";
        assert_eq!(parse(good).unwrap().len(), 1);
        for (text, expected) in [
            ("ann", Unusable::Line(1)),
            ("\nann:secret", Unusable::Line(2)),
            ("ann:$2y$10$abcdefghijklmnopqrstuv", Unusable::Line(1)),
            (&good.replace("ann", "a b"), Unusable::Name("a b".into())),
            (&format!("{good}{good}"), Unusable::Twice(6, "ann".into())),
        ] {
            assert_eq!(parse(text), Err(expected), "{text}");
        }
    }
}
