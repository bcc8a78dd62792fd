//! The page for people: a table for each frontend and each backend. Pure; `maud` escapes every
//! text.

use maud::{DOCTYPE, Markup, html};

use crate::face::{
    haproxy::{Object, Row, Status, column::position, info::Info},
    process::Around,
};

/// Heading and column; the widths are the browser's.
const COLUMNS: [(&str, usize); 22] = [
    ("Queue", position("qcur")),
    ("Queue max", position("qmax")),
    ("Sessions/s", position("rate")),
    ("max", position("rate_max")),
    ("Sessions", position("scur")),
    ("max", position("smax")),
    ("limit", position("slim")),
    ("total", position("stot")),
    ("Last", position("lastsess")),
    ("Bytes in", position("bin")),
    ("Bytes out", position("bout")),
    ("2xx", position("hrsp_2xx")),
    ("3xx", position("hrsp_3xx")),
    ("4xx", position("hrsp_4xx")),
    ("5xx", position("hrsp_5xx")),
    ("Refused", position("ereq")),
    ("Errors", position("eresp")),
    ("Redispatched", position("wredis")),
    ("Weight", position("weight")),
    ("Check", position("check_status")),
    ("Time, ms", position("rtime")),
    ("Down, s", position("downtime")),
];

/// Plain, and dark where the reader's system is.
const STYLE: &str = "body{font:13px/1.5 system-ui,sans-serif;margin:1.5rem;color-scheme:light dark}\
    table{border-collapse:collapse;margin:.3rem 0 1.2rem}th,td{border:1px solid #8886;\
    padding:.1rem .45rem;text-align:right;white-space:nowrap}th{font-weight:600}\
    td:first-child,th:first-child,td.status{text-align:left}tr.up td.status{background:#3a36}\
    tr.down td.status{background:#d33a}tr.maint td.status{background:#a73a}\
    tr.drain td.status,tr.nolb td.status{background:#38d6}tr.nocheck td.status{background:#8886}\
    tr.total{font-weight:600}.stale{background:#d93a;padding:.3rem .6rem}";

/// The whole page.
#[must_use]
pub fn page(info: &Info, around: &Around, rows: &[&Row], refresh: Option<u64>) -> Markup {
    let Around { cluster, live } = around;
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                @if let Some(seconds) = refresh { meta http-equiv="refresh" content=(seconds); }
                title { "Statistics of " (info.node) }
                style { (maud::PreEscaped(STYLE)) }
            }
            body {
                h1 { "Statistics of " (info.node) }
                p {
                    "Cluster "
                    strong { (if cluster.is_empty() { "not known yet" } else { cluster }) }
                    ", Shoal " (info.version) ", pid " (info.pid) ", up for "
                    (info.uptime_seconds) " s, " (info.workers) " workers, "
                    (info.connections) " connections of " (info.descriptors) ", "
                    (info.connection_rate) " new ones a second. "
                    a href="stats;csv" { "CSV" } " " a href="stats;json" { "JSON" } " "
                    a href="stats;norefresh" { "without refresh" }
                }
                @if !live {
                    p class="stale" {
                        "The registry is out of reach: who the servers are is as it was heard last."
                    }
                }
                @for proxy in rows.chunk_by(|one, other| one.iid == other.iid) { (table(proxy)) }
            }
        }
    }
}

fn table(rows: &[&Row]) -> Markup {
    html! {
        @if let Some(first) = rows.first() {
            h2 id=(first.proxy) { (first.proxy) }
            table {
                tr {
                    th { "" }
                    th { "Status" }
                    @for (heading, _) in COLUMNS { th { (heading) } }
                }
                @for row in rows { (line(row)) }
            }
        }
    }
}

fn line(row: &Row) -> Markup {
    let words = row.get(const { position("last_chk") }).map(|(_, it)| it.to_string());
    let words = words.filter(|it| !it.is_empty());
    let total = if row.object == Object::Server { "" } else { " total" };
    html! {
        tr class={ (class(row.status)) (total) } {
            td {
                @match row.object {
                    Object::Frontend => "Frontend",
                    Object::Backend => "Backend",
                    Object::Server => (row.name),
                }
            }
            td class="status" title=[words] { (row.status.as_str()) }
            @for (_, position) in COLUMNS {
                td { @if let Some((_, value)) = row.get(position) { (value.to_string()) } }
            }
        }
    }
}

const fn class(status: Status) -> &'static str {
    match status {
        Status::Open | Status::Up => "up",
        Status::Down => "down",
        Status::Maint => "maint",
        Status::Drain => "drain",
        Status::Nolb => "nolb",
        Status::NoCheck => "nocheck",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_text_and_what_is_stale_says_so() {
        let mut row = Row::new(Object::Server, ("<b>", 3), ("a&b", 1), Status::Down);
        row.set(const { position("last_chk") }, "\"no\"");
        let info = Info { node: "balancer-1".to_owned(), ..Info::default() };
        let around = Around { cluster: "one".to_owned(), live: false };
        let page = page(&info, &around, &[&row], Some(5)).into_string();
        for expected in [
            "<h2 id=\"&lt;b&gt;\">&lt;b&gt;</h2>",
            "<td>a&amp;b</td><td class=\"status\" title=\"&quot;no&quot;\">DOWN</td>",
            "<meta http-equiv=\"refresh\" content=\"5\">",
            "<strong>one</strong>",
            "class=\"stale\"",
        ] {
            assert!(page.contains(expected), "{expected} is not in {page}");
        }
    }
}
