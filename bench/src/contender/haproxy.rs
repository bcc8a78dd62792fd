//! HAProxy. Measured for its CPU time: one thread, keep-alive on both sides, its full log to a
//! file, its statistics socket. In front of several nodes: as it is commonly configured, and as
//! well as it can be.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use anyhow::Result;

use super::{Setting, few};

/// A balancer of HTTP.
pub fn http(directory: &Path, listen: SocketAddr, setting: Setting<'_>) -> Result<Command> {
    let proxy = "option forwardfor\n  unique-id-format %{+X}o%ci%cp%fi%fp%Ts%rt%pid\n  \
        unique-id-header X-Request-Id";
    write(
        directory,
        listen,
        setting,
        "mode http\n  option httplog\n  option http-keep-alive\n  http-reuse always",
        proxy,
    )
}

/// The same in front of the first three servers alone.
pub fn http_to_few(directory: &Path, listen: SocketAddr, setting: Setting<'_>) -> Result<Command> {
    http(directory, listen, Setting { servers: few(setting.servers), ..setting })
}

/// A balancer of connections.
pub fn tcp(directory: &Path, listen: SocketAddr, setting: Setting<'_>) -> Result<Command> {
    write(directory, listen, setting, "mode tcp\n  option tcplog", "")
}

/// The same with its splicing where it thinks that this helps.
pub fn tcp_splice(directory: &Path, listen: SocketAddr, setting: Setting<'_>) -> Result<Command> {
    write(directory, listen, setting, "mode tcp\n  option tcplog\n  option splice-auto", "")
}

fn write(
    directory: &Path,
    listen: SocketAddr,
    setting: Setting<'_>,
    mode: &str,
    frontend: &str,
) -> Result<Command> {
    let tls = setting.tls.map_or_else(String::new, |certificate| {
        format!(" ssl crt {} ssl-min-ver TLSv1.3 alpn http/1.1", certificate.both().display())
    });
    // One origin is looked at; a thousand would cost more than what is measured.
    let check = if setting.servers.len() == 1 { " check inter 5s" } else { "" };
    let servers: String = (1..)
        .zip(setting.servers)
        .map(|(number, server)| format!("  server origin{number} {server}{check}\n"))
        .collect();
    // A limit of descriptors below twice as many clients is no reason to end.
    let configuration = format!(
        "global\n  nbthread 1\n  maxconn {clients}\n  no strict-limits\n\
         \x20 log stdout format raw local0\n\
         \x20 stats socket {socket}\n\
         defaults\n  {mode}\n  log global\n  timeout connect 5s\n  timeout client 50s\n\
         \x20 timeout server 50s\n\
         frontend bench\n  bind {listen}{tls}\n  {frontend}\n  default_backend origins\n\
         backend origins\n  balance roundrobin\n{servers}",
        clients = setting.clients,
        socket = stats_socket(directory).display()
    );
    start(directory, &configuration)
}

/// In front of Squids as textbooks have it, word by word; only the log of requests, for which
/// nobody listens, and the socket are ours.
pub fn reference(directory: &Path, listen: SocketAddr, nodes: &[SocketAddr]) -> Result<Command> {
    let servers: String = (1..)
        .zip(nodes)
        .map(|(number, node)| format!("  server squid{number} {node} check\n"))
        .collect();
    start(
        directory,
        &format!(
            "global\n  log 127.0.0.1:514 local0\n  stats socket {socket}\n\
             defaults\n  mode http\n  timeout connect 5000ms\n  timeout client 50000ms\n\
             \x20 timeout server 50000ms\n\
             backend squid_servers\n  balance roundrobin\n{servers}\
             frontend proxy_frontend\n  bind {listen}\n  default_backend squid_servers\n",
            socket = stats_socket(directory).display()
        ),
    )
}

/// In front of caches as it is quickest: kept connections on both sides, its full log to a file.
pub fn keepalive(directory: &Path, listen: SocketAddr, nodes: &[SocketAddr]) -> Result<Command> {
    let servers: String = (1..)
        .zip(nodes)
        .map(|(number, node)| format!("  server squid{number} {node} check inter 5s\n"))
        .collect();
    start(
        directory,
        &format!(
            "global\n  nbthread 1\n  log stdout format raw local0\n  stats socket {socket}\n\
             defaults\n  mode http\n  log global\n  option httplog\n  option http-keep-alive\n\
             \x20 http-reuse always\n  option forwardfor\n\
             \x20 timeout connect 5s\n  timeout client 50s\n  timeout server 50s\n\
             \x20 timeout tunnel 1h\n\
             backend squid_servers\n  balance roundrobin\n{servers}\
             frontend proxy_frontend\n  bind {listen}\n  default_backend squid_servers\n",
            socket = stats_socket(directory).display()
        ),
    )
}

/// The same as well as HAProxy can: it asks every 200 ms through each Squid for something of the
/// origin's, notices failures of requests, retries on another server whatever may be retried, and
/// ends the sessions of a server that is down.
pub fn tuned(
    directory: &Path,
    listen: SocketAddr,
    nodes: &[SocketAddr],
    origin: SocketAddr,
) -> Result<Command> {
    let servers: String =
        (1..).zip(nodes).map(|(number, node)| format!("  server squid{number} {node}\n")).collect();
    start(
        directory,
        &format!(
            "global\n  log stdout format raw local0\n  stats socket {socket}\n\
             defaults\n  mode http\n  log global\n  option httplog\n  option http-keep-alive\n\
             \x20 http-reuse safe\n\
             \x20 option redispatch 1\n  retries 3\n  retry-on conn-failure empty-response \
             junk-response\n\
             \x20 timeout connect 250ms\n  timeout check 250ms\n  timeout client 50s\n\
             \x20 timeout server 50s\n  timeout tunnel 1h\n\
             backend squid_servers\n  balance roundrobin\n  option httpchk\n  http-check connect\n\
             \x20 http-check send meth GET uri http://{origin}/b/1 ver HTTP/1.1 hdr Host {origin} \
             hdr Connection close\n\
             \x20 http-check expect status 200\n\
             \x20 default-server check inter 200ms fastinter 100ms fall 2 rise 2 observe layer4 \
             error-limit 1 on-error mark-down \
             on-marked-down shutdown-sessions\n{servers}\
             frontend proxy_frontend\n  bind {listen}\n  default_backend squid_servers\n",
            socket = stats_socket(directory).display()
        ),
    )
}

/// Where its statistics socket is.
pub fn stats_socket(directory: &Path) -> std::path::PathBuf {
    directory.join("stats.sock")
}

fn start(directory: &Path, configuration: &str) -> Result<Command> {
    let file = directory.join("haproxy.cfg");
    fs::write(&file, configuration)?;
    let mut command = Command::new("/usr/sbin/haproxy");
    command.arg("-db").arg("-f").arg(file);
    Ok(command)
}
