use super::*;

/// A name.
type Served = String;

fn listening() -> Listening<Served> {
    Listening::new(2, Box::new(|_| None))
}

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn wide(port: u16) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], port))
}

fn prepare(
    listening: &Listening<Served>,
    wanted: &[(&str, SocketAddr)],
) -> Result<Change<Served>, Vec<(usize, BindError)>> {
    let listeners = wanted.iter().map(|(name, bind)| Wanted {
        name,
        bind: *bind,
        limits: Limits::default(),
        moves: false,
    });
    listening.prepare(listeners, String::as_str, |place, _, _| Arc::new(wanted[place].0.to_owned()))
}

fn publish(listening: &Listening<Served>, wanted: &[(&str, SocketAddr)]) -> Open<Served> {
    listening.publish(&prepare(listening, wanted).map_err(|it| it.len()).expect("bound"));
    listening.follow().borrow().clone()
}

fn names(open: &Open<Served>) -> Vec<String> {
    open.iter().map(|it| it.served().to_string()).collect()
}

#[test]
fn only_what_changed_is_bound_anew_and_a_failure_changes_nothing() {
    let listening = listening();
    let first = publish(&listening, &[("a", any())]);
    let both = publish(&listening, &[("a", any()), ("b", any())]);
    assert!(Arc::ptr_eq(&first[0], &both[0]));
    assert_ne!(both[1].address(), first[0].address());
    let stranger = TcpListener::bind(any()).expect("a port");
    let taken = stranger.local_addr().expect("bound");
    let problems = prepare(&listening, &[("moved", any()), ("c", taken)]).map(|_| ());
    let problems = problems.expect_err("in use");
    assert!(matches!(problems[..], [(1, BindError::InUse(address))] if address == taken));
    assert_eq!(names(&listening.follow().borrow()), ["a", "b"]);
    drop(prepare(&listening, &[("c", any())]));
    assert_eq!(names(&listening.follow().borrow()), ["a", "b"], "until it is published");
}

#[test]
fn a_listener_stays_with_its_address_whatever_is_served_there() {
    let listening = listening();
    let bound = prepare(&listening, &[("a", any()), ("b", any())]).map_err(|it| it.len());
    let bound = bound.expect("bound");
    let [one, two] = [bound.0[0].listener.address(), bound.0[1].listener.address()];
    drop(bound);
    let first = publish(&listening, &[("a", one), ("b", two)]);
    let renamed = publish(&listening, &[("c", one), ("b", two)]);
    assert!(Arc::ptr_eq(&first[0], &renamed[0]) && **renamed[0].served() == "c");
    let swapped = publish(&listening, &[("c", two), ("b", one)]);
    assert!(Arc::ptr_eq(&first[0], &swapped[1]) && Arc::ptr_eq(&first[1], &swapped[0]));
    assert_eq!((swapped[1].address(), names(&swapped)), (one, vec!["c".into(), "b".into()]));
    let widened = publish(&listening, &[("c", two), ("b", wide(one.port()))]);
    assert_eq!(widened[1].address(), wide(one.port()));
    drop((first, renamed, swapped, widened));
    assert_eq!(publish(&listening, &[("b", one)])[0].address(), one, "and back");
}

#[test]
fn what_is_always_open_is_in_nobodys_way_and_stays() {
    let socket = TcpListener::bind(any()).expect("a port");
    let relay = socket.local_addr().expect("bound");
    let listening = listening().always(Ready::Bound(socket), "relay".into()).expect("shared");
    let open = publish(&listening, &[("a", any())]);
    assert_eq!(names(&open), ["relay", "a"]);
    for overlapping in [relay, wide(relay.port())] {
        let problems = prepare(&listening, &[("a", overlapping)]).map(|_| ());
        assert!(matches!(problems.expect_err("in use")[..], [(0, BindError::InUse(_))]));
    }
    let open = publish(&listening, &[]);
    assert_eq!((names(&open), listening.addresses()), (vec!["relay".into()], vec![relay]));
}

#[test]
fn a_socket_that_is_there_is_used() {
    let kept = TcpListener::bind(any()).expect("a port");
    let address = kept.local_addr().expect("bound");
    let lend = move |asked| (asked == address).then(|| kept.try_clone().map(Ready::Inherited));
    let listening = Listening::new(2, Box::new(move |asked| lend(asked)?.ok()));
    let open = publish(&listening, &[("a", address)]);
    assert_eq!(open[0].address(), address, "bound again, it would be in use");
}

#[test]
fn what_is_served_is_told_what_was() {
    let listening = listening();
    let wanted = || [Wanted { name: "a", bind: any(), limits: Limits::default(), moves: false }];
    let fresh = listening.prepare(wanted(), String::as_str, |_, _, before| {
        assert!(before.is_none());
        Arc::new("a".to_owned())
    });
    listening.publish(&fresh.map_err(|it| it.len()).expect("bound"));
    let open = listening.follow().borrow().clone();
    let kept = listening.prepare(wanted(), String::as_str, |place, address, before| {
        assert_eq!((place, address), (0, open[0].address()));
        Arc::clone(before.expect("served before"))
    });
    listening.publish(&kept.map_err(|it| it.len()).expect("bound"));
    assert!(Arc::ptr_eq(&open[0], &listening.follow().borrow()[0]));
}
