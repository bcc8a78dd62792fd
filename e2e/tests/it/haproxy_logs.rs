//! Records of the balancers as HAProxy writes them: what reads HAProxy's logs reads them too.
//! HAProxy's own `halog` is asked, with what a log server would have written into its file.

use std::{
    io::Write,
    process::Stdio,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use testkit::{
    client,
    lab::{Lab, Options},
    origin::Origin,
    wait,
};
use tokio::net::UdpSocket;

/// What halog says of these lines.
fn halog(arguments: &[&str], lines: &str) -> String {
    let mut halog = std::process::Command::new("halog")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("halog: apt-get install haproxy");
    halog.stdin.take().expect("a pipe").write_all(lines.as_bytes()).expect("written");
    let output = halog.wait_with_output().expect("its end");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Has the lab's balancers send their records there.
async fn send_records_to(lab: &Lab, port: u16) {
    let bundle = lab.data_dir().join("bundle");
    let file = bundle.join("cluster.yaml");
    let text = std::fs::read_to_string(&file).expect("cluster.yaml");
    let target = format!("  log_targets: [{{to: \"udp://127.0.0.1:{port}\"}}]\n  frontends:");
    let changed = text.replacen("  frontends:", &target, 1);
    assert_ne!(changed, text, "the lab's bundle has a section for balancers");
    std::fs::write(file, changed).expect("written");
    let applied = lab.shoal(&["config", "apply", &bundle.display().to_string()]).await;
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn halog_counts_what_clients_got() {
    let server = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let arguments = ["--nodes", "2", "--balancers", "1"].map(str::to_owned).to_vec();
    let lab = Lab::start(Options { arguments, ..Options::default() }).await;
    send_records_to(&lab, server.local_addr().expect("bound").port()).await;
    let origin = Origin::start().await;
    let (log, taken_up) = (Mutex::new(String::new()), AtomicBool::new(false));
    let collect = async {
        let mut buffer = [0; 16 * 1024];
        loop {
            let length = server.recv(&mut buffer).await.expect("a message");
            let message = String::from_utf8(buffer[..length].to_vec()).expect("text");
            // As a log server writes it: without the priority.
            let line = message.split_once('>').expect("a priority").1;
            // What was asked until the first came may come at any time.
            if line.contains("/first HTTP") {
                taken_up.store(true, Relaxed);
                continue;
            }
            *log.lock().expect("a lock") += &format!("{line}\n");
        }
    };
    let lines = || log.lock().expect("a lock").lines().count();
    let ask = async {
        // Workers take a target up within 50 ms.
        wait::until("the first record is there", || async {
            let url = origin.url("/first");
            client::once(lab.frontend(), "GET", &url, &[], b"").await.expect("an answer");
            taken_up.load(Relaxed).then_some(())
        })
        .await;
        for number in 0..40 {
            let url = origin.url(&format!("/{number}"));
            let answer = client::once(lab.frontend(), "GET", &url, &[], b"").await;
            assert_eq!(answer.expect("an answer").status(), 200);
        }
        let denied = "http://127.0.0.1:1/";
        let answer =
            client::once(lab.frontend(), "GET", denied, &[], b"").await.expect("an answer");
        assert!(answer.status() >= 400, "{}", answer.status());
        wait::until("every record is there", || async { (lines() == 41).then_some(()) }).await;
        answer.status()
    };
    let status = tokio::select! {
        () = collect => unreachable!("it goes on for ever"),
        status = ask => status,
    };
    let lines = log.lock().expect("a lock").clone();
    let statuses = halog(&["-q", "-st"], &lines);
    let counted = |status: u16| {
        let line = statuses.lines().find(|line| line.starts_with(&format!("{status} ")));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u32>().ok())
    };
    assert_eq!((counted(200), counted(status)), (Some(40), Some(1)), "{statuses}\n{lines}");
    let servers = halog(&["-q", "-srv"], &lines);
    let requests = servers.lines().filter(|line| line.contains("proxy-node-")).map(|line| {
        line.split_whitespace().nth(7).and_then(|it| it.parse::<u32>().ok()).unwrap_or(0)
    });
    assert_eq!(requests.sum::<u32>(), 41, "{servers}\n{lines}");
    let codes = halog(&["-q", "-tc"], &lines);
    assert!(codes.contains(&format!("-- {}", 41)), "{codes}");
}
