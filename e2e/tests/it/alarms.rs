//! Alarms that ring, and answers that say of which cluster and of when they are.

use nix::sys::signal::Signal;
use serde_json::Value;
use testkit::{
    client,
    lab::{Lab, Options, binary},
    origin::Origin,
    wait,
};

async fn small(arguments: &[&str], environment: &[(String, String)]) -> Lab {
    let arguments = [&["--nodes", "2", "--balancers", "1", "--checkers", "0"], arguments].concat();
    Lab::start(Options {
        arguments: arguments.into_iter().map(str::to_owned).collect(),
        environment: environment.to_vec(),
        ..Options::default()
    })
    .await
}

/// Exit code, standard output, standard error.
async fn shoal(lab: &Lab, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = lab.shoal(arguments).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// The first page of the console.
async fn page(lab: &Lab) -> String {
    let address = lab.process("console-1").endpoints["console"].parse().expect("an address");
    let answer = client::once(address, "GET", &format!("http://{address}/"), &[], b"")
        .await
        .expect("the console answers");
    String::from_utf8_lossy(&answer.body).into_owned()
}

async fn ask(lab: &Lab, origin: &Origin) -> u16 {
    client::once(lab.frontend(), "GET", &origin.url("/bytes/10"), &[], b"")
        .await
        .expect("an answer")
        .status()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_serves_nobody_says_so_everywhere() {
    let (lab, origin) = (small(&[], &[]).await, Origin::start().await);
    wait::until("a calm cluster", || async {
        (shoal(&lab, &["status", "--check"]).await.0 == Some(0)).then_some(())
    })
    .await;
    lab.ok(&["node", "drain", "proxy-node-1"]).await;

    // The last one that is usable is taken out only by who says so.
    for command in [
        vec!["node", "drain", "proxy-node-2"],
        vec!["node", "disable", "proxy-node-2"],
        vec!["node", "weight", "proxy-node-2", "0"],
    ] {
        let (code, _, said) = shoal(&lab, &command).await;
        assert_eq!(code, Some(1), "{command:?}");
        assert!(
            said.contains("the last usable proxy-node") && said.contains("--force"),
            "{command:?}: {said}"
        );
    }
    let done = lab.json(&["node", "drain", "proxy-node-2", "--force"]).await;
    assert_eq!(
        (&done["name"], &done["state"]),
        (&"proxy-node-2".into(), &"draining".into()),
        "{done:#}"
    );

    wait::until("every client gets 503", || async {
        (ask(&lab, &origin).await == 503).then_some(())
    })
    .await;
    for _ in 0..12 {
        assert_eq!(ask(&lab, &origin).await, 503);
    }
    let (code, text, _) = shoal(&lab, &["doctor"]).await;
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("critical  balancer-1 (clients)") && text.contains("has no usable server"),
        "{text}"
    );
    assert!(text.contains("requests of the last minute got an error of the balancer"), "{text}");
    let (code, text, _) = shoal(&lab, &["status", "--check"]).await;
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("CRITICAL: backend") && text.contains("(balancer-1)"), "{text}");
    let top = lab.json(&["top", "--once"]).await;
    let alarms = top["alarms"].as_array().expect("alarms");
    assert!(
        alarms.len() == 2 && alarms.iter().all(|alarm| alarm["severity"] == "critical"),
        "{top:#}"
    );
    assert!(lab.ok(&["top", "--once"]).await.contains("CRITICAL: backend"));
    wait::until("the console says so", || async {
        let page = page(&lab).await;
        (page.contains("banner bad")
            && page.contains("has no usable server")
            && page.contains("tile bad"))
        .then_some(())
    })
    .await;
    // What the balancer refused is in its counters.
    assert!(
        top["total"]["failed_per_second"].is_number()
            && top["balancers"][0]["failed"].as_u64() >= Some(12),
        "{top:#}"
    );

    lab.ok(&["node", "enable", "proxy-node-1"]).await;
    wait::until("clients are served", || async { (ask(&lab, &origin).await == 200).then_some(()) })
        .await;
    wait::until("the backend has a server", || async {
        (!lab.ok(&["status"]).await.contains("has no usable server")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_remembered_is_said_to_be_and_who_is_gone_is_removed() {
    let lab = small(&["--no-restart"], &[]).await;
    for name in ["proxy-node-1", "proxy-node-2", "registry-1"] {
        lab.until_state(name, "usable").await;
    }
    let status = lab.json(&["status"]).await;
    assert_eq!(
        status["cluster"]["name"],
        format!("lab in {}", lab.data_dir().display()),
        "{status:#}"
    );
    assert!(
        status["cluster"]["id"].is_string()
            && status["as_of"].is_string()
            && status["stale"] == false,
        "{status:#}"
    );
    assert!(lab.ok(&["node", "list"]).await.starts_with("Cluster: lab in "));

    let (code, _, said) = shoal(&lab, &["node", "remove", "proxy-node-2"]).await;
    assert!(code == Some(1) && said.contains("still keeps its lease"), "{said}");
    lab.signal("proxy-node-2", Signal::SIGKILL);
    wait::until("it is removed", || async {
        (shoal(&lab, &["node", "remove", "proxy-node-2", "-o", "json"]).await.0 == Some(0))
            .then_some(())
    })
    .await;
    assert_eq!(lab.state("proxy-node-2").await, None);

    lab.signal("registry-1", Signal::SIGKILL);
    let (code, text, _) = shoal(&lab, &["status", "--check"]).await;
    assert_eq!(code, Some(2), "{text}");
    let row = |name: &str| {
        text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned()
    };
    assert!(text.contains("\nAs of ") && row("proxy-node-1").contains("was usable"), "{text}");
    assert!(
        row("registry-1").contains("silent") && !row("registry-1").contains("usable"),
        "{text}"
    );
    let json = |output: String| -> Value {
        serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"))
    };
    for command in [
        vec!["status"],
        vec!["node", "list"],
        vec!["node", "list", "--service", "registry"],
        vec!["top", "--once"],
        vec!["backup", "list"],
    ] {
        let (code, printed, said) = shoal(&lab, &[&command[..], &["-o", "json"]].concat()).await;
        assert_eq!(code, Some(0), "{command:?}: {said}");
        let answer = json(printed);
        assert!(answer["stale"] == true && answer["as_of"].is_string(), "{command:?}: {answer:#}");
        let registry = answer["instances"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|instance| instance["name"] == "registry-1");
        assert!(
            registry.is_none_or(|registry| registry["state"] == "silent"),
            "{command:?}: {answer:#}"
        );
    }
    let top = lab.ok(&["top", "--once"]).await;
    assert!(top.contains("usable?") && top.contains("registry does not answer"), "{top}");
    wait::until("the console marks what it remembers", || async {
        let page = page(&lab).await;
        (page.contains("was usable")
            && page.contains("silent")
            && page.contains("has not answered"))
        .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn among_several_labs_nothing_is_changed_by_chance() {
    let home = tempfile::tempdir().expect("a directory");
    let environment = [("XDG_STATE_HOME".to_owned(), home.path().display().to_string())];
    let (first, second) = tokio::join!(small(&[], &environment), small(&[], &environment));
    let run = async |arguments: Vec<String>| {
        let mut command = tokio::process::Command::new(binary());
        command
            .args(&arguments)
            .envs(environment.iter().cloned())
            .env_remove("SHOAL_CONTEXT")
            .stdin(std::process::Stdio::null());
        let output = command.output().await.expect("run shoal");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.success(), said)
    };
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let bundle = first.data_dir().join("bundle").display().to_string();
    for line in [
        "node drain proxy-node-1",
        "node enable proxy-node-1",
        "node remove proxy-node-1",
        "cache purge http://example.com/",
        "config rollback 1",
        "config rollout abort",
        "backup create",
        "backup restore latest --yes",
        "lab stop",
        "lab reset",
        &format!("config apply {bundle}"),
    ] {
        let (done, said) = run(words(line)).await;
        assert!(!done && said.contains("2 labs are running and none is named"), "{line}: {said}");
        for lab in [&first, &second] {
            assert!(
                said.contains(&format!("--data-dir {}", lab.data_dir().display())),
                "{line}: {said}"
            );
        }
    }
    // Who only looks is told which one it is.
    let (done, said) = run(words("status")).await;
    assert!(done && said.contains("the newest of several running labs"), "{said}");
    let named =
        [words("node drain proxy-node-1 --data-dir"), vec![first.data_dir().display().to_string()]]
            .concat();
    let (done, said) = run(named).await;
    assert!(done && said.contains("proxy-node-1 is draining"), "{said}");
    assert_eq!(second.state("proxy-node-1").await.as_deref(), Some("usable"));
}
