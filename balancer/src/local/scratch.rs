//! Memory that a request's attempts use, and the worker keeps for the next request.

use dataplane::scratch::{Head, Pool, Reuse};
use relay::head::ResponseHead;

/// What the attempts of one request need. Boxed, as it moves between the worker and its requests.
pub struct Scratch {
    /// The head being written.
    pub out: Vec<u8>,
    /// The response's head.
    pub response: ResponseHead,
}

impl Reuse for Box<Scratch> {
    fn fresh() -> Self {
        Self::new(Scratch { out: Reuse::fresh(), response: ResponseHead::new() })
    }

    fn reset(&mut self) -> bool {
        self.out.reset()
    }
}

#[derive(Default)]
pub(super) struct Pools {
    pub(super) scratch: Pool<Box<Scratch>>,
    pub(super) heads: Pool<Head>,
}
