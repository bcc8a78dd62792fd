//! What may answer whom out of the cache: keys, variants, credentials, fields that never reached
//! the origin.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use super::{
    case::fill,
    origin::{Decide, Origin, Script, Then},
    scenes::Played,
    talk::{Got, Talk},
};

/// What an origin says of its answers, requests one after another, and which of the origin's
/// answers each may get (from 0).
struct Scenario {
    name: &'static str,
    says: &'static str,
    steps: Vec<(String, &'static [usize])>,
}

fn to(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {{o}}\r\n{fields}\r\n")
}

fn t(fields: &str) -> String {
    to("http://{o}/t", fields)
}

const FRESH: &str = "Cache-Control: max-age=60\r\n";

/// A pair of requests of which the second gets the first's answer.
fn shared(name: &'static str, says: &'static str, first: String, second: String) -> Scenario {
    Scenario { name, says, steps: vec![(first, &[0]), (second, &[0])] }
}

/// A pair of requests of which each gets its own.
fn apart(name: &'static str, says: &'static str, first: String, second: String) -> Scenario {
    Scenario { name, says, steps: vec![(first.clone(), &[0]), (second, &[1]), (first, &[0, 2])] }
}

fn scenarios() -> Vec<Scenario> {
    [keys(), variants(), credentials(), unsafe_ones()].into_iter().flatten().collect()
}

fn keys() -> Vec<Scenario> {
    let a = |target: &str| to(target, "");
    let mut all = vec![
        shared("the same", FRESH, t(""), t("")),
        shared(
            "Host is overridden",
            FRESH,
            "GET http://{o}/t HTTP/1.1\r\nHost: evil.test\r\n\r\n".into(),
            t(""),
        ),
        shared(
            "Host is overridden, the other way",
            FRESH,
            t(""),
            "GET http://{o}/t HTTP/1.1\r\nHost: evil.test\r\n\r\n".into(),
        ),
        shared("scheme in upper case", FRESH, a("HTTP://{o}/t"), t("")),
        shared("empty path", FRESH, a("http://{o}"), a("http://{o}/")),
        shared("query on an empty path", FRESH, a("http://{o}?q"), a("http://{o}/?q")),
        shared(
            "host in upper case",
            FRESH,
            a("http://LOCALHOST:{p}/t"),
            a("http://localhost:{p}/t"),
        ),
    ];
    for (one, other) in [
        ("/t", "/T"),
        ("/t", "/t?"),
        ("/t", "/t/"),
        ("/t", "//t"),
        ("/a%2fb", "/a/b"),
        ("/t?a&b", "/t?b&a"),
        ("/t", "/t;x"),
        ("/t", "/t%00"),
        ("/t", "/t%20"),
        ("/t?x=1", "/t?x=2"),
        ("/t\\", "/t/"),
        ("/t", "/t%3f"),
        ("/t,", "/t"),
        ("/*", "/"),
    ] {
        all.push(apart(
            "paths",
            FRESH,
            a(&format!("http://{{o}}{one}")),
            a(&format!("http://{{o}}{other}")),
        ));
    }
    for (one, other) in [
        ("/t", "/./t"),
        ("/t", "/x/../t"),
        ("/t", "/%74"),
        ("/%7e", "/%7E"),
        ("/a%2fb", "/a%2Fb"),
        ("/%2e", "/."),
    ] {
        all.push(shared(
            "spellings",
            FRESH,
            a(&format!("http://{{o}}{one}")),
            a(&format!("http://{{o}}{other}")),
        ));
    }
    all.push(apart(
        "another name of the host is another key",
        FRESH,
        a("http://{o}/t"),
        a("http://localhost:{p}/t"),
    ));
    all.push(shared(
        "a dot at the end",
        FRESH,
        a("http://localhost.:{p}/t"),
        a("http://localhost:{p}/t"),
    ));
    all
}

fn variants() -> Vec<Scenario> {
    vec![
        shared("no Vary", FRESH, t("Accept-Language: fr\r\n"), t("Accept-Language: de\r\n")),
        apart(
            "Vary",
            "Cache-Control: max-age=60\r\nVary: Accept-Language\r\n",
            t("Accept-Language: fr\r\n"),
            t("Accept-Language: de\r\n"),
        ),
        apart(
            "Vary, one without",
            "Cache-Control: max-age=60\r\nVary: Accept-Language\r\n",
            t("Accept-Language: fr\r\n"),
            t(""),
        ),
        apart(
            "Vary in two lines",
            "Vary: X-A\r\nCache-Control: max-age=60\r\nVary: X-B\r\n",
            t("X-A: 1\r\nX-B: 1\r\n"),
            t("X-A: 1\r\nX-B: 2\r\n"),
        ),
        apart(
            "Vary in upper case",
            "Cache-Control: max-age=60\r\nVARY: x-A ,,\r\n",
            t("X-A: 1\r\n"),
            t("x-a: 2\r\n"),
        ),
        apart(
            "values that would join",
            "Cache-Control: max-age=60\r\nVary: X-A\r\n",
            t("X-A: 1\r\nX-A: 2\r\n"),
            t("X-A: 1\r\n"),
        ),
        apart(
            "fields that would join",
            "Cache-Control: max-age=60\r\nVary: X-A, X-B\r\n",
            t("X-A: 1\r\n"),
            t("X-B: 1\r\n"),
        ),
        Scenario {
            name: "Vary: *",
            says: "Cache-Control: max-age=60\r\nVary: *\r\n",
            steps: vec![(t(""), &[0]), (t(""), &[1])],
        },
        Scenario {
            name: "Vary: *, hidden",
            says: "Cache-Control: max-age=60\r\nVary: X-A, *\r\n",
            steps: vec![(t(""), &[0]), (t(""), &[1])],
        },
        Scenario {
            name: "Vary by what is ours",
            says: "Cache-Control: max-age=60\r\nVary: X-Forwarded-For\r\n",
            steps: vec![(t(""), &[0]), (t(""), &[1])],
        },
        // What Connection nominates never reached the origin: the answer is the default one.
        Scenario {
            name: "nominated, then sent",
            says: "Cache-Control: max-age=60\r\nVary: Accept-Language\r\n",
            steps: vec![
                (t("Connection: Accept-Language\r\nAccept-Language: fr\r\n"), &[0]),
                (t("Accept-Language: fr\r\n"), &[1]),
                (t(""), &[0]),
            ],
        },
        Scenario {
            name: "sent, then nominated",
            says: "Cache-Control: max-age=60\r\nVary: Accept-Language\r\n",
            steps: vec![
                (t("Accept-Language: fr\r\n"), &[0]),
                (t("Connection: Accept-Language\r\nAccept-Language: fr\r\n"), &[1]),
                (t("Accept-Language: fr\r\n"), &[0]),
            ],
        },
        Scenario {
            name: "nominated with close",
            says: "Cache-Control: max-age=60\r\nVary: X-A\r\n",
            steps: vec![
                (t("X-A: 1\r\nConnection: close, X-A\r\n"), &[0]),
                (t("X-A: 1\r\n"), &[1]),
                (t(""), &[0]),
            ],
        },
    ]
}

fn credentials() -> Vec<Scenario> {
    let alice = || t("Authorization: Basic YWxpY2U6eA==\r\n");
    let bob = || t("Authorization: Basic Ym9iOng=\r\n");
    let own = |name, says| Scenario {
        name,
        says,
        steps: vec![(alice(), &[0]), (bob(), &[1]), (t(""), &[2]), (alice(), &[2, 3])],
    };
    vec![
        own("Authorization", FRESH),
        own("Authorization, immutable", "Cache-Control: max-age=60, immutable\r\n"),
        own("Authorization, Expires", "Expires: Thu, 01 Jan 2099 00:00:00 GMT\r\n"),
        own("Authorization, validators", "Cache-Control: max-age=60\r\nETag: \"a\"\r\n"),
        own("Authorization that Connection nominates", FRESH),
        Scenario {
            name: "Authorization nominated",
            says: FRESH,
            steps: vec![
                (t("Connection: Authorization\r\nAuthorization: Basic YWxpY2U6eA==\r\n"), &[0]),
                (t(""), &[1]),
            ],
        },
        shared("Authorization, public", "Cache-Control: max-age=60, public\r\n", alice(), bob()),
        shared("Authorization, s-maxage", "Cache-Control: s-maxage=60\r\n", alice(), t("")),
        Scenario {
            name: "private",
            says: "Cache-Control: private, max-age=60\r\n",
            steps: vec![(t(""), &[0]), (t(""), &[1])],
        },
        Scenario {
            name: "private, in another line",
            says: "Cache-Control: max-age=60\r\nCache-Control: PRIVATE\r\n",
            steps: vec![(t(""), &[0]), (t(""), &[1])],
        },
        Scenario {
            name: "no-store",
            says: "Cache-Control: max-age=60 , no-store\r\n",
            steps: vec![(t(""), &[0]), (t(""), &[1])],
        },
        Scenario {
            name: "private=\"x\"",
            says: "Cache-Control: max-age=60, private=\"set-cookie\"\r\n",
            steps: vec![(t(""), &[0]), (t(""), &[1, 0])],
        },
        Scenario {
            name: "max-age twice",
            says: "Cache-Control: max-age=0, max-age=60\r\n",
            steps: vec![(t(""), &[0]), (t(""), &[1, 0])],
        },
        Scenario {
            name: "Set-Cookie by guess",
            says: "Set-Cookie: a=b\r\nLast-Modified: Thu, 01 Jan 2015 00:00:00 GMT\r\n",
            steps: vec![(t(""), &[0]), (t(""), &[1])],
        },
        Scenario {
            name: "an old Age",
            says: "Cache-Control: max-age=60\r\nAge: 100\r\n",
            steps: vec![(t(""), &[0]), (t(""), &[1])],
        },
    ]
}

fn unsafe_ones() -> Vec<Scenario> {
    let with = |method: &str, fields: &str, body: &str| {
        format!("{method} http://{{o}}/t HTTP/1.1\r\nHost: {{o}}\r\n{fields}\r\n{body}")
    };
    let mut all = vec![
        Scenario {
            name: "a GET with a body",
            says: FRESH,
            steps: vec![
                (with("GET", "Content-Length: 5\r\n", "hello"), &[0]),
                (t(""), &[1]),
                (with("GET", "Content-Length: 5\r\n", "hello"), &[2]),
            ],
        },
        Scenario {
            name: "a GET with chunks",
            says: FRESH,
            steps: vec![
                (with("GET", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n"), &[0]),
                (t(""), &[1]),
            ],
        },
        Scenario {
            name: "no-store asked for",
            says: FRESH,
            steps: vec![(t("Cache-Control: no-store\r\n"), &[0]), (t(""), &[1])],
        },
        Scenario {
            name: "a range is not the whole",
            says: FRESH,
            steps: vec![(t("Range: bytes=0-1\r\n"), &[0]), (t(""), &[0, 1])],
        },
        Scenario {
            name: "what may be another method by a header goes past the cache",
            says: FRESH,
            steps: vec![
                (t("X-HTTP-Method-Override: POST\r\n"), &[0]),
                (t(""), &[1]),
                (t("X-HTTP-Method-Override: POST\r\n"), &[2]),
                (t(""), &[1]),
            ],
        },
    ];
    for method in ["POST", "PUT", "DELETE", "PATCH", "BREW", "get", "OPTIONS"] {
        let kept: &'static [usize] = if method == "OPTIONS" { &[0] } else { &[0, 2] };
        all.push(Scenario {
            name: "another method",
            says: FRESH,
            steps: vec![
                (t(""), &[0]),
                (with(method, "Content-Length: 5\r\n", "hello"), &[1]),
                (t(""), kept),
            ],
        });
        all.push(Scenario {
            name: "another method first",
            says: FRESH,
            steps: vec![(with(method, "Content-Length: 5\r\n", "hello"), &[0]), (t(""), &[1])],
        });
    }
    all
}

/// Plays all of them.
pub async fn play(address: SocketAddr) -> Vec<Played> {
    let mut played = Vec::new();
    for scenario in scenarios() {
        played.push((scenario.name.to_owned(), one(address, &scenario).await));
    }
    played
}

async fn one(address: SocketAddr, scenario: &Scenario) -> Result<(), String> {
    let says = scenario.says;
    let decide: Decide = Arc::new(move |_, before| {
        let body = format!("answer {before}");
        let bytes =
            format!("HTTP/1.1 200 OK\r\n{says}Content-Length: {}\r\n\r\n{body}", body.len())
                .into_bytes();
        Some(Script { bytes, then: Then::Keep, early: false })
    });
    // Where a name is asked for, it has to be the name's address.
    let named = scenario
        .steps
        .iter()
        .any(|(request, _)| request.to_ascii_lowercase().contains("localhost"));
    let origin = if named {
        Origin::at(Ipv4Addr::LOCALHOST, decide).await
    } else {
        Origin::start(decide).await
    };
    let authority = origin.address.to_string();
    for (number, (request, from)) in scenario.steps.iter().enumerate() {
        let mut client = Talk::open(address).await;
        client.send(&fill(request.as_bytes(), &authority)).await;
        let got = client.answer("GET").await;
        let Got::Answer(answer, _) = got else {
            return Err(format!("step {number} ({request:?}): {got:?}"));
        };
        // A part of the right answer is right where a part was asked for, and nowhere else.
        let part = request.contains("\r\nRange: ") && answer.status() == 206;
        let is =
            |whole: &str| answer.text() == whole || (part && whole.starts_with(&answer.text()));
        if !from.iter().any(|index| is(&format!("answer {index}"))) {
            return Err(format!(
                "step {number} ({request:?}): {} {:?} instead of {from:?}",
                answer.line,
                answer.text()
            ));
        }
    }
    Ok(())
}
