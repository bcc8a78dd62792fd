//! What people run in front of their Squids, and the bundles that mean the same: Debian's HAProxy
//! and nginx with the files of docs/migrate-balancers.md, a balancer with its bundles, and the same
//! three Squids behind them.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
};

use tempfile::TempDir;
use testkit::{
    client,
    lab::{Lab, Options},
    origin::Origin,
    wait,
};
use tokio::{
    net::UdpSocket,
    process::{Child, Command},
};

const PAGE: &str = include_str!("../../../docs/migrate-balancers.md");
const REMEDY: &str = "run the test command of README.md, which installs what is missing";

/// The n-th fenced block of a language.
fn block(language: &str, number: usize) -> &'static str {
    let begin = format!("```{language}\n");
    let block = PAGE.split(begin.as_str()).nth(number + 1).expect("a block");
    block.split("```").next().expect("its end")
}

/// What the three Squids are on the page.
fn on_the_page(number: usize) -> String {
    format!("192.168.1.1{}:3128", number + 1)
}

fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound")
}

/// A process that ends with the test.
fn start(program: &str, arguments: &[&str]) -> Child {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().unwrap_or_else(|error| panic!("{program}: {error}: {REMEDY}"))
}

async fn until_listening(what: &str, address: SocketAddr) {
    wait::until(format!("{what} listens"), || async {
        tokio::net::TcpStream::connect(address).await.is_ok().then_some(())
    })
    .await;
}

/// Three Squids that keep nothing.
struct Squids {
    running: Vec<Option<Child>>,
    addresses: Vec<SocketAddr>,
    directory: TempDir,
}

impl Squids {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let addresses: Vec<_> = (0..3).map(|_| free()).collect();
        let mut running = Vec::new();
        for (number, address) in addresses.iter().enumerate() {
            running.push(Some(squid(directory.path(), number, *address)));
        }
        for address in &addresses {
            until_listening("a Squid", *address).await;
        }
        Self { running, addresses, directory }
    }

    /// A text of the page, with these Squids and this listener in it.
    fn instead(&self, text: &str, listens: &[(&str, String)]) -> String {
        let mut text = text.to_owned();
        for (number, address) in self.addresses.iter().enumerate() {
            assert!(text.contains(&on_the_page(number)), "{text}");
            text = text.replace(&on_the_page(number), &address.to_string());
        }
        for (on_page, here) in listens {
            assert!(text.contains(on_page), "{on_page}: {text}");
            text = text.replace(on_page, here);
        }
        text
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn kill(&mut self, number: usize) {
        let mut squid = self.running[number].take().expect("it runs");
        squid.kill().await.expect("killed");
    }
}

fn squid(directory: &Path, number: usize, address: SocketAddr) -> Child {
    let file = directory.join(format!("squid{number}.conf"));
    let at = directory.display();
    // Its shared memory is named by the service.
    let service = format!("shoal{}n{}", std::process::id(), address.port());
    let text = format!(
        "http_port {address}\nvisible_hostname squid-node{number}\nacl localnet src \
         127.0.0.0/8\nhttp_access allow localnet\nhttp_access deny all\ncache deny \
         all\ncache_mem 8 MB\naccess_log none\ncache_log {at}/squid{number}.log\npid_filename \
         none\ncoredump_dir {at}\npinger_enable off\nshutdown_lifetime 0 seconds\nicp_port \
         0\nnetdb_filename none\nmax_filedescriptors 1024\n"
    );
    std::fs::write(&file, text).expect("a configuration");
    start("squid", &["-N", "-n", &service, "-f", &file.display().to_string()])
}

/// A lab with one balancer, whose bundle has this section.
async fn balancer(squids: &Squids, bundle: &str) -> Lab {
    let directory = squids.path("bundle");
    std::fs::create_dir_all(&directory).expect("a directory");
    std::fs::write(directory.join("cluster.yaml"), bundle).expect("a bundle");
    let arguments =
        ["--nodes", "1", "--balancers", "1", "--config", &directory.display().to_string()];
    let arguments = arguments.map(str::to_owned).to_vec();
    Lab::start(Options { arguments, ..Options::default() }).await
}

/// Statuses of so many requests, one after another.
async fn statuses(proxy: SocketAddr, origin: &Origin, count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for number in 0..count {
        let url = origin.url(&format!("/bytes/64?{number}"));
        let answer = client::once(proxy, "GET", &url, &[], b"").await;
        statuses.push(answer.map_or(0, |answer| answer.status()));
    }
    statuses
}

/// How many of `count` requests came over each of the Squids.
async fn shares(proxy: SocketAddr, origin: &Origin, count: usize) -> [u64; 3] {
    let via = || [0, 1, 2].map(|number| origin.requests_via(&format!("squid-node{number}")));
    let before = via();
    assert_eq!(statuses(proxy, origin, count).await, vec![200; count]);
    let after = via();
    std::array::from_fn(|number| after[number] - before[number])
}

async fn until_served(proxy: SocketAddr, origin: &Origin) {
    wait::until("it serves", || async {
        (statuses(proxy, origin, 1).await == [200]).then_some(())
    })
    .await;
}

fn without_vrrp(bundle: &str) -> &str {
    bundle.split_once("  vrrp:\n").expect("addresses that move").0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_in_front_of_three_squids() {
    let mut squids = Squids::start().await;
    let origin = Origin::start().await;
    let logs = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let log = logs.local_addr().expect("bound").to_string();
    let listen = free();

    let file = squids.path("haproxy.cfg");
    let text = squids.instead(
        block("haproxy", 0),
        &[("*:8080", listen.to_string()), ("127.0.0.1:514", log.clone())],
    );
    std::fs::write(&file, text).expect("a configuration");
    let _haproxy = start("/usr/sbin/haproxy", &["-db", "-f", &file.display().to_string()]);
    until_served(listen, &origin).await;
    assert_eq!(shares(listen, &origin, 30).await, [10, 10, 10]);

    // Addresses that move are e2e/tests/it/virtual_address.rs's.
    let bundle = squids.instead(
        without_vrrp(block("yaml", 0)),
        &[("0.0.0.0:8080", "${node.listen.frontend}".to_owned()), ("127.0.0.1:514", log)],
    );
    let lab = balancer(&squids, &bundle).await;
    until_served(lab.frontend(), &origin).await;
    let even = shares(lab.frontend(), &origin, 30).await;
    // Each of the workers goes round by itself.
    assert!(even.iter().all(|share| (9..=11).contains(share)), "{even:?}");

    // A line of each, of which the log server sees one field behind another.
    let line = wait::until("the balancer's line", || async {
        let mut buffer = [0; 4096];
        let length = logs.try_recv(&mut buffer).ok()?;
        let line = String::from_utf8_lossy(&buffer[..length]).into_owned();
        line.contains("shoal-balancer").then_some(line)
    })
    .await;
    assert!(line.starts_with("<134>"), "facility local0, level info: {line}");
    assert!(line.contains(" proxy_frontend squid_servers/squid"), "{line}");

    // Nobody who comes to the balancer notices.
    squids.kill(1).await;
    assert_eq!(statuses(lab.frontend(), &origin, 30).await, vec![200; 30]);
    let left = shares(lab.frontend(), &origin, 20).await;
    assert_eq!((left[0] + left[2], left[1]), (20, 0), "{left:?}");
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_in_front_of_three_squids() {
    let squids = Squids::start().await;
    let origin = Origin::start().await;
    let listen = free();

    let (file, at) = (squids.path("nginx.conf"), squids.directory.path().display().to_string());
    let text = squids.instead(block("nginx", 0), &[("listen 80", format!("listen {listen}"))]);
    std::fs::write(
        &file,
        format!(
            "daemon off; master_process off; pid {at}/nginx.pid; error_log {at}/error.log;\nevents \
             {{}}\nhttp {{ access_log off; client_body_temp_path {at}/b; proxy_temp_path {at}/p; \
             fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n{text}\n}}\n"
        ),
    )
    .expect("a configuration");
    let error = squids.path("error.log").display().to_string();
    let _nginx = start("/usr/sbin/nginx", &["-e", &error, "-c", &file.display().to_string()]);
    until_listening("nginx", listen).await;
    // What the page says of it.
    assert_eq!(statuses(listen, &origin, 6).await, [400; 6]);

    let bundle =
        squids.instead(block("yaml", 1), &[("0.0.0.0:80", "${node.listen.frontend}".to_owned())]);
    let lab = balancer(&squids, &bundle).await;
    until_served(lab.frontend(), &origin).await;
    let shares = shares(lab.frontend(), &origin, 60).await;
    for (share, wanted) in shares.into_iter().zip([30, 20, 10]) {
        assert!(share.abs_diff(wanted) <= 2, "{shares:?}");
    }
    let fields = [("X-Forwarded-For", "203.0.113.7"), ("X-Real-IP", "203.0.113.7")];
    let answer = client::once(lab.frontend(), "GET", &origin.url("/"), &fields, b"").await;
    assert_eq!(answer.expect("an answer").status(), 200);
    let last = origin.last().expect("a request");
    assert_eq!(last.field("x-real-ip"), Some("127.0.0.1"));
    // And Squid appends the balancer.
    let forwarded = last.field("x-forwarded-for").expect("X-Forwarded-For");
    assert_eq!(forwarded, "203.0.113.7, 127.0.0.1, 127.0.0.1");
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_checks_a_backup_and_a_server_taken_out_by_hand() {
    let mut squids = Squids::start().await;
    let origin = Origin::start().await;
    let listen = free();

    let file = squids.path("haproxy.cfg");
    let text = squids.instead(block("haproxy", 1), &[("*:8080", listen.to_string())]);
    std::fs::write(&file, text).expect("a configuration");
    let _haproxy = start("/usr/sbin/haproxy", &["-db", "-f", &file.display().to_string()]);
    // What the page says of it.
    wait::until("HAProxy serves nobody", || async {
        (statuses(listen, &origin, 1).await == [503]).then_some(())
    })
    .await;

    let bundle =
        squids.instead(block("yaml", 2), &[("0.0.0.0:8080", "${node.listen.frontend}".to_owned())]);
    let lab = balancer(&squids, &bundle).await;
    let proxy = lab.frontend();
    until_served(proxy, &origin).await;
    let socket = lab.process("balancer-1").endpoints["socket"].clone();
    let say = async |command: &str| {
        let line = format!("echo \"{command}\" | socat stdio {socket}");
        let output = Command::new("sh").args(["-c", &line]).output().await.expect("a shell");
        String::from_utf8(output.stdout).expect("text")
    };
    wait::until("both checked", || async {
        let stat = say("show stat").await;
        let checked = stat.lines().filter(|line| line.contains("L7OK")).count();
        (checked == 3).then_some(())
    })
    .await;
    let both = shares(proxy, &origin, 20).await;
    assert_eq!((both[0] + both[1], both[2]), (20, 0), "{both:?}");

    assert_eq!(say("disable server squid_servers/squid1").await, "\n");
    wait::until("it has none any more", || async {
        let shares = shares(proxy, &origin, 6).await;
        (shares == [0, 6, 0]).then_some(())
    })
    .await;
    assert!(
        say("show stat")
            .await
            .lines()
            .any(|line| { line.starts_with("squid_servers,squid1,") && line.contains(",MAINT,") })
    );
    squids.kill(1).await;
    assert_eq!(shares(proxy, &origin, 6).await, [0, 0, 6]);
    assert_eq!(say("enable server squid_servers/squid1").await, "\n");
    wait::until("the backup has none any more", || async {
        let shares = shares(proxy, &origin, 6).await;
        (shares == [6, 0, 0]).then_some(())
    })
    .await;
    lab.stop().await;
}
