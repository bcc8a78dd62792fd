//! Interim responses on their way from a fill to the clients that wait for it: to the one whose
//! request led it, and to those who came after it, on whatever worker. Who comes late gets at once
//! what there was before.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::cache::ticket::Pending;

/// The head of an interim response, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    pub head: Bytes,
    /// The address that sent it; none of a parent.
    pub from: Option<SocketAddr>,
}

/// Whoever puts them in bounds them ([`relay::interims`]).
#[derive(Debug, Default)]
pub struct Hints {
    hints: Mutex<Vec<Hint>>,
    more: Notify,
}

impl Hints {
    pub fn put(&self, hint: Hint) {
        self.hints.lock().unwrap_or_else(PoisonError::into_inner).push(hint);
        self.more.notify_waiters();
    }

    fn get(&self, at: usize) -> Option<Hint> {
        self.hints.lock().unwrap_or_else(PoisonError::into_inner).get(at).cloned()
    }
}

/// Somebody who gets them all.
#[derive(Debug)]
pub struct Listener<E> {
    fill: Arc<Pending<E>>,
    at: usize,
}

impl<E> Listener<E> {
    pub(super) const fn new(fill: Arc<Pending<E>>) -> Self {
        Self { fill, at: 0 }
    }

    /// The next one, when there is one.
    pub async fn next(&mut self) -> Hint {
        loop {
            // Whatever is put in from here on wakes it up.
            let mut more = pin!(self.fill.hints.more.notified());
            more.as_mut().enable();
            if let Some(hint) = self.fill.hints.get(self.at) {
                self.at += 1;
                return hint;
            }
            more.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Poll};

    use super::*;
    use crate::cache::vary::Selection;

    #[tokio::test]
    async fn to_everybody_in_order_as_they_come_and_to_who_is_late_as_well() {
        let hint = |byte| Hint { head: vec![byte].into(), from: None };
        let fill = Arc::new(Pending::<()>::new(Selection::default(), 0));
        let mut first = Listener::new(fill.clone());
        fill.hints.put(hint(1));
        fill.hints.put(hint(2));
        assert_eq!((first.next().await, first.next().await), (hint(1), hint(2)));
        let mut late = Listener::new(fill.clone());
        assert_eq!((late.next().await, late.next().await), (hint(1), hint(2)));
        let (mut one, mut other) = (Box::pin(first.next()), Box::pin(late.next()));
        let wait = poll_fn(|cx| {
            Poll::Ready(one.as_mut().poll(cx).is_pending() && other.as_mut().poll(cx).is_pending())
        })
        .await;
        assert!(wait);
        fill.hints.put(hint(3));
        assert_eq!((one.await, other.await), (hint(3), hint(3)));
    }
}
