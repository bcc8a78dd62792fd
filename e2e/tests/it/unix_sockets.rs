//! A frontend at a file: curl as a client of it, Debian's HAProxy in front of it, and what is left
//! of it when its process is killed.

use std::{net::SocketAddr, path::Path, process::Stdio};

use nix::sys::signal::Signal;
use testkit::{
    client,
    lab::{Lab, Options},
    origin::Origin,
    port::free,
    wait::until,
};
use tokio::process::{Child, Command};

/// A lab of one balancer that listens at a file as well, in front of which load balancers are.
async fn lab_at(file: &Path) -> Lab {
    let arguments = ["--balancers", "1", "--no-restart"].map(str::to_owned).to_vec();
    let lab = Lab::start(Options { arguments, ..Options::default() }).await;
    let bundle = lab.data_dir().join("bundle");
    let main = bundle.join("cluster.yaml");
    let before = std::fs::read_to_string(&main).expect("cluster.yaml");
    let second = format!(
        "frontends: [{{name: file, bind: \"unix:{}\", backend: squid_servers, unix: {{mode: \
         \"0660\"}}, proxy_protocol: {{from: [unix]}}}}, {{",
        file.display()
    );
    let after = before.replace("frontends: [{", &second);
    assert_ne!(before, after, "the edit changes nothing");
    std::fs::write(&main, after).expect("write cluster.yaml");
    lab.ok(&["config", "apply", bundle.to_str().expect("UTF-8")]).await;
    lab
}

/// HAProxy, which passes on to the file who its client is.
fn haproxy(directory: &Path, listen: SocketAddr, file: &Path) -> Child {
    let text = format!(
        "defaults\n mode http\n timeout client 30s\n timeout server 30s\n timeout connect 5s\n\
         listen l\n bind {listen}\n server s unix@{} send-proxy-v2\n",
        file.display()
    );
    let configuration = directory.join("haproxy.cfg");
    std::fs::write(&configuration, text).expect("a configuration");
    Command::new("haproxy")
        .args(["-db", "-f"])
        .arg(&configuration)
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("Debian's haproxy: the test command of README.md installs it")
}

/// Asks over the file with a header that names no client; the status. Rules see such a client as
/// 0.0.0.0, which a lab's do not allow.
async fn curl(file: &Path, url: &str) -> String {
    let output = Command::new("curl")
        .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "20"])
        .args(["--haproxy-protocol", "--request-target", url, "--unix-socket"])
        .arg(file)
        .arg("http://ignored.test/")
        .output()
        .await
        .expect("curl: the test command of README.md installs it");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frontend_at_a_file_serves_and_survives_a_kill() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("front.sock");
    let lab = lab_at(&file).await;
    let origin = Origin::start().await;
    let listen = free();
    let _haproxy = haproxy(directory.path(), listen, &file);
    let asked = async |number: u32| {
        let url = origin.url(&format!("/bytes/64?{number}"));
        client::once(listen, "GET", &url, &[], b"").await.ok().map(|it| it.status())
    };
    until("HAProxy answers", || async { (asked(0).await == Some(200)).then_some(()) }).await;
    assert_eq!(curl(&file, &origin.url("/bytes/64?1")).await, "403");
    // Whose request it is says the header, not the file.
    for (status, client) in [("200", "127.0.0.1"), ("403", "unix")] {
        until(format!("{client} is written down"), || async {
            let told = lab.json(&["logs", "--status", status, "--node", "balancer-1"]).await;
            told.to_string().contains(&format!("\"{client}\"")).then_some(())
        })
        .await;
    }

    // The file stays behind, and whoever comes back takes its place.
    lab.signal("balancer-1", Signal::SIGKILL);
    until("nobody answers", || async {
        (curl(&file, &origin.url("/")).await == "000").then_some(())
    })
    .await;
    assert!(file.exists(), "a killed process removes nothing");
    let _again = lab.restart("balancer-1");
    until("it answers again", || async { (asked(2).await == Some(200)).then_some(()) }).await;
    // A second one that wants the file while it is served is told.
    let again = lab.data_dir().join("bundle/cluster.yaml");
    let before = std::fs::read_to_string(&again).expect("cluster.yaml");
    let double = before.replace(
        "frontends: [{name: file,",
        &format!(
            "frontends: [{{name: other, bind: \"unix:{}\", backend: squid_servers}}, {{name: file,",
            file.display()
        ),
    );
    assert_ne!(before, double, "the edit changes nothing");
    std::fs::write(&again, double).expect("write cluster.yaml");
    let refused = lab
        .shoal(&["config", "validate", lab.data_dir().join("bundle").to_str().expect("UTF-8")])
        .await;
    let told = String::from_utf8_lossy(&refused.stderr).into_owned()
        + &String::from_utf8_lossy(&refused.stdout);
    assert!(!refused.status.success() && told.contains("front.sock"), "{told}");
    assert_eq!(asked(3).await, Some(200));
    lab.stop().await;
}
