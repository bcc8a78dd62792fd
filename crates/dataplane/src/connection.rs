//! A client's connection: request after request, in order, and what becomes of it after each.

use std::time::Duration;

use relay::{framing::BodyFraming, stream::Stream, wheel::Kind};

use crate::scratch::Runners;

/// Serves the requests of a connection until it ends, or is a tunnel: then it returns it with what
/// the request has opened.
///
/// `idle` says for how long nothing may come now, and as what that counts; `request` makes of the
/// connection what `runners` take: they read and serve one request, whose first byte is there. An
/// idle connection has none of them, so that it is small.
#[expect(
    clippy::manual_async_fn,
    reason = "an async function has what it takes by value in its future twice; this is most of \
              the future of an idle connection"
)]
pub fn serve<I: 'static, T: 'static>(
    mut client: Stream,
    runners: &Runners<I, (Stream, ConnectionEnd<T>)>,
    linger: &Linger,
    idle: &impl Fn() -> (Kind, Duration),
    request: &impl Fn(Stream) -> I,
) -> impl Future<Output = Option<(Stream, T)>> {
    async move {
        loop {
            if client.input().is_empty() {
                let (kind, idle) = idle();
                // Whatever ends it: nothing was asked, nothing is owed. Clients leave idle
                // connections in every way there is.
                if !matches!(client.fill(kind, idle).await, Ok(1..)) {
                    return None;
                }
            }
            let mut runner = runners.begin(request(client));
            let end;
            (client, end) = (&mut runner).await;
            runners.end(runner);
            match end {
                ConnectionEnd::Stays => {}
                ConnectionEnd::Over => return None,
                ConnectionEnd::Tunnel(open) => return Some((client, open)),
                end => {
                    Box::pin(end.close(client, *linger)).await;
                    return None;
                }
            }
        }
    }
}

/// Decided by a request, and done by the loop that serves its connection. `T` is the other end of
/// a tunnel, with what its record will say once that is known.
pub enum ConnectionEnd<T = Stream> {
    /// None yet: another request may come.
    Stays,
    /// It is closed in order; the client may still be sending.
    Close,
    /// It is reset: nobody is there to read on.
    Abort,
    /// What the client got, framed like this, is not whole: it gets all that was sent, and can
    /// tell.
    Cut(BodyFraming),
    /// It has ended: neither side has anything more to send.
    Over,
    /// It is a tunnel from now on.
    Tunnel(T),
}

/// How much of what a client still sends after its last answer is read and dropped, and for how
/// long: a client that is reset while it sends may lose the answer (RFC 9112 §9.6).
#[derive(Clone, Copy, Debug)]
pub struct Linger {
    /// At most.
    pub bytes: u64,
    /// At most.
    pub time: Duration,
}

impl<T> ConnectionEnd<T> {
    /// The end after an answer that was sent to its end. A client that has nothing more to send is
    /// not waited for.
    #[must_use]
    pub fn answered(stays: bool, client_is_done: bool) -> Self {
        match (stays, client_is_done) {
            (true, _) => Self::Stays,
            (false, true) => Self::Over,
            (false, false) => Self::Close,
        }
    }

    /// The other end of a tunnel.
    ///
    /// # Errors
    /// It is none; what it is can be said of any connection.
    pub fn tunnel<U>(self) -> Result<T, ConnectionEnd<U>> {
        Err(match self {
            Self::Tunnel(other) => return Ok(other),
            Self::Stays => ConnectionEnd::Stays,
            Self::Close => ConnectionEnd::Close,
            Self::Abort => ConnectionEnd::Abort,
            Self::Cut(framing) => ConnectionEnd::Cut(framing),
            Self::Over => ConnectionEnd::Over,
        })
    }

    /// Ends the connection accordingly. One that stays, or is a tunnel, is the caller's to go on
    /// with.
    pub async fn close(self, client: Stream, linger: Linger) {
        match self {
            Self::Close => client.close(linger.bytes, linger.time).await,
            Self::Cut(framing) => client.cut(framing, linger.bytes, linger.time).await,
            Self::Abort => client.abort(),
            Self::Stays | Self::Over | Self::Tunnel(_) => drop(client),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_is_done_is_not_waited_for() {
        type End = ConnectionEnd<()>;
        assert!(matches!(End::answered(true, false), End::Stays));
        assert!(matches!(End::answered(true, true), End::Stays));
        assert!(matches!(End::answered(false, true), End::Over));
        assert!(matches!(End::answered(false, false), End::Close));
    }
}
