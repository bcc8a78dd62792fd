//! Server tables in the manner of HAProxy's statistics page: frontend, servers, and the pool as a
//! whole.

use std::sync::Arc;

use cluster::alarm::Role;
use maud::{Markup, html};

use super::parts;
use crate::{
    history::{Meter, Point},
    look,
    traffic::{Backend, BalancerStats, Frontend, Server, ServerCounts, Standing},
    view::View,
    words,
};

/// Servers of one table.
const MOST: usize = 100;
/// Of the table.
const COLUMNS: usize = 16;

/// A table for each pool of each balancer that is wanted.
#[must_use]
pub fn tables(view: &View, wanted: impl Fn(&str) -> bool) -> Markup {
    let balancers: Vec<_> = view.balancers.iter().filter(|(name, _)| wanted(name)).collect();
    html! {
        @if balancers.is_empty() { p class="quiet" { "No balancer has answered yet." } }
        @if balancers.iter().any(|(_, stats)| !stats.addresses.is_empty()) {
            (addresses(view, &balancers))
        }
        @for (name, stats) in balancers {
            @for pool in &stats.backends { (table(view, name, stats, pool)) }
        }
    }
}

/// Who holds the addresses that move between balancers.
fn addresses(view: &View, balancers: &[(&String, &Arc<BalancerStats>)]) -> Markup {
    let mut holders: Vec<_> =
        balancers.iter().flat_map(|(_, stats)| &stats.addresses).take(MOST).collect();
    holders.sort_by_key(|it| (&it.instance, it.role != Role::Master, &it.balancer));
    let body = html! {
        table class="addresses" {
            caption { strong { "Virtual addresses" } span class="quiet" { " · VRRP" } }
            thead {
                tr {
                    th scope="col" { "Instance" } th scope="col" { "Addresses" }
                    th scope="col" { "Balancer" } th scope="col" { "State" } th scope="col" { "" }
                }
            }
            tbody {
                @for it in holders {
                    @let (tone, sign) = match it.role {
                        Role::Master => ("good", "●"),
                        Role::Backup => ("quiet", "○"),
                        Role::Fault => ("bad", "✖"),
                    };
                    tr {
                        th scope="row" { (it.instance) }
                        td { (it.addresses.join(" ")) }
                        td { (parts::named(view, &it.balancer)) }
                        td { span class={ "badge " (tone) } { (sign) " " (it.role.as_str()) } }
                        td class="quiet" {
                            @match it.role {
                                Role::Backup if !it.word.is_empty() => { "hears " (it.word) }
                                _ => { (it.word) }
                            }
                        }
                    }
                }
            }
        }
    };
    parts::scroller("virtual addresses", &body)
}

fn table(view: &View, balancer: &str, stats: &BalancerStats, pool: &Backend) -> Markup {
    let label = format!("servers of {} at {balancer}", pool.name);
    let left_out = pool.servers.len().saturating_sub(MOST);
    let body = html! {
        table class="servers" {
            caption {
                strong { (pool.name) } " at " (parts::named(view, balancer))
                span class="quiet" {
                    " · " (pool.balance)
                    @for front in frontends_of(stats, pool) {
                        " · " (front.name) " on " (front.address)
                    }
                }
                @if pool.panic { " " span class="badge bad" { "✖ panic: too few are well, so \
                    unwell ones are used too" } }
            }
            thead {
                tr {
                    th scope="col" { "Server" } th scope="col" { "Standing" }
                    th scope="col" class="n" { "Rate" } th scope="col" { "Last minute" }
                    th scope="col" class="n" { "Weight" }
                    th scope="col" class="n" { "Requests" } th scope="col" class="n" { "Now" }
                    th scope="col" class="n" { "Tunnels" }
                    th scope="col" class="n" title="connections opened / used again" { "Conns" }
                    th scope="col" class="n" title="bytes that came from the server" { "From it" }
                    th scope="col" class="n" title="bytes that went to the server" { "To it" }
                    th scope="col" class="n" title="attempts that failed through its own fault" {
                        "Failed"
                    }
                    th scope="col" class="n" title="requests that went on to another server" {
                        "Retried"
                    }
                    th scope="col" class="n" title="the balancer's own checks: passed / failed" {
                        "Checks"
                    }
                    th scope="col" class="n" title="how often it was taken out because it did not \
                        answer" { "Ejected" } th scope="col" { "Since" }
                }
            }
            tbody {
                @for front in frontends_of(stats, pool) {
                    (frontend(view, balancer, front))
                }
                @for one in pool.servers.iter().take(MOST) { (server(view, balancer, pool, one)) }
                @if left_out > 0 {
                    tr {
                        td colspan=(COLUMNS) class="quiet" {
                            "and " (left_out) " more: see " code { "shoal status" }
                        }
                    }
                }
            }
            tfoot { (whole(view, balancer, pool)) }
        }
    };
    parts::scroller(&label, &body)
}

fn frontends_of<'a>(
    stats: &'a BalancerStats,
    pool: &'a Backend,
) -> impl Iterator<Item = &'a Frontend> {
    stats.frontends.iter().filter(|front| front.backend == pool.name)
}

/// Requests a second in the last minute.
fn requests(points: &[Point], view: &View) -> Markup {
    parts::sparkline(points, view.history.now(), "requests a second")
}

fn frontend(view: &View, balancer: &str, front: &Frontend) -> Markup {
    let meter = Meter::Frontend { balancer: balancer.to_owned(), frontend: front.name.clone() };
    html! {
        tr class="front" {
            th scope="row" { (front.name) }
            td { span class="quiet" { "frontend" } }
            td class="n" { (words::rate(view.history.rate(&meter))) }
            td { (requests(view.history.points(&meter), view)) }
            td {}
            td class="n" { (words::count(front.requests)) }
            td class="n" { (words::count(front.active)) }
            td class="n" { (words::count(front.tunnels)) }
            td class="n" { (words::count(front.connections)) }
            td {} td {}
            td class="n" title="answered by the balancer because no server could" {
                (words::count(front.failed))
            }
            td class="n" title="refused as malformed" { (words::count(front.refused)) " refused" }
            td class="n" title="tunnels and responses that a server's death cut" {
                (words::count(front.cut)) " cut"
            }
            td {} td {}
        }
    }
}

fn server(view: &View, balancer: &str, pool: &Backend, server: &Server) -> Markup {
    let meter = Meter::Server {
        balancer: balancer.to_owned(),
        backend: pool.name.clone(),
        server: server.name.clone(),
    };
    let look = look::standing(server.standing);
    html! {
        tr class=(look.class) data-key=(server.name) {
            th scope="row" {
                (parts::named(view, &server.name))
                @if server.backup { " " span class="quiet" { "backup" } }
            }
            td {
                (parts::badge(look))
                @if server.drift {
                    " "
                    span class="badge warn"
                        title="kept by this balancer, the registry being out of reach" {
                        "▲ drift"
                    }
                }
            }
            td class="n" { (words::rate(view.history.rate(&meter))) }
            td { (requests(view.history.points(&meter), view)) }
            td class="n" { (server.weight) }
            (counters(&server.counts))
            td { @if let Some(at) = server.changed_at { (parts::ago(at)) } }
        }
        @if server.standing != Standing::Usable && !server.reasons.is_empty() {
            tr class={ "because " (look.class) } data-key={ (server.name) " because" } {
                td colspan=(COLUMNS) {
                    div class="because" { (parts::reasons(&server.reasons, " · ")) }
                }
            }
        }
    }
}

fn counters(counts: &ServerCounts) -> Markup {
    html! {
        td class="n" { (words::count(counts.requests)) }
        td class="n" { (words::count(counts.active_requests)) }
        td class="n" { (words::count(counts.active_tunnels)) }
        td class="n" {
            (words::count(counts.connections_opened)) " / "
            (words::count(counts.connections_reused))
        }
        td class="n" { (words::bytes(counts.bytes_in)) }
        td class="n" { (words::bytes(counts.bytes_out)) }
        td class={ "n" (if counts.failures > 0 { " some" } else { "" }) } {
            (words::count(counts.failures))
        }
        td class="n" { (words::count(counts.retries_away)) }
        td class="n" {
            (words::count(counts.checks_passed)) " / " (words::count(counts.checks_failed))
        }
        td class={ "n" (if counts.ejections > 0 { " some" } else { "" }) } {
            (words::count(counts.ejections))
        }
    }
}

fn whole(view: &View, balancer: &str, pool: &Backend) -> Markup {
    let mut counts = ServerCounts::default();
    pool.servers.iter().for_each(|server| counts.add(&server.counts));
    let meters: Vec<_> = view
        .history
        .meters(|meter| match meter {
            Meter::Server { balancer: at, backend, .. } => at == balancer && *backend == pool.name,
            _ => false,
        })
        .collect();
    let usable = pool.servers.iter().filter(|server| server.standing == Standing::Usable).count();
    html! {
        tr class="whole" {
            th scope="row" { (pool.name) }
            td { span class="quiet" { (usable) " of " (pool.servers.len()) " usable" } }
            td class="n" { (words::rate(view.history.rates(meters.iter().copied()))) }
            td { (requests(&view.history.sum(meters.iter().copied()), view)) }
            td class="n" {
                (pool.servers.iter().map(|server| u64::from(server.weight)).sum::<u64>())
            }
            (counters(&counts))
            td {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn every_row_has_every_column() {
        let view = sample::view();
        let text = tables(&view, |name| name == "balancer-1").into_string();
        assert_eq!(text.matches("<table").count(), 1);
        for row in text.split("<tr").skip(1) {
            let row = row.split("</tr>").next().unwrap();
            assert_eq!(row.matches("<td").count() + row.matches("<th ").count(), COLUMNS, "{row}");
        }
        assert!(
            text.contains("10/s") && text.contains("30/s") && text.contains("3 of 3 usable"),
            "{text}"
        );
        assert_eq!(tables(&view, |_| true).into_string().matches("<table").count(), 2);
    }

    #[test]
    fn who_is_not_usable_has_reasons_below_and_who_is_has_none() {
        let mut view = sample::view();
        let mut stats = (*view.balancers["balancer-1"]).clone();
        let server = &mut stats.backends[0].servers[1];
        server.standing = Standing::Unwell;
        server.reasons = ["no answer", "its lease lapsed", "3 checkers", "one more", "and another"]
            .map(str::to_owned)
            .to_vec();
        view.balancers.insert("balancer-1".into(), std::sync::Arc::new(stats));
        let text = tables(&view, |name| name == "balancer-1").into_string();
        assert_eq!(text.matches("<tr class=\"because ").count(), 1, "{text}");
        assert!(
            text.contains("no answer · its lease lapsed · 3 checkers")
                && text.contains("and 2 more"),
            "{text}"
        );
        assert!(text.contains("one more; and another"), "they are there for whoever asks: {text}");
    }

    #[test]
    fn a_large_pool_is_cut_and_says_so() {
        let text = tables(&sample::cluster(130), |name| name == "balancer-1").into_string();
        assert!(
            text.contains("and 30 more") && text.contains("130 of 130 usable"),
            "{}",
            text.len()
        );
    }
}
