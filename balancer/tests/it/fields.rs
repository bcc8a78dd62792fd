//! Header fields that a frontend sets, adds and removes, and who the client is said to be.

use serde_json::{Value, json};
use testkit::client::Connection;

use crate::support::Cluster;

fn field(name: &str, value: Value) -> Value {
    json!({"name": name, "value": value})
}

/// What the server hears of a request with these fields, and what its client hears.
async fn exchange(settings: Value, fields: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
    let cluster = Cluster::with(1, settings).await;
    let mut client = Connection::open(cluster.frontend).await.expect("the frontend");
    let answer = client.request("GET", "http://o/", fields, b"").await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let lines = |head: &testkit::message::Head| {
        let lines = head.fields.iter();
        lines.map(|(name, value)| format!("{name}: {value}")).collect()
    };
    (lines(&cluster.arrivals()[0].head), lines(&answer.head))
}

fn of<'a>(lines: &'a [String], name: &str) -> Vec<&'a str> {
    let prefix = format!("{}: ", name.to_ascii_lowercase());
    let lines = lines.iter();
    lines
        .filter(|line| line.to_ascii_lowercase().starts_with(&prefix))
        .map(|line| &line[prefix.len()..])
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_are_set_added_and_removed_on_both_ways() {
    let settings = json!({"frontend": {
        "request_fields": {
            "set": [field("X-Real-IP", json!(["client"])),
                    field("User-Agent", json!([{"text": "us"}]))],
            "add": [field("X-Tag", json!(["frontend", {"text": "/"}, "scheme"])),
                    field("X-Id", json!(["request_id"]))],
            "remove": ["x-debug", "referer"],
        },
        "response_fields": {
            "set": [field("X-Node", json!([{"text": "hidden"}]))],
            "add": [field("Strict-Transport-Security", json!([{"text": "max-age=1"}]))],
            "remove": [],
        },
    }});
    let sent = [
        ("X-Real-IP", "10.0.0.1"),
        ("x-real-ip", "10.0.0.2"),
        ("User-Agent", "curl"),
        ("X-Tag", "own"),
        ("X-DEBUG", "1"),
        ("Referer", "http://a/"),
        ("X-Stays", "yes"),
    ];
    let (heard, answered) = exchange(settings, &sent).await;
    assert_eq!(of(&heard, "X-Real-IP"), ["127.0.0.1"]);
    assert_eq!(of(&heard, "User-Agent"), ["us"]);
    assert_eq!(of(&heard, "X-Tag"), ["own", "proxy_frontend/http"]);
    assert_eq!(of(&heard, "X-Id"), of(&heard, "Shoal-Request-Id"));
    assert_eq!((of(&heard, "X-Debug").len(), of(&heard, "Referer").len()), (0, 0));
    assert_eq!(of(&heard, "X-Stays"), ["yes"]);
    assert_eq!(of(&answered, "X-Node"), ["hidden"]);
    assert_eq!(of(&answered, "Strict-Transport-Security"), ["max-age=1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_the_client_is_said_to_be() {
    let claims = [("X-Forwarded-For", "10.0.0.1"), ("Forwarded", "for=10.0.0.1")];
    for (settings, x_forwarded_for, forwarded) in [
        (json!({}), &["127.0.0.1"][..], &[][..]),
        (
            json!({"forwarded_for": "append"}),
            &["10.0.0.1, 127.0.0.1"],
            &["for=10.0.0.1, for=127.0.0.1"],
        ),
        (json!({"forwarded_for": "delete"}), &[], &[]),
        (json!({"forwarded": true}), &["127.0.0.1"], &["for=127.0.0.1;proto=http"]),
        (
            json!({"forwarded_for": "append", "forwarded": true}),
            &["10.0.0.1, 127.0.0.1"],
            &["for=10.0.0.1, for=127.0.0.1;proto=http"],
        ),
        (json!({"forwarded_for": "delete", "forwarded": true}), &[], &["for=127.0.0.1;proto=http"]),
    ] {
        let (heard, _) = exchange(settings.clone(), &claims).await;
        assert_eq!(of(&heard, "X-Forwarded-For"), x_forwarded_for, "{settings}");
        assert_eq!(of(&heard, "Forwarded"), forwarded, "{settings}");
    }
}
