//! Squid: one process, a cache in memory, its native log with a buffer.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use anyhow::Result;

/// A cache; the origin is named by the requests.
pub fn cache(directory: &Path, listen: SocketAddr, _origin: SocketAddr) -> Result<Command> {
    let file = directory.join("squid.conf");
    let at = directory.display();
    let configuration = format!(
        "http_port {listen}\nvisible_hostname bench\nhttp_access allow all\ncache_mem 256 MB\nmaximum_object_size_in_memory 1 MB\n\
         access_log stdio:{at}/access.log squid\nbuffered_logs on\ncache_log {at}/cache.log\ncache_store_log none\nlogfile_rotate 0\n\
         pid_filename none\ncoredump_dir {at}\nnetdb_filename none\npinger_enable off\nicp_port 0\nshutdown_lifetime 0 seconds\n\
         max_filedescriptors 16384\nclient_idle_pconn_timeout 10 minutes\n"
    );
    fs::write(&file, configuration)?;
    let mut command = Command::new("/usr/sbin/squid");
    command.arg("-N").arg("-f").arg(file);
    Ok(command)
}
