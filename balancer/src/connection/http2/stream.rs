//! One stream: a request or a tunnel, served as on an HTTP/1.1 connection of its own.
//!
//! That connection is one in memory. At one end of it the request is served as any other; at the
//! other one, here, what the client sends on its stream goes in ([`Upload`]) and what comes out
//! goes to the client ([`Download`]). Both ends belong to one task, so that neither outlives the
//! other. What is in memory is bounded at every step: a client's window opens only as its bytes go
//! on, and an answer is taken up only as the client's window allows.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use dataplane::connection::ConnectionEnd;
use h2::{Reason, RecvStream, server::SendResponse};
use relay::{
    method::Method,
    stream::{Duplex, Stream},
};

use super::{
    super::{Connection, LINGER, Requests},
    download::{self, Download},
    request::Head,
    upload::{self, Upload},
    wire::Active,
};
use crate::tunnel;

/// Bytes that wait between the two ends, in each direction.
pub const BETWEEN: usize = 32 * 1024;

/// What a stream is made of.
pub struct Parts {
    pub connection: Rc<Connection>,
    pub head: Head,
    pub method: Method,
    pub body: RecvStream,
    pub respond: SendResponse<Bytes>,
    /// The client takes nothing for so long at most.
    pub patience: Duration,
    pub active: Active,
    /// The balancer's end and ours.
    pub ends: (Stream, Duplex),
}

/// Serves it to its end.
pub async fn run(parts: Parts, requests: Rc<Requests>) {
    let Parts { connection, head, method, body, respond, patience, active, ends } = parts;
    let (served, ours) = ends;
    let wheel = connection.local.worker().wheel().clone();
    let exchange = Exchange {
        upload: Upload::new(head, body),
        download: Download::new(respond, method, patience, &wheel),
        ours,
    };
    let serving = serve(connection, served, &requests);
    let ended = both(exchange, serving).await;
    if ended == Ending::Refused {
        active.watched().offended();
    }
}

/// Serves the balancer's end.
async fn serve(connection: Rc<Connection>, client: Stream, requests: &Requests) {
    let mut runner = requests.begin((Rc::clone(&connection), client));
    let (client, end) = (&mut runner).await;
    requests.end(runner);
    match end {
        ConnectionEnd::Tunnel(open) => {
            let Connection { local, frontend, peer, .. } = &*connection;
            Box::pin(tunnel::run(local, frontend, client, *peer, open)).await;
        }
        ConnectionEnd::Stays | ConnectionEnd::Over => {}
        end => Box::pin(end.close(client, LINGER)).await,
    }
}

/// How the client's half of a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The client has its answer, or its tunnel has ended.
    Done,
    /// The client has reset the stream, or left.
    Left,
    /// What the client sent is malformed.
    Refused,
    /// The answer broke off, or the client takes nothing of it.
    Broken,
}

struct Exchange {
    ours: Duplex,
    upload: Upload,
    download: Download,
}

impl Exchange {
    /// Moves what the client sends.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        match self.upload.poll(cx, &mut self.ours) {
            Poll::Ready(Err(upload::Error::Left)) => Poll::Ready(Ending::Left),
            Poll::Ready(Err(upload::Error::Refused)) => {
                self.download.reset(Reason::PROTOCOL_ERROR);
                Poll::Ready(Ending::Refused)
            }
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }

    /// Moves what the client gets.
    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        if self.download.is_left(cx) {
            return Poll::Ready(Ending::Left);
        }
        match ready!(self.download.poll(cx, &mut self.ours)) {
            Ok(()) if self.download.is_tunnel() && !self.upload.is_done() => Poll::Pending,
            Ok(()) => Poll::Ready(Ending::Done),
            Err(download::Error::Left) => Poll::Ready(Ending::Left),
            Err(download::Error::Broken(reason)) => {
                self.download.reset(reason);
                Poll::Ready(Ending::Broken)
            }
        }
    }

    /// The end in memory ends as the stream did.
    fn end(self, ending: Ending) {
        match ending {
            Ending::Done => drop(self),
            Ending::Left | Ending::Refused | Ending::Broken => self.ours.cut(),
        }
    }
}

/// Both ends, until both have ended. What the client sends goes in before the request is looked at,
/// and what comes of it goes out behind that, so that nothing waits for another turn.
async fn both(exchange: Exchange, serving: impl Future<Output = ()>) -> Ending {
    let mut serving = pin!(serving);
    let mut exchange = Some(exchange);
    let (mut served, mut ending) = (false, Ending::Done);
    poll_fn(|cx| {
        for step in [Exchange::poll_up, Exchange::poll_down] {
            if let Some(under_way) = &mut exchange
                && let Poll::Ready(ended) = step(under_way, cx)
            {
                ending = ended;
                if let Some(ended) = exchange.take() {
                    ended.end(ending);
                }
            }
            served = served || serving.as_mut().poll(cx).is_ready();
        }
        if served && exchange.is_none() { Poll::Ready(ending) } else { Poll::Pending }
    })
    .await
}
