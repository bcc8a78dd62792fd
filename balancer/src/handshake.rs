//! How a connection to a server begins: at a relay listener, both sides prove that they hold the
//! cluster key before a byte of a request is sent.

use std::{io, net::SocketAddr};

use relay::{
    proof::{Answer, Challenge, Key, Nonce, nonce},
    proxy_protocol::Addresses,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Of a connection of our own: pooled, which many clients share and whose requests' X-Forwarded-For
/// the node believes, or a check's.
#[must_use]
pub fn of_our_own(nonce: &Nonce) -> Challenge {
    Challenge::local(nonce)
}

/// Of a connection that belongs to one client.
#[must_use]
pub fn of_client(client: SocketAddr, frontend: SocketAddr, nonce: &Nonce) -> Challenge {
    Challenge::of_client(&Addresses { source: client, destination: frontend }, nonce)
}

/// Begins a check's connection to the node called `name`. Returns what goes in front of the first
/// request; none: it is not that node.
///
/// # Errors
/// The connection broke, or the kernel has no randomness.
pub async fn begin(stream: &mut TcpStream, key: &Key, name: &str) -> io::Result<Option<Vec<u8>>> {
    let challenge = of_our_own(&nonce()?);
    stream.write_all(challenge.header()).await?;
    let mut answer: Answer = [0; size_of::<Answer>()];
    match stream.read_exact(&mut answer).await {
        Ok(_) => Ok(challenge.confirm(key, name, &answer).map(Vec::from)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}
