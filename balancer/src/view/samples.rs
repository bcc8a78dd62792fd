//! What [`super::rates`] looks at, out of what can be seen.

use std::collections::BTreeMap;

use super::{
    Stats,
    rates::{Sample, Subject},
};
use crate::{
    snapshot::{Listed, Pool},
    standing::Standing,
    stats::ServerTotals,
};

/// The counters of everything at one moment.
#[must_use]
pub fn of(stats: &Stats) -> BTreeMap<Subject, Sample> {
    let mut samples = BTreeMap::new();
    let mut process = Sample { up: true, ..Sample::default() };
    for frontend in &stats.frontends {
        let sample = Sample {
            sessions: frontend.totals.connections,
            requests: frontend.totals.requests,
            active: frontend.totals.active_connections,
            answers: frontend.answers.timed,
            microseconds: frontend.answers.microseconds,
            bytes: frontend.totals.bytes_out,
            up: true,
            ..Sample::default()
        };
        add(&mut process, sample);
        samples.insert(Subject::Frontend(frontend.name.clone()), sample);
    }
    samples.insert(Subject::Process, process);
    for pool in &stats.snapshot.pools {
        let name = &pool.settings.name;
        let mut backend = Sample { up: is_up(pool), ..Sample::default() };
        for listed in &pool.servers {
            let sample = server(listed);
            add(&mut backend, sample);
            let server = listed.server.name.clone();
            samples.insert(Subject::Server(name.clone(), server), sample);
        }
        samples.insert(Subject::Backend(name.clone()), backend);
    }
    samples
}

fn add(sum: &mut Sample, more: Sample) {
    sum.sessions += more.sessions;
    sum.requests += more.requests;
    sum.active += more.active;
    sum.answers += more.answers;
    sum.microseconds += more.microseconds;
    sum.bytes += more.bytes;
    sum.ended += more.ended;
    sum.times.iter_mut().zip(more.times).for_each(|(sum, more)| *sum += more);
}

/// Whether somebody is there to ask who is not known to fail.
#[must_use]
pub fn is_up(pool: &Pool) -> bool {
    pool.servers.iter().any(may_be_asked)
}

/// Neither out nor known to fail.
fn may_be_asked(listed: &Listed) -> bool {
    !matches!(listed.judgement.standing, Standing::Unwell | Standing::Excluded)
}

fn server(listed: &Listed) -> Sample {
    let totals = ServerTotals::of(&listed.server.tally.counts);
    Sample {
        sessions: totals.requests,
        requests: totals.requests,
        active: totals.active_requests + totals.active_tunnels,
        answers: totals.answers,
        microseconds: totals.own_microseconds,
        bytes: totals.bytes_in,
        ended: totals.ended,
        times: [totals.queue_microseconds, totals.connect_microseconds, totals.total_microseconds],
        // What operators took out is not down.
        up: listed.judgement.standing != Standing::Unwell,
    }
}
