use proptest::prelude::*;

use super::*;

const RULES: OutlierEjection = OutlierEjection {
    interval: Duration::from_secs(10),
    minimum_requests: 100,
    failure_percent: 50,
    latency_factor: 5,
    latency_floor: Duration::from_millis(20),
    base_ejection_time: Duration::from_secs(30),
    max_ejection_time: Duration::from_secs(70),
    max_ejection_percent: 40,
};

/// A backend whose counters are moved by hand.
struct Pool {
    comparison: Comparison,
    servers: Vec<(Outlier, Sample)>,
    standings: Vec<Standing>,
    now: Instant,
}

impl Pool {
    fn of(count: usize) -> Self {
        let mut pool = Self {
            comparison: Comparison::default(),
            servers: vec![(Outlier::default(), Sample::default()); count],
            standings: vec![Standing::Usable; count],
            now: relay::clock::now(),
        };
        assert_eq!(pool.look(&RULES, 50), []);
        pool
    }

    /// So many requests, of which so many failed, and answers that took so many milliseconds.
    fn serve(&mut self, index: usize, requests: u64, failures: u64, millis: u64) {
        let sample = &mut self.servers[index].1;
        sample.requests += requests;
        sample.failures += failures;
        sample.answers += requests;
        sample.micros += requests * millis * 1000;
    }

    fn look(&mut self, rules: &OutlierEjection, threshold: u8) -> Vec<(usize, Change)> {
        let mut judgements: Vec<_> = self.standings.iter().map(|it| judged(*it)).collect();
        let mut members: Vec<_> = self
            .servers
            .iter_mut()
            .zip(&mut judgements)
            .map(|((outlier, sample), judgement)| Member { outlier, sample: *sample, judgement })
            .collect();
        let changes = self.comparison.look(&mut members, rules, threshold, self.now);
        for ((server, judgement), before) in
            self.servers.iter().zip(&judgements).zip(&self.standings)
        {
            let used = *before < Standing::Unwell;
            let expected = if server.0.out.is_some() && used { Standing::Unwell } else { *before };
            assert_eq!(judgement.standing, expected);
        }
        changes
    }

    fn after(&mut self, seconds: u64) -> Vec<(usize, Change)> {
        self.now += Duration::from_secs(seconds);
        self.look(&RULES, 50)
    }

    fn out(&self) -> Vec<usize> {
        let out = self.servers.iter().enumerate().filter(|(_, it)| it.0.out.is_some());
        out.map(|(index, _)| index).collect()
    }
}

fn judged(standing: Standing) -> Judgement {
    let cause = match standing {
        Standing::Excluded => Cause::Asked,
        Standing::Unwell => Cause::OwnEvidence,
        _ => Cause::Fine,
    };
    Judgement { standing, cause, reasons: vec![Reason::Answers] }
}

use Change::{Ejected, Returned};

/// What the servers did in an interval (requests, failures, milliseconds each), and who goes.
#[test]
fn who_is_put_aside() {
    type Row = (&'static str, &'static [(u64, u64, u64)], &'static [usize]);
    let rows: &[Row] = &[
        ("all well", &[(1000, 0, 1), (1000, 10, 2), (1000, 0, 1)], &[]),
        ("half of its requests fail", &[(1000, 0, 1), (1000, 500, 1), (1000, 0, 1)], &[1]),
        ("a little less", &[(1000, 0, 1), (1000, 499, 1), (1000, 0, 1)], &[]),
        ("too few to tell", &[(1000, 0, 1), (99, 99, 1), (1000, 0, 1)], &[]),
        ("more failed than came in the interval", &[(1000, 0, 1), (100, 900, 1)], &[1]),
        ("slow", &[(1000, 0, 10), (1000, 0, 51), (1000, 0, 10)], &[1]),
        ("slow, but not by the factor", &[(1000, 0, 10), (1000, 0, 50), (1000, 0, 10)], &[]),
        ("slow, but below the floor", &[(1000, 0, 1), (1000, 0, 20), (1000, 0, 1)], &[]),
        ("nobody but one other to compare with", &[(1000, 0, 10), (1000, 0, 900)], &[]),
        ("too few answers of others", &[(1000, 0, 10), (1000, 0, 900), (50, 0, 10)], &[]),
        (
            "the worst first, as one of three may go",
            &[(1000, 600, 1), (1000, 900, 1), (1000, 0, 1)],
            &[1],
        ),
        (
            "two of five",
            &[(1000, 0, 9), (1000, 900, 9), (1000, 0, 9), (1000, 0, 900), (1000, 700, 9)],
            &[1, 3],
        ),
        ("the only one", &[(1000, 1000, 1)], &[]),
    ];
    for (name, servers, gone) in rows {
        let mut pool = Pool::of(servers.len());
        for (index, (requests, failures, millis)) in servers.iter().enumerate() {
            pool.serve(index, *requests, *failures, *millis);
        }
        assert_eq!(pool.after(9), [], "{name}: the interval has not ended");
        pool.after(1);
        assert_eq!(pool.out(), *gone, "{name}");
    }
}

#[test]
fn it_stays_away_for_longer_each_time_and_is_forgiven() {
    let mut pool = Pool::of(3);
    let round = |pool: &mut Pool, failures| {
        (0..3).for_each(|index| pool.serve(index, 100, if index == 1 { failures } else { 0 }, 1));
        pool.after(10)
    };
    for seconds in [30, 60, 70, 70] {
        assert_eq!(round(&mut pool, 100), [(1, Ejected)], "{seconds}");
        // What still fails there meanwhile does not count.
        for _ in 0..seconds / 10 - 1 {
            pool.serve(1, 100, 100, 1);
            assert_eq!(pool.after(10), [], "{seconds}");
        }
        let mut back = pool.after(9);
        back.extend(pool.after(1));
        assert_eq!(back, [(1, Returned)], "{seconds}");
    }
    for _ in 0..3 {
        assert_eq!(round(&mut pool, 0), []);
    }
    assert_eq!(round(&mut pool, 100), [(1, Ejected)]);
    assert_eq!(pool.after(59), [], "it did well for three intervals of four: 2 × 30 s");
    assert_eq!(pool.after(1), [(1, Returned)]);
}

#[test]
fn ejections_make_no_panic() {
    let mut pool = Pool::of(5);
    pool.standings[3] = Standing::Unwell;
    pool.standings[4] = Standing::Unwell;
    (0..3).for_each(|index| pool.serve(index, 100, 100, 1));
    assert_eq!(pool.after(10), [], "three of five are left, and have to stay");
    pool.standings[3] = Standing::Usable;
    (0..3).for_each(|index| pool.serve(index, 100, 100, 1));
    assert_eq!(pool.after(10), [(0, Ejected)]);
    pool.standings[1] = Standing::Unwell;
    assert_eq!(pool.after(1), [(0, Returned)], "two of five would be left");
}

#[test]
fn who_gets_nothing_or_waits_in_reserve_is_not_compared() {
    for standing in [Standing::Excluded, Standing::Backup, Standing::Unwell] {
        let mut pool = Pool::of(4);
        pool.standings[0] = standing;
        pool.serve(0, 1000, 1000, 1);
        assert_eq!(pool.after(10), [], "{standing:?}");
    }
}

proptest! {
    #[test]
    fn never_too_many_and_never_for_ever(
        rounds in proptest::collection::vec(
            proptest::collection::vec((0_u64..300, 0_u64..300, 0_u64..400, 0_u8..8), 6),
            1..40,
        ),
        threshold in 0_u8..=100,
    ) {
        let mut pool = Pool::of(6);
        for round in rounds {
            for (index, (requests, failures, millis, standing)) in round.into_iter().enumerate() {
                pool.serve(index, requests, failures, millis);
                pool.standings[index] = match standing {
                    0 => Standing::Unwell,
                    1 => Standing::Excluded,
                    2 => Standing::Last,
                    _ => Standing::Usable,
                };
            }
            pool.now += Duration::from_secs(7);
            pool.look(&RULES, threshold);
            let counts = |index: &usize| pool.standings[*index] != Standing::Excluded;
            let serves = |index: &usize| pool.standings[*index] <= Standing::Last;
            let all = (0..6).filter(counts).count();
            let out = pool.out().into_iter().filter(serves).count();
            let left = (0..6).filter(serves).count() - out;
            prop_assert!(out == 0 || left * 100 >= all * usize::from(threshold), "{out} {left}");
            prop_assert!(out == 0 || left > 0);
        }
        pool.standings = vec![Standing::Usable; 6];
        prop_assert!(pool.out().len() <= 6);
        for _ in 0..2 {
            pool.now += RULES.max_ejection_time;
            pool.look(&RULES, threshold);
        }
        prop_assert_eq!(pool.out(), Vec::<usize>::new());
    }
}
