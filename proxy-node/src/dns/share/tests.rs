use super::*;

const CLIENT: [u8; 4] = [192, 0, 2, 1];

fn question(client: [u8; 4], host: &str) -> (Question, oneshot::Receiver<Resolved>) {
    let (answer, answered) = oneshot::channel();
    (
        Question { host: host.into(), asker: Asker::client(client.into()), whole: false, answer },
        answered,
    )
}

/// Asks for so many names; answers the shares of those that run, and the receivers of all.
fn flood(
    shares: &mut Shares,
    client: [u8; 4],
    names: impl Iterator<Item = String>,
) -> (Vec<Share>, Vec<oneshot::Receiver<Resolved>>) {
    let (mut running, mut asking) = (Vec::new(), Vec::new());
    for name in names {
        let (question, answered) = question(client, &name);
        running.extend(shares.take(question).map(|(_, share)| share));
        asking.push(answered);
    }
    (running, asking)
}

#[test]
fn what_is_registrable() {
    for (host, want) in [
        ("a.b.example.com", "example.com"),
        ("example.com", "example.com"),
        ("com", "com"),
        ("a.b.co.uk", "b.co.uk"),
        ("b.co.uk", "b.co.uk"),
        ("co.uk", "co.uk"),
        ("x.y.com.cn", "y.com.cn"),
        ("a.example.de", "example.de"),
        ("x.silent.test", "silent.test"),
        ("x.y.com.info", "com.info"),
    ] {
        assert_eq!(registrable(host), want, "{host}");
    }
}

#[test]
fn names_below_one_silent_zone_take_the_look_ups_of_nobody_else() {
    let mut shares = Shares::default();
    let (running, mut asking) =
        flood(&mut shares, CLIENT, (0..1400).map(|number| format!("r{number}.silent.test")));
    assert_eq!(running.len(), OF_DOMAIN.running);
    let refused = asking
        .iter_mut()
        .filter_map(|answered| answered.try_recv().ok())
        .filter(|told| *told == Err(Error::Busy))
        .count();
    assert_eq!(refused, 1400 - OF_DOMAIN.running - OF_DOMAIN.waiting);
    // The same client for other names, another client, and this node itself.
    for (client, host) in [
        (CLIENT, "www.lively.test"),
        ([192, 0, 2, 2], "www.lively.test"),
        ([192, 0, 2, 3], "lively"),
    ] {
        assert!(shares.take(question(client, host).0).is_some(), "{client:?} {host}");
    }
    // Whatever is below a top-level domain of its own.
    let (running, _asking) =
        flood(&mut shares, CLIENT, (0..1400).map(|number| format!("r{number}.silent")));
    assert!(running.len() <= OF_CLIENT_BELOW.running, "{}", running.len());
    assert!(shares.take(question(CLIENT, "another.test").0).is_some());
    for client in 3..9 {
        let names = (0..1400).map(|number| format!("r.s{number}.t{number}"));
        let (running, _asking) = flood(&mut shares, [192, 0, 2, client], names);
        assert!(running.len() <= OF_CLIENT.running);
    }
    let (answer, _answered) = oneshot::channel();
    let own = Question { host: "parent.example".into(), asker: Asker::Node, whole: false, answer };
    assert!(shares.take(own).is_some(), "the node itself does not wait");
}

#[test]
fn many_clients_of_one_network_leave_look_ups_for_others() {
    let mut shares = Shares::default();
    let (mut running, mut asking) = (Vec::new(), Vec::new());
    // Every name is below a zone of its own, and every client has only a few: nobody is near
    // another share.
    for number in 0..8000_u32 {
        let client = [192, 0, 2, (number % 250) as u8];
        let (question, answered) = question(client, &format!("r{number}.zone{number}.t{number}"));
        running.extend(shares.take(question).map(|(_, share)| share));
        asking.push(answered);
    }
    assert_eq!((running.len(), shares.waiting), (OF_NETWORK.running, OF_NETWORK.waiting));
    for (client, runs) in
        [([192, 0, 2, 251], false), ([192, 0, 3, 1], true), ([198, 51, 100, 1], true)]
    {
        assert_eq!(
            shares.take(question(client, "www.lively.test").0).is_some(),
            runs,
            "{client:?}"
        );
    }
    // What is given back goes on, and nothing is left in the end.
    drop(asking);
    for share in running {
        shares.give_back(share);
        assert!(shares.turn().is_none(), "all have gone");
    }
    assert_eq!(shares.waiting, 0);
}

#[test]
fn all_of_them_together_are_bounded() {
    let mut shares = Shares::default();
    let (mut running, mut asking) = (0, Vec::new());
    for number in 0..20_000_u32 {
        let (question, answered) = question(
            [192, 0, (number % 5) as u8, (number % 250) as u8],
            &format!("r{number}.zone{number}.t{number}"),
        );
        running += usize::from(shares.take(question).is_some());
        asking.push(answered);
    }
    assert_eq!((running, shares.waiting), (CONCURRENT, MOST_WAITING));
}

#[test]
fn what_waits_counts_until_its_turn() {
    let mut shares = Shares::default();
    let names = |of: &str, count: usize| {
        (0..count).map(|number| format!("{of}{number}.{of}.test")).collect::<Vec<_>>().into_iter()
    };
    let (slow, mut first) = flood(&mut shares, CLIENT, names("slow", 33));
    let (mut quick, _second) = flood(&mut shares, CLIENT, names("quick", 33));
    assert_eq!((slow.len(), quick.len(), shares.waiting), (32, 32, 2));
    // Who waits behind a zone that answers nobody does not wait for it.
    shares.give_back(quick.pop().unwrap());
    let (question, share) = shares.turn().expect("one may run");
    assert_eq!((&*question.host, shares.waiting), ("quick32.quick.test", 1));
    shares.give_back(share);
    // Nothing of a zone runs, and much waits for it: that still counts.
    let (_none, mut many) = flood(&mut shares, CLIENT, names("slow", 500));
    let busy = many.iter_mut().filter_map(|answered| answered.try_recv().ok()).count();
    assert_eq!((busy, shares.waiting), (500 - 127, OF_DOMAIN.waiting));
    for share in slow {
        shares.give_back(share);
    }
    let (running, mut more) = flood(&mut shares, CLIENT, names("slow", 33));
    assert_eq!((running.len(), more.pop().unwrap().try_recv().ok()), (32, Some(Err(Error::Busy))));
    // Who has gone makes room, and its client has one turn all the same.
    drop(many);
    assert!(first.pop().unwrap().try_recv().is_err());
    let (_none, _last) = flood(&mut shares, CLIENT, names("slow", 1));
    assert_eq!((shares.waiting, shares.turns.len()), (1, 1));
}

#[test]
fn clients_take_turns_and_who_has_gone_is_skipped() {
    let mut shares = Shares::default();
    let (mut running, _held) =
        flood(&mut shares, CLIENT, (0..33).map(|number| format!("a{number}.silent.test")));
    assert_eq!(running.len(), 32);
    let (_none, mut first) = flood(
        &mut shares,
        CLIENT,
        ["b1.silent.test", "b2.silent.test"].map(String::from).into_iter(),
    );
    let (_none, second) =
        flood(&mut shares, [192, 0, 2, 2], ["c1.silent.test"].map(String::from).into_iter());
    assert!(shares.turn().is_none(), "nothing is free");
    first.remove(0);
    let mut order = Vec::new();
    for _ in 0..5 {
        shares.give_back(running.pop().unwrap());
        order.extend(shares.turn().map(|(question, share)| {
            drop(share);
            question.host.to_string()
        }));
    }
    // a32 has waited longest; b1 has gone.
    assert_eq!(order, ["a32.silent.test", "c1.silent.test", "b2.silent.test"]);
    drop((first, second));
}

#[test]
fn nothing_is_left_of_what_has_ended() {
    let mut shares = Shares::default();
    let (running, asking) =
        flood(&mut shares, CLIENT, (0..300).map(|number| format!("a{number}.silent.test")));
    drop(asking);
    for share in running {
        shares.give_back(share);
        assert!(shares.turn().is_none(), "all have gone");
    }
    assert!(shares.loads.is_empty() && shares.queues.is_empty() && shares.turns.is_empty());
    assert_eq!((shares.running, shares.waiting), (0, 0));
}

#[test]
fn a_host_of_ipv6_is_one_client() {
    let asker = |text: &str| Asker::client(text.parse().unwrap());
    assert_eq!(asker("2001:db8::1"), asker("2001:db8::ffff:1:2:3"));
    assert_ne!(asker("2001:db8::1"), asker("2001:db8:0:1::1"));
    assert_eq!(asker("::ffff:192.0.2.1"), asker("192.0.2.1"));
}
