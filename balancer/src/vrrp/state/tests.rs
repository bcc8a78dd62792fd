use super::*;

const OWN: &str = "10.0.0.2";
const LOWER: &str = "10.0.0.1";
const HIGHER: &str = "10.0.0.3";

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn settings(version: Version, millis: u64) -> Settings {
    Settings {
        version,
        interval: ms(millis),
        preempt: true,
        preempt_delay: Duration::ZERO,
        address: OWN.parse().unwrap(),
    }
}

fn heard(from: &str, priority: u8, millis: u64) -> Heard {
    Heard { from: from.parse().unwrap(), priority, interval: ms(millis) }
}

fn backup(version: Version, millis: u64, priority: u8) -> Machine {
    let mut machine = Machine::new(settings(version, millis), priority);
    assert_eq!(machine.start(ms(0)), []);
    assert_eq!(machine.state(), State::Backup);
    machine
}

fn master(version: Version, millis: u64, priority: u8) -> (Machine, Moment) {
    let mut machine = backup(version, millis, priority);
    let at = machine.wake_at().unwrap();
    let taken = machine.tick(at);
    assert_eq!(taken, [Action::Advertise(priority), Action::Take, Action::Announce]);
    assert_eq!(machine.state(), State::Master);
    (machine, at)
}

#[test]
fn the_master_down_interval_is_three_intervals_and_the_skew() {
    for (version, millis, priority, down) in [
        (Version::V2, 1000, 100, 3609),
        (Version::V2, 1000, 254, 3007),
        (Version::V2, 2000, 100, 6609),
        (Version::V3, 1000, 100, 3609),
        (Version::V3, 200, 90, 729),
        (Version::V3, 100, 200, 321),
        (Version::V3, 10, 1, 39),
    ] {
        let machine = backup(version, millis, priority);
        assert_eq!(machine.wake_at().unwrap().as_millis(), down, "{version:?} {millis}");
    }
}

#[test]
fn version_3_goes_by_the_masters_interval_and_version_2_by_its_own() {
    for (version, down) in [(Version::V3, 5000 * 3 + 3046), (Version::V2, 3000 + 609)] {
        let mut machine = backup(version, 1000, 100);
        machine.hear(ms(0), heard(LOWER, 100, 5000));
        assert_eq!(machine.wake_at().unwrap().as_millis(), down);
    }
}

#[test]
fn a_backup_waits_as_long_as_a_better_or_equal_master_speaks() {
    let mut machine = backup(Version::V3, 100, 100);
    for beat in 1..50_u64 {
        assert_eq!(machine.hear(ms(beat * 100), heard(LOWER, 100, 100)), []);
        assert_eq!(machine.tick(ms(beat * 100 + 99)), []);
    }
    assert_eq!(machine.master(), Some(LOWER.parse().unwrap()));
    assert_eq!(machine.wake_at().unwrap(), ms(4900) + ms(300) + ms(100) * 156 / 256);
    assert_eq!(machine.tick(machine.wake_at().unwrap()).len(), 3);
    assert_eq!(machine.master(), None);
}

#[test]
fn a_lesser_master_is_preempted_when_its_time_is_over() {
    let mut machine = backup(Version::V3, 100, 100);
    let down_at = machine.wake_at();
    for at in [50, 150, 250, 350] {
        machine.hear(ms(at), heard(HIGHER, 99, 100));
        assert_eq!(machine.wake_at(), down_at);
    }
    assert_eq!(machine.tick(down_at.unwrap())[1], Action::Take);
}

#[test]
fn nopreempt_leaves_a_lesser_master_alone() {
    let machine = Settings { preempt: false, ..settings(Version::V3, 100) };
    let mut machine = Machine::new(machine, 100);
    machine.start(ms(0));
    for beat in 1..100 {
        machine.hear(ms(beat * 100), heard(HIGHER, 1, 100));
        assert_eq!(machine.tick(ms(beat * 100 + 99)), []);
    }
    // It takes over from a dead one all the same.
    assert_eq!(machine.tick(machine.wake_at().unwrap()).len(), 3);
}

#[test]
fn nopreempt_relieves_a_master_that_lowers_its_priority() {
    for (preempt, delay) in [(false, 0), (true, 60_000)] {
        let settings =
            Settings { preempt, preempt_delay: ms(delay), ..settings(Version::V3, 1000) };
        let mut machine = Machine::new(settings, 100);
        machine.start(ms(0));
        machine.hear(ms(1000), heard(HIGHER, 110, 1000));
        machine.hear(ms(2000), heard(HIGHER, 90, 1000));
        let skew = ms(1000) * 156 / 256;
        assert_eq!(machine.wake_at(), Some(ms(2000) + skew), "as after priority 0");
        // And not later because it goes on to speak.
        machine.hear(ms(2100), heard(HIGHER, 90, 1000));
        assert_eq!(machine.wake_at(), Some(ms(2000) + skew));
        assert_eq!(machine.tick(ms(2000) + skew).len(), 3);
    }
}

#[test]
fn an_unhealthy_backup_does_not_relieve_an_unhealthy_master() {
    let mut machine = backup(Version::V3, 1000, 100);
    machine.prefer(ms(0), 79);
    machine.hear(ms(1000), heard(HIGHER, 110, 1000));
    machine.hear(ms(2000), heard(HIGHER, 89, 1000));
    assert_eq!(machine.wake_at(), Some(ms(2000) + ms(3000) + ms(1000) * 177 / 256));
}

#[test]
fn preempt_delay_counts_from_the_first_sight_of_a_lesser_master() {
    let settings = Settings { preempt_delay: ms(5000), ..settings(Version::V3, 1000) };
    let mut machine = Machine::new(settings, 100);
    machine.start(ms(0));
    let mut took_at = None;
    for at in (500..20_000).step_by(100) {
        if !machine.tick(ms(at)).is_empty() {
            took_at = Some(at);
            break;
        }
        if at % 1000 == 500 {
            machine.hear(ms(at), heard(HIGHER, 90, 1000));
        }
    }
    // The last advertisement that counted came at 4.5 s.
    assert_eq!(took_at, Some(8200));
    // A master that is as good begins the wait anew.
    machine.hear(ms(8300), heard(HIGHER, 200, 1000));
    machine.hear(ms(8400), heard(LOWER, 90, 1000));
    assert!(machine.wake_at().unwrap() > ms(8400) + ms(3000));
}

#[test]
fn priority_0_leaves_after_the_skew_time_alone() {
    let mut machine = backup(Version::V2, 1000, 100);
    machine.hear(ms(500), heard(HIGHER, 120, 1000));
    machine.hear(ms(1000), heard(HIGHER, 0, 1000));
    assert_eq!(machine.wake_at(), Some(ms(1000) + ms(1000) * 156 / 256));
    // Saying so again does not put it off.
    machine.hear(ms(1500), heard(HIGHER, 0, 1000));
    assert_eq!(machine.wake_at(), Some(ms(1000) + ms(1000) * 156 / 256));
}

#[test]
fn a_stop_says_priority_0_and_releases() {
    let (mut machine, at) = master(Version::V3, 100, 100);
    assert_eq!(machine.stop(), [Action::Advertise(0), Action::Release]);
    assert_eq!((machine.state(), machine.wake_at()), (State::Down, None));
    assert_eq!(machine.stop(), []);
    assert_eq!(machine.hear(at, heard(LOWER, 1, 100)), []);
    assert_eq!(machine.tick(at + ms(10_000)), []);
    assert_eq!(backup(Version::V3, 100, 100).stop(), []);
}

#[test]
fn the_owner_is_master_at_once() {
    let mut machine = Machine::new(settings(Version::V3, 100), OWNER);
    assert_eq!(machine.start(ms(7))[0], Action::Advertise(255));
    assert_eq!(machine.state(), State::Master);
}

#[test]
fn a_master_speaks_every_interval_and_announces_again() {
    let (mut machine, began) = master(Version::V3, 200, 100);
    let (mut spoke, mut announced) = (0, Vec::new());
    let end = began + ms(70_000);
    while let Some(at) = machine.wake_at().filter(|at| *at <= end) {
        for action in machine.tick(at) {
            match action {
                Action::Advertise(100) => spoke += 1,
                Action::Announce => announced.push((at - began).as_millis()),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(spoke, 350);
    assert_eq!(announced, [100, 1000, 2500, 5000, 35_000, 65_000]);
}

#[test]
fn between_two_masters_priority_decides_and_then_the_address() {
    for (from, priority, yields) in [
        (LOWER, 101, true),
        (HIGHER, 99, false),
        (HIGHER, 100, true),
        (LOWER, 100, false),
        (HIGHER, 0, false),
    ] {
        let (mut machine, at) = master(Version::V3, 1000, 100);
        let actions = machine.hear(at + ms(1700), heard(from, priority, 1000));
        if yields {
            assert_eq!(actions, [Action::Release], "{from} {priority}");
            assert_eq!(machine.state(), State::Backup);
            let down = ms(3000) + ms(1000) * 156 / 256;
            assert_eq!(machine.wake_at(), Some(at + ms(1700) + down));
        } else {
            assert_eq!(actions[0], Action::Advertise(100), "{from} {priority}");
            assert_eq!(machine.state(), State::Master);
        }
    }
}

#[test]
fn a_lesser_master_is_answered_and_the_network_told_but_no_storm_begins() {
    let (mut machine, began) = master(Version::V3, 1000, 100);
    let at = began + ms(500);
    let (mut spoke, mut announced) = (0, 0);
    for millis in 0..4000 {
        for action in machine.hear(at + ms(millis), heard(LOWER, 90, 1000)) {
            match action {
                Action::Advertise(_) => spoke += 1,
                Action::Announce => announced += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(spoke, 8, "twice an interval");
    assert!((4..=8).contains(&announced), "{announced}");
}

fn machine_frozen_at(moment: Moment) -> Machine {
    let (mut machine, _) = master(Version::V3, 100, 100);
    machine.tick(moment);
    machine
}

#[test]
fn a_master_that_was_frozen_listens_before_it_speaks() {
    let (mut machine, at) = master(Version::V3, 100, 100);
    assert_eq!(machine.tick(at + ms(299)), [Action::Advertise(100), Action::Announce]);
    let woken = at + ms(299) + ms(300);
    assert_eq!(machine.tick(woken), [Action::Release]);
    assert_eq!(machine.state(), State::Backup);
    let alone = woken + ms(100) + ms(100) * 156 / 256;
    assert_eq!(machine.wake_at(), Some(alone));
    // What waited in its socket meanwhile is heard as by a backup.
    let mut late = machine_frozen_at(at + ms(299));
    assert_eq!(late.hear(woken, heard(LOWER, 90, 100)), [Action::Release]);
    assert_eq!(late.state(), State::Backup);
    // Alone it is master again; with another one it stays backup.
    assert_eq!(machine.clone().tick(alone)[1], Action::Take);
    machine.hear(woken + ms(50), heard(LOWER, 100, 100));
    assert_eq!(machine.tick(alone), []);
}

#[test]
fn a_priority_that_changes_is_told_at_once() {
    let (mut machine, at) = master(Version::V3, 1000, 100);
    assert_eq!(machine.prefer(at, 100), []);
    assert_eq!(machine.prefer(at + ms(300), 50), [Action::Advertise(50)]);
    assert_eq!(machine.tick(at + ms(1299)), [Action::Announce]);
    assert_eq!(machine.tick(at + ms(1300)), [Action::Advertise(50)]);
    assert_eq!(backup(Version::V3, 1000, 100).prefer(at, 50), []);
}
