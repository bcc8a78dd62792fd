//! A file that somebody else reads is replaced whole, and stays theirs: the console runs as another
//! user than the one who sets passwords.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
    path::Path,
};

use chassis::data_dir::write_atomically_for;

/// Whose a file is to be, and who may read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ownership {
    user: Option<u32>,
    group: Option<u32>,
    mode: u32,
}

/// Writes a file whole or not at all. One that was there keeps owner, group and mode. A new one is
/// for its owner only, unless its directory is one for a group (readable by it, and by nobody
/// else): then the group may read it, too.
///
/// # Errors
/// The directory cannot be written, or the group cannot be given the file; then nothing has
/// changed.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let ownership = match fs::metadata(path) {
        Ok(there) => Ownership {
            user: Some(there.uid()),
            group: Some(there.gid()),
            mode: there.mode() & 0o777,
        },
        Err(_) => of_new(fs::metadata(directory)?.mode(), fs::metadata(directory)?.gid()),
    };
    write_atomically_for(path, content, |file| give(file, ownership))
}

/// In a directory with this mode and group. Pure.
const fn of_new(directory: u32, group: u32) -> Ownership {
    if directory & 0o057 == 0o050 {
        Ownership { user: None, group: Some(group), mode: 0o640 }
    } else {
        Ownership { user: None, group: None, mode: 0o600 }
    }
}

fn give(file: &File, to: Ownership) -> io::Result<()> {
    let now = file.metadata()?;
    let (user, group) =
        (to.user.filter(|user| *user != now.uid()), to.group.filter(|group| *group != now.gid()));
    if user.is_some() || group.is_some() {
        // Who may write the directory need not be who may give files away; the group is what a
        // reader needs.
        fchown(file, user, group)
            .or_else(|error| if user.is_some() { fchown(file, None, group) } else { Err(error) })?;
    }
    file.set_permissions(fs::Permissions::from_mode(to.mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(path: &Path) -> (u32, u32, u32) {
        let there = fs::metadata(path).unwrap();
        (there.uid(), there.gid(), there.mode() & 0o777)
    }

    #[test]
    fn a_new_file_is_readable_by_the_group_of_a_directory_for_a_group() {
        for (directory, mode) in [
            (0o750, 0o640),
            (0o2750, 0o640),
            (0o770, 0o640),
            (0o755, 0o600),
            (0o700, 0o600),
            (0o710, 0o600),
        ] {
            let new = of_new(directory, 7);
            assert_eq!((new.mode, new.group.is_some()), (mode, mode == 0o640), "{directory:o}");
        }
        let scratch = tempfile::tempdir().unwrap();
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o750)).unwrap();
        let path = scratch.path().join("users");
        replace(&path, b"ann").unwrap();
        let directory = fs::metadata(scratch.path()).unwrap();
        assert_eq!(shape(&path), (directory.uid(), directory.gid(), 0o640));
    }

    #[test]
    fn what_was_there_stays_whose_it_is() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("users");
        replace(&path, b"ann").unwrap();
        assert_eq!(shape(&path).2, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
        // Only root may give a file to somebody else.
        std::os::unix::fs::chown(&path, Some(4711), Some(4712)).unwrap_or_default();
        let before = shape(&path);
        replace(&path, b"ann, bob").unwrap();
        assert_eq!(shape(&path), before);
        assert_eq!(fs::read(&path).unwrap(), b"ann, bob");
    }

    #[test]
    fn nothing_is_written_through_a_link_that_waits_there() {
        let scratch = tempfile::tempdir().unwrap();
        let (path, victim) = (scratch.path().join("users"), scratch.path().join("victim"));
        fs::write(&victim, "mine").unwrap();
        std::os::unix::fs::symlink(&victim, scratch.path().join(".users.new")).unwrap();
        replace(&path, b"ann").unwrap();
        assert_eq!(
            (fs::read(&path).unwrap(), fs::read(&victim).unwrap()),
            (b"ann".to_vec(), b"mine".to_vec())
        );
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
    }
}
