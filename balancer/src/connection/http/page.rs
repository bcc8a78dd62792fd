//! The answer with HAProxy's statistics page, to a frontend whose bundle has one.

use std::time::Duration;

use cluster_config::document::balancer::StatsPage;
use relay::{
    head::RequestHead, method::Method, respond::Canned, rewrite::Persistence, stream::Stream,
};

use crate::{local::Local, route::stats_options, statistics::Page, tunnel::ConnectionEnd};

/// Answers a request for the page.
pub(super) async fn answer(
    local: &Local,
    settings: &StatsPage,
    (head, bytes): (&RequestHead, &bytes::Bytes),
    client: &mut Stream,
    within: Duration,
) -> ConnectionEnd {
    let options = stats_options(Some(&settings.uri), head.view(bytes).target_text());
    let options = options.unwrap_or_default();
    let page = match &local.shared().statistics {
        Some(asker) => asker.ask(options, settings.refresh, local.worker().wheel()).await,
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
