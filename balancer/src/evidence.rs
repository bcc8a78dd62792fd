//! What this balancer itself has seen of one server, folded into an [`Opinion`]. Pure: `now` comes
//! in.
//!
//! Only a server's own failures are told to this fold, never an origin's: see [`Fault`]. A server
//! goes out of turn after `fall` checks in a row, after `max_fails` faults under traffic within
//! `fail_timeout`, or at once when a probe of a silent server stays unanswered; it comes back after
//! `rise` checks in a row. Evidence older than 2 × `inter` says nothing any more. Where own checks
//! are switched off, a server that went out of turn stays so for `fail_timeout`.

use std::{
    fmt,
    time::{Duration, Instant},
};

use relay::proxy_status::ErrorType;

/// A failure that is the server's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It did not take the connection.
    Refused,
    /// It did not prove that it is the node that is meant.
    Unproven,
    /// The connection was not established in time.
    ConnectTimeout,
    /// It closed or reset a connection while it owed an answer.
    Reset,
    /// A 5xx whose Proxy-Status names this server and an error of its own.
    OwnError(ErrorType),
    /// It answered 502, 503 or 504; counts only against servers that are not Shoal's, if the bundle
    /// says so.
    Gateway(u16),
    /// It answered with bytes that are no HTTP.
    Malformed,
    /// It did not answer in time; counts only against servers that are not Shoal's, if the bundle
    /// says so.
    Late,
    /// A check of ours failed, in these words.
    Check(String),
    /// Its agent says that it is down, in these words.
    Agent(String),
    /// So many of its latest requests failed, more than its backend allows.
    Fails { failures: u64, requests: u64 },
    /// It takes far longer than the others of its backend usually do.
    Slow { own: Duration, usual: Duration },
    /// It owed answers, was silent, and did not answer the probe either.
    Silent,
    /// Somebody said so.
    Told,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => formatter.write_str("connection refused"),
            Self::Unproven => formatter.write_str("it did not prove that it holds the cluster key"),
            Self::ConnectTimeout => formatter.write_str("connecting took too long"),
            Self::Reset => formatter.write_str("it closed a connection while it owed an answer"),
            Self::OwnError(error) => write!(formatter, "it reported an error of its own: {error}"),
            Self::Gateway(status) => write!(formatter, "it answered {status}"),
            Self::Malformed => formatter.write_str("its answer was malformed"),
            Self::Late => formatter.write_str("it did not answer in time"),
            Self::Check(words) => write!(formatter, "check failed: {words}"),
            Self::Agent(words) => write!(formatter, "its agent says {words}"),
            Self::Fails { failures, requests } => {
                write!(formatter, "outlier: {failures} of its latest {requests} requests failed")
            }
            Self::Slow { own, usual } => {
                write!(formatter, "outlier: it takes {own:.1?}, the others {usual:.1?}")
            }
            Self::Silent => formatter.write_str("it owed answers and did not answer a probe"),
            Self::Told => formatter.write_str("an operator said that it is down"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A check of ours passed.
    Passed,
    /// It failed, under a check or under traffic.
    Failed(Fault),
    /// An operator says that it is well; until it fails again.
    SaidToBeWell,
}

/// What this balancer itself has seen of a server lately.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Opinion {
    /// It failed, last like this.
    Bad(Fault),
    Good,
    /// Nothing within 2 × inter.
    #[default]
    Unknown,
}

/// How observations count; from the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whether there are checks of our own.
    pub checked: bool,
    /// Time between two checks.
    pub inter: Duration,
    /// Passed checks in a row that bring a server back.
    pub rise: u32,
    /// Failed checks in a row that take it out.
    pub fall: u32,
    /// Faults under traffic within `fail_timeout` that take it out; 0: never.
    pub max_fails: u32,
    /// The window of `max_fails`.
    pub fail_timeout: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            checked: true,
            inter: Duration::from_secs(5),
            rise: 2,
            fall: 3,
            max_fails: 2,
            fail_timeout: Duration::from_secs(30),
        }
    }
}

/// A change worth telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It went out of turn.
    Ejected,
    /// It came back.
    Returned,
}

/// Out of turn.
#[derive(Clone, Debug)]
struct Out {
    fault: Fault,
    since: Instant,
}

#[derive(Clone, Debug, Default)]
pub struct Evidence {
    out: Option<Out>,
    passes: u32,
    failures: u32,
    /// When a fault under traffic was seen; only those within `fail_timeout`, at most `max_fails`.
    faults: Vec<Instant>,
    last_seen: Option<Instant>,
    last_good: Option<Instant>,
}

impl Evidence {
    /// Adds one observation.
    pub fn observe(&mut self, rules: &Rules, now: Instant, seen: Seen) -> Option<Change> {
        self.last_seen = Some(now);
        match seen {
            Seen::Passed => self.passed(rules, now),
            Seen::Failed(fault @ Fault::Check(_)) => {
                self.passes = 0;
                self.failures = self.failures.saturating_add(1);
                (self.failures >= rules.fall.max(1)).then(|| self.eject(now, &fault)).flatten()
            }
            Seen::Failed(fault @ (Fault::Silent | Fault::Told)) => self.eject(now, &fault),
            Seen::SaidToBeWell => {
                self.passes = rules.rise;
                self.passed(rules, now)
            }
            Seen::Failed(fault) => self.faulted(rules, now, &fault),
        }
    }

    /// It answered a request at that time. Told in hindsight, from counters: does not bring an
    /// ejected server back, and does not forgive faults.
    pub fn answered(&mut self, at: Instant) {
        self.last_seen = self.last_seen.max(Some(at));
        self.last_good = self.last_good.max(Some(at));
    }

    /// What follows now.
    #[must_use]
    pub fn opinion(&self, rules: &Rules, now: Instant) -> Opinion {
        let within = |at: Option<Instant>, limit: Duration| {
            at.is_some_and(|at| now.saturating_duration_since(at) <= limit)
        };
        match &self.out {
            Some(out) if rules.checked && within(self.last_seen, rules.inter * 2) => {
                Opinion::Bad(out.fault.clone())
            }
            Some(out) if !rules.checked && within(Some(out.since), rules.fail_timeout) => {
                Opinion::Bad(out.fault.clone())
            }
            None if within(self.last_good, rules.inter * 2) => Opinion::Good,
            _ => Opinion::Unknown,
        }
    }

    /// Whether its next check should come sooner than `inter`: its standing is about to change.
    #[must_use]
    pub fn in_transition(&self) -> bool {
        self.out.is_some() || self.failures > 0 || self.last_seen.is_none()
    }

    fn passed(&mut self, rules: &Rules, now: Instant) -> Option<Change> {
        self.failures = 0;
        self.passes = self.passes.saturating_add(1);
        self.last_good = Some(now);
        if self.out.is_some() && self.passes >= rules.rise.max(1) {
            self.out = None;
            self.faults.clear();
            return Some(Change::Returned);
        }
        None
    }

    fn faulted(&mut self, rules: &Rules, now: Instant, fault: &Fault) -> Option<Change> {
        self.passes = 0;
        if rules.max_fails == 0 {
            return None;
        }
        self.faults.retain(|&at| now.saturating_duration_since(at) < rules.fail_timeout);
        self.faults.push(now);
        if self.faults.len() < rules.max_fails as usize {
            return None;
        }
        self.faults.clear();
        self.eject(now, fault)
    }

    fn eject(&mut self, now: Instant, fault: &Fault) -> Option<Change> {
        self.passes = 0;
        let change = self.out.is_none().then_some(Change::Ejected);
        self.out = Some(Out { fault: fault.clone(), since: now });
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules {
        checked: true,
        inter: Duration::from_secs(5),
        rise: 2,
        fall: 3,
        max_fails: 2,
        fail_timeout: Duration::from_secs(30),
    };

    fn check_failed() -> Seen {
        Seen::Failed(Fault::Check("no answer".to_owned()))
    }

    fn kind(opinion: &Opinion) -> &'static str {
        match opinion {
            Opinion::Bad(_) => "bad",
            Opinion::Good => "good",
            Opinion::Unknown => "unknown",
        }
    }

    /// Seconds from the start, what is seen, the opinion right after it.
    fn play(steps: &[(u64, Option<Seen>, &str)]) {
        let start = relay::clock::now();
        let mut evidence = Evidence::default();
        for (at, seen, expected) in steps {
            let now = start + Duration::from_secs(*at);
            if let Some(seen) = seen.clone() {
                evidence.observe(&RULES, now, seen);
            }
            assert_eq!(kind(&evidence.opinion(&RULES, now)), *expected, "at {at} s after {seen:?}");
        }
    }

    #[test]
    fn checks_rise_and_fall() {
        play(&[
            (0, None, "unknown"),
            (0, Some(Seen::Passed), "good"),
            (5, Some(check_failed()), "good"),
            (6, Some(check_failed()), "good"),
            (7, Some(check_failed()), "bad"),
            (12, Some(Seen::Passed), "bad"),
            (13, Some(check_failed()), "bad"),
            (14, Some(Seen::Passed), "bad"),
            (19, Some(Seen::Passed), "good"),
        ]);
    }

    #[test]
    fn a_pass_in_between_starts_the_count_again() {
        play(&[
            (0, Some(check_failed()), "unknown"),
            (1, Some(check_failed()), "unknown"),
            (2, Some(Seen::Passed), "good"),
            (3, Some(check_failed()), "good"),
            (4, Some(check_failed()), "good"),
        ]);
    }

    #[test]
    fn faults_under_traffic_count_within_their_window() {
        let refused = || Some(Seen::Failed(Fault::Refused));
        play(&[(0, Some(Seen::Passed), "good"), (1, refused(), "good"), (2, refused(), "bad")]);
        play(&[(0, refused(), "unknown"), (31, refused(), "unknown"), (32, refused(), "bad")]);
    }

    #[test]
    fn silence_ejects_at_once_and_checks_bring_back() {
        play(&[
            (0, Some(Seen::Passed), "good"),
            (1, Some(Seen::Failed(Fault::Silent)), "bad"),
            (2, Some(Seen::Passed), "bad"),
            (3, Some(Seen::Passed), "good"),
        ]);
    }

    #[test]
    fn old_evidence_says_nothing() {
        play(&[(0, Some(Seen::Passed), "good"), (10, None, "good"), (11, None, "unknown")]);
        play(&[
            (0, Some(Seen::Failed(Fault::Silent)), "bad"),
            (10, None, "bad"),
            (11, None, "unknown"),
        ]);
    }

    #[test]
    fn answers_under_traffic_are_good_evidence_but_do_not_end_an_ejection() {
        let start = relay::clock::now();
        let mut evidence = Evidence::default();
        evidence.answered(start);
        assert_eq!(evidence.opinion(&RULES, start), Opinion::Good);
        assert_eq!(
            evidence.observe(&RULES, start, Seen::Failed(Fault::Silent)),
            Some(Change::Ejected)
        );
        evidence.answered(start + Duration::from_secs(1));
        assert_eq!(kind(&evidence.opinion(&RULES, start + Duration::from_secs(1))), "bad");
        assert_eq!(evidence.observe(&RULES, start, Seen::Failed(Fault::Silent)), None, "told once");
    }

    #[test]
    fn without_checks_a_server_is_put_aside_for_a_while() {
        let rules = Rules { checked: false, ..RULES };
        let start = relay::clock::now();
        let mut evidence = Evidence::default();
        evidence.observe(&rules, start, Seen::Failed(Fault::Refused));
        evidence.observe(&rules, start, Seen::Failed(Fault::Refused));
        assert_eq!(kind(&evidence.opinion(&rules, start + Duration::from_secs(29))), "bad");
        assert_eq!(kind(&evidence.opinion(&rules, start + Duration::from_secs(31))), "unknown");
    }

    #[test]
    fn zero_max_fails_counts_nothing() {
        let rules = Rules { max_fails: 0, ..RULES };
        let mut evidence = Evidence::default();
        let now = relay::clock::now();
        for _ in 0..100 {
            assert_eq!(evidence.observe(&rules, now, Seen::Failed(Fault::Reset)), None);
        }
    }
}
