//! Whether the port takes connections.

use tokio::net::TcpStream;

use super::{Failure, Target};

pub(super) async fn probe(target: &Target) -> Result<String, Failure> {
    match TcpStream::connect(&target.address).await {
        Ok(_stream) => Ok(format!("{} takes connections", target.address)),
        Err(error) => Err(Failure::Connect(target.address.clone(), error.to_string())),
    }
}
