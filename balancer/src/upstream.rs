//! A new connection to a server, until the first byte of what it is made for: a node and we have
//! proved ourselves to each other then, and a server by address that is to hear who the client is
//! will hear it first.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use cluster_config::document::balancer::{Backend as Settings, SendProxy};
use relay::{
    fault::Fault,
    listen::is_of_this_host,
    proxy_protocol::{self, Addresses},
    stream::Stream,
};

use crate::{
    handshake,
    local::{Local, Slot},
    server::Protocol,
    tls::told::Told,
};

/// How long a connection that lacks a descriptor waits before it looks again.
const FOR_A_DESCRIPTOR: Duration = Duration::from_millis(20);

/// The one client that a connection is for.
#[derive(Clone, Copy, Debug)]
pub struct Whose<'a> {
    pub client: SocketAddr,
    /// What TLS told of it.
    pub told: Option<&'a Told>,
    /// Where it came in.
    pub frontend: SocketAddr,
}

/// Where a client has come in, on a listener at this address.
#[must_use]
pub fn reached(client: &Stream, listener: SocketAddr) -> SocketAddr {
    if listener.ip().is_unspecified() { client.local_addr().unwrap_or(listener) } else { listener }
}

/// Tries until there is a descriptor for it: one that is wanting is taken from an idle connection,
/// or waited for, as no other server could be asked without.
///
/// # Errors
/// Those of `open`; `Exhausted` when there is none `within` this time.
pub async fn with_descriptors<F: Future<Output = Result<Stream, Fault>>>(
    local: &Local,
    within: Duration,
    open: impl Fn() -> F,
) -> Result<Stream, Fault> {
    let began = relay::clock::now();
    loop {
        match open().await {
            Err(Fault::Exhausted) if local.idle().give_up_one() => {}
            Err(Fault::Exhausted) if relay::clock::since(began) < within => {
                local.worker().wheel().sleep(FOR_A_DESCRIPTOR).await;
            }
            other => return other,
        }
    }
}

/// Opens one. A server that does not take connections any more is found silent like one that does
/// not answer: those that waited at `releases` are released if there is somebody `elsewhere`.
///
/// # Errors
/// What [`Stream::connect`] and [`Stream::prove`] fail with; `Released`.
pub async fn open(
    local: &Local,
    slot: &Slot,
    settings: &Settings,
    whose: Option<Whose<'_>>,
    releases: u64,
    elsewhere: impl Fn() -> bool,
) -> Result<Stream, Fault> {
    let connecting = begin(local, slot, settings, whose);
    let released = slot.until_released(releases, elsewhere);
    let upstream = tokio::select! {
        biased;
        connected = connecting => connected?,
        () = released => return Err(Fault::Released),
    };
    slot.counts().connections_opened.up();
    Ok(upstream)
}

async fn begin(
    local: &Local,
    slot: &Slot,
    settings: &Settings,
    whose: Option<Whose<'_>>,
) -> Result<Stream, Fault> {
    let (server, within) = (&slot.server, settings.timeouts.connect);
    let mut upstream = Stream::connect(local.worker(), server.address, within).await?;
    match (&server.protocol, settings.send_proxy) {
        (Protocol::Relay { key }, _) => {
            let nonce = local.worker().nonce()?;
            let challenge = match whose {
                Some(Whose { client, frontend, .. }) => {
                    handshake::of_client(client, frontend, &nonce)
                }
                None => handshake::of_our_own(&nonce),
            };
            upstream.prove(&challenge, key, &server.name, within).await?;
        }
        (Protocol::Plain, Some(version)) => {
            upstream.set_preamble(header(version, whose));
        }
        (Protocol::Plain, None) => {}
    }
    Ok(upstream)
}

fn header(version: SendProxy, whose: Option<Whose<'_>>) -> Bytes {
    let mut out = Vec::with_capacity(64);
    let told = whose.and_then(|it| it.told);
    // Who came through a file has no address that others would understand.
    let known = whose.filter(|it| !is_of_this_host(it.client.ip()));
    let addresses = known.map(|it| canonical(it.client, it.frontend));
    match (version, addresses) {
        (SendProxy::V1, Some(addresses)) => proxy_protocol::encode_line(&mut out, &addresses),
        (SendProxy::V1, None) => out.extend_from_slice(b"PROXY UNKNOWN\r\n"),
        (SendProxy::V2, addresses) => match (told, addresses) {
            (Some(told), addresses) => {
                proxy_protocol::encode_secured(&mut out, addresses.as_ref(), &told.header());
            }
            (None, Some(addresses)) => proxy_protocol::encode_proxy(&mut out, &addresses, None),
            (None, None) => proxy_protocol::encode_local(&mut out, None),
        },
    }
    out.into()
}

/// A client of IPv4 at a listener for both families is one of IPv4.
fn canonical(client: SocketAddr, frontend: SocketAddr) -> Addresses {
    let canonical = |it: SocketAddr| SocketAddr::new(it.ip().to_canonical(), it.port());
    Addresses { source: canonical(client), destination: canonical(frontend) }
}
