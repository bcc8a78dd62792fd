//! The live stream (server-sent events): after every view, the regions of a page that changed.
//!
//! A reader who is slow misses views and gets the newest; what is sent is always the difference to
//! what that reader was sent last, so that nobody has to catch up. How many follow is bounded, and
//! nobody follows longer than an hour without coming again.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::State,
    http::Uri,
    response::{IntoResponse, Response, Sse, sse::Event},
};
use futures::{Stream, stream};
use http::StatusCode;
use serde_json::json;
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::Instant,
};

use super::{Console, error::Error, gate::Caller};
use crate::{
    metrics,
    page::{self, Region},
    view::View,
};

/// A sign of life when nothing changes.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// After so long a browser has to come again, which shows who it is.
const LONGEST: Duration = Duration::from_secs(3600);

/// What is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Page {
    Overview,
    Instance(String),
    Revision(String),
}

impl Page {
    fn read(uri: &Uri) -> Option<Self> {
        let (_, page) =
            form_urlencoded::parse(uri.query()?.as_bytes()).find(|(name, _)| name == "page")?;
        match page.split_once('/') {
            None if page == "overview" => Some(Self::Overview),
            Some(("instance", name)) => Some(Self::Instance(name.to_owned())),
            Some(("revision", id)) => Some(Self::Revision(id.to_owned())),
            _ => None,
        }
    }
}

/// Follows a page.
pub async fn live(
    State(console): State<Arc<Console>>,
    axum::Extension(caller): axum::Extension<Caller>,
    uri: Uri,
) -> Response {
    let Some(page) = Page::read(&uri) else {
        return Error::new(
            StatusCode::BAD_REQUEST,
            "The stream has to be asked for a page: overview, instance/NAME or revision/ID.",
        )
        .json();
    };
    let Ok(permit) = Arc::clone(&console.viewers).try_acquire_owned() else {
        ::metrics::counter!(metrics::VIEWERS_REFUSED).increment(1);
        return Error::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many pages follow this console already: close some.",
        )
        .after(10)
        .json();
    };
    let viewer = Viewer {
        views: console.board.follow(),
        console,
        cookie: caller.cookie,
        page,
        sent: HashMap::new(),
        until: Instant::now() + LONGEST,
        begun: false,
        _permit: permit,
        _count: Count::new(),
    };
    Sse::new(viewer.stream()).into_response()
}

/// One page that follows.
struct Viewer {
    console: Arc<Console>,
    views: watch::Receiver<Arc<View>>,
    cookie: Option<String>,
    page: Page,
    /// Digest of what each region was when it was last sent.
    sent: HashMap<&'static str, u64>,
    until: Instant,
    begun: bool,
    _permit: OwnedSemaphorePermit,
    _count: Count,
}

impl Viewer {
    fn stream(self) -> impl Stream<Item = Result<Event, std::convert::Infallible>> {
        stream::unfold(self, |mut viewer| async {
            let event = viewer.next().await?;
            Some((Ok(event), viewer))
        })
    }

    /// The next event; none when it is over.
    async fn next(&mut self) -> Option<Event> {
        if std::mem::replace(&mut self.begun, true) {
            let closing = self.console.closing.clone();
            tokio::select! {
                () = closing.wait() => return None,
                () = tokio::time::sleep_until(self.until) => return None,
                changed = self.views.changed() => changed.ok()?,
                () = tokio::time::sleep(SIGN_OF_LIFE) => {}
            }
        }
        let may_look = self.console.rules.open
            || self
                .cookie
                .as_deref()
                .is_some_and(|cookie| self.console.session(cookie, false).is_some());
        if !may_look {
            return None;
        }
        let view = Arc::clone(&self.views.borrow_and_update());
        let changed = self.changed(&view);
        Event::default()
            .event("frame")
            .json_data(json!({ "at": self.console.now().to_string(), "regions": changed }))
            .ok()
    }

    /// What differs from what was sent before.
    fn changed(&mut self, view: &Arc<View>) -> HashMap<&'static str, String> {
        let regions: Arc<Vec<Region>> = match &self.page {
            Page::Overview => self.console.overview(view),
            Page::Instance(name) => {
                Arc::new(page::instance::regions(view, name).unwrap_or_default())
            }
            Page::Revision(id) => Arc::new(page::configuration::regions(view, id)),
        };
        let mut changed = HashMap::new();
        for region in regions.iter() {
            let mut hasher = DefaultHasher::new();
            region.html.hash(&mut hasher);
            let digest = hasher.finish();
            if self.sent.insert(region.id, digest) != Some(digest) {
                changed.insert(region.id, region.html.clone());
            }
        }
        changed
    }
}

/// Counts itself while it lives.
struct Count;

impl Count {
    fn new() -> Self {
        ::metrics::gauge!(metrics::VIEWERS).increment(1.0);
        Self
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        ::metrics::gauge!(metrics::VIEWERS).decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages() {
        for (uri, expected) in [
            ("/live?page=overview", Some(Page::Overview)),
            ("/live?page=instance%2Fproxy-node-1", Some(Page::Instance("proxy-node-1".into()))),
            ("/live?x=1&page=revision/4f2a", Some(Page::Revision("4f2a".into()))),
            ("/live?page=other", None),
            ("/live", None),
        ] {
            assert_eq!(Page::read(&uri.parse().unwrap()), expected, "{uri}");
        }
    }
}
