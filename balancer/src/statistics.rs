//! The way of HAProxy's statistics page to a frontend. A worker asks for it here and goes on with
//! others meanwhile: pages are made on the control runtime, which a thousand servers may keep busy.

use std::time::Duration;

use relay::wheel::Wheel;
use tokio::sync::{mpsc, oneshot};

/// Pages that may be waited for at once; more are told to come again.
const WAITING: usize = 16;
/// A page is made within this time.
const MADE_WITHIN: Duration = Duration::from_secs(5);

/// A page as it is answered.
#[derive(Debug)]
pub struct Page {
    pub content_type: &'static str,
    pub body: String,
}

/// One page that is wanted.
#[derive(Debug)]
pub struct Wanted {
    /// What stands behind the path.
    pub options: String,
    /// In seconds.
    pub refresh: Option<u64>,
    answer: oneshot::Sender<Page>,
}

impl Wanted {
    /// Hands the page over, if somebody still waits for it.
    pub fn answer(self, page: Page) {
        drop(self.answer.send(page));
    }
}

/// Asks for pages. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Asker(mpsc::Sender<Wanted>);

/// The way from workers to whoever makes pages.
#[must_use]
pub fn channel() -> (Asker, mpsc::Receiver<Wanted>) {
    let (asker, wanted) = mpsc::channel(WAITING);
    (Asker(asker), wanted)
}

impl Asker {
    /// The page for what stands behind its path; none: too many wait, or it takes too long.
    pub async fn ask(&self, options: &str, refresh: Option<u64>, wheel: &Wheel) -> Option<Page> {
        let (answer, page) = oneshot::channel();
        self.0.try_send(Wanted { options: options.to_owned(), refresh, answer }).ok()?;
        tokio::select! {
            page = page => page.ok(),
            () = wheel.sleep(MADE_WITHIN) => None,
        }
    }
}
