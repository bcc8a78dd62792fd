//! Messages around the limits: what one hop takes, the next one takes, with the fields that were
//! added on the way. Otherwise an origin or a client could make one hop look bad to the other.

use std::{net::SocketAddr, sync::Arc};

use super::{
    origin::{Origin, Script, Then, seen},
    scenes::Played,
    talk::{Got, Talk},
};

/// Field lines of a head by count, and by length of one.
fn fields() -> Vec<String> {
    let counted = (980..=1010).map(|count| "X-A: y\r\n".repeat(count));
    let long = (0..48).map(|step| format!("X-A: {}\r\n", "z".repeat(64_500 + step * 54)));
    counted.chain(long).collect()
}

fn name(kind: &str, fields: &str) -> String {
    format!("{kind}: {} lines, {} bytes", fields.lines().count(), fields.len())
}

/// Requests and responses around the limits.
pub async fn play(address: SocketAddr) -> Vec<Played> {
    let mut played = Vec::new();
    for fields in fields() {
        played.push((name("request", &fields), request(address, &fields).await));
        for method in ["GET", "POST"] {
            played.push((name(method, &fields), response(address, method, &fields).await));
        }
    }
    played
}

async fn request(address: SocketAddr, fields: &str) -> Result<(), String> {
    let origin = Origin::start(Arc::new(|_, _| None)).await;
    let authority = origin.address.to_string();
    let mut client = Talk::open(address).await;
    client
        .send(
            format!("GET http://{authority}/t HTTP/1.1\r\nHost: {authority}\r\n{fields}\r\n")
                .as_bytes(),
        )
        .await;
    let requests = || origin.record().requests.len();
    match client.answer("GET").await {
        Got::Answer(answer, _) if answer.text() == seen("GET", "/t") && requests() == 1 => Ok(()),
        Got::Answer(answer, _) if answer.status() == 431 && requests() == 0 => {
            client.is_closed().await
        }
        other => Err(format!("{other:?}")),
    }
}

async fn response(address: SocketAddr, method: &str, fields: &str) -> Result<(), String> {
    let bytes = format!(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 5\r\n{fields}\r\nhello"
    )
    .into_bytes();
    let script = Script { bytes, then: Then::Keep, early: false };
    let origin = Origin::start(Arc::new(move |_, _| Some(script.clone()))).await;
    let authority = origin.address.to_string();
    // Twice: fetched, and from the cache.
    for _ in 0..2 {
        let mut client = Talk::open(address).await;
        client
            .send(
                format!(
                    "{method} http://{authority}/t HTTP/1.1\r\nHost: \
            {authority}\r\nContent-Length: 0\r\n\r\n"
                )
                .as_bytes(),
            )
            .await;
        match client.answer(method).await {
            Got::Answer(answer, _) if answer.status() == 200 && answer.text() == "hello" => {}
            // The node says that the origin is at fault. A balancer that says so means the node.
            Got::Answer(answer, _) if answer.status() == 502 => {
                let by = answer.all("proxy-status").join(", ");
                if !by.contains("proxy-node-1; error=http_protocol_error") {
                    return Err(format!("the node is blamed for its origin: {by}"));
                }
            }
            other => return Err(format!("{other:?}")),
        }
    }
    Ok(())
}
