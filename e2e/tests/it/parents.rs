//! Debian's Squid as the parent of the nodes: with credentials, over several tiers, when one dies,
//! and when somebody has made a circle of it.

use std::{net::SocketAddr, os::unix::fs::PermissionsExt, path::Path, process::Stdio};

use testkit::{
    client::{self, Connection},
    lab::{Lab, Options},
    origin::Origin,
    wait,
};
use tokio::process::{Child, Command};

/// A Squid of this name, with more in its configuration.
async fn squid(directory: &Path, name: &str, at: SocketAddr, more: &str) -> Child {
    let place = directory.display();
    let text = format!(
        "http_port {at}\nvisible_hostname {name}\nacl all_of_them src 127.0.0.0/8\n{more}\n\
         http_access allow all_of_them\ncache_mem 64 MB\n\
         access_log stdio:{place}/{name}.log\nbuffered_logs off\ncache_log {place}/{name}.out\n\
         pid_filename none\ncoredump_dir {place}\npinger_enable off\nicp_port 0\n\
         shutdown_lifetime 0 seconds\nnetdb_filename none\nmax_filedescriptors 1024\n"
    );
    let file = directory.join(format!("{name}.conf"));
    std::fs::write(&file, text).expect("squid.conf");
    let mut command = Command::new("squid");
    let service = format!("shoal{}p{}", std::process::id(), at.port());
    command.args(["-N", "-n", &service, "-f"]).arg(file);
    command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let child = command.spawn().expect("squid: the test command of README.md installs it");
    wait::until(format!("{name} listens"), || async {
        tokio::net::TcpStream::connect(at).await.is_ok().then_some(())
    })
    .await;
    child
}

fn open_directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    // Squid writes its log as a user of its own, where it is started by root.
    let everybody = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(directory.path(), everybody).expect("permissions");
    directory
}

/// A lab of one node that goes through these.
async fn lab(parents: &str) -> Lab {
    let arguments = ["--nodes=1", "--balancers=1"].map(ToOwned::to_owned).to_vec();
    let lab = Lab::start(Options { arguments, ..Options::default() }).await;
    apply(&lab, parents).await;
    lab
}

async fn apply(lab: &Lab, parents: &str) {
    let bundle = lab.data_dir().join("bundle");
    let main = bundle.join("cluster.yaml");
    let before = std::fs::read_to_string(&main).expect("cluster.yaml");
    let after = before.replace("parents: []", &format!("parents: [{parents}]"));
    assert_ne!(before, after);
    std::fs::write(&main, after).expect("write cluster.yaml");
    lab.ok(&["config", "apply", bundle.to_str().expect("UTF-8")]).await;
}

fn log(directory: &Path, name: &str) -> String {
    std::fs::read_to_string(directory.join(format!("{name}.log"))).unwrap_or_default()
}

/// This machine has another address than loopback, which nobody goes to through a parent.
fn own_address() -> std::net::IpAddr {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
    socket.connect("192.0.2.1:9").expect("a route");
    socket.local_addr().expect("an address").ip()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn squids_are_parents_with_credentials_over_tiers_and_one_may_die() {
    let directory = open_directory();
    let place = directory.path();
    let origin = Origin::on(own_address()).await;
    std::fs::write(place.join("login"), "node:of ours").expect("credentials");
    let [first, second, upper] = [(); 3].map(|()| testkit::port::free());
    // The upper tier wants to know who comes; the lower ones are two, and go through it.
    let asks = "auth_param basic program /usr/lib/squid/basic_fake_auth\n\
        acl known proxy_auth REQUIRED\nhttp_access deny !known";
    let _upper = squid(place, "upper", upper, asks).await;
    let through = format!(
        "cache_peer 127.0.0.1 parent {} 0 no-query default login=lower:secret\n\
         never_direct allow all_of_them\n{asks}",
        upper.port()
    );
    let mut lower = squid(place, "first", first, &through).await;
    let _second = squid(place, "second", second, &through).await;
    let login = place.join("login").display().to_string();
    let lab = lab(&format!(
        "{{address: \"{first}\", login: \"file:{login}\"}}, {{address: \"{second}\", login: \
         \"file:{login}\"}}"
    ))
    .await;

    let url = |number: usize| origin.url(&format!("/cacheable/{}", 1000 + number));
    let get = async |number: usize| {
        let answer = client::once(lab.frontend(), "GET", &url(number), &[], b"").await;
        let answer = answer.expect("an answer");
        assert_eq!((answer.status(), answer.body.len()), (200, 1000 + number));
    };
    let tunnel = async || {
        let mut connection = Connection::open(lab.frontend()).await.expect("the frontend");
        let head = connection.connect(&origin.address().to_string(), &[]).await.expect("a head");
        assert_eq!(head.status(), Some(200));
        let answer = connection.inside("GET", "/bytes/77", &[]).await.expect("an answer");
        assert_eq!(answer.body.len(), 77);
    };
    get(1).await;
    tunnel().await;
    let seen = origin.last().expect("a request");
    assert!(seen.fields.iter().all(|(name, _)| !name.starts_with("proxy-auth")), "{seen:?}");
    wait::until("both tiers know who came", || async {
        let (lower, upper) = (log(place, "first"), log(place, "upper"));
        let lower = lower.contains(" node ") && lower.contains("FIRSTUP_PARENT/127.0.0.1");
        (lower && upper.contains(" lower ") && upper.contains("CONNECT ")).then_some(())
    })
    .await;
    let told = lab.ok(&["logs", "--lines", "10", "--node", "proxy-node-1"]).await;
    assert!(told.contains("FIRSTUP_PARENT/127.0.0.1"), "{told}");

    // One dies: nobody notices.
    lower.kill().await.expect("it ends");
    for number in 2..30 {
        get(number).await;
    }
    tunnel().await;
    wait::until("the second has them", || async {
        let lines = log(place, "second");
        let requests = lines.lines().filter(|line| line.contains("/cacheable/")).count();
        (requests == 28 && lines.contains("CONNECT ")).then_some(())
    })
    .await;
    lab.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circle_of_parents_ends_by_itself() {
    let directory = open_directory();
    let place = directory.path();
    let origin = Origin::on(own_address()).await;
    let at = testkit::port::free();
    let lab = lab(&format!("{{address: \"{at}\"}}")).await;
    let node = lab.process("proxy-node-1").endpoints["proxy"].clone();
    let port = node.rsplit(':').next().unwrap_or_default();
    let back = format!(
        "cache_peer 127.0.0.1 parent {port} 0 no-query default\nnever_direct allow all_of_them"
    );
    let _squid = squid(place, "back", at, &back).await;
    let answer = client::once(lab.frontend(), "GET", &origin.url("/x"), &[], b"").await;
    let answer = answer.expect("an answer");
    assert!(answer.status() >= 400, "{}", answer.status());
    assert_eq!(origin.requests(), 0);
    let told = lab.ok(&["logs", "--lines", "20", "--node", "proxy-node-1"]).await;
    let (all, refused) = (told.matches("GET http").count(), told.matches("/508").count());
    assert!(all <= 4 && refused >= 1, "it goes round once: {told}");
    lab.stop().await;
}
