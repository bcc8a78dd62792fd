//! Answers with what takes more than a moment to make ([`crate::pages`]): HAProxy's statistics
//! page and the proxy auto-configuration file, at a frontend whose bundle has them.

use std::time::Duration;

use cluster_config::document::balancer::StatsPage;
use relay::{
    head::RequestHead, method::Method, respond::Canned, rewrite::Persistence, stream::Stream,
};

use crate::{
    listen::Frontend,
    local::Local,
    pac,
    pages::{Page, Question},
    route::stats_options,
    tunnel::ConnectionEnd,
};

type Read<'a> = (&'a RequestHead, &'a bytes::Bytes);

/// What a request for the statistics page asks for.
pub(super) fn statistics(settings: &StatsPage, (head, bytes): Read<'_>) -> Question {
    let options = stats_options(Some(&settings.uri), head.view(bytes).target_text());
    let options = options.unwrap_or_default().to_owned();
    Question::Statistics { options, refresh: settings.refresh }
}

/// What a request for the proxy auto-configuration file asks for. Where the client says by no name
/// that is one how it reaches us, it does by the address of its connection.
pub(super) fn pac(frontend: &Frontend, (head, bytes): Read<'_>, client: &Stream) -> Question {
    let here = client.local_addr().ok();
    let view = head.view(bytes);
    let host = view.lines().named("host").next().and_then(|it| std::str::from_utf8(it).ok());
    let asked = host.zip(here).and_then(|(host, here)| pac::asked(host, here.port()));
    let asked = asked.or_else(|| here.map(|it| it.to_string())).unwrap_or_default();
    Question::Pac { frontend: frontend.name.clone(), asked }
}

/// Answers a request with a page.
pub(super) async fn answer(
    local: &Local,
    question: Question,
    (head, bytes): Read<'_>,
    client: &mut Stream,
    within: Duration,
) -> ConnectionEnd {
    let page = match &local.shared().pages {
        Some(asker) => asker.ask(question, local.worker().wheel()).await,
        None => None,
    };
    let (mut status, mut page) = page.map_or_else(
        || (503, Page::new("text/plain", "busy, try again\n".to_owned())),
        |page| (200, page),
    );
    let etag = page.etag.take().unwrap_or_default();
    let mut known = head.view(bytes).lines().named("if-none-match");
    if !etag.is_empty() && known.any(|it| names(it, &etag)) {
        (status, page) = (304, Page { body: String::new(), ..page });
    }
    // A body is not read, and would be taken for the next request.
    let stays = head.persistent() && head.framing().is_empty() && !local.worker().leaving();
    let fields = [("Cache-Control", page.cache_control), ("ETag", &etag)];
    let canned = Canned {
        status,
        now: relay::clock::wall(),
        content_type: if status == 304 { "" } else { page.content_type },
        fields: &fields[..if etag.is_empty() { 1 } else { 2 }],
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

/// Whether If-None-Match has this entity tag (RFC 9110 §13.1.2; the weak comparison).
fn names(field: &[u8], etag: &str) -> bool {
    let tags = field.split(|it| *it == b',').map(<[u8]>::trim_ascii);
    tags.map(|it| it.strip_prefix(b"W/").unwrap_or(it))
        .any(|it| it == b"*" || it == etag.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_weakly() {
        for (field, expected) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", \"a\"", true),
            ("*", true),
            ("a", false),
            ("\"ab\"", false),
            ("", false),
        ] {
            assert_eq!(names(field.as_bytes(), "\"a\""), expected, "{field}");
        }
    }
}
