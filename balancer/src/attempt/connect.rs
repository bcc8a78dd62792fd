//! A connection to the server: a pooled one, or a new one that both sides have proved.

use std::time::Duration;

use relay::{
    fault::Fault,
    method::Method,
    pool::Reuse,
    stream::{Ahead, Stream},
};

use super::Attempt;
use crate::{handshake, server::Protocol};

/// How long a connection that lacks a descriptor waits before it looks again.
const FOR_A_DESCRIPTOR: Duration = Duration::from_millis(20);

/// Why there is no connection to a server.
pub(super) enum Unconnected {
    /// The server cannot be reached, or there is no descriptor for it.
    Server(Fault),
    /// The client has not waited for it.
    ClientLeft(Fault),
}

impl Attempt<'_> {
    /// A connection to the server, and whether it had been idle in the pool.
    pub(super) async fn connection(
        &self,
        client: &mut Stream,
        releases: u64,
    ) -> Result<(Stream, bool), Unconnected> {
        let method = self.request.method();
        let (server, settings) = (&self.slot.server, &self.backend.pool.settings);
        if method == Method::Connect {
            return Ok((self.connect(client, releases).await?, false));
        }
        if !self.afresh
            && settings.keepalive > 0
            && let Some(upstream) = self.local.idle().take(&server.key, 0, Reuse::of(method))
        {
            self.slot.counts().connections_reused.up();
            return Ok((upstream, true));
        }
        Ok((self.connect(client, releases).await?, false))
    }

    /// A new connection. A descriptor that is wanting is taken from an idle connection, or waited
    /// for: no other server could be asked without.
    async fn connect(&self, client: &mut Stream, releases: u64) -> Result<Stream, Unconnected> {
        tokio::select! {
            biased;
            connected = self.connect_in_time(releases) => connected.map_err(Unconnected::Server),
            fault = client.left(Ahead::OfAnswer) => Err(Unconnected::ClientLeft(fault)),
        }
    }

    async fn connect_in_time(&self, releases: u64) -> Result<Stream, Fault> {
        let began = relay::clock::now();
        loop {
            match self.connect_once(releases).await {
                Err(Fault::Exhausted) if self.local.idle().give_up_one() => {}
                Err(Fault::Exhausted)
                    if relay::clock::since(began) < self.backend.pool.settings.timeouts.connect =>
                {
                    self.local.worker().wheel().sleep(FOR_A_DESCRIPTOR).await;
                }
                other => return other,
            }
        }
    }

    /// A server that does not take connections any more is found silent like one that does not
    /// answer.
    async fn connect_once(&self, releases: u64) -> Result<Stream, Fault> {
        let connecting = self.open();
        let released = self.slot.until_released(releases, || self.has_others());
        let upstream = tokio::select! {
            biased;
            connected = connecting => connected?,
            () = released => return Err(Fault::Released),
        };
        self.slot.counts().connections_opened.up();
        Ok(upstream)
    }

    /// Connects; a node has proved itself then, and hears our proof with the request.
    async fn open(&self) -> Result<Stream, Fault> {
        let (server, within) = (&self.slot.server, self.backend.pool.settings.timeouts.connect);
        let mut upstream = Stream::connect(self.local.worker(), server.address, within).await?;
        if let Protocol::Relay { key } = &server.protocol {
            let challenge = match self.request.method() {
                Method::Connect => {
                    handshake::of_client(self.request.peer, self.request.frontend_address)?
                }
                _ => handshake::of_our_own()?,
            };
            upstream.prove(&challenge, key, &server.name, within).await?;
        }
        Ok(upstream)
    }
}
