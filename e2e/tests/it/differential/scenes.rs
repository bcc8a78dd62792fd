//! What is more than one request and its answer: tunnels, answers that overtake their request,
//! clients that hang up.

use std::{net::SocketAddr, sync::Arc};

use super::{
    case::fill,
    origin::{Origin, Script, Then, seen},
    talk::{Got, Talk},
};

/// What a scene came to, by name.
pub type Played = (String, Result<(), String>);

const THROUGH: &str = "GET /through HTTP/1.1\r\nHost: x\r\n\r\n";

/// Tunnels: what is in them is nobody's business, and before them nothing goes into them.
pub async fn tunnels(address: SocketAddr) -> Vec<Played> {
    let mut played = Vec::new();
    for fields in [
        "",
        "Content-Length: 0\r\n",
        "Connection: close\r\n",
        "Proxy-Connection: keep-alive\r\n",
        "Upgrade: h2c\r\nConnection: Upgrade\r\n",
        "Expect: 100-continue\r\n",
        "X-Forwarded-For: 1.2.3.4\r\n",
    ] {
        for version in ["1.1", "1.0"] {
            for early in [true, false] {
                let head = format!("CONNECT {{o}} HTTP/{version}\r\nHost: {{o}}\r\n{fields}\r\n");
                played.push((head.escape_debug().to_string(), tunnel(address, &head, early).await));
            }
        }
    }
    played
}

async fn tunnel(address: SocketAddr, head: &str, early: bool) -> Result<(), String> {
    let origin = Origin::start(Arc::new(|_, _| None)).await;
    let mut client = Talk::open(address).await;
    let mut bytes = fill(head.as_bytes(), &origin.address.to_string());
    if early {
        bytes.extend_from_slice(THROUGH.as_bytes());
    }
    client.send(&bytes).await;
    // The strict reader refuses a 2xx with framing fields.
    match client.answer("CONNECT").await {
        Got::Answer(answer, _) if answer.status() == 200 => {}
        other => return Err(format!("{other:?} instead of a tunnel")),
    }
    if !early {
        client.send(THROUGH.as_bytes()).await;
    }
    match client.answer("GET").await {
        Got::Answer(answer, _) if answer.text() == seen("GET", "/through") => {}
        other => return Err(format!("{other:?} out of the tunnel")),
    }
    let bytes = origin.record().connections.concat();
    if bytes == THROUGH.as_bytes() {
        Ok(())
    } else {
        Err(format!("into the tunnel went {:?}", bytes.escape_ascii().to_string()))
    }
}

/// An origin that answers before it has the body: what is left of the body is never a request.
pub async fn early_answers(address: SocketAddr) -> Vec<Played> {
    let mut played = Vec::new();
    for framing in [
        "Content-Length: 200\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Expect: 100-continue\r\nContent-Length: 200\r\n",
    ] {
        for then in [Then::Keep, Then::Close, Then::Reset] {
            for answer in [
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
                "HTTP/1.1 413 x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
                "HTTP/1.1 417 x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            ] {
                let name = format!("{framing:?} {then:?} {answer:?}");
                played.push((name, early_answer(address, framing, answer, then).await));
            }
        }
    }
    played
}

async fn early_answer(
    address: SocketAddr,
    framing: &str,
    answer: &str,
    then: Then,
) -> Result<(), String> {
    let script = Script { bytes: answer.into(), then, early: true };
    let origin =
        Origin::start(Arc::new(move |head, _| (head.word(1) == "/t").then(|| script.clone())))
            .await;
    let authority = origin.address.to_string();
    let mut client = Talk::open(address).await;
    client
        .send(
            format!("POST http://{authority}/t HTTP/1.1\r\nHost: {authority}\r\n{framing}\r\n")
                .as_bytes(),
        )
        .await;
    match client.answer("POST").await {
        Got::Answer(answer, _) if answer.text() == "hello" => {}
        // A reset may take its answer along.
        Got::Answer(answer, _) if then == Then::Reset && answer.status() == 502 => {}
        Got::Closed(_) if then == Then::Reset => {}
        other => return Err(format!("{other:?}")),
    }
    let smuggled = format!("GET http://{authority}/smuggled HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    client.send(smuggled.repeat(4).as_bytes()).await;
    client.is_closed().await?;
    // Others' requests go over the connections that this one used, if anything of them was kept.
    for _ in 0..4 {
        let mut other = Talk::open(address).await;
        for _ in 0..2 {
            other
                .send(
                    format!("GET http://{authority}/other HTTP/1.1\r\nHost: {authority}\r\n\r\n")
                        .as_bytes(),
                )
                .await;
            match other.answer("GET").await {
                Got::Answer(answer, _) if answer.text() == seen("GET", "/other") => {}
                wrong => return Err(format!("another client got {wrong:?}")),
            }
        }
        other
            .send(
                format!(
                    "POST http://{authority}/other HTTP/1.1\r\nHost: \
            {authority}\r\nContent-Length: 2\r\n\r\nhi"
                )
                .as_bytes(),
            )
            .await;
        match other.answer("POST").await {
            Got::Answer(answer, _) if answer.text() == seen("POST", "/other") => {}
            wrong => return Err(format!("another client's POST got {wrong:?}")),
        }
    }
    never_smuggled(&origin)
}

fn never_smuggled(origin: &Origin) -> Result<(), String> {
    let record = origin.record();
    let smuggled = record.requests.iter().any(|request| request.line.contains("smuggled"));
    if smuggled { Err("a smuggled request arrived".to_owned()) } else { Ok(()) }
}

/// Clients that hang up in the middle of a request: it never becomes a whole one, and one that is
/// whole is answered.
pub async fn hang_ups(address: SocketAddr) -> Vec<Played> {
    let whole = [
        "GET http://{o}/t HTTP/1.1\r\nHost: {o}\r\n\r\n",
        "POST http://{o}/t HTTP/1.1\r\nHost: {o}\r\nContent-Length: 5\r\n\r\nhello",
        "POST http://{o}/t HTTP/1.1\r\nHost: {o}\r\nTransfer-Encoding: \
         chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ];
    let mut played = Vec::new();
    for request in whole {
        for kept in [
            1,
            10,
            request.len() / 2,
            request.len() - 30,
            request.len() - 12,
            request.len() - 4,
            request.len() - 2,
            request.len() - 1,
            request.len(),
        ] {
            let name = request[..kept].escape_debug().to_string();
            played.push((name, hang_up(address, &request[..kept], kept == request.len()).await));
        }
    }
    played
}

async fn hang_up(address: SocketAddr, request: &str, whole: bool) -> Result<(), String> {
    let origin = Origin::start(Arc::new(|_, _| None)).await;
    let mut client = Talk::open(address).await;
    client.send(&fill(request.as_bytes(), &origin.address.to_string())).await;
    client.finish().await;
    match (client.answer("GET").await, whole) {
        (Got::Answer(answer, _), true) if answer.status() == 200 => {}
        (Got::Closed(0), false) => {}
        (Got::Answer(answer, _), false) if answer.status() >= 400 => {}
        (other, _) => return Err(format!("{other:?}")),
    }
    let (requests, wanted) = (origin.record().requests.len(), usize::from(whole));
    if requests == wanted { Ok(()) } else { Err(format!("{requests} requests at the origin")) }
}
