//! HAProxy's statistics page: `/stats` for people, `/stats;csv` and `/stats;json` for programs.
//! Read-only, on the admin port, and on a frontend whose bundle says so.

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
    statistics::{Page, Wanted},
    view::View,
};

/// How often a page that was not told otherwise is read anew, in seconds.
const REFRESH: u64 = 5;

/// Makes the pages. Cheap to clone.
#[derive(Clone)]
pub struct Pages {
    view: View,
    about: About,
}

impl Pages {
    #[must_use]
    pub const fn new(view: View, about: About) -> Self {
        Self { view, about }
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
            return Page { content_type: "text/plain", body: csv::table(chosen) };
        }
        if has("json") {
            return Page { content_type: "application/json", body: json::table(chosen) };
        }
        let refresh = refresh.filter(|_| !has("norefresh"));
        let body =
            table::page(&self.about.info(&self.view), &self.about.around(), &chosen, refresh);
        Page { content_type: "text/html; charset=utf-8", body: body.into_string() }
    }
}

/// Makes the pages that workers ask for.
pub async fn make(pages: &Pages, wanted: &mut mpsc::Receiver<Wanted>) {
    while let Some(wanted) = wanted.recv().await {
        let page = pages.page(&wanted.options, wanted.refresh);
        wanted.answer(page);
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
