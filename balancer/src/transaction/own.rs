//! Requests that the balancer answers itself.

use relay::{method::Method, respond::Canned, rewrite::Persistence, stream::Stream};
use uuid::Uuid;

use super::Ending;
use crate::{
    local::{Local, Scratch},
    record::Timers,
    request::Request,
    respond::Error,
    tunnel::ConnectionEnd,
};

/// Says why no server has answered.
pub(super) async fn refuse(
    local: &Local,
    request: &Request<'_>,
    client: &mut Stream,
    scratch: &mut Scratch,
    error: &Error,
    attempts: u32,
) -> Ending {
    scratch.out.clear();
    error.write(
        &mut scratch.out,
        &local.shared().name,
        request.id,
        request.method(),
        relay::clock::wall(),
    );
    let connection = send(request, client, &scratch.out).await;
    Ending {
        connection,
        status: error.status(),
        server: None,
        attempts,
        error: Some(error.kind()),
        timers: Timers::default(),
    }
}

/// The last recipient that Max-Forwards allows answers itself (RFC 9110 §7.6.2).
pub(super) async fn answer_options(
    local: &Local,
    request: &Request<'_>,
    client: &mut Stream,
    scratch: &mut Scratch,
) -> Ending {
    scratch.out.clear();
    let status = if request.method() == Method::Options { 200 } else { 501 };
    let mut buffer = Uuid::encode_buffer();
    let id = &*request.id.hyphenated().encode_lower(&mut buffer);
    let fields = [("Via", local.shared().via.as_str()), ("Shoal-Request-Id", id)];
    // Whatever body came with it is not read: the connection ends.
    let answer = Canned {
        status,
        now: relay::clock::wall(),
        content_type: "",
        fields: &fields,
        body: b"",
        persistence: Persistence::Close,
    };
    answer.write(&mut scratch.out);
    let connection = send(request, client, &scratch.out).await;
    Ending { connection, status, server: None, attempts: 0, error: None, timers: Timers::default() }
}

async fn send(request: &Request<'_>, client: &mut Stream, answer: &[u8]) -> ConnectionEnd {
    match client.write_all(&[answer], request.timeouts.client).await {
        Ok(()) => ConnectionEnd::Close,
        Err(_) => ConnectionEnd::Abort,
    }
}
