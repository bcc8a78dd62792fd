//! Squid. Measured alone: one process, a cache in memory, its native log with a buffer. As one of
//! several: as textbooks configure it.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Result, ensure};

use super::{Setting, cluster::Memory, process::own_name};

/// A cache in memory; the origin is named by the requests.
pub fn cache(directory: &Path, listen: SocketAddr, setting: Setting<'_>) -> Result<Command> {
    write(directory, &alone(directory, listen, setting.memory, "http_access allow all"))
}

/// The same with a disk, read and written by threads (aufs).
pub fn disk(directory: &Path, listen: SocketAddr, setting: Setting<'_>) -> Result<Command> {
    let store = format!("cache_dir aufs {}/spool 1024 16 256\n", directory.display());
    let configuration = store + &alone(directory, listen, setting.memory, "http_access allow all");
    let command = write(directory, &configuration)?;
    prepare_disk(directory)?;
    Ok(command)
}

/// The same, which denies the domains of a list first.
pub fn listed(directory: &Path, listen: SocketAddr, list: &Path) -> Result<Command> {
    let access = format!(
        "acl blocked dstdomain -n \"{}\"\nhttp_access deny blocked\nhttp_access allow all",
        list.display()
    );
    write(directory, &alone(directory, listen, 256, &access))
}

fn alone(directory: &Path, listen: SocketAddr, memory: u32, access: &str) -> String {
    let at = directory.display();
    format!(
        "http_port {listen}\nvisible_hostname bench\n{access}\ncache_mem {memory} MB\n\
         collapsed_forwarding on\n\
         maximum_object_size_in_memory 1 MB\n\
         access_log stdio:{at}/access.log squid\nbuffered_logs on\ncache_log {at}/cache.log\n\
         cache_store_log none\nlogfile_rotate 0\n\
         pid_filename none\ncoredump_dir {at}\nnetdb_filename none\npinger_enable off\nicp_port 0\n\
         shutdown_lifetime 0 seconds\n\
         max_filedescriptors 16384\nclient_idle_pconn_timeout 10 minutes\n"
    )
}

/// What one node of a cluster listens on.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// HTTP.
    pub http: SocketAddr,
    /// ICP (UDP).
    pub icp: u16,
}

/// One of several. With `siblings` they ask each other by ICP, as textbooks have it.
pub fn node(
    directory: &Path,
    own: Ports,
    siblings: &[Ports],
    number: usize,
    memory: Memory,
) -> Result<Command> {
    let at = directory.display();
    let peers: String = siblings
        .iter()
        .enumerate()
        .map(|(index, peer)| {
            let port = peer.http.port();
            // Several on one host need names: one address may be given only once.
            format!(
                "cache_peer {} sibling {port} {} proxy-only name=sibling{index}\n",
                peer.http.ip(),
                peer.icp
            )
        })
        .collect();
    let icp = if siblings.is_empty() { 0 } else { own.icp };
    let store = match memory {
        Memory::Usual => {
            format!(
                "cache_dir ufs {at}/spool 1000 16 256\ncache_mem 256 MB\n\
                 access_log stdio:{at}/access.log\n"
            )
        }
        Memory::Each(memory) => format!(
            "cache_mem {memory} MB\nmaximum_object_size_in_memory 1 MB\nbuffered_logs on\n\
             access_log stdio:{at}/access.log squid\ncache_store_log none\nnetdb_filename none\n"
        ),
    };
    let configuration = format!(
        "http_port {}\n{store}visible_hostname squid-node{number}\n\
         unique_hostname squid-node{number}\n\
         acl localnet src 127.0.0.0/8\nhttp_access allow localnet\nhttp_access deny all\n\
         maximum_object_size 50 MB\ncache_log {at}/cache.log\nicp_port {icp}\n\
         icp_access allow localnet\nicp_query_timeout 2000\n\
         maximum_icp_query_timeout 2000\n{peers}pid_filename none\ncoredump_dir {at}\n\
         pinger_enable off\nshutdown_lifetime 0 seconds\n",
        own.http
    );
    let command = write(directory, &configuration)?;
    if memory != Memory::Usual {
        return Ok(command);
    }
    prepare_disk(directory)?;
    Ok(command)
}

/// Has the directories of a disk made.
fn prepare_disk(directory: &Path) -> Result<()> {
    let at = directory.display();
    fs::create_dir(directory.join("spool"))?;
    fs::set_permissions(
        directory.join("spool"),
        std::os::unix::fs::PermissionsExt::from_mode(0o777),
    )?;
    let mut prepare = Command::new("/usr/sbin/squid");
    prepare
        .args(["-n", &own_name(directory), "-N", "-z", "-f"])
        .arg(directory.join("squid.conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    ensure!(prepare.status()?.success(), "squid -z failed for {at}");
    Ok(())
}

fn write(directory: &Path, configuration: &str) -> Result<Command> {
    let file = directory.join("squid.conf");
    fs::write(&file, configuration)?;
    let mut command = Command::new("/usr/sbin/squid");
    // Squid's shared memory is named by its service: under its usual name it gets into the way of
    // another Squid of the machine.
    command.args(["-n", &own_name(directory), "-N", "-f"]).arg(file);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_squid_has_a_service_name_of_its_own() {
        let (one, other) =
            (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let name = |directory: &Path| {
            let listen = SocketAddr::from(([127, 0, 0, 1], 3128));
            let command = cache(directory, listen, Setting::plain(&[])).expect("a command");
            let arguments: Vec<_> =
                command.get_args().map(|it| it.to_string_lossy().into_owned()).collect();
            assert_eq!(arguments[0], "-n");
            arguments[1].clone()
        };
        let (one, other) = (name(one.path()), name(other.path()));
        assert!(
            one != other && one != "squid" && one.chars().all(|it| it.is_ascii_alphanumeric()),
            "{one} {other}"
        );
    }
}
