//! Hits from Squid's cache, and Squid's from ours: ICP v2 (RFC 2186) both ways with Debian's Squid.

use std::{
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use testkit::{
    client,
    lab::{Lab, Options},
    wait,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    process::{Child, Command},
};

/// A lab of one node that asks Squid and answers it.
async fn lab(node_icp: SocketAddr, squid: SocketAddr, squid_icp: u16) -> Lab {
    let arguments = ["--nodes=1", "--balancers=1"].map(ToOwned::to_owned).to_vec();
    let lab = Lab::start(Options { arguments, ..Options::default() }).await;
    let bundle = lab.data_dir().join("bundle");
    let main = bundle.join("cluster.yaml");
    let before = std::fs::read_to_string(&main).expect("cluster.yaml");
    let hierarchy = format!(
        "  hierarchy:\n    icp: {{bind: \"{node_icp}\", allow: [127.0.0.0/8]}}\n    siblings: \
         {{peers: [{{address: \"{squid}\", icp_port: {squid_icp}}}], proxy_only: true}}\n"
    );
    let after = before
        .replace("  hierarchy:\n", &hierarchy)
        // A sibling does not say where it had something from.
        .replace("to: [loopback], clients: [127.0.0.0/8, \"::1\"]", "to: [loopback]");
    assert!(after.contains("siblings:") && !after.contains("clients: [127"), "{after}");
    std::fs::write(&main, after).expect("write cluster.yaml");
    lab.ok(&["config", "apply", bundle.to_str().expect("UTF-8")]).await;
    lab
}

fn squid(directory: &Path, own: SocketAddr, icp: u16, node: (u16, u16)) -> Child {
    let at = directory.display();
    let text = format!(
        "http_port {own}\nicp_port {icp}\nvisible_hostname squid\n\
         acl all_of_them src 127.0.0.0/8\nhttp_access allow all_of_them\n\
         icp_access allow all_of_them\n\
         cache_peer 127.0.0.1 sibling {} {} proxy-only no-digest no-netdb-exchange\n\
         cache_mem 64 MB\naccess_log stdio:{at}/access.log\nbuffered_logs off\n\
         cache_log {at}/squid.log\npid_filename none\ncoredump_dir {at}\npinger_enable off\n\
         shutdown_lifetime 0 seconds\nnetdb_filename none\nmax_filedescriptors 1024\n\
         minimum_direct_rtt 0\nminimum_direct_hops 0\n",
        node.0, node.1,
    );
    let file = directory.join("squid.conf");
    std::fs::write(&file, text).expect("squid.conf");
    let mut command = Command::new("squid");
    let service = format!("shoal{}i{}", std::process::id(), own.port());
    command.args(["-N", "-n", &service, "-f"]).arg(file);
    command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().expect("squid: the test command of README.md installs it")
}

/// An origin with a clock, whose answers are fresh for ten minutes: Squid has no hits of others.
/// `/N` has N bytes.
async fn origin() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (at, asked) = (listener.local_addr().expect("bound"), Arc::new(AtomicUsize::new(0)));
    let counted = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = stream.read_u8().await else { break };
                head.push(byte);
            }
            let text = String::from_utf8_lossy(&head);
            let path = text.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
            let Ok(length) = path.parse::<usize>() else { continue };
            counted.fetch_add(1, Ordering::SeqCst);
            #[expect(clippy::disallowed_methods, reason = "Squid has the clock of this machine")]
            let now = jiff::Timestamp::now();
            let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT");
            let head = format!(
                "HTTP/1.1 200 OK\r\nDate: {date}\r\nCache-Control: max-age=600\r\n\
                 Connection: close\r\nContent-Length: {length}\r\n\r\n"
            );
            drop(stream.write_all(&[head.into_bytes(), vec![b'x'; length]].concat()).await);
        }
    });
    (at, asked)
}

async fn get(proxy: SocketAddr, url: &str) -> client::Answer {
    let answer = client::once(proxy, "GET", url, &[], b"").await.expect("an answer");
    assert_eq!(answer.status(), 200, "{url} from {proxy}");
    answer
}

/// Waits until a line of Squid's log has all of these.
async fn logged(directory: &Path, parts: &[&str]) {
    wait::until(format!("Squid logs {parts:?}"), || async {
        let text = std::fs::read_to_string(directory.join("access.log")).unwrap_or_default();
        text.lines().any(|line| parts.iter().all(|part| line.contains(part))).then_some(())
    })
    .await;
}

fn free_udp() -> u16 {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("bound").port()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hit_from_squids_cache_and_squids_from_ours() {
    let directory = tempfile::tempdir().expect("a directory");
    // Squid writes its log as a user of its own, where it is started by root.
    let everybody = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(directory.path(), everybody).expect("permissions");
    let own = testkit::port::free();
    let (squid_icp, node_icp) = (free_udp(), free_udp());
    let node_at = SocketAddr::from(([127, 0, 0, 1], node_icp));
    let lab = lab(node_at, own, squid_icp).await;
    let proxy = lab.process("proxy-node-1").endpoints["proxy"].clone();
    let proxy: SocketAddr = proxy.parse().expect("an address");
    let _squid = squid(directory.path(), own, squid_icp, (proxy.port(), node_icp));
    wait::until("squid listens", || async {
        tokio::net::TcpStream::connect(own).await.is_ok().then_some(())
    })
    .await;
    let (origin, asked) = origin().await;
    let requests = || asked.load(Ordering::SeqCst);
    let url = |length: usize| format!("http://{origin}/{length}");

    // What Squid has.
    let squids = url(1111);
    get(own, &squids).await;
    assert_eq!(requests(), 1);
    logged(directory.path(), &["TCP_MISS/200", &squids, "HIER_DIRECT/"]).await;
    let answer = get(lab.frontend(), &squids).await;
    assert_eq!((answer.body.len(), requests()), (1111, 1), "it came from Squid");
    logged(directory.path(), &["UDP_HIT/", "ICP_QUERY", &squids]).await;
    logged(directory.path(), &["TCP_MEM_HIT/200", "GET", &squids]).await;
    let log = lab.json(&["logs", "--lines", "50", "--node", "proxy-node-1"]).await.to_string();
    assert!(log.contains("SIBLING_HIT/127.0.0.1"), "{log}");
    // It is not kept twice.
    let told = lab.json(&["explain", &squids]).await.to_string();
    assert!(told.contains("\"cache\":\"miss\"") && told.contains("siblings: "), "{told}");

    // What we have. (Squid asks nobody for what is near, but for the `minimum_direct_…` above.)
    let ours = url(2222);
    get(lab.frontend(), &ours).await;
    assert_eq!(requests(), 2);
    logged(directory.path(), &["UDP_MISS/", "ICP_QUERY", &ours]).await;
    let answer = get(own, &ours).await;
    assert_eq!((answer.body.len(), requests()), (2222, 2), "it came from us");
    logged(directory.path(), &["TCP_MISS/200", &ours, "SIBLING_HIT/127.0.0.1"]).await;

    // What nobody has is the origin's, on both ways.
    get(own, &url(3333)).await;
    get(lab.frontend(), &url(4444)).await;
    assert_eq!(requests(), 4);
    lab.stop().await;
}
