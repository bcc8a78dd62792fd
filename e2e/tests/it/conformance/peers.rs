//! The caches that the cases are run against: a node of a lab, and what Debian has.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Stdio,
};

use tempfile::TempDir;
use testkit::wait;
use tokio::process::{Child, Command};

use super::judge::Form;

const REMEDY: &str = "run the test command of README.md, which installs what is missing";

/// A cache that answers.
#[derive(Clone, Copy, Debug)]
pub struct Cache {
    pub name: &'static str,
    pub address: SocketAddr,
    pub form: Form,
    /// Beginnings of the names of cases that its process does not survive; they are not run, and
    /// not passed.
    pub dies_of: &'static [&'static str],
}

/// One of Debian's.
pub struct Peer {
    pub cache: Cache,
    _running: Child,
    _directory: TempDir,
}

/// Squid with more in its configuration.
pub async fn squid_with(more: &str) -> Peer {
    let directory = tempfile::Builder::new().prefix("shoal-cache-").tempdir();
    let directory = directory.expect("a directory");
    let address = free();
    let (name, form, mut command) = squid(directory.path(), address, more);
    let command = command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let running = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}: {REMEDY}"));
    let cache = Cache { name, address, form, dies_of: &[] };
    wait::until("squid listens", || async {
        tokio::net::TcpStream::connect(address).await.is_ok().then_some(())
    })
    .await;
    Peer { cache, _running: running, _directory: directory }
}

fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound")
}

/// All of them, in front of this origin.
pub async fn all(origin: SocketAddr) -> Vec<Peer> {
    let mut peers = Vec::new();
    let plain: fn(&Path, SocketAddr, SocketAddr) -> Start =
        |directory, address, _| squid(directory, address, "");
    for start in [plain, nginx, varnish, traffic_server] {
        let directory = tempfile::Builder::new().prefix("shoal-cache").tempdir();
        let directory = directory.expect("a directory");
        let address = free();
        let (name, form, mut command) = start(directory.path(), address, origin);
        let command = command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let running = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}: {REMEDY}"));
        // Varnish 7.1 panics in VRG_CheckBo.
        let dies_of: &[&str] = match name {
            "varnish" => &["bogus-range-", "unasked-206"],
            _ => &[],
        };
        let cache = Cache { name, address, form, dies_of };
        peers.push(Peer { cache, _running: running, _directory: directory });
    }
    for peer in &peers {
        wait::until(format!("{} listens", peer.cache.name), || async {
            tokio::net::TcpStream::connect(peer.cache.address).await.is_ok().then_some(())
        })
        .await;
    }
    peers
}

type Start = (&'static str, Form, Command);

fn write(directory: &Path, name: &str, text: &str) -> String {
    let file = directory.join(name);
    std::fs::write(&file, text).expect("a configuration");
    file.display().to_string()
}

fn squid(directory: &Path, address: SocketAddr, more: &str) -> Start {
    let at = directory.display();
    let text = format!(
        "http_port {address}\nvisible_hostname squid\nacl all_of_them src 127.0.0.0/8\n\
         http_access allow all_of_them\ncache_mem 64 MB\naccess_log none\n\
         cache_log {at}/squid.log\npid_filename none\ncoredump_dir {at}\npinger_enable off\n\
         shutdown_lifetime 0 seconds\nicp_port 0\nnetdb_filename none\n\
         max_filedescriptors 1024\n{more}\n"
    );
    let file = write(directory, "squid.conf", &text);
    let mut command = Command::new("squid");
    // Its shared memory is named by the service.
    let service = format!("shoal{}c{}", std::process::id(), address.port());
    command.args(["-N", "-n", &service, "-f", &file]);
    ("squid", Form::Forward, command)
}

fn nginx(directory: &Path, address: SocketAddr, origin: SocketAddr) -> Start {
    let at = directory.display();
    let text = format!(
        "daemon off; master_process off; worker_processes 1; pid {at}/nginx.pid;\n\
         error_log {at}/error.log;\nevents {{ worker_connections 512; }}\nhttp {{\n\
         access_log off; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;\n\
         fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
         proxy_cache_path {at}/cache keys_zone=all:8m use_temp_path=off;\n\
         server {{ listen {address}; location / {{ proxy_pass http://{origin};\n\
         proxy_http_version 1.1; proxy_set_header Host $http_host;\n\
         proxy_set_header Connection \"\"; proxy_cache all; proxy_cache_revalidate on;\n\
         proxy_cache_use_stale updating error timeout; proxy_cache_background_update on;\n\
         }} }} }}\n"
    );
    let file = write(directory, "nginx.conf", &text);
    let mut command = Command::new("nginx");
    command.args(["-c", &file, "-p", &at.to_string()]);
    ("nginx", Form::Reverse, command)
}

fn varnish(directory: &Path, address: SocketAddr, origin: SocketAddr) -> Start {
    let (ip, port) = (origin.ip(), origin.port());
    let text = format!("vcl 4.1;\nbackend default {{ .host = \"{ip}\"; .port = \"{port}\"; }}\n");
    let file = write(directory, "default.vcl", &text);
    let at = directory.join("varnish").display().to_string();
    let mut command = Command::new("varnishd");
    command.args(["-F", "-j", "none", "-a", &address.to_string(), "-f", &file, "-n", &at]);
    command.args(["-s", "malloc,64m"]);
    ("varnish", Form::Reverse, command)
}

fn traffic_server(directory: &Path, address: SocketAddr, _: SocketAddr) -> Start {
    let at = directory.display();
    for inside in ["etc", "log", "run", "cache"] {
        std::fs::create_dir_all(directory.join(inside)).expect("a directory");
    }
    let port = address.port();
    write(
        &directory.join("etc"),
        "records.config",
        &format!(
            "CONFIG proxy.config.http.server_ports STRING {port}:ip-in=127.0.0.1\n\
             CONFIG proxy.config.reverse_proxy.enabled INT 0\n\
             CONFIG proxy.config.url_remap.remap_required INT 0\n\
             CONFIG proxy.config.http.cache.http INT 1\n\
             CONFIG proxy.config.http.cache.required_headers INT 1\n\
             CONFIG proxy.config.admin.user_id STRING #-1\n\
             CONFIG proxy.config.exec_thread.autoconfig INT 0\n\
             CONFIG proxy.config.exec_thread.limit INT 2\n"
        ),
    );
    write(&directory.join("etc"), "storage.config", &format!("{at}/cache 64M\n"));
    for empty in ["plugin.config", "remap.config", "cache.config", "ip_allow.yaml"] {
        write(&directory.join("etc"), empty, "");
    }
    write(
        &directory.join("etc"),
        "ip_allow.yaml",
        "ip_allow:\n  - apply: in\n    ip_addrs: 0/0\n    action: allow\n    methods: ALL\n",
    );
    let runroot = write(
        directory,
        "runroot.yaml",
        &format!(
            "prefix: {at}\nexec_prefix: /usr\nbindir: /usr/bin\nsbindir: /usr/sbin\n\
             sysconfdir: {at}/etc\ndatadir: {at}\nincludedir: /usr/include\nlibdir: /usr/lib\n\
             libexecdir: /usr/lib/trafficserver/modules\nlocalstatedir: {at}\n\
             runtimedir: {at}/run\nlogdir: {at}/log\ncachedir: {at}/cache\n"
        ),
    );
    let mut command = Command::new("traffic_server");
    command.env("TS_RUNROOT", &runroot);
    ("traffic_server", Form::Forward, command)
}
