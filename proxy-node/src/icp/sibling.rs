//! One of the others as this process knows it: how soon it answers, and whether what it says is
//! true. Which of them are waited for, and for how long, is pure.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use cluster::{InstanceStatus, State};
use cluster_config::document::proxy as document;

use crate::request::Destination;

/// So many questions in a row without an answer make one silent: it is asked, and not waited for.
const SILENT: u32 = 5;
/// How long one is left alone that said that it has what it has not, in milliseconds: doubled each
/// time in a row.
const LEFT_ALONE: u64 = 10_000;
const LONGEST: u64 = 600_000;
/// The least that is waited for answers: a processor that is busy is no silence.
const LEAST: Duration = Duration::from_millis(20);
/// So many are asked.
pub const MOST: usize = 64;

/// One of them. Moments are steady milliseconds.
#[derive(Debug)]
pub struct Sibling {
    /// Where it is asked for what it has.
    pub http: Destination,
    /// Where it is asked whether it has it.
    pub icp_port: u16,
    /// Smoothed round trip time in microseconds; 0: not known yet.
    smoothed: AtomicU64,
    unanswered: AtomicU32,
    lies: AtomicU32,
    until: AtomicU64,
}

impl Sibling {
    fn new(host: &str, http: u16, icp_port: u16) -> Self {
        Self {
            http: Destination {
                host: host.into(),
                address: host.parse().ok(),
                port: http,
                tls: false,
            },
            icp_port,
            smoothed: AtomicU64::default(),
            unanswered: AtomicU32::default(),
            lies: AtomicU32::default(),
            until: AtomicU64::default(),
        }
    }

    fn is(&self, (host, http, icp): &(String, u16, u16)) -> bool {
        (&*self.http.host, self.http.port, self.icp_port) == (host.as_str(), *http, *icp)
    }

    /// It has answered a question, after so long.
    pub fn answered(&self, after: Duration) {
        self.unanswered.store(0, Ordering::Relaxed);
        let now = u64::try_from(after.as_micros()).unwrap_or(u64::MAX).max(1);
        let before = self.smoothed.load(Ordering::Relaxed);
        // RFC 6298's smoothing; two answers at once may lose one of them.
        let smoothed = if before == 0 { now } else { (before * 7 + now) / 8 };
        self.smoothed.store(smoothed.max(1), Ordering::Relaxed);
    }

    /// It was waited for in vain.
    pub fn unanswered(&self) {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
    }

    /// It had what it said.
    pub fn was_true(&self) {
        self.lies.store(0, Ordering::Relaxed);
    }

    /// It had not, or failed.
    pub fn was_not(&self, now: u64) {
        let before = self.lies.fetch_add(1, Ordering::Relaxed);
        let pause = (LEFT_ALONE << before.min(6)).min(LONGEST);
        self.until.fetch_max(now.saturating_add(pause), Ordering::Relaxed);
    }

    /// Whether it is asked.
    #[must_use]
    pub fn is_trusted(&self, now: u64) -> bool {
        self.until.load(Ordering::Relaxed) <= now
    }

    /// Whether it is waited for, if it is asked.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.unanswered.load(Ordering::Relaxed) >= SILENT
    }

    /// How long it is waited for: twice its smoothed round trip time, at most `most`, and so long
    /// while none is known.
    #[must_use]
    pub fn patience(&self, most: Duration) -> Duration {
        match self.smoothed.load(Ordering::Relaxed) {
            0 => most,
            smoothed => Duration::from_micros(smoothed.saturating_mul(2)).max(LEAST).min(most),
        }
    }
}

/// All of them, and how they are asked.
#[derive(Debug, Default)]
pub struct Siblings {
    all: Vec<Arc<Sibling>>,
    /// What they send is not kept.
    pub proxy_only: bool,
    /// The longest that they are waited for.
    pub max_timeout: Duration,
}

impl Siblings {
    /// Those that the bundle lists, and, if it says so, the other nodes of the cluster that speak
    /// the protocol. What `before` knows of one is kept.
    #[must_use]
    pub fn new(written: &document::Siblings, others: &[&InstanceStatus], before: &Self) -> Self {
        let listed = written.listed.iter().map(|it| (it.host.clone(), it.port, it.icp_port));
        let nodes = others.iter().filter(|_| written.nodes).filter_map(|it| node(it));
        let mut all: Vec<Arc<Sibling>> = Vec::new();
        for place in listed.chain(nodes) {
            if all.len() < MOST && !all.iter().any(|known| known.is(&place)) {
                let known = before.all.iter().find(|known| known.is(&place)).cloned();
                let (host, http, icp) = place;
                all.push(known.unwrap_or_else(|| Arc::new(Sibling::new(&host, http, icp))));
            }
        }
        Self { all, proxy_only: written.proxy_only, max_timeout: written.max_timeout }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Sibling>> {
        self.all.iter()
    }

    /// Those that are asked now.
    pub fn asked(&self, now: u64) -> impl Iterator<Item = &Arc<Sibling>> {
        self.all.iter().filter(move |it| it.is_trusted(now))
    }

    /// Whether nobody is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

/// Host, port for clients and port for questions of a node that may serve.
fn node(status: &InstanceStatus) -> Option<(String, u16, u16)> {
    if !matches!(status.state, State::Usable | State::Suspect) {
        return None;
    }
    let endpoint = |name| status.instance.endpoints.get(name)?.rsplit_once(':');
    let (host, http) = endpoint("proxy")?;
    let (_, icp) = endpoint("icp")?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    Some((host, http.parse().ok()?, icp.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn siblings(ports: &[u16], before: &Siblings) -> Siblings {
        let listed = ports.iter().map(|port| document::Sibling {
            host: "192.0.2.1".into(),
            port: *port,
            icp_port: 3130,
        });
        let written = document::Siblings {
            listed: listed.collect(),
            nodes: false,
            proxy_only: true,
            max_timeout: Duration::from_secs(2),
        };
        Siblings::new(&written, &[], before)
    }

    #[test]
    fn one_is_waited_for_by_its_own_time_and_not_when_it_is_silent() {
        let all = siblings(&[1], &Siblings::default());
        let (one, most) = (&all.all[0], Duration::from_secs(2));
        assert_eq!(one.patience(most), most, "nothing is known");
        one.answered(Duration::from_millis(80));
        assert_eq!(one.patience(most), Duration::from_millis(160));
        for _ in 0..100 {
            one.answered(Duration::from_micros(300));
        }
        assert_eq!(one.patience(most), LEAST);
        for _ in 0..100 {
            one.answered(Duration::from_secs(9));
        }
        assert_eq!(one.patience(most), most);
        for _ in 0..SILENT {
            assert!(!one.is_silent());
            one.unanswered();
        }
        assert!(one.is_silent());
        one.answered(Duration::from_millis(1));
        assert!(!one.is_silent());
    }

    #[test]
    fn one_that_lies_is_left_alone_longer_each_time() {
        let all = siblings(&[1, 2, 2, 3], &Siblings::default());
        assert_eq!(all.asked(0).count(), 3, "nobody is asked twice");
        let mut now = 7;
        for pause in [10_000, 20_000, 40_000, 80_000, 160_000, 320_000, 600_000, 600_000] {
            all.all[1].was_not(now);
            assert_eq!(
                (all.asked(now + pause - 1).count(), all.asked(now + pause).count()),
                (2, 3)
            );
            now += pause;
        }
        all.all[1].was_true();
        all.all[1].was_not(now);
        assert!(all.all[1].is_trusted(now + 10_000));
        let after = siblings(&[2, 4], &all);
        assert_eq!(after.asked(now).map(|it| it.http.port).collect::<Vec<_>>(), [4]);
    }
}
