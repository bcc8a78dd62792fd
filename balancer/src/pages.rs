//! The way of what the balancer itself answers at a frontend, and takes more than a moment to make:
//! HAProxy's statistics page, the proxy auto-configuration file. A worker asks for it here and goes
//! on with others meanwhile: it is made on the control runtime, which a thousand servers may keep
//! busy.

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
    /// How it may be cached.
    pub cache_control: &'static str,
    /// Its entity tag, if it has one.
    pub etag: Option<String>,
}

impl Page {
    /// One that nobody keeps.
    #[must_use]
    pub const fn new(content_type: &'static str, body: String) -> Self {
        Self { content_type, body, cache_control: "no-cache", etag: None }
    }
}

/// What is asked for.
#[derive(Debug)]
pub enum Question {
    /// The statistics page.
    Statistics {
        /// What stands behind the path.
        options: String,
        /// In seconds.
        refresh: Option<u64>,
    },
    /// The proxy auto-configuration file.
    Pac {
        /// Name of the frontend.
        frontend: String,
        /// By what the client asked for it: `host:port`.
        asked: String,
    },
}

/// One page that is wanted.
#[derive(Debug)]
pub struct Wanted {
    pub question: Question,
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
    /// The page; none: too many wait, it takes too long, or there is none any more.
    pub async fn ask(&self, question: Question, wheel: &Wheel) -> Option<Page> {
        let (answer, page) = oneshot::channel();
        self.0.try_send(Wanted { question, answer }).ok()?;
        tokio::select! {
            page = page => page.ok(),
            () = wheel.sleep(MADE_WITHIN) => None,
        }
    }
}
