//! Whether the port takes connections.

use tokio::net::TcpStream;

use super::{Error, Target};

pub(super) async fn probe(target: &Target) -> Result<String, Error> {
    match TcpStream::connect(&target.address).await {
        Ok(_stream) => Ok(format!("{} takes connections", target.address)),
        Err(error) => Err(Error::Connect(target.address.clone(), error.to_string())),
    }
}
