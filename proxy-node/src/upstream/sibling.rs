//! Who of the caches on the same level has something: all that are trusted are asked at once, and
//! the first that says so is asked for it. Nobody waits longer than they usually take.

use std::{net::SocketAddr, sync::Arc};
use std::{rc::Rc, time::Duration};

use relay::wheel::{Kind, Timer};

use super::{
    addresses::candidates,
    hop::{From, Hop},
    open::open,
};
use crate::{
    config::Generation,
    dns::share::Asker,
    icp::{
        packet::{LONGEST, Opcode},
        sibling::Sibling,
    },
    local::Local,
    respond::Error,
};

/// The one that says that it has a URL. `None`: nobody does.
pub async fn find(local: &Rc<Local>, generation: &Generation, url: &[u8]) -> Option<Arc<Sibling>> {
    let (node, icp) = (&local.node, &local.node.icp);
    let siblings = icp.siblings.load_full();
    if url.len() > LONGEST || !icp.is_open() {
        return None;
    }
    let mut asked: Vec<(SocketAddr, Arc<Sibling>)> = Vec::new();
    for sibling in siblings.asked(node.steady.millis()) {
        let found = candidates(local, generation, &sibling.http, Asker::Node, None).await;
        if let Some(address) = found.ok().and_then(|all| all.first().copied()) {
            asked.push((SocketAddr::new(address.ip(), sibling.icp_port), sibling.clone()));
        }
    }
    let nonce = local.worker.nonce().ok()?;
    let number = u32::from_be_bytes([nonce[0], nonce[1], nonce[2], nonce[3]]);
    let places = asked.iter().enumerate().map(|(at, (address, _))| (*address, at)).collect();
    let mut question = icp.questions.open(number, url, places)?;
    asked.retain(|(address, _)| icp.ask(*address, number, url).is_ok());
    if asked.is_empty() {
        return None;
    }
    node.metrics.sibling_queries.add(1);
    let began = relay::clock::now();
    // The places of those that are waited for.
    let mut awaited: Vec<usize> =
        asked.iter().enumerate().filter(|(_, (_, it))| !it.is_silent()).map(|(at, _)| at).collect();
    let patience = awaited.iter().map(|at| asked[*at].1.patience(siblings.max_timeout)).max();
    let waiting = async {
        while !awaited.is_empty() {
            let (at, opcode) = question.next().await?;
            let (_, sibling) = asked.get(at)?;
            sibling.answered(relay::clock::since(began));
            awaited.retain(|other| *other != at);
            if matches!(opcode, Opcode::Hit | Opcode::HitObject) {
                return Some(sibling.clone());
            }
        }
        None
    };
    let within = patience.unwrap_or(Duration::ZERO);
    let found = Timer::new(local.worker.wheel()).within(Kind::Other, within, waiting).await;
    if found.is_err() {
        node.metrics.sibling_timeouts.add(1);
        awaited.iter().for_each(|at| asked[*at].1.unanswered());
    }
    found.ok().flatten()
}

/// Connects to it.
///
/// # Errors
/// As for every next hop.
pub async fn connect(
    local: &Rc<Local>,
    generation: &Generation,
    sibling: &Sibling,
    from: From,
) -> Result<Hop, Error> {
    let found = candidates(local, generation, &sibling.http, Asker::Node, None).await?;
    open(local, generation, &found, &sibling.http, from).await
}
