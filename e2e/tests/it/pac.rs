//! The proxy auto-configuration file in a browser: what its functions say is where balancers send
//! the same requests, and a page comes over the node that they name.

use std::{path::Path, process::Stdio};

use testkit::{
    client,
    lab::{Lab, Options},
};
use tokio::process::Command;

/// A lab of one balancer that hashes URLs and has the file.
async fn lab() -> Lab {
    let arguments = vec!["--balancers".to_owned(), "1".to_owned()];
    let lab = Lab::start(Options { arguments, ..Options::default() }).await;
    let bundle = lab.data_dir().join("bundle");
    let main = bundle.join("cluster.yaml");
    let before = std::fs::read_to_string(&main).expect("cluster.yaml");
    let after = before
        .replace("frontends: [{", "frontends: [{pac: {bypass: [.intranet.test]}, ")
        .replace("balance: round_robin", "balance: uri_hash")
        .replace("collapsed_forwarding: true", "owners: true");
    let changed = ["uri_hash", "pac:", "owners: true"].iter().all(|it| after.contains(it));
    assert!(changed, "{before}");
    std::fs::write(&main, after).expect("write cluster.yaml");
    lab.ok(&["config", "apply", bundle.to_str().expect("UTF-8")]).await;
    lab
}

/// What a browser makes of a page.
async fn dump(profile: &Path, arguments: &[&str], url: &str) -> String {
    let mut command = Command::new("chromium");
    command
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        .args(["--disable-background-networking", "--virtual-time-budget=5000"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(arguments)
        .args(["--dump-dom", url])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let within = 3 * testkit::wait::PATIENCE;
    let output = tokio::time::timeout(within, command.output()).await.expect("it ends in time");
    let output = output.expect("chromium: the test command of README.md installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The node that the balancer picks for a request, and to which all nodes say that it belongs.
async fn picked(lab: &Lab, url: &str) -> String {
    let told = lab.json(&["explain", url]).await;
    let text = told.to_string();
    let at = text.find("proxy-node-").unwrap_or_else(|| panic!("a node in {text}"));
    let picked = text[at..at + "proxy-node-1".len()].to_owned();
    // What is a tunnel for a proxy belongs to nobody.
    if !url.starts_with("https:") {
        let nodes = told["nodes"].as_array().expect("nodes");
        assert!(nodes.len() == 3 && nodes.iter().all(|it| it["owner"] == picked), "{text}");
    }
    picked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_goes_where_balancers_would() {
    let lab = lab().await;
    let directory = tempfile::tempdir().expect("a directory");
    let frontend = lab.frontend().to_string();
    let script = {
        let mut client = client::Connection::open(lab.frontend()).await.expect("the frontend");
        let head = format!("GET /proxy.pac HTTP/1.1\r\nHost: {frontend}\r\n\r\n");
        client.send(head.as_bytes()).await.expect("sent");
        let answer = client.answer("GET").await.expect("the file");
        assert_eq!(answer.status(), 200);
        String::from_utf8(answer.body).expect("text")
    };

    // Its functions, in a page.
    let mut urls: Vec<String> =
        (0..24).map(|number| format!("http://site-{number}.test/a?b={number}")).collect();
    urls.extend([
        "http://SITE.test:80/~x/%C3%A4".to_owned(),
        "http://site.test:8080".to_owned(),
        "http://192.0.2.7/x".to_owned(),
        "http://[2001:db8::7]/x".to_owned(),
        "http://[2001:db8::192.0.2.7]:81/x".to_owned(),
        "https://secure.test/whatever".to_owned(),
        "https://secure.test:8443/".to_owned(),
    ]);
    let calls: Vec<String> = urls.iter().map(|url| format!("{url:?}")).collect();
    let page = directory.path().join("page.html");
    let text = format!(
        "<pre id=o></pre><script>{script}\nvar all = [{}].concat(['http://a.intranet.test/', \
         'http://printer/']);\no.textContent = all.map(function (url) {{ var host = new \
         URL(url).hostname; return FindProxyForURL(url, host); }}).join('|');</script>",
        calls.join(", ")
    );
    std::fs::write(&page, text).expect("a page");
    let profile = directory.path().join("profile");
    let shown = dump(&profile, &[], &format!("file://{}", page.display())).await;
    let told = shown.split("<pre id=\"o\">").nth(1).and_then(|it| it.split("</pre>").next());
    let told: Vec<&str> = told.unwrap_or_else(|| panic!("{shown}")).split('|').collect();
    assert_eq!(told.len(), urls.len() + 2, "{shown}");
    assert_eq!(told[urls.len()..], ["DIRECT", "DIRECT"]);
    let address = |name: &str| lab.process(name).endpoints["proxy"].clone();
    for (url, told) in urls.iter().zip(&told) {
        let owner = picked(&lab, url).await;
        let proxies: Vec<&str> = told.split("; ").collect();
        assert_eq!(proxies.len(), 3, "{url}: {told}");
        assert_eq!(proxies[0], format!("PROXY {}", address(&owner)), "{url} is {owner}'s");
        assert_ne!(proxies[0], proxies[1]);
        assert_eq!(proxies[2], format!("PROXY {frontend}"), "{url}");
    }

    // And in its settings: it asks the node that a page belongs to. Whatever a browser is told, it
    // asks loopback addresses itself, so that the page is one that is not there.
    let url = "http://nowhere.test/in-a-browser";
    let owner = picked(&lab, url).await;
    let setting = format!("--proxy-pac-url=http://{frontend}/proxy.pac");
    let shown = dump(&directory.path().join("second"), &[&setting], url).await;
    assert!(shown.contains(&owner), "{owner} says that it is not there: {shown}");
    let told = lab.json(&["logs", "--lines", "1000", "--node", &owner]).await.to_string();
    assert!(told.contains("nowhere.test/in-a-browser"), "{told}");
    lab.stop().await;
}
