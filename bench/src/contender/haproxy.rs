//! HAProxy: one thread, keep-alive on both sides, its full log to a file, its statistics socket.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use anyhow::Result;

/// A balancer of HTTP.
pub fn http(directory: &Path, listen: SocketAddr, origin: SocketAddr) -> Result<Command> {
    let proxy = "option forwardfor\n  unique-id-format %{+X}o%ci%cp%fi%fp%Ts%rt%pid\n  unique-id-header X-Request-Id";
    write(directory, listen, origin, "mode http\n  option httplog\n  option http-keep-alive\n  http-reuse always", proxy)
}

/// A balancer of connections.
pub fn tcp(directory: &Path, listen: SocketAddr, origin: SocketAddr) -> Result<Command> {
    write(directory, listen, origin, "mode tcp\n  option tcplog", "")
}

/// The same with its splicing where it thinks that this helps.
pub fn tcp_splice(directory: &Path, listen: SocketAddr, origin: SocketAddr) -> Result<Command> {
    write(directory, listen, origin, "mode tcp\n  option tcplog\n  option splice-auto", "")
}

fn write(directory: &Path, listen: SocketAddr, origin: SocketAddr, mode: &str, frontend: &str) -> Result<Command> {
    let file = directory.join("haproxy.cfg");
    let socket = directory.join("stats.sock");
    let configuration = format!(
        "global\n  nbthread 1\n  maxconn 4096\n  log stdout format raw local0\n  stats socket {socket}\n\
         defaults\n  {mode}\n  log global\n  timeout connect 5s\n  timeout client 50s\n  timeout server 50s\n\
         frontend bench\n  bind {listen}\n  {frontend}\n  default_backend origins\n\
         backend origins\n  balance roundrobin\n  server origin {origin} check inter 5s\n",
        socket = socket.display()
    );
    fs::write(&file, configuration)?;
    let mut command = Command::new("/usr/sbin/haproxy");
    command.arg("-db").arg("-f").arg(file);
    Ok(command)
}
