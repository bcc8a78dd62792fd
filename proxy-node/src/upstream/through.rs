//! TLS with a destination through a parent proxy, which is asked for a tunnel: what it relays it
//! cannot read, and what it says for the destination is not believed.

use std::{net::SocketAddr, rc::Rc};

use super::{
    hop::{From, Hop},
    open::{new, pooled},
    secure, tunnel,
};
use crate::{
    config::Generation, endpoint::Endpoint, local::Local, parent::Parent, request::Destination,
    respond,
};

/// Why there is no such connection: whose doing it is says whether another parent is asked.
pub(super) enum Error {
    /// The parent cannot be reached.
    Parent(respond::Error),
    /// The parent opens no tunnel.
    Refused(tunnel::Error),
    /// The destination did not show that it is who it should be, or speaks no TLS.
    Destination(respond::Error),
}

/// Opens one through the parent at one of these addresses.
pub(super) async fn open(
    local: &Rc<Local>,
    generation: &Generation,
    parent: &Parent,
    candidates: &[SocketAddr],
    asked: &Destination,
    from: From,
) -> Result<Hop, Error> {
    if parent.destination.tls {
        // TLS within TLS is not spoken: it says as much as one that opens no tunnels.
        let failure = respond::Error::ParentRefused(501);
        return Err(Error::Refused(tunnel::Error { failure, elsewhere: true, answer: None }));
    }
    let tls = &generation.origin_tls;
    let endpoint =
        |address| Endpoint::Tunnelled(address, asked.host.clone(), asked.port, tls.mark());
    if let Some(hop) = pooled(local, candidates, endpoint, from) {
        return Ok(hop);
    }
    let connect = generation.document.timeouts.connect;
    let (mut stream, address) = new(local, generation, candidates).await.map_err(Error::Parent)?;
    let head = request(asked, parent, &local.node.pseudonym.load());
    tunnel::ask(&mut stream, parent, generation, &head).await.map_err(Error::Refused)?;
    // The time that the parent took to reach the destination is not the destination's.
    let stream = secure::start(tls, stream, asked, relay::clock::now() + connect)
        .await
        .map_err(Error::Destination)?;
    Ok(Hop { stream, endpoint: endpoint(address), reused: false, parent: None, had: None })
}

/// The CONNECT that asks for the tunnel. It is this node's own: of the client's request nothing is
/// in it.
fn request(asked: &Destination, parent: &Parent, pseudonym: &str) -> Vec<u8> {
    let authority = asked.authority();
    let mut head =
        format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nVia: 1.1 {pseudonym}\r\n")
            .into_bytes();
    if let Some(proof) = parent.credentials().header() {
        head.extend_from_slice(format!("Proxy-Authorization: {proof}\r\n").as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    head
}
