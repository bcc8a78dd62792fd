//! Which server is asked to take a connection.

use std::{rc::Rc, sync::Arc};

use relay::stream::{Ahead, Stream};

use super::Opening;
use crate::{
    local::{Backend, Pick, Slot},
    queue::{Full, Outcome, Permit},
    record, respond,
};

impl Opening<'_> {
    /// The server to ask: at once or, where all that have bounds are full, when the queue gives it
    /// one. None: nobody is left.
    pub(super) async fn admit(
        &self,
        client: &mut Stream,
        backend: &Rc<Backend>,
    ) -> Result<Option<(Rc<Slot>, Option<Permit>)>, record::Error> {
        let local = &self.connection.local;
        let (mut backend, mut number) = (Rc::clone(backend), None);
        let (began, after) = (relay::clock::now(), backend.pool.settings.timeouts.queue);
        let no_room = |waited| respond::Error::NoRoom { waited, after }.kind();
        loop {
            let (client_address, uptime) = (self.connection.peer.ip(), local.shared().uptime);
            let wants = match backend.pick(None, client_address, &self.tried, uptime) {
                Pick::Server(slot, permit) => return Ok(Some((slot, permit))),
                Pick::Nobody => return Ok(None),
                Pick::Full(wants) => wants,
            };
            let queue = Arc::clone(&backend.pool.queue);
            let mut place = queue.join(wants, number).map_err(|Full| no_room(false))?;
            number = Some(place.number());
            let (joined, left) =
                (relay::clock::now(), after.saturating_sub(relay::clock::since(began)));
            let turn = tokio::select! {
                biased;
                turn = place.turn() => Ok(turn),
                _ = client.left(Ahead::Nothing) => Err(record::Error::ClientAborted),
                () = local.worker().wheel().sleep(left) => Err(no_room(true)),
            };
            queue.counts.note(relay::clock::since(joined));
            let turn = match turn {
                Ok(Outcome::Again) if left.is_zero() => Err(no_room(true)),
                turn => turn,
            };
            let turn = turn.inspect_err(|error| {
                if *error != record::Error::ClientAborted {
                    queue.counts.late();
                }
            })?;
            let Some(now) = self.backend() else { return Ok(None) };
            backend = now;
            if let Outcome::Go(permit) = turn
                // It may have left meanwhile.
                && let Some(slot) = backend.slot(permit.server().key)
            {
                return Ok(Some((Rc::clone(slot), Some(permit))));
            }
            if !Arc::ptr_eq(&queue, &backend.pool.queue) {
                number = None;
            }
        }
    }
}
