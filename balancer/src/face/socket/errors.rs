//! `show errors`: the latest requests that were refused as malformed, out of the last access
//! records.

use std::fmt::Write as _;

use super::answer::moment;
use crate::{
    face::haproxy::rows::frontend_number,
    record::line::Line,
    view::{Stats, View},
};

/// So many at most.
const MOST: usize = 10;
/// What the access log calls a request that is none.
const MALFORMED: &str = "http_request_error";

/// The latest, of one frontend or of all; none: nobody has that name. Reads what memory keeps of
/// the log: not for a runtime's own threads.
#[must_use]
pub fn render(view: &View, proxy: Option<&str>) -> Option<String> {
    let stats = view.stats();
    let known = |name: &str| {
        stats.frontends.iter().any(|it| it.name == name) || stats.snapshot.pool(name).is_some()
    };
    if !proxy.is_none_or(known) {
        return None;
    }
    let wanted =
        |line: &Line| line.error == MALFORMED && proxy.is_none_or(|proxy| line.frontend == proxy);
    let lines = view.recorder.recent().last(MOST, wanted).0.records;
    Some(write(&stats, &lines))
}

fn write(stats: &Stats, lines: &[Line]) -> String {
    let count = stats.frontends.iter().map(|it| it.totals.refused).sum::<u64>();
    let mut out = format!("Total events captured on [{}] : {count}\n", moment(stats.taken_at));
    for (number, line) in lines.iter().rev().enumerate() {
        // Writing to a String cannot fail.
        let _infallible = write!(
            out,
            "\n[{}] frontend {} (#{}): invalid request\n  backend <NONE> (#-1), server <NONE> \
             (#-1), event #{number}, src {}\n  request {}, answered {}, of which can be read: {} \
             {}\n",
            moment(line.time),
            line.frontend,
            frontend_number(stats, &line.frontend),
            line.client,
            line.id,
            line.status,
            line.method.escape_default(),
            line.target.escape_default(),
        );
    }
    out
}
