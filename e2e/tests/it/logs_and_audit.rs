//! Who asked for what and who changed what, over all nodes and processes: the counts are exactly
//! what was sent.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Stdio,
};

use serde_json::Value;
use testkit::{
    client,
    lab::{Lab, Options, binary},
    origin::Origin,
    wait,
};
use tokio::io::{AsyncBufReadExt, BufReader};

/// A time as text that sorts: a fraction of a second is written without the zeros at its end.
fn moment(time: &Value) -> String {
    let time = time.as_str().expect("a time").trim_end_matches('Z');
    let (seconds, fraction) = time.split_once('.').unwrap_or((time, ""));
    format!("{seconds}.{fraction:0<9}")
}

/// Counts of one kind, by key.
async fn top(lab: &Lab, key: &str) -> BTreeMap<String, u64> {
    let top = lab.json(&["logs", "--top", key, "--since", "30m", "-n", "1000"]).await;
    let totals = top["totals"].as_array().expect("totals");
    let counted = totals.iter().map(|total| {
        assert_eq!(total["requests"], total["at_least"], "few keys are counted exactly");
        (
            total["key"].as_str().expect("a key").to_owned(),
            total["requests"].as_u64().expect("a count"),
        )
    });
    counted.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_count_exactly_what_was_asked_for() {
    let lab = Lab::start(Options::default()).await;
    let origin = Origin::start().await;
    let mut expected = BTreeMap::<String, u64>::new();
    let mut total = 0;
    for (path, times) in [("/fresh/60", 12_u64), ("/bytes/10", 7), ("/bytes/20", 3)] {
        let url = origin.url(path);
        for turn in 0..times {
            let frontend = lab.description.frontends[usize::try_from(turn % 2).expect("small")];
            let answer = client::once(frontend, "GET", &url, &[], b"").await.expect("an answer");
            assert_eq!(answer.status(), 200);
        }
        expected.insert(url, times);
        total += times;
    }
    // Refused by the nodes: their own gRPC port.
    let forbidden = format!("http://{}/", lab.process("proxy-node-1").endpoints["grpc"]);
    for _ in 0..2 {
        let answer =
            client::once(lab.frontend(), "GET", &forbidden, &[], b"").await.expect("an answer");
        assert_eq!(answer.status(), 403);
    }
    expected.insert(forbidden, 2);
    total += 2;

    // Records leave a worker at once and are counted a moment later.
    wait::until("every request is counted", || async {
        (top(&lab, "url").await == expected).then_some(())
    })
    .await;
    assert_eq!(
        top(&lab, "status").await,
        BTreeMap::from([("200".to_owned(), total - 2), ("403".to_owned(), 2)])
    );
    // Health-checkers have asked for their own target meanwhile, and count nowhere here.
    assert_eq!(top(&lab, "client").await, BTreeMap::from([("127.0.0.1".to_owned(), total)]));
    assert_eq!(top(&lab, "domain").await, BTreeMap::from([("127.0.0.1".to_owned(), total)]));
    let merged = lab.json(&["logs", "--top", "url", "-n", "1"]).await;
    assert_eq!(
        (merged["requests"].as_u64(), merged["totals"].as_array().map(Vec::len)),
        (Some(total), Some(1))
    );
    assert_eq!(merged["totals"][0]["requests"], 12);
    let of_nodes: u64 = merged["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .map(|node| node["requests"].as_u64().expect("a count"))
        .sum();
    assert_eq!(of_nodes, total);

    let last = lab.json(&["logs", "-n", "1000"]).await;
    let records = last["records"].as_array().expect("records");
    assert_eq!(records.len() as u64, total);
    assert!(records.is_sorted_by_key(|record| moment(&record["ended_at"])));
    let stats = lab.json(&["cache", "stats"]).await;
    let asked: u64 = stats["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .map(|node| node["requests"].as_u64().expect("a count"))
        .sum();
    assert_eq!(asked, total, "probes are in no node's count of requests: {stats:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_follow_new_requests_and_survive_a_silent_node() {
    let lab = Lab::start(Options::default()).await;
    let origin = Origin::start().await;
    client::once(lab.frontend(), "GET", &origin.url("/before"), &[], b"").await.expect("an answer");
    wait::until("the first request is kept", || async {
        lab.ok(&["logs"]).await.contains("/before").then_some(())
    })
    .await;
    let mut command = tokio::process::Command::new(binary());
    command.args(["logs", "-f", "-n", "5", "-o", "json"]).env("SHOAL_CONTEXT", lab.data_dir());
    let mut following = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("shoal");
    let mut lines = BufReader::new(following.stdout.take().expect("its output")).lines();
    let mut urls = Vec::new();
    let mut idle = BTreeSet::from(["proxy-node-1", "proxy-node-2", "proxy-node-3"]);
    for wanted in ["/before", "/after"] {
        let line = tokio::time::timeout(wait::PATIENCE, lines.next_line())
            .await
            .expect("a line in time")
            .expect("a line")
            .expect("a line");
        let record: Value = serde_json::from_str(&line).expect("JSON");
        assert!(
            idle.remove(record["node"].as_str().expect("a node")) || urls.len() == 1,
            "{record}"
        );
        urls.push(record["url"].as_str().expect("a url").to_owned());
        assert!(urls.last().is_some_and(|url| url.ends_with(wanted)), "{urls:?}");
        if wanted == "/before" {
            client::once(lab.frontend(), "GET", &origin.url("/after"), &[], b"")
                .await
                .expect("an answer");
        }
    }
    // One that has no record which is asked for.
    let silent = *idle.first().expect("three nodes, two requests");
    lab.signal(silent, nix::sys::signal::Signal::SIGSTOP);
    let output = lab.shoal(&["logs", "-n", "9"]).await;
    let (text, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("/after"), "{text}{errors}");
    assert!(errors.contains(&format!("without a node: {silent}")), "{errors}");
    lab.signal(silent, nix::sys::signal::Signal::SIGCONT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_request_is_found_wherever_it_was() {
    let lab = Lab::start(Options::default()).await;
    let origin = Origin::start().await;
    let url = origin.url("/bytes/10");
    let answer = client::once(lab.frontend(), "GET", &url, &[], b"").await.expect("an answer");
    let id = answer.head.field("shoal-request-id").expect("an id").to_owned();
    let records = wait::until("balancer and node tell of it", || async {
        let found = lab.json(&["logs", "--request", &id]).await;
        let records = found["records"].as_array().expect("records").clone();
        (records.len() == 2).then_some(records)
    })
    .await;
    assert!(
        records.iter().all(|it| it["request_id"] == id.as_str()
            && it["url"] == url.as_str()
            && it["status"] == 200),
        "{records:#?}"
    );
    let of = |service: &str| {
        records
            .iter()
            .find(|it| it["service"] == service)
            .unwrap_or_else(|| panic!("no {service} in {records:#?}"))
    };
    assert_eq!(
        of("balancer")["balancer"]["server"],
        of("proxy-node")["node"],
        "the balancer says whom it asked"
    );

    // What a balancer refuses itself is in no node's log.
    let mut connection = client::Connection::open(lab.frontend()).await.expect("a connection");
    connection
        .send(b"GET http://bad.example/x y HTTP/1.1\r\nHost: bad.example\r\n\r\n")
        .await
        .expect("sent");
    let refused = connection.answer("GET").await.expect("an answer");
    let refused_id = refused.head.field("shoal-request-id").expect("an id");
    let conditions =
        ["logs", "--status", "4xx", "--client", "127.0.0.0/8", "--domain", ".bad.example"];
    let text = wait::until("the refusal is found by what it says", || async {
        Some(lab.ok(&conditions).await).filter(|text| text.contains(refused_id))
    })
    .await;
    let records: Vec<_> = text.lines().skip_while(|line| !line.is_empty()).skip(1).collect();
    assert!(
        matches!(
            records[..],
            [record] if record.contains("balancer-1") && record.contains("OWN_ANSWER/400")
        ),
        "{text}"
    );
    let all = lab.json(&["logs"]).await;
    let ids: Vec<_> = all["records"]
        .as_array()
        .expect("records")
        .iter()
        .map(|it| it["request_id"].clone())
        .collect();
    assert_eq!(ids, [id.as_str(), refused_id], "every request once");

    let nothing = lab.ok(&["logs", "--request", "018bcfe5-687b-7000-8000-000000000000"]).await;
    assert!(
        nothing.contains("No such request")
            && nothing.contains("balancer-1 since")
            && nothing.contains("2023-11-14"),
        "{nothing}"
    );
    let unreadable = lab.shoal(&["logs", "--status", "teapot"]).await;
    assert!(
        !unreadable.status.success()
            && String::from_utf8_lossy(&unreadable.stderr).contains("give 404, 4xx or 500-504")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_from_before_a_crash_is_found_in_the_files() {
    let lab = Lab::start(Options::default()).await;
    let origin = Origin::start().await;
    let answer = client::once(lab.frontend(), "GET", &origin.url("/bytes/10"), &[], b"")
        .await
        .expect("an answer");
    let id = answer.head.field("shoal-request-id").expect("an id").to_owned();
    let found = || async { lab.json(&["logs", "--request", &id]).await };
    let told = |answer: &Value| answer["records"].as_array().expect("records").clone();
    let before = wait::until("balancer and node tell of it", || async {
        Some(told(&found().await)).filter(|it| it.len() == 2)
    })
    .await;
    let names: Vec<_> =
        before.iter().map(|record| record["node"].as_str().expect("a name").to_owned()).collect();
    // What both of them remember is gone with them.
    for name in &names {
        lab.signal(name, nix::sys::signal::Signal::SIGKILL);
    }
    let after = wait::until("both are back and have searched their files", || async {
        let answer = found().await;
        let searched = answer["searched"].as_object()?;
        (names.iter().all(|name| searched.contains_key(name)) && told(&answer).len() == 2)
            .then_some(answer)
    })
    .await;
    assert_eq!(told(&after), before, "a file tells what memory told");
    for name in &names {
        let searched = &after["searched"][name];
        assert!(
            searched["stopped"].is_null() && searched["files"].as_u64() >= Some(1),
            "{after:#}"
        );
    }
    let output = lab.shoal(&["logs", "--request", &id]).await;
    let (text, remarks) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        text.matches(&id).count() == 2 && remarks.contains("The log files of"),
        "{text}{remarks}"
    );
    // And what they do not know of is said to be in neither place.
    let nothing = lab.ok(&["logs", "--domain", "never.example", "--since", "1h"]).await;
    assert!(
        nothing.contains("No such request") && nothing.contains("in the log files"),
        "{nothing}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audit_tells_who_did_what_when_and_with_which_result() {
    let lab = Lab::start(Options::default()).await;
    lab.ok(&["node", "drain", "proxy-node-2", "--reason", "a new disk"]).await;
    let refused = lab.shoal(&["node", "drain", "nobody"]).await;
    assert!(!refused.status.success());
    lab.ok(&["cache", "purge", "http://purged.example/"]).await;

    let trail = wait::until("everybody tells", || async {
        let trail = lab.json(&["audit", "--since", "10m"]).await;
        trail["missing"].as_array().is_some_and(Vec::is_empty).then_some(trail)
    })
    .await;
    let records = trail["records"].as_array().expect("records");
    let find = |instance: &str, what: &str, detail: &str| {
        let found = records.iter().find(|record| {
            let has = |key: &str, part: &str| {
                record[key].as_str().is_some_and(|text| text.contains(part))
            };
            has("instance", instance) && has("what", what) && has("detail", detail)
        });
        found.unwrap_or_else(|| panic!("no {what} about {detail:?} at {instance}: {trail:#}"))
    };
    let drain = find("registry-1", "Registry/SetAdminState", "proxy-node-2");
    assert!(
        drain["detail"].as_str().is_some_and(|detail| detail.contains("a new disk")),
        "{drain}"
    );
    assert!(drain["who"].as_str().is_some_and(|who| who.starts_with("operator ")), "{drain}");
    assert!(drain["from"].as_str().is_some_and(|from| from.starts_with("127.0.0.1:")), "{drain}");
    assert_eq!(drain["result"], "ok");
    let failed = find("registry-1", "Registry/SetAdminState", "nobody");
    assert!(
        failed["result"].as_str().is_some_and(|result| result.starts_with("not_found")),
        "{failed}"
    );
    let logged = find("registry-1", "Registry/Purge", "http://purged.example/");
    assert_eq!((&logged["result"], &logged["who"]), (&"ok".into(), &drain["who"]), "{logged}");
    for node in ["proxy-node-1", "proxy-node-2", "proxy-node-3"] {
        let done = find(node, "purge http://purged.example/", "");
        assert_eq!((&done["result"], &done["who"]), (&"ok".into(), &drain["who"]), "{done}");
    }
    assert!(records.is_sorted_by_key(|record| moment(&record["when"])));

    let who = drain["who"].as_str().expect("who");
    let mine = lab.json(&["audit", "--who", who]).await;
    assert!(
        mine["records"].as_array().expect("records").iter().all(|record| record["who"] == who),
        "{mine:#}"
    );
    assert_eq!(
        lab.json(&["audit", "--who", "nobody-at-all"]).await["records"].as_array().map(Vec::len),
        Some(0)
    );
    let last = lab.json(&["audit", "-n", "1"]).await;
    assert_eq!(
        (last["records"].as_array().map(Vec::len), &last["more"]),
        (Some(1), &Value::Bool(true))
    );
    assert!(lab.ok(&["audit"]).await.contains("Registry/SetAdminState"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn top_shows_the_cluster_once() {
    let lab = Lab::start(Options::default()).await;
    let origin = Origin::start().await;
    client::once(lab.frontend(), "GET", &origin.url("/bytes/10"), &[], b"")
        .await
        .expect("an answer");
    let picture = wait::until("everybody answers and every node is usable in top", || async {
        let picture = lab.json(&["top", "--once", "--interval", "200ms"]).await;
        let heard = picture["silent"].as_array().is_some_and(Vec::is_empty)
            && picture["nodes"].as_array().is_some_and(|nodes| {
                nodes.iter().all(|node| node["memory"].as_u64() > Some(1_000_000))
            });
        (heard && picture["total"]["nodes_usable"] == 3).then_some(picture)
    })
    .await;
    assert_eq!(picture["balancers"].as_array().map(Vec::len), Some(2));
    assert_eq!(picture["servers"].as_array().map(Vec::len), Some(3));
    assert_eq!(picture["nodes"].as_array().map(Vec::len), Some(3));
    lab.signal("proxy-node-1", nix::sys::signal::Signal::SIGSTOP);
    wait::until("the frozen node, and nobody else, is silent", || async {
        let picture = lab.json(&["top", "--once", "--interval", "200ms"]).await;
        let silent = picture["silent"].as_array()?;
        (silent.len() == 1 && silent[0]["name"] == "proxy-node-1").then_some(())
    })
    .await;
    wait::until("the table says so", || async {
        let text = lab.ok(&["top", "--once"]).await;
        (text.contains("proxy-node-1 does not answer")
            && text.contains("BACKEND")
            && text.contains("NODE"))
        .then_some(())
    })
    .await;
    lab.signal("proxy-node-1", nix::sys::signal::Signal::SIGCONT);
}
