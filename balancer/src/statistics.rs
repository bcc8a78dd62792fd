//! HAProxy's statistics page on a frontend. A worker asks for it here and goes on with others
//! meanwhile: pages are made on the control runtime, which a thousand servers may keep busy.

use std::time::Duration;

use cluster_config::document::balancer::StatsPage;
use relay::{
    head::RequestHead, method::Method, respond::Canned, rewrite::Persistence, stream::Stream,
};
use tokio::sync::{mpsc, oneshot};

use crate::{local::Local, route::stats_options, tunnel::ConnectionEnd};

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
    /// None: too many wait, or it takes too long.
    async fn ask(&self, options: &str, refresh: Option<u64>, local: &Local) -> Option<Page> {
        let (answer, page) = oneshot::channel();
        self.0.try_send(Wanted { options: options.to_owned(), refresh, answer }).ok()?;
        tokio::select! {
            page = page => page.ok(),
            () = local.worker().wheel().sleep(MADE_WITHIN) => None,
        }
    }
}

/// Answers a request for the page.
pub async fn answer(
    local: &Local,
    settings: &StatsPage,
    (head, bytes): (&RequestHead, &bytes::Bytes),
    client: &mut Stream,
    within: Duration,
) -> ConnectionEnd {
    let options = stats_options(Some(&settings.uri), head.view(bytes).target_text());
    let options = options.unwrap_or_default();
    let page = match &local.shared().statistics {
        Some(asker) => asker.ask(options, settings.refresh, local).await,
        None => None,
    };
    let (status, page) = page.map_or_else(
        || (503, Page { content_type: "text/plain", body: "busy, try again\n".to_owned() }),
        |page| (200, page),
    );
    // A body is not read, and would be taken for the next request.
    let stays = head.persistent() && head.framing().is_empty() && !local.worker().leaving();
    let canned = Canned {
        status,
        now: relay::clock::wall(),
        content_type: page.content_type,
        fields: &[("Cache-Control", "no-cache")],
        body: page.body.as_bytes(),
        persistence: Persistence::of(stays, head.version()),
    };
    let mut out = Vec::with_capacity(page.body.len() + 256);
    if head.method() == Method::Head {
        canned.write_head(&mut out);
    } else {
        canned.write(&mut out);
    }
    match client.write_all(&[&out], within).await {
        Ok(()) => ConnectionEnd::answered(stays, head.is_last() && client.input().is_empty()),
        Err(_) => ConnectionEnd::Abort,
    }
}
