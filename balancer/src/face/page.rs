//! Pages of the balancer's own, read-only. HAProxy's statistics page: `/stats` for people,
//! `/stats;csv` and `/stats;json` for programs; on the admin port, and on a frontend whose bundle
//! says so. The proxy auto-configuration file, on a frontend.

pub mod table;

use axum::{
    Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::sync::mpsc;

use super::{
    haproxy::{csv, json, select::Selection},
    process::About,
};
use crate::{
    pac::{self, Facts},
    pages::{Page, Question, Wanted},
    view::View,
};

/// How often a page that was not told otherwise is read anew, in seconds.
const REFRESH: u64 = 5;
/// Where a proxy-node serves clients.
const PROXY: &str = "proxy";

/// Makes the pages. Cheap to clone.
#[derive(Clone)]
pub struct Pages {
    view: View,
    about: About,
    membership: chassis::membership::Watch,
}

impl Pages {
    #[must_use]
    pub const fn new(view: View, about: About, membership: chassis::membership::Watch) -> Self {
        Self { view, about, membership }
    }

    /// The page for what stands behind the path, as HAProxy writes it: `;csv`, `;json`, `;up`,
    /// `;no-maint`, `;norefresh`. What it does not know it ignores, as HAProxy does.
    #[must_use]
    pub fn page(&self, options: &str, refresh: Option<u64>) -> Page {
        let has = |wanted: &str| options.split([';', '?', '&']).any(|it| it == wanted);
        let selection =
            Selection { up: has("up"), no_maintenance: has("no-maint"), ..Selection::default() };
        let rows = self.about.rows(&self.view);
        let chosen = selection.of(&rows).unwrap_or_default();
        if has("csv") {
            return Page::new("text/plain", csv::table(chosen));
        }
        if has("json") {
            return Page::new("application/json", json::table(chosen));
        }
        let refresh = refresh.filter(|_| !has("norefresh"));
        let body =
            table::page(&self.about.info(&self.view), &self.about.around(), &chosen, refresh);
        Page::new("text/html; charset=utf-8", body.into_string())
    }

    /// The proxy auto-configuration file of a frontend; none: it has none any more.
    fn pac(&self, frontend: &str, asked: &str) -> Option<Page> {
        let snapshot = self.view.roster.snapshot();
        let document = &snapshot.generation.document;
        let written = document.frontends.iter().find(|it| it.name == frontend)?;
        let membership = self.membership.borrow();
        let address = |it: &cluster::InstanceStatus| {
            Some((it.instance.name.clone(), it.instance.endpoints.get(PROXY)?.clone()))
        };
        let nodes = membership.of(cluster::Service::ProxyNode).filter_map(address).collect();
        let body = pac::script(&Facts {
            settings: written.pac.as_ref()?,
            pool: snapshot.pool(&written.backend)?,
            nodes: &nodes,
            asked,
            secure: written.tls.is_some(),
        });
        let (content_type, cache_control) = (pac::CONTENT_TYPE, pac::CACHE_CONTROL);
        Some(Page { etag: Some(pac::etag(&body)), body, content_type, cache_control })
    }
}

/// Makes the pages that workers ask for.
pub async fn make(pages: &Pages, wanted: &mut mpsc::Receiver<Wanted>) {
    while let Some(wanted) = wanted.recv().await {
        let page = match &wanted.question {
            Question::Statistics { options, refresh } => Some(pages.page(options, *refresh)),
            Question::Pac { frontend, asked } => pages.pac(frontend, asked),
        };
        // Who gets none is told to come again.
        if let Some(page) = page {
            wanted.answer(page);
        }
    }
}

/// The pages on the admin port.
pub fn router(pages: Pages) -> Router {
    Router::new().route("/{page}", get(answer)).with_state(pages)
}

async fn answer(State(pages): State<Pages>, Path(asked): Path<String>) -> Response {
    match asked.strip_prefix("stats").filter(|rest| rest.is_empty() || rest.starts_with(';')) {
        Some(options) => {
            let page = pages.page(options, Some(REFRESH));
            let headers =
                [(header::CONTENT_TYPE, page.content_type), (header::CACHE_CONTROL, "no-cache")];
            (headers, page.body).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
