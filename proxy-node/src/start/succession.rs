//! A node that takes over from another process, and one that is taken over from. What is stored in
//! memory stays behind: the successor fills its cache anew.

use std::{io, net::SocketAddr, sync::Arc};

use chassis::{
    Error, ErrorContext, Process,
    takeover::{Belongings, Totals},
};
use dataplane::ledger::Ledger;

use crate::{
    listen::{Entrance, Listeners},
    node::Node,
};

/// Where a listener of the flags is: bound now, or where the predecessor has it.
pub(super) fn entrance(
    process: &Process,
    endpoint: &str,
    asked: SocketAddr,
) -> Result<Entrance, Error> {
    let before = process.predecessor().and_then(|it| it.state(endpoint)?.parse().ok());
    let fits = |it: &SocketAddr| *it == asked || (asked.port() == 0 && it.ip() == asked.ip());
    match before.filter(fits) {
        Some(address) => {
            process.ports.announce(endpoint, address);
            Ok(Entrance::Resumed(address))
        }
        None => process.ports.bind(endpoint, asked).map(Entrance::Bound),
    }
}

/// What a successor takes over.
pub(super) struct Estate {
    listeners: Arc<Listeners>,
    ledger: Ledger,
    /// Of the flags: proxy and relay, with their real ports.
    entrances: [(&'static str, Option<SocketAddr>); 2],
}

impl Estate {
    pub(super) fn new(
        node: &Arc<Node>,
        listeners: &Arc<Listeners>,
        (proxy, relay): (io::Result<SocketAddr>, io::Result<SocketAddr>),
    ) -> Self {
        let ledger = Ledger::default();
        ledger.enter("node".to_owned(), node.clone());
        let entrances = [("proxy", proxy.ok()), ("relay", relay.ok())];
        Self { listeners: Arc::clone(listeners), ledger, entrances }
    }

    /// Where there is a predecessor: lets it go, and goes on in its place.
    pub(super) async fn take_over(&self, process: &Process) -> Result<(), Error> {
        let Some(predecessor) = process.predecessor() else { return Ok(()) };
        self.ledger.receive(predecessor.confirm().await?);
        self.listeners.begin();
        let ledger = self.ledger.clone();
        predecessor
            .hear_late(move |totals| ledger.receive(totals))
            .context("hear what is counted last", "raise the limit on threads of this user")
    }
}

impl chassis::Estate for Estate {
    fn belongings(&self) -> io::Result<Belongings> {
        let known = self.entrances.iter().filter_map(|(name, it)| Some((*name, (*it)?)));
        Ok(Belongings {
            handed: self.listeners.handed()?,
            state: known.map(|(name, it)| (name.to_owned(), it.to_string())).collect(),
        })
    }

    fn totals(&self) -> Totals {
        self.ledger.totals()
    }

    fn hand_over(&self) {
        self.listeners.hand_over();
    }
}
