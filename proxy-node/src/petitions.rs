//! PURGE requests on their way from the workers to who does them: a purge waits for the disk and,
//! where it is for all nodes, for the registry, which no worker does.

use std::{net::IpAddr, sync::OnceLock};

use tokio::sync::{mpsc, oneshot};

use crate::cache::key::Key;

/// How many wait. One more is refused.
const WAITING: usize = 256;

/// One client's wish.
#[derive(Debug)]
pub struct Petition {
    pub url: Key,
    pub client: IpAddr,
    /// All nodes of the cluster do it.
    pub everywhere: bool,
    pub answer: oneshot::Sender<Result<u64, String>>,
}

/// The queue.
#[derive(Debug, Default)]
pub struct Petitions(OnceLock<mpsc::Sender<Petition>>);

impl Petitions {
    /// Whoever serves them takes them from here. `None`: somebody does already.
    pub fn serve(&self) -> Option<mpsc::Receiver<Petition>> {
        let (sender, receiver) = mpsc::channel(WAITING);
        self.0.set(sender).is_ok().then_some(receiver)
    }

    /// Puts one in. How many objects it concerned, or why it is not done, comes back. `None`: too
    /// many wait, or nobody serves them.
    pub fn put(
        &self,
        url: Key,
        client: IpAddr,
        everywhere: bool,
    ) -> Option<oneshot::Receiver<Result<u64, String>>> {
        let (answer, answered) = oneshot::channel();
        let petition = Petition { url, client, everywhere, answer };
        self.0.get()?.try_send(petition).ok()?;
        Some(answered)
    }
}
