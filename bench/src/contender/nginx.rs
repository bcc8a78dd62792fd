//! nginx: one worker, keep-alive on both sides, its combined log with a buffer, stub_status.
//! Without tcp_nopush: with it, the last segment of a cached 64 KiB waits 40 ms for an
//! acknowledgement.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use anyhow::Result;

use super::Setting;

/// Where Debian puts the module of `libnginx-mod-stream`.
pub const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// A balancer.
pub fn balancer(directory: &Path, listen: SocketAddr, setting: Setting<'_>) -> Result<Command> {
    write(directory, listen, setting, "", "")
}

/// A cache: on disk, as it has no other, which here means in the page cache; with sendfile and its
/// files kept open.
pub fn cache(directory: &Path, listen: SocketAddr, setting: Setting<'_>) -> Result<Command> {
    let cache = directory.join("cache");
    let path = format!(
        "proxy_cache_path {} levels=1:2 keys_zone=bench:32m max_size=1g inactive=1d \
         use_temp_path=off;\n\
         \x20 open_file_cache max=1000 inactive=1d; open_file_cache_valid 1d;",
        cache.display()
    );
    write(
        directory,
        listen,
        setting,
        &path,
        "proxy_cache bench; proxy_cache_lock on; proxy_cache_lock_timeout 60s; add_header X-Cache \
         $upstream_cache_status;",
    )
}

fn write(
    directory: &Path,
    listen: SocketAddr,
    setting: Setting<'_>,
    global: &str,
    location: &str,
) -> Result<Command> {
    let file = directory.join("nginx.conf");
    let at = directory.display();
    let origin = setting.origin()?;
    let tls = setting.tls.map_or_else(String::new, |certificate| {
        format!(
            "ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.3;\n\
             \x20   ssl_session_cache shared:bench:8m; ssl_session_timeout 1h;",
            certificate.certificate().display(),
            certificate.key().display()
        )
    });
    let ssl = if setting.tls.is_some() { " ssl" } else { "" };
    let configuration = format!(
        "daemon off; worker_processes 1; worker_rlimit_nofile {files}; pid {at}/nginx.pid; \
         error_log {at}/error.log;\n\
         events {{ worker_connections {connections}; }}\n\
         http {{\n  access_log {at}/access.log combined buffer=64k flush=1s;\n\
         \x20 sendfile on; tcp_nopush off; tcp_nodelay on; keepalive_timeout 600s; \
         keepalive_requests 1000000000;\n\
         \x20 client_body_temp_path {at}/body; proxy_temp_path {at}/proxy; fastcgi_temp_path \
         {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
         \x20 upstream origins {{ server {origin}; keepalive 64; keepalive_requests 1000000000; \
         }}\n  {global}\n\
         \x20 server {{\n    listen {listen}{ssl};\n    {tls}\n    location /stub_status {{ \
         stub_status; }}\n\
         \x20   location / {{\n      proxy_pass http://origins; proxy_http_version 1.1; \
         proxy_set_header Connection \"\";\n\
         \x20     proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For \
         $proxy_add_x_forwarded_for;\n\
         \x20     proxy_set_header X-Request-Id $request_id;\n      {location}\n    }}\n  }}\n}}\n",
        files = setting.clients * 4,
        connections = setting.clients * 2,
    );
    fs::write(&file, configuration)?;
    Ok(command(directory, &file))
}

/// A balancer of connections. A log of its own, as it has none by itself.
pub fn stream(directory: &Path, listen: SocketAddr, setting: Setting<'_>) -> Result<Command> {
    let file = directory.join("nginx.conf");
    let at = directory.display();
    let origin = setting.origin()?;
    let configuration = format!(
        "load_module {STREAM_MODULE};\n\
         daemon off; worker_processes 1; worker_rlimit_nofile {files}; pid {at}/nginx.pid; \
         error_log {at}/error.log;\n\
         events {{ worker_connections {connections}; }}\n\
         stream {{\n  log_format own '$remote_addr [$time_local] $protocol $status $bytes_sent \
         $bytes_received $session_time \"$upstream_addr\"';\n\
         \x20 access_log {at}/access.log own buffer=64k flush=1s;\n  tcp_nodelay on;\n\
         \x20 upstream origins {{ server {origin}; }}\n\
         \x20 server {{ listen {listen}; proxy_pass origins; proxy_timeout 600s; }}\n}}\n",
        files = setting.clients * 4,
        connections = setting.clients * 2,
    );
    fs::write(&file, configuration)?;
    Ok(command(directory, &file))
}

fn command(directory: &Path, file: &Path) -> Command {
    let mut command = Command::new("/usr/sbin/nginx");
    command.arg("-e").arg(directory.join("error.log")).arg("-c").arg(file);
    command
}
