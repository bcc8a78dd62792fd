//! What travels to a host: files below `/etc/shoal/SERVICE/`, of root's and readable by the group
//! of the services, to unpack at its root.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use anyhow::{Context, Result, anyhow};
use cluster::Service;

/// Where the units look for what belongs to a service, below the root.
const HOME: &str = "etc/shoal";
/// Whose group the archive's files are: the package makes it.
const GROUP: &str = "shoal";

/// Writes the archive, whole or not at all, for its owner only. It is unpacked at the root of the
/// host.
pub fn write(archive: &Path, service: Service, files: &[(&'static str, Vec<u8>)]) -> Result<()> {
    let refused = |error: io::Error| {
        anyhow!(
            "cannot write {}: {error}; choose another --archive, in a directory that can be \
             written",
            archive.display()
        )
    };
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(archive)
        .map_err(refused)?;
    let filled = fill(file, service, files);
    if filled.is_err() {
        fs::remove_file(archive)
            .with_context(|| format!("cannot remove the unfinished {}", archive.display()))?;
    }
    filled.map_err(refused)
}

fn fill(file: fs::File, service: Service, files: &[(&'static str, Vec<u8>)]) -> io::Result<()> {
    let mut builder = tar::Builder::new(file);
    let home = format!("{HOME}/{service}/");
    builder.append_data(&mut header(tar::EntryType::Directory, 0o750, 0)?, &home, io::empty())?;
    for (name, content) in files {
        builder.append_data(
            &mut header(tar::EntryType::Regular, 0o640, content.len())?,
            format!("{home}{name}"),
            content.as_slice(),
        )?;
    }
    let mut file = builder.into_inner()?;
    file.flush()?;
    file.sync_all()
}

/// Of root's, readable by the group of the services.
fn header(kind: tar::EntryType, mode: u32, size: usize) -> io::Result<tar::Header> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size.try_into().unwrap_or(u64::MAX));
    header.set_uid(0);
    header.set_gid(0);
    header.set_username("root")?;
    header.set_groupname(GROUP)?;
    header.set_mtime(chassis::Clock::system().now().as_second().unsigned_abs());
    Ok(header)
}
