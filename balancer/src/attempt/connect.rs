//! A connection to the server: a pooled one, or a new one that both sides have proved.

use relay::{
    fault::Fault,
    method::Method,
    pool::Reuse,
    stream::{Ahead, Stream},
};

use super::Attempt;
use crate::upstream::{self, Whose};

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
            && settings.send_proxy.is_none()
            && let Some(upstream) = self.local.idle().take(&server.key, 0, Reuse::of(method))
        {
            self.slot.counts().connections_reused.up();
            return Ok((upstream, true));
        }
        Ok((self.connect(client, releases).await?, false))
    }

    /// A new connection.
    async fn connect(&self, client: &mut Stream, releases: u64) -> Result<Stream, Unconnected> {
        // No two clients share a connection that says whose it is.
        let one = self.request.method() == Method::Connect
            || self.backend.pool.settings.send_proxy.is_some();
        let whose = one.then(|| Whose {
            client: self.request.peer,
            told: self.request.told,
            frontend: upstream::reached(client, self.request.frontend_address),
        });
        let (slot, settings) = (self.slot, &self.backend.pool.settings);
        let open =
            || upstream::open(self.local, slot, settings, whose, releases, || self.has_others());
        tokio::select! {
            biased;
            connected = upstream::with_descriptors(self.local, settings.timeouts.connect, open) => {
                connected.map_err(Unconnected::Server)
            }
            fault = client.left(Ahead::OfAnswer) => Err(Unconnected::ClientLeft(fault)),
        }
    }
}
