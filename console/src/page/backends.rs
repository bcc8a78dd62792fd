//! Server tables in the manner of HAProxy's statistics page: frontend, servers, and the pool as a whole.

use maud::{Markup, html};

use super::parts;
use crate::{
    history::Meter,
    look,
    traffic::{Backend, BalancerStats, Frontend, Server, ServerCounts},
    view::View,
    words,
};

/// Servers of one table.
const MOST: usize = 100;

/// A table for each pool of each balancer that is wanted.
#[must_use]
pub fn tables(view: &View, wanted: impl Fn(&str) -> bool) -> Markup {
    let balancers: Vec<_> = view.balancers.iter().filter(|(name, _)| wanted(name)).collect();
    html! {
        @if balancers.is_empty() { p class="quiet" { "No balancer has answered yet." } }
        @for (name, stats) in balancers {
            @for pool in &stats.backends { (table(view, name, stats, pool)) }
        }
    }
}

fn table(view: &View, balancer: &str, stats: &BalancerStats, pool: &Backend) -> Markup {
    let label = format!("servers of {} at {balancer}", pool.name);
    let left_out = pool.servers.len().saturating_sub(MOST);
    let body = html! {
        table class="servers" {
            caption { strong { (pool.name) } " at " (parts::named(view, balancer)) span class="quiet" { " · " (pool.balance) }
                @if pool.panic { " " span class="badge bad" { "✖ panic: too few are well, so unwell ones are used too" } } }
            thead {
                tr {
                    th scope="col" { "Server" } th scope="col" { "Standing" } th scope="col" class="n" { "Rate" } th scope="col" { "Last minute" }
                    th scope="col" class="n" { "Weight" }
                    th scope="col" class="n" { "Requests" } th scope="col" class="n" { "Now" } th scope="col" class="n" { "Tunnels" }
                    th scope="col" class="n" title="connections opened / used again" { "Conns" }
                    th scope="col" class="n" { "In" } th scope="col" class="n" { "Out" }
                    th scope="col" class="n" title="attempts that failed through its own fault" { "Failed" }
                    th scope="col" class="n" title="requests that went on to another server" { "Retried" }
                    th scope="col" class="n" title="the balancer's own checks: passed / failed" { "Checks" }
                    th scope="col" class="n" { "Ejected" } th scope="col" { "Since" } th scope="col" class="why" { "Why" }
                }
            }
            tbody {
                @for front in stats.frontends.iter().filter(|front| front.backend == pool.name) { (frontend(view, balancer, front)) }
                @for one in pool.servers.iter().take(MOST) { (server(view, balancer, pool, one)) }
                @if left_out > 0 { tr { td colspan="17" class="quiet" { "and " (left_out) " more: see " code { "shoal status" } } } }
            }
            tfoot { (whole(view, balancer, pool)) }
        }
    };
    parts::scroller(&label, &body)
}

fn frontend(view: &View, balancer: &str, front: &Frontend) -> Markup {
    let meter = Meter::Frontend { balancer: balancer.to_owned(), frontend: front.name.clone() };
    html! {
        tr class="front" {
            th scope="row" { (front.name) }
            td { span class="quiet" { "frontend" } }
            td class="n" { (words::rate(view.history.rate(&meter))) }
            td { (parts::sparkline(view.history.points(&meter), view.history.now(), "requests a second")) }
            td {}
            td class="n" { (words::count(front.requests)) }
            td class="n" { (words::count(front.active)) }
            td class="n" { (words::count(front.tunnels)) }
            td class="n" { (words::count(front.connections)) }
            td {} td {}
            td class="n" title="answered by the balancer because no server could" { (words::count(front.failed)) }
            td class="n" title="refused as malformed" { (words::count(front.refused)) " refused" }
            td class="n" title="tunnels and responses that a server's death cut" { (words::count(front.cut)) " cut" }
            td {} td {}
            td class="why" { (front.address) }
        }
    }
}

fn server(view: &View, balancer: &str, pool: &Backend, server: &Server) -> Markup {
    let meter = Meter::Server { balancer: balancer.to_owned(), backend: pool.name.clone(), server: server.name.clone() };
    let look = look::standing(server.standing);
    html! {
        tr class=(look.class) data-key=(server.name) {
            th scope="row" { (parts::named(view, &server.name)) @if server.backup { " " span class="quiet" { "backup" } } }
            td { (parts::badge(look)) @if server.drift { " " span class="badge warn" title="kept by this balancer, the registry being out of reach" { "▲ drift" } } }
            td class="n" { (words::rate(view.history.rate(&meter))) }
            td { (parts::sparkline(view.history.points(&meter), view.history.now(), "requests a second")) }
            td class="n" { (server.weight) }
            (counters(&server.counts))
            td { @if let Some(at) = server.changed_at { (parts::ago(at)) } }
            td class="why" { (server.reasons.join("; ")) }
        }
    }
}

fn counters(counts: &ServerCounts) -> Markup {
    html! {
        td class="n" { (words::count(counts.requests)) }
        td class="n" { (words::count(counts.active_requests)) }
        td class="n" { (words::count(counts.active_tunnels)) }
        td class="n" { (words::count(counts.connections_opened)) " / " (words::count(counts.connections_reused)) }
        td class="n" { (words::bytes(counts.bytes_in)) }
        td class="n" { (words::bytes(counts.bytes_out)) }
        td class={ "n" (if counts.failures > 0 { " some" } else { "" }) } { (words::count(counts.failures)) }
        td class="n" { (words::count(counts.retries_away)) }
        td class="n" { (words::count(counts.checks_passed)) " / " (words::count(counts.checks_failed)) }
        td class={ "n" (if counts.ejections > 0 { " some" } else { "" }) } { (words::count(counts.ejections)) }
    }
}

fn whole(view: &View, balancer: &str, pool: &Backend) -> Markup {
    let mut counts = ServerCounts::default();
    pool.servers.iter().for_each(|server| counts.add(&server.counts));
    let meters: Vec<_> = view
        .history
        .meters(|meter| matches!(meter, Meter::Server { balancer: at, backend, .. } if at == balancer && *backend == pool.name))
        .collect();
    let usable = pool.servers.iter().filter(|server| server.standing == crate::traffic::Standing::Usable).count();
    html! {
        tr class="whole" {
            th scope="row" { (pool.name) }
            td { span class="quiet" { "backend" } }
            td class="n" { (words::rate(view.history.rates(meters.iter().copied()))) }
            td { (parts::sparkline(&view.history.sum(meters.iter().copied()), view.history.now(), "requests a second")) }
            td class="n" { (pool.servers.iter().map(|server| u64::from(server.weight)).sum::<u64>()) }
            (counters(&counts))
            td {}
            td class="why" { (usable) " of " (pool.servers.len()) " usable" }
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
            assert_eq!(row.matches("<td").count() + row.matches("<th ").count(), 17, "{row}");
        }
        assert!(text.contains("10/s") && text.contains("30/s") && text.contains("3 of 3 usable"), "{text}");
        assert_eq!(tables(&view, |_| true).into_string().matches("<table").count(), 2);
    }

    #[test]
    fn a_large_pool_is_cut_and_says_so() {
        let text = tables(&sample::cluster(130), |name| name == "balancer-1").into_string();
        assert!(text.contains("and 30 more") && text.contains("130 of 130 usable"), "{}", text.len());
    }
}
