//! The rows of everything that is seen, in HAProxy's order: frontends, then each backend's servers
//! and the backend itself.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use cluster_config::document::balancer::{Balance, Mode};
use dataplane::answers::{self, of_workers};
use jiff::Timestamp;

use super::{
    column::position,
    row::{Object, Row, Value},
    status::{Check, Status},
};
use crate::{
    snapshot::{Listed, Pool},
    stats::{ServerCounts, ServerTotals},
    view::{
        Frontend, Stats,
        rates::{Board, Rates, Subject},
    },
};

/// What rows are made of.
pub struct Source<'a> {
    pub stats: &'a Stats,
    pub rates: &'a Board,
    /// Milliseconds of uptime now.
    pub uptime: u64,
    /// Connections that the process may have.
    pub limit: u64,
}

/// Sets columns by name; a name that HAProxy has not stops the compiler.
macro_rules! set {
    ($row:ident: $($column:ident = $value:expr),+ $(,)?) => {
        $($row.set(const { position(stringify!($column)) }, $value);)+
    };
}

/// All rows.
#[must_use]
pub fn rows(source: &Source<'_>) -> Vec<Row> {
    let frontends = source.stats.frontends.iter().map(|it| frontend(source, it));
    let pools = source.stats.snapshot.pools.iter().enumerate();
    let backends = pools.flat_map(|(index, pool)| backend_with_servers(source, index, pool));
    frontends.chain(backends).collect()
}

/// The number of a frontend: HAProxy's own begin at 2.
#[must_use]
pub fn frontend_number(stats: &Stats, name: &str) -> u32 {
    let frontends = &stats.snapshot.generation.document.frontends;
    let index = frontends.iter().position(|it| it.name == name).unwrap_or(frontends.len());
    number(2 + index)
}

/// The number of a backend, by its place in the bundle.
#[must_use]
pub fn backend_number(stats: &Stats, index: usize) -> u32 {
    number(3 + stats.snapshot.generation.document.frontends.len() + index)
}

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// Whole seconds since then.
#[must_use]
pub fn seconds_since(then: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(now.duration_since(then).as_secs()).unwrap_or(0)
}

fn frontend(source: &Source<'_>, it: &Frontend) -> Row {
    let rates = source.rates.of(&Subject::Frontend(it.name.clone()));
    let iid = frontend_number(source.stats, &it.name);
    let mut row = Row::new(Object::Frontend, (&it.name, iid), ("FRONTEND", 0), Status::Open);
    let totals = &it.totals;
    set!(row:
        scur = totals.active_connections, smax = rates.active_max.max(totals.active_connections),
        slim = source.limit, stot = totals.connections,
        bin = totals.bytes_in, bout = totals.bytes_out, ereq = totals.refused,
        rate = rates.sessions, rate_max = rates.sessions_max,
        req_rate = rates.requests, req_rate_max = rates.requests_max, req_tot = totals.requests,
        conn_rate = rates.sessions, conn_rate_max = rates.sessions_max,
        conn_tot = totals.connections, mode = "http",
        h1_open_connections = totals.active_connections, h1_total_connections = totals.connections,
        h1_total_streams = totals.requests, h1_bytes_in = totals.bytes_in,
        h1_bytes_out = totals.bytes_out,
    );
    let frontends = &source.stats.snapshot.generation.document.frontends;
    if frontends.iter().any(|settings| settings.name == it.name && settings.mode == Mode::Tcp) {
        set!(row: mode = "tcp");
    }
    classes(&mut row, &it.answers);
    row
}

fn classes(row: &mut Row, answers: &answers::Totals) {
    let [none, c1, c2, c3, c4, c5] = answers.classes;
    set!(row:
        hrsp_1xx = c1, hrsp_2xx = c2, hrsp_3xx = c3, hrsp_4xx = c4, hrsp_5xx = c5,
        hrsp_other = none,
    );
}

/// What a backend is the sum of.
#[derive(Default)]
struct Sum {
    totals: ServerTotals,
    answers: answers::Totals,
    active: u32,
    backup: u32,
    weight: u32,
    last: Option<u64>,
}

impl Sum {
    fn add(&mut self, listed: &Listed, status: Status, last: Option<u64>) {
        let (sum, more) = (&mut self.totals, ServerTotals::of(&listed.server.tally.counts));
        sum.requests += more.requests;
        sum.failures += more.failures;
        sum.retries_away += more.retries_away;
        sum.connect_errors += more.connect_errors;
        sum.asked_again += more.asked_again;
        sum.connections_opened += more.connections_opened;
        sum.connections_reused += more.connections_reused;
        sum.active_requests += more.active_requests;
        sum.active_tunnels += more.active_tunnels;
        sum.bytes_in += more.bytes_in;
        sum.bytes_out += more.bytes_out;
        let more = heads(listed);
        for (sum, class) in self.answers.classes.iter_mut().zip(more.classes) {
            *sum += class;
        }
        self.last = self.last.into_iter().chain(last).min();
        if status.is_up() {
            self.weight += listed.weight;
            *if listed.server.backup { &mut self.backup } else { &mut self.active } += 1;
        }
    }
}

fn heads(listed: &Listed) -> answers::Totals {
    let counts = &listed.server.tally.counts;
    answers::Totals::of(&of_workers(counts, |it: &ServerCounts| &it.heads))
}

fn backend_with_servers(source: &Source<'_>, index: usize, pool: &Pool) -> Vec<Row> {
    let iid = backend_number(source.stats, index);
    let mut sum = Sum::default();
    let mut rows: Vec<Row> = pool
        .servers
        .iter()
        .map(|listed| {
            let status = Status::of(listed, &pool.settings);
            let last = last_session(source, listed);
            sum.add(listed, status, last);
            server(source, (pool, iid), listed, (status, last))
        })
        .collect();
    let changed = pool.servers.iter().map(|it| it.changed_at).max();
    rows.push(backend(source, (pool, iid), &sum, changed));
    rows
}

/// Seconds since it last answered.
fn last_session(source: &Source<'_>, listed: &Listed) -> Option<u64> {
    let at = listed.server.tally.counts.max(|it| &it.answered_at);
    (at > 0).then(|| source.uptime.saturating_sub(at) / 1000)
}

fn since(last: Option<u64>) -> Value {
    last.map_or(Value::Signed(-1), |it| Value::Signed(i64::try_from(it).unwrap_or(i64::MAX)))
}

/// What both a server and a backend have.
fn common(row: &mut Row, totals: &ServerTotals, rates: &Rates) {
    let active = totals.active_requests + totals.active_tunnels;
    let [queue, connect, total] = rates.times;
    let [queue_max, connect_max, total_max] = rates.times_max;
    set!(row:
        scur = active, smax = rates.active_max.max(active), stot = totals.requests,
        // HAProxy counts from the client's side: in is what goes to the server.
        bin = totals.bytes_out, bout = totals.bytes_in,
        econ = totals.connect_errors, eresp = totals.failures.saturating_sub(totals.connect_errors),
        wretr = totals.asked_again, wredis = totals.retries_away, lbtot = totals.requests,
        rate = rates.sessions, rate_max = rates.sessions_max, req_tot = totals.requests,
        rtime = millis(rates.time), rtime_max = millis(rates.time_max),
        qtime = millis(queue), ctime = millis(connect), ttime = millis(total),
        qtime_max = millis(queue_max), ctime_max = millis(connect_max),
        ttime_max = millis(total_max), connect = totals.connections_opened,
        reuse = totals.connections_reused, chkdown = rates.downs, downtime = rates.down_seconds,
        mode = "http",
    );
}

const fn millis(micros: u64) -> u64 {
    Duration::from_micros(micros).as_millis() as u64
}

fn server(
    source: &Source<'_>,
    (pool, iid): (&Pool, u32),
    listed: &Listed,
    (status, last): (Status, Option<u64>),
) -> Row {
    let (server, settings) = (&listed.server, &pool.settings);
    let subject = Subject::Server(settings.name.clone(), server.name.clone());
    let rates = source.rates.of(&subject);
    let mut row = Row::new(
        Object::Server,
        (&settings.name, iid),
        (&server.name, server.tally.number),
        status,
    );
    let totals = ServerTotals::of(&server.tally.counts);
    common(&mut row, &totals, &rates);
    classes(&mut row, &heads(listed));
    set!(row:
        weight = listed.weight, uweight = listed.weight,
        act = u32::from(!server.backup), bck = u32::from(server.backup),
        lastchg = seconds_since(listed.changed_at, source.stats.taken_at), lastsess = since(last),
        addr = server.address.to_string(),
        used_conn_cur = totals.active_requests + totals.active_tunnels,
    );
    if let Some(most) = listed.maxconn {
        set!(row: slim = most);
    }
    if let Some(check) = Check::of(listed, settings) {
        let (rise, fall) = (settings.check.rise, settings.check.fall);
        let health = if check.passed == Some(false) { 0 } else { rise + fall - 1 };
        set!(row:
            chkfail = server.tally.checks.totals().failed, check_status = check.code,
            check_desc = check.meaning, last_chk = check.words.as_str(),
            check_rise = rise, check_fall = fall, check_health = health,
        );
        if check.code == "L7OK" {
            set!(row: check_code = 200_u64);
        }
    }
    row
}

fn backend(
    source: &Source<'_>,
    (pool, iid): (&Pool, u32),
    sum: &Sum,
    changed: Option<Timestamp>,
) -> Row {
    let settings = &pool.settings;
    let up = sum.active + sum.backup > 0;
    let status = if up { Status::Up } else { Status::Down };
    let rates = source.rates.of(&Subject::Backend(settings.name.clone()));
    let mut row = Row::new(Object::Backend, (&settings.name, iid), ("BACKEND", 0), status);
    common(&mut row, &sum.totals, &rates);
    classes(&mut row, &sum.answers);
    set!(row:
        weight = sum.weight, uweight = sum.weight, act = sum.active, bck = sum.backup,
        lastchg = changed.map_or(0, |it| seconds_since(it, source.stats.taken_at)),
        lastsess = since(sum.last), qcur = pool.queue.waiting() as u64,
        qmax = pool.queue.counts.peak.load(Relaxed) as u64,
        algo = algorithm(&settings.balance), slim = source.limit,
    );
    row
}

/// HAProxy's name of an algorithm, where it has that one.
fn algorithm(balance: &Balance) -> String {
    match balance {
        Balance::RoundRobin => "roundrobin".to_owned(),
        Balance::LeastConnections => "leastconn".to_owned(),
        Balance::IpHash => "source".to_owned(),
        Balance::UriHash => "uri".to_owned(),
        Balance::HeaderHash { header } => format!("hdr({header})"),
        other => other.as_str().to_owned(),
    }
}
