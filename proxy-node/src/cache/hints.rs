//! Interim responses on their way from a fill to the client whose request led it. Both are tasks of one worker.

use std::{cell::RefCell, collections::VecDeque};

use tokio::sync::Notify;

/// Heads of interim responses, ready to be sent. Whoever puts them in bounds them ([`relay::interims`]).
#[derive(Debug, Default)]
pub struct Hints {
    heads: RefCell<VecDeque<Vec<u8>>>,
    more: Notify,
}

impl Hints {
    /// One more.
    pub fn put(&self, head: Vec<u8>) {
        self.heads.borrow_mut().push_back(head);
        self.more.notify_one();
    }

    /// The next one, when there is one.
    pub async fn next(&self) -> Vec<u8> {
        loop {
            if let Some(head) = self.heads.borrow_mut().pop_front() {
                return head;
            }
            self.more.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Poll};

    use super::*;

    #[tokio::test]
    async fn in_order_and_as_they_come() {
        let hints = Hints::default();
        hints.put(vec![1]);
        hints.put(vec![2]);
        assert_eq!((hints.next().await, hints.next().await), (vec![1], vec![2]));
        let mut next = Box::pin(hints.next());
        let waits = poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx).is_pending())).await;
        assert!(waits);
        hints.put(vec![3]);
        assert_eq!(next.await, [3]);
    }
}
