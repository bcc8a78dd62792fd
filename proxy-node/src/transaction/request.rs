//! The request of a transaction, as it came or in its normal form.

use bytes::Bytes;
use dataplane::trace::Onward;
use relay::{
    head::{self, Limits, Progress, RequestHead},
    malformed::Malformed,
    normal,
    target::Target,
};

use crate::{cache::key::Key, request::sent_fields};

/// A request: the index of its head, and the bytes.
#[derive(Clone)]
pub struct Request {
    pub head: Box<RequestHead>,
    pub bytes: Bytes,
    /// What the next hop hears of its trace.
    pub onward: Onward,
}

impl Request {
    #[must_use]
    pub fn view(&self) -> head::Request<'_> {
        self.head.view(&self.bytes)
    }

    /// The same request with its target, which was taken apart, in the normal form; `None`: it is
    /// normal as it came.
    ///
    /// # Errors
    /// It does not fit into a head any more.
    pub fn normal(&self, target: &Target<'_>) -> Result<Option<Self>, Malformed> {
        let view = self.view();
        let Some(target) = normal::of_target(view.target_text(), target, view.method()) else {
            return Ok(None);
        };
        let bytes = Bytes::from(view.with_target(&target));
        let mut head = Box::new(RequestHead::new());
        // What was accepted is accepted again, though it may have grown by a few bytes.
        let limits = Limits { head: bytes.len(), target: target.len(), ..Limits::default() };
        match head.parse(&bytes, &limits)? {
            Progress::Complete(_) => Ok(Some(Self { head, bytes, onward: self.onward })),
            Progress::NeedMore => Err(Malformed::HeadTooLarge),
        }
    }

    /// The same request for another URL of the same origin, as its target had it: absolute or a
    /// path. `None`: it is none that could be sent.
    #[must_use]
    pub fn asking(&self, url: &Key) -> Option<Self> {
        let view = self.view();
        let url = std::str::from_utf8(url.as_bytes()).ok()?;
        let target = if view.target_text().starts_with('/') {
            url.get(url.match_indices('/').nth(2)?.0..)?
        } else {
            url
        };
        let bytes = Bytes::from(view.with_target(target));
        let mut head = Box::new(RequestHead::new());
        let limits = Limits { head: bytes.len(), target: target.len(), ..Limits::default() };
        let complete = matches!(head.parse(&bytes, &limits), Ok(Progress::Complete(_)));
        complete.then_some(Self { head, bytes, onward: self.onward })
    }

    /// The fields by which the cache goes.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        sent_fields(self.view())
    }
}
