//! Runs one case and says what is wrong with what came of it.

use std::{net::SocketAddr, sync::Arc};

use super::{
    case::{Case, Expect, Gets, Meaning, Reading, Reply, fill},
    message::Message,
    origin::{Origin, Script, seen},
    talk::{Got, Talk},
};

/// What came of a run: the origin is kept, so that what arrives too late is seen as well.
pub type Ran = (Origin, usize, Result<(), String>);

/// How many proxies stand between client and origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    Balancer,
    Node,
}

/// How the bytes of a case come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// At once, and the request that follows with them.
    Pipelined,
    /// The same in small pieces.
    Dripped,
    /// The request that follows only after the answer.
    Apart,
}

/// A request that must never arrive: it stands behind what is refused.
const SMUGGLED: &[u8] = b"GET http://{o}/smuggled HTTP/1.1\r\nHost: {o}\r\n\r\n";
/// A request that has to be answered, if the connection is still there.
const AFTER: &[u8] = b"GET http://{o}/after HTTP/1.1\r\nHost: {o}\r\n\r\n";

/// Runs a case by one way.
pub async fn run(case: &Case, via: Via, address: SocketAddr, manner: Manner) -> Ran {
    let pipelined = manner != Manner::Apart;
    let origin = Origin::start(Arc::new(|_, _| None)).await;
    let authority = origin.address.to_string();
    let mut client = Talk::open(address).await;
    let next = match case.expect {
        Expect::Refused(_) | Expect::Cut | Expect::Then(..) => SMUGGLED,
        Expect::Local(_) | Expect::Forwarded(_) => AFTER,
    };
    let mut bytes = fill(&case.bytes, &authority);
    if pipelined || next == SMUGGLED {
        bytes.extend(fill(next, &authority));
    }
    if manner == Manner::Dripped {
        client.drip(&bytes).await;
    } else {
        client.send(&bytes).await;
    }
    let verdict = match &case.expect {
        Expect::Refused(statuses) => is_refused(&mut client, statuses).await,
        Expect::Cut => is_cut(&mut client).await,
        Expect::Local(statuses) => is_answered(&mut client, statuses, method(&case.bytes)).await,
        Expect::Forwarded(meanings) => are_answered(&mut client, meanings).await,
        Expect::Then(meanings, statuses) => match are_answered(&mut client, meanings).await {
            Ok(()) => is_refused(&mut client, statuses).await,
            wrong => wrong,
        },
    };
    let mut expected = match &case.expect {
        Expect::Forwarded(meanings) | Expect::Then(meanings, _) => meanings.clone(),
        _ => Vec::new(),
    };
    let mut verdict = verdict;
    if verdict.is_ok() && matches!(case.expect, Expect::Local(_) | Expect::Forwarded(_)) {
        if !pipelined {
            client.send(&fill(AFTER, &authority)).await;
        }
        match follows(&mut client).await {
            Ok(true) => expected.push(Meaning::of("GET", "/after")),
            Ok(false) => {}
            Err(why) => verdict = Err(why),
        }
    }
    let count = expected.len();
    let verdict =
        verdict.and_then(|()| arrived(&origin, &expected, via, matches!(case.expect, Expect::Cut)));
    (origin, count, verdict)
}

fn method(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes.split(|byte| *byte == b' ').next().unwrap_or_default())
        .unwrap_or_default()
}

async fn is_refused(client: &mut Talk, statuses: &[u16]) -> Result<(), String> {
    match client.answer("GET").await {
        Got::Answer(answer, _) if statuses.contains(&answer.status()) => {
            if answer.only("connection") != Some("close") {
                return Err(format!("refused without Connection: close: {:?}", answer.fields));
            }
            client.is_closed().await
        }
        Got::Answer(answer, _) => {
            Err(format!("{} instead of {statuses:?}: {:?}", answer.line, answer.text()))
        }
        other => Err(format!("{other:?} instead of {statuses:?}")),
    }
}

async fn is_cut(client: &mut Talk) -> Result<(), String> {
    match client.answer("POST").await {
        Got::Answer(answer, _) if matches!(answer.status(), 400 | 431 | 502) => {
            client.is_closed().await
        }
        Got::Closed(0) => Ok(()),
        other => Err(format!("{other:?} instead of an end")),
    }
}

async fn is_answered(client: &mut Talk, statuses: &[u16], method: &str) -> Result<(), String> {
    match client.answer(method).await {
        // Probes and their answers are no requests, and have no id.
        Got::Answer(answer, _) if answer.status() == 200 && statuses.contains(&200) => Ok(()),
        Got::Answer(answer, _) if statuses.contains(&answer.status()) => hygiene(&answer),
        other => Err(format!("{other:?} instead of {statuses:?}")),
    }
}

async fn are_answered(client: &mut Talk, meanings: &[Meaning]) -> Result<(), String> {
    for meaning in meanings {
        let body = if meaning.method == "HEAD" {
            String::new()
        } else {
            seen(meaning.method, meaning.target)
        };
        match client.answer(meaning.method).await {
            Got::Answer(answer, _) => {
                hygiene(&answer)?;
                if let Some(why) = Reading::of(200, body).differs(&answer, meaning.method) {
                    return Err(why);
                }
            }
            other => {
                return Err(format!(
                    "{other:?} instead of an answer to {} {}",
                    meaning.method, meaning.target
                ));
            }
        }
    }
    Ok(())
}

/// Whether the request behind was answered; false: the connection had ended, which is as good.
async fn follows(client: &mut Talk) -> Result<bool, String> {
    match client.answer("GET").await {
        Got::Closed(0) => Ok(false),
        Got::Answer(answer, _) => {
            match Reading::of(200, seen("GET", "/after")).differs(&answer, "GET") {
                None => hygiene(&answer).map(|()| true),
                Some(why) => Err(format!("the request behind: {why}")),
            }
        }
        Got::Broken(why) => {
            Err(format!("the request behind was answered with what is no response: {why}"))
        }
        other => Err(format!("the request behind: {other:?}")),
    }
}

/// What no answer may carry to a client.
fn hygiene(answer: &Message) -> Result<(), String> {
    for name in [
        "keep-alive",
        "te",
        "upgrade",
        "proxy-connection",
        "shoal-origin-time",
        "proxy-authenticate",
        "http2-settings",
    ] {
        if !answer.all(name).is_empty() {
            return Err(format!("{name}: {:?} came through", answer.all(name)));
        }
    }
    if !matches!(answer.all("connection").as_slice(), [] | ["close"] | ["keep-alive"]) {
        return Err(format!("connection: {:?} came through", answer.all("connection")));
    }
    // Version 7 and variant: ours, and not what a peer said.
    let id = answer.only("shoal-request-id").unwrap_or_default();
    if id.len() != 36 || id.as_bytes().get(14) != Some(&b'7') {
        return Err(format!("shoal-request-id: {:?}", answer.all("shoal-request-id")));
    }
    Ok(())
}

/// Whether the origin has seen these requests, each as it is meant, and nothing else.
pub fn arrived(
    origin: &Origin,
    expected: &[Meaning],
    via: Via,
    incomplete: bool,
) -> Result<(), String> {
    let record = origin.record();
    if let Some(why) = record.broken.first() {
        return Err(format!("the origin got what is no request: {why}"));
    }
    let bytes: usize = record.connections.iter().map(Vec::len).sum();
    if expected.is_empty() && bytes > 0 && !incomplete {
        return Err(format!("the origin got {bytes} bytes of what goes nowhere"));
    }
    let lines: Vec<_> = record.requests.iter().map(|request| request.line.as_str()).collect();
    if lines.len() != expected.len() {
        return Err(format!("the origin got {lines:?}"));
    }
    for (request, meaning) in record.requests.iter().zip(expected) {
        if let Some(why) = meaning.differs(request) {
            return Err(format!("at the origin: {why}"));
        }
        canonical(request, &origin.address.to_string(), via)?;
    }
    Ok(())
}

/// What every request looks like at an origin.
fn canonical(request: &Message, authority: &str, via: Via) -> Result<(), String> {
    let gone = [
        "connection",
        "proxy-connection",
        "keep-alive",
        "te",
        "upgrade",
        "http2-settings",
        "proxy-authorization",
        "shoal-request-id",
        "shoal-origin-time",
    ];
    // The one upgrade that goes on is written anew, and is asked for on this connection.
    let upgrades = (request.only("connection"), request.only("upgrade"))
        == (Some("upgrade"), Some("websocket"));
    let asked = |name: &str| upgrades && matches!(name, "connection" | "upgrade");
    if let Some(name) = gone.into_iter().find(|name| !request.all(name).is_empty() && !asked(name))
    {
        return Err(format!("{name}: {:?} at the origin", request.all(name)));
    }
    if request.only("host") != Some(authority) {
        return Err(format!("host: {:?} at the origin", request.all("host")));
    }
    if request.only("x-forwarded-for") != Some("127.0.0.1") {
        return Err(format!("x-forwarded-for: {:?} at the origin", request.all("x-forwarded-for")));
    }
    let ours = request
        .all("via")
        .iter()
        .filter(|via| via.contains("balancer-1") || via.contains("proxy-node-1"))
        .count();
    if ours != if via == Via::Balancer { 2 } else { 1 } {
        return Err(format!("via: {:?} at the origin", request.all("via")));
    }
    Ok(())
}

/// Lets an origin answer so, and asks again: on the same connection, on another, and for the same
/// resource.
pub async fn reply(case: &Reply, method: &'static str, address: SocketAddr) -> Ran {
    let script = Script { bytes: case.bytes.clone(), then: case.then, early: false };
    let origin =
        Origin::start(Arc::new(move |_, before| (before == 0).then(|| script.clone()))).await;
    let authority = origin.address.to_string();
    let mut client = Talk::open(address).await;
    let framing = if method == "POST" { "Content-Length: 4\r\n\r\nbody" } else { "\r\n" };
    client
        .send(
            format!("{method} http://{authority}/t HTTP/1.1\r\nHost: {authority}\r\n{framing}")
                .as_bytes(),
        )
        .await;
    let got = client.answer(method).await;
    let over = matches!(got, Got::Closed(_));
    let mut verdict = reads(case, method, got);
    let asked = origin.record().requests.len();
    if verdict.is_ok() && (method != "GET" || matches!(case.expect, Gets::Answer(_))) && asked != 1
    {
        verdict = Err(format!("the {method} arrived {asked} times"));
    }
    if verdict.is_ok() && !over {
        client.send(&fill(AFTER, &authority)).await;
        verdict = follows(&mut client).await.map(drop);
    }
    if verdict.is_ok() {
        // What is left on a connection to the origin is nobody else's answer.
        let mut other = Talk::open(address).await;
        other.send(&fill(AFTER, &authority)).await;
        verdict = match follows(&mut other).await {
            Ok(true) => Ok(()),
            Ok(false) => Err("a new connection was closed".to_owned()),
            Err(why) => Err(why),
        };
        // Only what is whole, and says that it may be, is kept.
        let kept = matches!(case.expect, Gets::Answer(_))
            && case.bytes.windows(10).any(|window| window == b"max-age=60");
        if verdict.is_ok() && !kept {
            other
                .send(
                    format!("GET http://{authority}/t HTTP/1.1\r\nHost: {authority}\r\n\r\n")
                        .as_bytes(),
                )
                .await;
            verdict = are_answered(&mut other, &[Meaning::of("GET", "/t")])
                .await
                .map_err(|why| format!("asked again: {why}"));
        }
    }
    (origin, 0, verdict)
}

fn reads(case: &Reply, method: &str, got: Got) -> Result<(), String> {
    match (&case.expect, got) {
        (Gets::Refused | Gets::Cut, Got::Answer(answer, _))
            if answer.status() == 502 && !answer.all("proxy-status").is_empty() =>
        {
            hygiene(&answer)
        }
        (Gets::Cut, Got::Closed(_)) => Ok(()),
        // What had not begun to reach the client may have been asked for again, if it may be asked
        // for twice.
        (Gets::Cut, Got::Answer(answer, _))
            if method == "GET" && answer.text() == seen("GET", "/t") =>
        {
            hygiene(&answer)
        }
        (Gets::Answer(reading), Got::Answer(answer, interims)) => {
            hygiene(&answer)?;
            if interims.iter().any(|interim| !interim.all("shoal-origin-time").is_empty()) {
                return Err("shoal-origin-time in an interim response".to_owned());
            }
            reading.differs(&answer, method).map_or(Ok(()), Err)
        }
        (_, got) => Err(format!("{got:?}")),
    }
}
