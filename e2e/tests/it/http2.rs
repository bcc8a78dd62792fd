//! HTTP/2 with a client that others have made: Chromium with an HTTPS proxy.

use std::{path::Path, process::Stdio};

use testkit::{
    client,
    lab::{Lab, Options},
    origin::Origin,
};
use tokio::process::Command;

/// A lab of one balancer whose frontend speaks TLS, with the certificate of its own process.
async fn secure_lab() -> Lab {
    let arguments = vec!["--balancers".to_owned(), "1".to_owned()];
    let lab = Lab::start(Options { arguments, ..Options::default() }).await;
    let file = |name: &str| lab.data_dir().join("pki").join(name).display().to_string();
    let tls = format!(
        "frontends: [{{tls: {{certificates: [{{certificate: \"file:{}\", key: \"file:{}\"}}]}}, ",
        file("balancer-1.crt"),
        file("balancer-1.key"),
    );
    let bundle = lab.data_dir().join("bundle");
    let main = bundle.join("cluster.yaml");
    let before = std::fs::read_to_string(&main).expect("cluster.yaml");
    let after = before.replace("frontends: [{", &tls);
    assert_ne!(before, after, "the edit changes nothing");
    std::fs::write(&main, after).expect("write cluster.yaml");
    lab.ok(&["config", "apply", bundle.to_str().expect("UTF-8")]).await;
    lab
}

/// What a program writes to its standard output; `package` brings it.
async fn run(program: &str, package: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).env("LC_ALL", "C").kill_on_drop(true);
    let within = 3 * testkit::wait::PATIENCE;
    let output = tokio::time::timeout(within, command.output()).await.expect("it ends in time");
    let output = output.unwrap_or_else(|error| {
        panic!("{program}: {error}: install it with `apt-get install {package}`")
    });
    let (out, err) = (output.stdout, output.stderr);
    let text = String::from_utf8_lossy(&out).into_owned();
    assert!(output.status.success(), "{program}: {text}\n{}", String::from_utf8_lossy(&err));
    text
}

/// A counter of the balancer's frontend.
async fn counted(lab: &Lab, metric: &str) -> u64 {
    let admin = lab.process("balancer-1").endpoints["admin"].clone();
    let admin = admin.parse().expect("an address");
    let page = client::once(admin, "GET", "/metrics", &[], b"").await.expect("the metrics");
    let text = String::from_utf8_lossy(&page.body).into_owned();
    let line = format!("shoal_balancer_{metric}{{frontend=\"proxy_frontend\"}} ");
    text.lines().find_map(|it| it.strip_prefix(&line)?.parse().ok()).unwrap_or_default()
}

/// The counter, once it has come so far: pages are made once a second.
async fn until_counted(lab: &Lab, metric: &str, least: u64) -> u64 {
    testkit::wait::until(format!("{least} of {metric}"), || async {
        Some(counted(lab, metric).await).filter(|it| *it >= least)
    })
    .await
}

async fn dump(lab: &Lab, profile: &Path, url: &str) -> String {
    let proxy = format!("--proxy-server=https://{}", lab.frontend());
    let profile = format!("--user-data-dir={}", profile.display());
    let arguments = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        // Proxy and origin have certificates that nobody else knows.
        "--ignore-certificate-errors",
        // Of loopback addresses too.
        "--proxy-bypass-list=<-loopback>",
        "--virtual-time-budget=5000",
        &profile,
        &proxy,
        "--dump-dom",
        url,
    ];
    run("chromium", "chromium", &arguments).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_loads_pages_over_http_2() {
    let lab = secure_lab().await;
    let files = tempfile::tempdir().expect("a directory");
    std::fs::write(files.path().join("secure.html"), "<p>over a tunnel").expect("a page");
    let secure = Origin::with_tls(files.path()).await;
    let url = format!("https://localhost:{}/file/secure.html", secure.address().port());
    // A page over plain http that has another one, over https, in it.
    let page = format!("<title>p</title><p>plain page<iframe src=\"{url}\"></iframe>");
    std::fs::write(files.path().join("plain.html"), page).expect("a page");
    let plain = Origin::with_files(files.path()).await;
    let profile = tempfile::tempdir().expect("a directory");
    let shown = dump(&lab, profile.path(), &plain.url("/file/plain.html")).await;
    assert!(shown.contains("plain page"), "{shown}");
    let shown = dump(&lab, profile.path(), &url).await;
    assert!(shown.contains("over a tunnel"), "{shown}");
    until_counted(&lab, "http2_streams_total", 3).await;
    // One connection for each start of the browser, or two where it has opened one ahead.
    let connections = counted(&lab, "connections_total").await;
    assert_eq!(counted(&lab, "http2_connections_total").await, connections, "nothing by HTTP/1.1");
    let told = lab.json(&["logs", "--client", "127.0.0.1"]).await.to_string();
    assert!(told.contains(&format!("localhost:{}", secure.address().port())), "{told}");
    assert_eq!(counted(&lab, "http2_floods_total").await, 0);
}
