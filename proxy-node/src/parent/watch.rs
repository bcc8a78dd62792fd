//! What is done about parents beside the traffic: dead ones are tried, and credentials are read
//! again.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use cluster_config::document::proxy::Login;
use futures::future::join_all;
use tokio::net::TcpStream;

use super::{list::Parents, login::Credentials, peer::Parent};
use crate::{clock::unix_millis, dns::Resolver, request::Destination};

/// Tries connections to dead parents, and reads credentials again.
pub async fn look_after(parents: &Parents, resolver: &Resolver, within: Duration) {
    join_all(parents.iter().map(|parent| look_at(parent, resolver, within))).await;
}

async fn look_at(parent: &Arc<Parent>, resolver: &Resolver, within: Duration) {
    if matches!(parent.document.login, Some(Login::File(_))) {
        let reading = Arc::clone(parent);
        // A panic there leaves what was read before.
        drop(tokio::task::spawn_blocking(move || reading.read_again()).await);
    }
    let is_left_alone = parent.left_until.load(Ordering::Relaxed) > unix_millis();
    if !parent.is_alive()
        && !is_left_alone
        && takes_connections(resolver, &parent.destination, within).await
    {
        parent.revive();
    }
}

impl Parent {
    fn read_again(&self) {
        let read = Credentials::read(self.document.login.as_ref());
        if *self.credentials.load_full() != read {
            self.credentials.store(Arc::new(read));
        }
    }
}

async fn takes_connections(
    resolver: &Resolver,
    destination: &Destination,
    within: Duration,
) -> bool {
    let connecting = async {
        let addresses = match destination.address {
            Some(address) => Arc::from([address]),
            None => resolver.resolve(&destination.host).await.ok()?,
        };
        for address in addresses.iter() {
            if TcpStream::connect((*address, destination.port)).await.is_ok() {
                return Some(());
            }
        }
        None
    };
    matches!(tokio::time::timeout(within, connecting).await, Ok(Some(())))
}
