use proptest::prelude::*;

use cluster::{AdminState, instance::MAX_WEIGHT};

use super::{
    setting::{ABSOLUTE, AGENT, GARBAGE, HEALTH, NO_CHANGE, RELATIVE, STATES, USAGE, WEIGHT},
    *,
};

fn one(line: &str) -> Result<Command, Error> {
    let mut commands = parse(line);
    assert_eq!(commands.len(), 1, "{line}");
    commands.remove(0)
}

fn at(backend: &str, server: &str) -> Target {
    Target { backend: backend.to_owned(), server: server.to_owned() }
}

#[test]
fn what_people_and_scripts_write() {
    let state = |admin, force| Command::Set(at("b", "s"), Setting::State { admin, force });
    let weight = |weight| Command::Set(at("b", "s"), Setting::Weight(weight));
    let setting = |setting| Command::Set(at("b", "s"), setting);
    let all = Selection::default();
    for (line, expected) in [
        ("disable server b/s", state(AdminState::Maintenance, false)),
        ("disable server b/s force", state(AdminState::Maintenance, true)),
        ("enable server b/s", state(AdminState::Ready, false)),
        ("  set   server\tb/s state drain\r\n", state(AdminState::Drain, false)),
        ("set server b/s state maint force", state(AdminState::Maintenance, true)),
        ("set server b/s weight 50%", weight(Weight::Relative(50))),
        ("set weight b/s 256", weight(Weight::Absolute(256))),
        ("set maxconn server b/s 10", setting(Setting::Maxconn(10))),
        ("get weight b/s", Command::GetWeight(at("b", "s"))),
        ("set server b/s health up", setting(Setting::Health(true))),
        ("set server b/s health down", setting(Setting::Health(false))),
        ("disable health b/s", setting(Setting::Checks(false))),
        ("enable agent b/s", setting(Setting::Agent(AgentChange::On))),
        ("set server b/s agent down", setting(Setting::Agent(AgentChange::Said(false)))),
        (
            "set server b/s addr ::1 port 80",
            setting(Setting::Address { ip: "::1".parse().unwrap(), port: Some(80) }),
        ),
        ("shutdown sessions server b/s", Command::Shutdown(at("b", "s"))),
        ("shutdown sessions server b/s\\;x", Command::Shutdown(at("b", "s;x"))),
        ("show stat", Command::ShowStat(all.clone(), Format::Plain)),
        ("show stat -1 4 -1 json", {
            let proxy = Some(Proxy::Number(-1));
            Command::ShowStat(Selection { proxy, kinds: 4, ..all.clone() }, Format::Json)
        }),
        ("show stat web 7 2", {
            let proxy = Some(Proxy::Name("web".to_owned()));
            Command::ShowStat(
                Selection { proxy, kinds: 7, server: 2, ..all.clone() },
                Format::Plain,
            )
        }),
        ("show stat typed up no-maint", {
            Command::ShowStat(Selection { up: true, no_maintenance: true, ..all }, Format::Typed)
        }),
        ("show info typed", Command::ShowInfo(Format::Typed)),
        ("show servers state b", Command::ShowServersState(Some("b".to_owned()))),
        ("show errors -1", Command::ShowErrors(None)),
        ("set timeout cli 2m", Command::SetTimeout(120_000)),
        ("help show stat", Command::Help(vec!["show".to_owned(), "stat".to_owned()])),
    ] {
        assert_eq!(one(line), Ok(expected), "{line}");
    }
}

#[test]
fn several_in_a_line() {
    let commands = parse("show version; nonsense ;quit");
    assert_eq!(commands[0], Ok(Command::ShowVersion));
    assert!(matches!(commands[1], Err(Error::Unknown(_))));
    assert_eq!(commands[2], Ok(Command::Quit));
}

#[test]
fn errors_are_haproxy_s() {
    for (line, expected) in [
        ("disable server", "Require 'backend/server'."),
        ("disable server b", "Require 'backend/server'."),
        ("set server b/s state", STATES),
        ("set server b/s state on", STATES),
        ("set server b/s", USAGE),
        ("set server b/s weight", WEIGHT),
        ("set server b/s weight abc", GARBAGE),
        ("set weight b/s 257", ABSOLUTE),
        ("set weight b/s -1", ABSOLUTE),
        ("set weight b/s -1%", RELATIVE),
        ("set maxconn server b/s", "Require <maxconn>."),
        ("set maxconn server b/s x", "maxconn string empty or preceded by garbage"),
        ("set server b/s addr", NO_CHANGE),
        ("set server b/s addr here", "Invalid addr 'here' by 'stats socket command'"),
        ("set server b/s agent", AGENT),
        ("set server b/s health", HEALTH),
        ("show stat domain resolvers", "Invalid statistics domain."),
        ("set timeout cli x", "Invalid timeout value."),
    ] {
        assert_eq!(one(line).expect_err(line).to_string(), expected, "{line}");
    }
    let unknown = one("show foo").expect_err("none").to_string();
    assert!(
        unknown.starts_with("Unknown command, but maybe one of the following ones is a better")
    );
    assert!(unknown.contains("show stat") && !unknown.contains("set weight"), "{unknown}");
    let unknown = one("").expect_err("none").to_string();
    assert!(
        unknown.starts_with("Unknown command. Please enter one of the following commands only:\n")
    );
    for line in ["show table t", "set server b/s fqdn x", "set server b/s health stopping"] {
        let said = one(line).expect_err(line).to_string();
        assert!(said.contains(" is not here: ") && said.contains('\''), "{said}");
    }
}

#[test]
fn weights_are_of_what_it_began_with() {
    assert_eq!(Weight::Relative(50).of(100), 50);
    assert_eq!(Weight::Relative(1).of(10), 0);
    assert_eq!(Weight::Relative(u32::MAX).of(200), MAX_WEIGHT);
    assert_eq!(Weight::Absolute(7).of(100), 7);
}

proptest! {
    #[test]
    fn any_line_has_an_answer(line in "\\PC*") {
        for command in parse(&line) {
            if let Err(error) = command {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }

    #[test]
    fn lines_of_the_language_s_words_have_answers(words in prop::collection::vec(
        prop::sample::select(vec![
            "show", "stat", "info", "servers", "state", "conn", "set", "server", "b/s", "/",
            "weight",
            "100", "-5%", "%", "addr", "::1", "port", "99999", "health", "agent", "up", "disable",
            "enable", ";", "\\", "typed", "-1", "shutdown", "sessions", "clear", "counters",
            "timeout",
            "cli", "99999999999999999999h", "get", "help", "force", "domain",
        ]), 0..9)) {
        let commands = parse(&words.join(" "));
        let parts = words.iter().filter(|word| **word == ";").count() + 1;
        // A backslash before a blank takes its meaning, and none before a semicolon here.
        prop_assert_eq!(commands.len(), parts);
        for error in commands.into_iter().filter_map(Result::err) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}
