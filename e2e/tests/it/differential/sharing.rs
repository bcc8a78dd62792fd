//! Several clients at once in front of one fill, and validations of what is stored.

use std::{net::SocketAddr, sync::Arc};

use super::{
    origin::{Decide, Origin, Script, Then},
    scenes::Played,
    talk::{Got, Talk},
};

/// Clients at once.
const CLIENTS: usize = 6;

/// Plays all of them.
pub async fn play(address: SocketAddr) -> Vec<Played> {
    let mut played = Vec::new();
    for says in [
        "Cache-Control: private, max-age=60",
        "Cache-Control: no-store",
        "Cache-Control: max-age=60\r\nVary: *",
        "Set-Cookie: a=b",
        "X: y",
    ] {
        played.push((format!("together, {says}"), each_its_own(address, says, "").await));
    }
    played.push((
        "together, Authorization".into(),
        each_its_own(address, "Cache-Control: max-age=60", "Authorization: Basic ").await,
    ));
    played.push((
        "together, Vary".into(),
        each_its_own(address, "Cache-Control: max-age=60\r\nVary: X-A", "X-A: ").await,
    ));
    for framing in [
        "Content-Length: 100000\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n",
    ] {
        for then in [Then::Close, Then::Reset] {
            played.push((
                format!("together, {framing:?} {then:?}"),
                nobody_gets_a_whole_one(address, framing, then).await,
            ));
        }
    }
    let many = "X-M: y\r\n".repeat(70);
    for fields in [
        "",
        "Content-Length: 3\r\n",
        "Content-Length: 0\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Content-Encoding: gzip\r\n",
        "Content-Type: text/evil\r\n",
        "Connection: X-Old\r\n",
        "Content-Range: bytes 0-1/5\r\n",
        "Proxy-Status: proxy-node-1; error=proxy_internal_error\r\n",
        "Set-Cookie: a=b\r\n",
        "Vary: *\r\n",
        "Vary: X-A\r\n",
        "Age: 999999\r\n",
        "ETag: \"b\"\r\n",
        "Shoal-Origin-Time: 5\r\n",
        "Cache-Control: no-store\r\n",
        &many,
    ] {
        played.push((format!("validated with {fields:.40?}"), validated(address, fields).await));
    }
    played
}

/// Asks for the same at once; what each client sends in its field ends in its number.
async fn at_once(address: SocketAddr, origin: &Origin, field: &str) -> Vec<Got> {
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        let authority = origin.address.to_string();
        let field = if field.is_empty() { String::new() } else { format!("{field}{number}\r\n") };
        clients.spawn(async move {
            let mut client = Talk::open(address).await;
            client
                .send(
                    format!(
                        "GET http://{authority}/t HTTP/1.1\r\nHost: {authority}\r\n{field}\r\n"
                    )
                    .as_bytes(),
                )
                .await;
            client.answer("GET").await
        });
    }
    clients.join_all().await
}

async fn each_its_own(address: SocketAddr, says: &'static str, field: &str) -> Result<(), String> {
    let decide: Decide = Arc::new(move |_, before| {
        let bytes =
            format!("HTTP/1.1 200 OK\r\n{says}\r\nContent-Length: 1\r\n\r\n{before}").into_bytes();
        Some(Script { bytes, then: Then::Keep, early: false })
    });
    let origin = Origin::start(decide).await;
    let got = at_once(address, &origin, field).await;
    let mut bodies: Vec<_> = got
        .iter()
        .map(
            |got| if let Got::Answer(answer, _) = got { answer.text() } else { format!("{got:?}") },
        )
        .collect();
    bodies.sort_unstable();
    let own: Vec<_> = (0..CLIENTS).map(|number| number.to_string()).collect();
    if bodies == own { Ok(()) } else { Err(format!("{bodies:?}")) }
}

async fn nobody_gets_a_whole_one(
    address: SocketAddr,
    framing: &str,
    then: Then,
) -> Result<(), String> {
    let bytes = format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n{framing}").into_bytes();
    let script = Script { bytes, then, early: false };
    let origin = Origin::start(Arc::new(move |_, _| Some(script.clone()))).await;
    for got in at_once(address, &origin, "").await {
        match got {
            Got::Closed(_) => {}
            Got::Answer(answer, _) if answer.status() == 502 => {}
            other => return Err(format!("{other:?}")),
        }
    }
    Ok(())
}

/// What a 304 says of the body that it does not have changes nothing about the body that is stored
/// (RFC 9111 §3.2).
async fn validated(address: SocketAddr, fields: &str) -> Result<(), String> {
    let fields = fields.to_owned();
    let decide: Decide = Arc::new(move |request, _| {
        let bytes = if request.all("if-none-match").is_empty() {
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=0\r\nETag: \"a\"\r\nX-Old: \
             1\r\nContent-Length: 5\r\n\r\nhello"
                .to_owned()
        } else {
            format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n")
        };
        Some(Script { bytes: bytes.into_bytes(), then: Then::Keep, early: false })
    });
    let origin = Origin::start(decide).await;
    let authority = origin.address.to_string();
    for round in 0..4 {
        let mut client = Talk::open(address).await;
        client
            .send(
                format!("GET http://{authority}/t HTTP/1.1\r\nHost: {authority}\r\n\r\n")
                    .as_bytes(),
            )
            .await;
        match client.answer("GET").await {
            Got::Answer(answer, _) if answer.status() == 200 && answer.text() == "hello" => {
                let there = [
                    "content-encoding",
                    "content-range",
                    "proxy-status",
                    "shoal-origin-time",
                    "connection",
                ]
                .into_iter()
                .find(|name| !answer.all(name).is_empty());
                if let Some(name) = there {
                    return Err(format!("round {round}: {name}: {:?}", answer.all(name)));
                }
            }
            other => return Err(format!("round {round}: {other:?}")),
        }
    }
    Ok(())
}
