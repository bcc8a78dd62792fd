//! `show servers state` and `show servers conn`, in HAProxy's columns. Pure.

use std::fmt::Write as _;

use crate::{
    face::haproxy::{
        Status,
        rows::{backend_number, seconds_since},
        status::Check,
    },
    snapshot::{Listed, Pool},
    stats::ServerTotals,
    view::Stats,
};

const STATE: &str = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state \
     srv_uweight srv_iweight srv_time_since_last_change srv_check_status srv_check_result \
     srv_check_health srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn \
     srv_port srvrecord srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n";

/// The backends that are meant, with their numbers; none: there is none of that name.
fn meant<'a>(
    stats: &'a Stats,
    backend: Option<&'a str>,
) -> Option<impl Iterator<Item = (u32, &'a Pool)>> {
    let pools = &stats.snapshot.pools;
    let known = backend.is_none_or(|name| pools.iter().any(|it| it.settings.name == name));
    let of = move |pool: &Pool| backend.is_none_or(|name| name == pool.settings.name);
    let numbered = pools.iter().enumerate();
    known.then(|| {
        numbered
            .filter(move |(_, pool)| of(pool))
            .map(|(index, pool)| (backend_number(stats, index), &**pool))
    })
}

/// A line a server, of one backend or of all; none: there is no such backend.
#[must_use]
pub fn state(stats: &Stats, backend: Option<&str>) -> Option<String> {
    let mut out = STATE.to_owned();
    for (number, pool) in meant(stats, backend)? {
        for listed in &pool.servers {
            state_line(&mut out, stats, (number, pool), listed);
        }
    }
    Some(out)
}

fn state_line(out: &mut String, stats: &Stats, (number, pool): (u32, &Pool), listed: &Listed) {
    let (server, settings) = (&listed.server, &pool.settings);
    let status = Status::of(listed, settings);
    let check = Check::of(listed, settings);
    let (code, result, health) = match &check {
        None => (1, 0, 0),
        Some(check) => match check.passed {
            Some(true) => (check.number(), 3, settings.check.rise + settings.check.fall - 1),
            Some(false) => (check.number(), 2, 0),
            None => (check.number(), 0, settings.check.rise),
        },
    };
    // Configured, and going on.
    let checks = if check.is_some() { 6 } else { 0 };
    // Writing to a String cannot fail.
    let _infallible = writeln!(
        out,
        "{number} {} {} {} {} {} {} {} {} {} {code} {result} {health} {checks} 0 0 0 - {} - 0 0 - \
         - 0",
        settings.name,
        server.tally.number,
        server.name,
        server.address.ip(),
        status.operational(),
        status.administrative(),
        listed.weight,
        listed.initial_weight,
        seconds_since(listed.changed_at, stats.taken_at),
        server.address.port(),
    );
}

/// A line a server with its connections, of one backend or of all; none: there is no such backend.
#[must_use]
pub fn connections(stats: &Stats, backend: Option<&str>, workers: usize) -> Option<String> {
    let mut out = format!(
        "# bkname/svname bkid/svid addr port - purge_delay used_cur used_max need_est unsafe_nb \
         safe_nb idle_lim idle_cur idle_per_thr[{workers}]\n"
    );
    for (number, pool) in meant(stats, backend)? {
        let settings = &pool.settings;
        let purge = settings.keepalive_idle.as_millis();
        let idle_limit = u64::from(settings.keepalive) * workers as u64;
        for Listed { server, .. } in &pool.servers {
            let totals = ServerTotals::of(&server.tally.counts);
            let used = totals.active_requests + totals.active_tunnels;
            // Idle ones are not counted apart.
            let _infallible = writeln!(
                out,
                "{}/{} {number}/{} {} {} - {purge} {used} {used} {used} 0 0 {idle_limit} 0{}",
                settings.name,
                server.name,
                server.tally.number,
                server.address.ip(),
                server.address.port(),
                " 0".repeat(workers),
            );
        }
    }
    Some(out)
}
