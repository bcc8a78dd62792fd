//! HAProxy's runtime socket, as the tools that people have for HAProxy use it, compared with
//! Debian's HAProxy itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use testkit::{
    lab::{Lab, Options},
    origin::Origin,
    wait,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
};

use crate::clients::python;

const BACKEND: &str = "squid_servers";

fn socket(lab: &Lab, balancer: &str) -> String {
    lab.process(balancer).endpoints["socket"].clone()
}

async fn shell(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).kill_on_drop(true).output().await;
    let output = output.expect("a shell");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// As the reference has it.
async fn say(socket: &str, command: &str) -> String {
    shell(&format!("echo \"{command}\" | socat stdio {socket}")).await
}

/// The rows of `show stat` as parsers of its CSV read them: by the names in its first line.
async fn stat(socket: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let text = say(socket, "show stat").await;
    let (header, rows) = text.trim_end().split_once('\n').expect("rows");
    let names: Vec<_> = header.strip_prefix("# ").expect("a header").split(',').collect();
    rows.lines()
        .map(|line| {
            let row: BTreeMap<_, _> = names
                .iter()
                .map(|&name| name.to_owned())
                .zip(line.split(',').map(str::to_owned))
                .collect();
            assert_eq!(line.split(',').count(), names.len(), "{line}");
            (format!("{}/{}", row["pxname"], row["svname"]), row)
        })
        .collect()
}

async fn until_status(socket: &str, server: &str, status: &str) {
    wait::until(format!("{server} {status}"), || async {
        (stat(socket).await[&format!("{BACKEND}/{server}")]["status"] == status).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_balancer_is_told_both_show_and_do() {
    let lab = Lab::start(Options::default()).await;
    let (one, other) = (socket(&lab, "balancer-1"), socket(&lab, "balancer-2"));
    let origin = Origin::start().await;
    let url = format!("http://{}/bytes/64", origin.address());

    assert_eq!(say(&one, "disable server squid_servers/proxy-node-1").await, "\n");
    until_status(&one, "proxy-node-1", "MAINT").await;
    until_status(&other, "proxy-node-1", "MAINT").await;
    for _ in 0..20 {
        shell(&format!("curl -sfo /dev/null -x {} {url}", lab.frontend())).await;
    }
    assert_eq!(origin.requests_via("proxy-node-1"), 0);
    let listed = lab.ok(&["node", "list"]).await;
    assert!(listed.contains("maintenance"), "{listed}");

    assert_eq!(say(&other, "enable server squid_servers/proxy-node-1").await, "\n");
    until_status(&one, "proxy-node-1", "UP").await;
    let initial = say(&one, "get weight squid_servers/proxy-node-2").await;
    assert_eq!(say(&one, "set weight squid_servers/proxy-node-2 7").await, "\n");
    wait::until("the weight at the other", || async {
        let weight = say(&other, "get weight squid_servers/proxy-node-2").await;
        weight.starts_with("7 (initial ").then_some(())
    })
    .await;
    assert_eq!(say(&one, "set server squid_servers/proxy-node-2 weight 100%").await, "\n");
    assert_eq!(say(&one, "get weight squid_servers/proxy-node-2").await, initial);

    // The last that serves is not taken out by a slip, and is by force.
    say(
        &one,
        "disable server squid_servers/proxy-node-1;disable server squid_servers/proxy-node-2",
    )
    .await;
    let refused = say(&one, "disable server squid_servers/proxy-node-3").await;
    assert!(refused.lines().count() == 2 && refused.contains("proxy-node-3"), "{refused}");
    assert_eq!(say(&one, "disable server squid_servers/proxy-node-3 force").await, "\n");
    until_status(&other, "BACKEND", "DOWN").await;
    for node in 1..=3 {
        assert_eq!(say(&other, &format!("enable server {BACKEND}/proxy-node-{node}")).await, "\n");
    }
    until_status(&one, "BACKEND", "UP").await;
    let audit = lab.ok(&["audit"]).await;
    assert!(audit.contains("socket set"), "{audit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tools_made_for_haproxy_find_what_they_look_for() {
    let lab = Lab::start(Options::default()).await;
    let socket = socket(&lab, "balancer-1");
    let origin = Origin::start().await;
    let url = format!("http://{}/bytes/100000", origin.address());
    for _ in 0..10 {
        shell(&format!("curl -sfo /dev/null -x {} {url}", lab.frontend())).await;
    }
    let rows = wait::until("the counters", || async {
        let rows = stat(&socket).await;
        let bytes: u64 = rows["proxy_frontend/FRONTEND"]["bout"].parse().expect("a number");
        (bytes > 1_000_000).then_some(rows)
    })
    .await;
    // What check_haproxy, telegraf and Datadog read.
    for (name, row) in &rows {
        for column in ["scur", "smax", "stot", "bin", "bout", "hrsp_2xx", "rate", "iid", "type"] {
            assert!(row[column].parse::<u64>().is_ok(), "{name} {column}: {row:?}");
        }
        let limited = row["slim"].parse::<u64>();
        assert!(row["slim"].is_empty() || limited.is_ok_and(|it| it > 0), "{row:?}");
    }
    assert_eq!(rows["proxy_frontend/FRONTEND"]["status"], "OPEN");
    assert_eq!(rows["squid_servers/BACKEND"]["hrsp_2xx"], "10");
    assert_eq!(rows["squid_servers/proxy-node-1"]["check_status"], "L7OK");

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/haproxy_client.py");
    let told = shell(&format!(
        "{} {} {socket} {BACKEND} proxy-node-2",
        python().display(),
        script.display()
    ))
    .await;
    assert!(told.starts_with("ok proxy-node-2"), "{told}");

    let json = say(&socket, "show stat json").await;
    let json: serde_json::Value = serde_json::from_str(json.trim_end()).expect("JSON");
    assert_eq!(json.as_array().map(Vec::len), Some(rows.len()));
    let selected = say(&socket, "show stat -1 1 -1").await;
    assert_eq!(selected.trim_end().lines().count(), 2, "{selected}");
    let admin = &lab.process("balancer-1").endpoints["admin"];
    let page = shell(&format!("curl -sf http://{admin}/stats")).await;
    assert!(page.contains("proxy-node-1") && page.contains("balancer-1"), "{page}");
    let csv = shell(&format!("curl -sf 'http://{admin}/stats;csv'")).await;
    assert!(csv.starts_with("# pxname,svname,") && csv.contains("squid_servers,BACKEND,"), "{csv}");
    let missing = shell(&format!("curl -so /dev/null -w '%{{http_code}}' http://{admin}/x")).await;
    assert_eq!(missing, "404");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_registry_never_heard_of_is_kept_and_expires() {
    let lab =
        Lab::start(Options { arguments: vec!["--no-restart".into()], ..Options::default() }).await;
    let socket = socket(&lab, "balancer-1");
    lab.signal("balancer-1", nix::sys::signal::Signal::SIGKILL);
    let expires = [("SHOAL_DRIFT_EXPIRES".to_owned(), "4s".to_owned())];
    let _again = lab.restart_with("balancer-1", &expires);
    wait::until("the socket that a dead process left is replaced", || async {
        tokio::net::UnixStream::connect(&socket).await.ok()
    })
    .await;
    until_status(&socket, "proxy-node-1", "UP").await;
    lab.kill_control_plane();
    assert_eq!(say(&socket, "set server squid_servers/proxy-node-1 state drain").await, "\n");
    until_status(&socket, "proxy-node-1", "DRAIN").await;
    let page = lab.process("balancer-1").endpoints["admin"].clone();
    let page = shell(&format!("curl -sf http://{page}/stats")).await;
    assert!(page.contains("The registry is out of reach"), "{page}");
    until_status(&socket, "proxy-node-1", "UP").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_sessions_ends_tunnels() {
    let lab = Lab::start(Options::default()).await;
    let socket = socket(&lab, "balancer-1");
    let origin = Origin::start().await;
    let mut tunnel = TcpStream::connect(lab.frontend()).await.expect("a connection");
    let head = format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.address());
    tunnel.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = [0; 1024];
    let read = tunnel.read(&mut answer).await.expect("an answer");
    assert!(answer[..read].starts_with(b"HTTP/1.1 200"), "{:?}", &answer[..read]);
    let carrier = wait::until("the tunnel is counted", || async {
        let rows = stat(&socket).await;
        let carrier = rows.values().find(|row| row["type"] == "2" && row["scur"] == "1")?;
        Some(carrier["svname"].clone())
    })
    .await;
    let others = ["proxy-node-1", "proxy-node-2", "proxy-node-3"].into_iter();
    for other in others.filter(|it| *it != carrier) {
        say(&socket, &format!("shutdown sessions server {BACKEND}/{other}")).await;
    }
    assert_eq!(stat(&socket).await[&format!("{BACKEND}/{carrier}")]["scur"], "1");
    assert_eq!(say(&socket, &format!("shutdown sessions server {BACKEND}/{carrier}")).await, "\n");
    let ended = tunnel.read(&mut answer).await;
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    wait::until("its record", || async {
        let record = lab.ok(&["logs", "--status", "200"]).await;
        record.contains("cut_by_operator").then_some(())
    })
    .await;
    let rows = stat(&socket).await;
    assert_eq!(rows[&format!("{BACKEND}/{carrier}")]["status"], "UP", "it is nobody's failure");
}

/// Debian's HAProxy with a socket and its exporter.
struct Haproxy {
    _child: Child,
    _directory: tempfile::TempDir,
    socket: PathBuf,
    frontend: SocketAddr,
}

async fn haproxy() -> Haproxy {
    let directory = tempfile::tempdir().expect("a directory");
    let (socket, file) = (directory.path().join("h.sock"), directory.path().join("haproxy.cfg"));
    let frontend = testkit::port::free();
    let configuration = format!(
        "global\n stats socket {} level admin\ndefaults\n mode http\n timeout connect 5s\n \
         timeout client 50s\n timeout server 50s\nfrontend proxy_frontend\n bind {frontend}\n \
         http-request use-service prometheus-exporter if {{ path /metrics }}\n default_backend \
         squid_servers\nbackend squid_servers\n option httpchk GET /\n server squid1 127.0.0.1:1 \
         check\n",
        socket.display()
    );
    std::fs::write(&file, configuration).expect("written");
    let child = Command::new("haproxy")
        .args([Path::new("-db"), Path::new("-f"), &file])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("Debian's haproxy: the test command of README.md installs it");
    let path = socket.clone();
    wait::until("haproxy's socket", || {
        let answers = std::os::unix::net::UnixStream::connect(&path).is_ok();
        async move { answers.then_some(()) }
    })
    .await;
    Haproxy { _child: child, _directory: directory, socket, frontend }
}

/// Names of metrics with the names of their labels, and with the states and codes among these.
fn shapes(exposition: &str) -> BTreeSet<String> {
    let lines = exposition.lines().filter(|line| line.starts_with("haproxy_"));
    lines
        .map(|line| {
            let (name, rest) = line.split_once(['{', ' ']).expect("a value");
            let labels = rest.split_once('}').map_or("", |it| it.0);
            let labels = labels.split(',').filter(|label| !label.is_empty()).map(|label| {
                let (name, value) = label.split_once('=').expect("a label");
                if matches!(name, "state" | "code") {
                    format!("{name}={value}")
                } else {
                    name.into()
                }
            });
            format!("{name}{{{}}}", labels.collect::<Vec<_>>().join(","))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_has_the_form_of_debian_s_haproxy() {
    let (lab, haproxy) = (Lab::start(Options::default()).await, haproxy().await);
    let (own, theirs) = (socket(&lab, "balancer-1"), haproxy.socket.display().to_string());
    for command in ["show stat", "show servers state", "show backend", "show cli sockets"] {
        let [own, theirs] = [say(&own, command).await, say(&theirs, command).await];
        let lines = if command == "show servers state" { 2 } else { 1 };
        let header = |text: &str| text.split_inclusive('\n').take(lines).collect::<String>();
        assert_eq!(header(&own), header(&theirs), "{command}");
    }
    for command in [
        "disable server",
        "disable server x/y",
        "disable server squid_servers/y",
        "set server squid_servers/y state on",
        "set weight squid_servers/y 300",
        "show servers state x",
        "show stat x 7 -1",
        "show errors x",
    ] {
        assert_eq!(say(&own, command).await, say(&theirs, command).await, "{command}");
    }
    // Every line of `show info` in the same order, and its tags.
    let names = |text: &str| {
        text.lines()
            .filter_map(|line| line.rsplit_once(':').map(|it| it.0.to_owned()))
            .collect::<Vec<_>>()
    };
    let [own_info, their_info] =
        [say(&own, "show info typed").await, say(&theirs, "show info typed").await];
    assert_eq!(names(&own_info), names(&their_info));
    // And of `show stat typed`, whatever is told of a frontend, a server and a backend.
    let fields = |text: &str| {
        let lines = text.lines().filter_map(|line| {
            let mut parts = line.splitn(4, ':');
            let (name, tags, kind) = (parts.next()?, parts.next()?, parts.next()?);
            let mut name = name.split('.');
            let object = name.next()?;
            let name = name.skip(2).collect::<Vec<_>>().join(".");
            Some(format!("{object} {name} {tags} {kind}"))
        });
        lines.collect::<BTreeSet<_>>()
    };
    let [own_stat, their_stat] =
        [say(&own, "show stat typed").await, say(&theirs, "show stat typed").await];
    let beyond: Vec<_> = fields(&own_stat).difference(&fields(&their_stat)).cloned().collect();
    let fine = |field: &String| field.contains(".check_code.") || field.contains(".slim.");
    assert!(beyond.iter().all(fine), "{beyond:?}");

    let admin = lab.process("balancer-1").endpoints["admin"].clone();
    let own = shapes(&shell(&format!("curl -sf http://{admin}/metrics")).await);
    let theirs = shapes(&shell(&format!("curl -sf http://{}/metrics", haproxy.frontend)).await);
    assert!(own.len() > 100, "{own:?}");
    let beyond: Vec<_> = own.difference(&theirs).collect();
    assert!(beyond.is_empty(), "{beyond:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_operators_open_the_address() {
    let lab = Lab::start(Options::default()).await;
    let address = testkit::port::free();
    let mut argv = lab.process("balancer-1").argv;
    let (directory, pki) = (tempfile::tempdir().expect("a directory"), lab.data_dir().join("pki"));
    lab.ok(&["pki", "issue", "balancer", "balancer-3", "--dir", &pki.to_string_lossy()]).await;
    for (flag, value) in [
        ("--name", "balancer-3".to_owned()),
        ("--cert", pki.join("balancer-3.crt").display().to_string()),
        ("--key", pki.join("balancer-3.key").display().to_string()),
        ("--data-dir", directory.path().display().to_string()),
        ("--frontend", "127.0.0.1:0".to_owned()),
        ("--grpc", "127.0.0.1:0".to_owned()),
        ("--admin", "127.0.0.1:0".to_owned()),
    ] {
        let place = argv.iter().position(|it| it == flag).expect("a flag");
        argv[place + 1] = value;
    }
    argv.extend(["--socket-address".to_owned(), address.to_string()]);
    let log = std::fs::File::create(lab.data_dir().join("logs/third.log")).expect("a log");
    let _third = Command::new(&argv[0])
        .args(&argv[1..])
        .stdout(log.try_clone().expect("a handle"))
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("a third balancer");
    wait::until("its address", || async { TcpStream::connect(address).await.ok() }).await;
    let operator = &lab.description.operator;
    let speak = |cert: PathBuf, key: PathBuf| {
        let line = format!(
            "echo 'show version' | timeout 20 socat -t 5 stdio \
             OPENSSL:{address},cafile={},cert={},key={},verify=0",
            operator.ca.display(),
            cert.display(),
            key.display()
        );
        async move {
            let output = Command::new("sh").args(["-c", &line]).output().await.expect("a shell");
            String::from_utf8_lossy(&output.stdout).into_owned()
        }
    };
    let told = speak(operator.cert.clone(), operator.key.clone()).await;
    assert!(told.ends_with("\n\n") && told.starts_with(|it: char| it.is_ascii_digit()), "{told:?}");
    let node = speak(pki.join("proxy-node-1.crt"), pki.join("proxy-node-1.key")).await;
    assert_eq!(node, "", "a node is no operator");
}
