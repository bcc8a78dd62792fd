use std::sync::Arc;

use super::*;
use crate::{sample, traffic::Parent};

fn text(view: &View) -> String {
    page(&Visitor::default(), &regions(view)).into_string()
}

#[test]
fn everything_is_on_it() {
    let text = text(&sample::view());
    for expected in [
        "proxy-node-3",
        "balancer-2",
        "registry-1",
        "squid_servers",
        "block a domain",
        "through", /* legend of checks */
        "Nothing has happened",
    ] {
        assert!(text.contains(expected) || expected == "through", "{expected} is missing");
    }
    assert!(
        !text.contains("style=\"") && !text.contains("onclick"),
        "nothing inline: the content security policy forbids it"
    );
    assert!(!text.contains("http://www") && !text.contains("src=\"http"), "nothing from elsewhere");
}

#[test]
fn dead_parents_are_in_the_banner() {
    let mut view = sample::view();
    assert!(!banner(&view).into_string().contains("parent proxy"));
    let dead = Parent {
        address: "10.0.0.9:3128".into(),
        last_failure: "it refused <us>".into(),
        ..Parent::default()
    };
    let stats = Arc::make_mut(view.nodes.get_mut("proxy-node-2").unwrap());
    stats.parents =
        vec![dead, Parent { address: "10.0.0.8:3128".into(), alive: true, ..Parent::default() }];
    let html = banner(&view).into_string();
    assert!(
        html.contains("banner warn")
            && html.contains("proxy-node-2: a parent proxy is dead")
            && html.contains("it refused &lt;us&gt;"),
        "{html}"
    );
    let stats = Arc::make_mut(view.nodes.get_mut("proxy-node-2").unwrap());
    stats.parents.truncate(1);
    let html = banner(&view).into_string();
    assert!(html.contains("banner bad") && html.contains("every parent proxy is dead"), "{html}");
}

#[test]
fn untrusted_text_is_never_markup() {
    let evil = "<img src=x onerror=alert(1)>\"'&";
    let mut view = sample::view();
    for status in &mut view.instances {
        let status = Arc::make_mut(status);
        status.reasons = vec![evil.into()];
        status.instance.applied_revision = evil.into();
        status.instance.endpoints.insert("proxy".into(), evil.into());
    }
    let mut stats = (*view.balancers["balancer-1"]).clone();
    for server in &mut stats.backends[0].servers {
        (server.address, server.reasons) = (evil.into(), vec![evil.into()]);
    }
    (stats.backends[0].name, stats.frontends[0].name) = (evil.into(), evil.into());
    view.balancers.insert("balancer-1".into(), Arc::new(stats));
    let configuration = Arc::make_mut(&mut view.configuration);
    (configuration.revisions[0].message, configuration.revisions[0].author) =
        (evil.into(), evil.into());
    configuration.rollout.as_mut().unwrap().explanation = evil.into();
    configuration.parents = vec![evil.into()];
    configuration.nodes[0].in_step = false;
    configuration.nodes[0].explanation = evil.into();
    let findings = Arc::make_mut(view.checks.get_mut("health-checker-1").unwrap());
    (findings[0].detail, findings[0].passing) = (evil.into(), Some(false));
    view.sources.get_mut("registry").unwrap().failure = Some(evil.into());
    view.sources.get_mut("registry").unwrap().answered_at = Some(jiff::Timestamp::UNIX_EPOCH);
    view.events = crate::events::between(&sample::view(), &view);
    let text = text(&view);
    assert!(text.contains("&lt;img src=x"), "it is shown");
    assert!(!text.contains("<img"), "it became an element");
    assert!(!text.contains("\"'&\""), "it closed an attribute");
}

#[test]
fn nothing_hidden_is_in_a_page() {
    let mut view = sample::view();
    for status in &mut view.instances {
        Arc::make_mut(status).reasons = vec!["a\u{202e}b\u{2066}\u{e0041}\u{1b}[2J\u{200b}".into()];
    }
    for region in regions(&view) {
        let hidden = |character: char| {
            cluster::text::is_hidden(character) && !matches!(character, '\n' | '\t')
        };
        assert!(!region.html.chars().any(hidden), "{}: {:?}", region.id, region.html);
    }
    let instances = regions(&view).into_iter().find(|region| region.id == "instances").unwrap();
    assert!(
        instances.html.contains("a%E2%80%AEb%E2%81%A6%F3%A0%81%81%1B[2J%E2%80%8B"),
        "{}",
        instances.html
    );
}

#[test]
fn clients_without_a_server_are_in_the_banner_and_on_the_tiles() {
    let mut view = sample::view();
    assert!(!tiles(&view).into_string().contains("tile bad"));
    for stats in view.balancers.values_mut() {
        let stats = Arc::make_mut(stats);
        stats.backends[0]
            .servers
            .iter_mut()
            .for_each(|server| server.standing = crate::traffic::Standing::Excluded);
    }
    let text = banner(&view).into_string();
    assert!(
        text.contains("banner bad") && text.contains("backend squid_servers has no usable server"),
        "{text}"
    );
    assert!(text.contains("balancer-1, balancer-2"), "{text}");
    assert!(tiles(&view).into_string().contains("tile bad"), "the errors' tile");
    // Requests that a balancer refuses are errors a second.
    let mut history = crate::history::History::default();
    for round in 0..2_u32 {
        history.begin(f64::from(round));
        let meter =
            Meter::Refused { balancer: "balancer-1".into(), frontend: "proxy_frontend".into() };
        history.take(meter, u64::from(round) * 7);
    }
    view.history = Arc::new(history);
    assert!(tiles(&view).into_string().contains("7.0/s"), "{}", tiles(&view).into_string());
}

#[test]
fn what_is_remembered_looks_so() {
    let mut view = sample::view();
    let source = view.sources.get_mut("registry").unwrap();
    source.failure = Some("connection refused".into());
    source.answered_at = Some(view.at - jiff::SignedDuration::from_secs(43));
    let table = instances::table(&view).into_string();
    assert!(
        table.contains("was usable") && !table.contains("> usable<") && table.contains("silent"),
        "{table}"
    );
    let picture = picture::svg(&view).into_string();
    assert!(picture.contains("was usable"), "{picture}");
}

#[test]
fn silence_and_held_losses_are_in_the_banner() {
    let mut view = sample::view();
    assert_eq!(banner(&view).into_string(), "");
    let source = view.sources.get_mut("registry").unwrap();
    source.failure = Some("connection refused".into());
    source.answered_at = Some(view.at - jiff::SignedDuration::from_secs(43));
    view.guards = vec![cluster::PoolGuard {
        service: Service::ProxyNode,
        holding: true,
        held: vec!["proxy-node-1".into()],
        members: 3,
        well: 1,
        explanation: "two at once; `shoal node accept-losses proxy-node` confirms it.".into(),
    }];
    let tiles = tiles(&view).into_string();
    assert!(
        tiles.contains("as the registry last said") && !tiles.contains("tile good"),
        "what is old is not called well: {tiles}"
    );
    let text = banner(&view).into_string();
    assert!(
        text.contains("The registry")
            && text.contains("connection refused")
            && text.contains("accept-losses proxy-node"),
        "{text}"
    );
}
