//! Whether a server has just died: asked when a tunnel or a response broke off, because a dead server and a dead origin look the same then,
//! and they are counted apart (invariant 3).

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use relay::{fault::Fault, stream::Stream};

use crate::{
    desk::{Desk, Slot},
    evidence::{self, Seen},
};

/// How long what was seen is believed.
const BELIEVED_FOR: Duration = Duration::from_millis(200);
/// For one connection.
const CONNECT_WITHIN: Duration = Duration::from_millis(250);
/// A process that is being killed may close its listener last: a connection has to last this long.
const LASTS: Duration = Duration::from_millis(30);

/// Looks. Many may ask at once: one connection answers all of them.
pub async fn is_dead(desk: &Desk, slot: &Rc<Slot>) -> bool {
    let _turn = slot.looking.lock().await;
    if let Some((at, dead)) = slot.last_look.get()
        && at.elapsed() < BELIEVED_FOR
    {
        return dead;
    }
    let dead = match Stream::connect(desk.worker(), slot.server.address, CONNECT_WITHIN).await {
        Ok(mut stream) => {
            desk.worker().wheel().sleep(LASTS).await;
            stream.is_dead()
        }
        // Nobody's fault but this process's.
        Err(Fault::Exhausted) => false,
        Err(_) => true,
    };
    slot.last_look.set(Some((Instant::now(), dead)));
    if dead {
        desk.shared().roster.observe(slot.server.key, Seen::Failed(evidence::Fault::Refused));
    }
    dead
}
