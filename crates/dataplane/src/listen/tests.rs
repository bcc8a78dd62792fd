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
        bind: (*bind).into(),
        access: Access::OWN,
        limits: Limits::default(),
        moves: false,
    });
    listening.prepare(listeners, String::as_str, |place, _, _| Arc::new(wanted[place].0.to_owned()))
}

fn publish(listening: &Listening<Served>, wanted: &[(&str, SocketAddr)]) -> Open<Served> {
    listening.publish(&prepare(listening, wanted).map_err(|it| it.len()).expect("bound"));
    listening.follow().borrow().clone()
}

fn at(listener: &Listener<Served>) -> SocketAddr {
    listener.address().ip().expect("no file")
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
    assert_ne!(at(&both[1]), at(&first[0]));
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
    let [one, two] = [at(&bound.0[0].listener), at(&bound.0[1].listener)];
    drop(bound);
    let first = publish(&listening, &[("a", one), ("b", two)]);
    let renamed = publish(&listening, &[("c", one), ("b", two)]);
    assert!(Arc::ptr_eq(&first[0], &renamed[0]) && **renamed[0].served() == "c");
    let swapped = publish(&listening, &[("c", two), ("b", one)]);
    assert!(Arc::ptr_eq(&first[0], &swapped[1]) && Arc::ptr_eq(&first[1], &swapped[0]));
    assert_eq!((at(&swapped[1]), names(&swapped)), (one, vec!["c".into(), "b".into()]));
    let widened = publish(&listening, &[("c", two), ("b", wide(one.port()))]);
    assert_eq!(at(&widened[1]), wide(one.port()));
    drop((first, renamed, swapped, widened));
    assert_eq!(at(&publish(&listening, &[("b", one)])[0]), one, "and back");
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
    let lend = move |asked: &Address| {
        let same = asked.ip() == Some(address);
        same.then(|| kept.try_clone().map(Ready::Inherited))
    };
    let listening = Listening::new(2, Box::new(move |asked| lend(asked)?.ok()));
    let open = publish(&listening, &[("a", address)]);
    assert_eq!(at(&open[0]), address, "bound again, it would be in use");
}

#[test]
fn what_is_served_is_told_what_was() {
    let listening = listening();
    let wanted = || {
        let (bind, access, limits) = (any().into(), Access::OWN, Limits::default());
        [Wanted { name: "a", bind, access, limits, moves: false }]
    };
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

#[test]
fn a_file_stays_while_it_is_wanted_and_goes_with_the_last_who_holds_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("http.sock");
    let listening = listening();
    let publish = |wanted: &[(&str, u32)]| {
        let wanted: Vec<_> = wanted
            .iter()
            .map(|(name, mode)| Wanted {
                name,
                bind: Address::unix(&path),
                access: Access { mode: *mode, ..Access::OWN },
                limits: Limits::default(),
                moves: false,
            })
            .collect();
        let names: Vec<_> = wanted.iter().map(|it| it.name.to_owned()).collect();
        let change =
            listening.prepare(wanted, String::as_str, |place, _, _| Arc::new(names[place].clone()));
        listening.publish(&change.map_err(|it| it.len()).expect("bound"));
        listening.follow().borrow().clone()
    };
    let mode = || std::fs::metadata(&path).map(|it| it.permissions().mode() & 0o777).ok();
    let first = publish(&[("a", 0o600)]);
    assert_eq!((mode(), listening.addresses()), (Some(0o600), vec![]));
    let renamed = publish(&[("b", 0o666)]);
    assert!(Arc::ptr_eq(&first[0], &renamed[0]) && mode() == Some(0o666));
    drop((first, renamed));
    assert!(publish(&[]).is_empty() && mode().is_none());
}

#[test]
fn a_service_manager_s_file_stays_as_it_is() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().expect("a directory");
    let path: Arc<Path> = directory.path().join("http.sock").into();
    let kept = UnixListener::bind(&path).expect("a socket");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("set");
    let (asked, given) = (Address::Unix(Arc::clone(&path)), Arc::clone(&path));
    let lend = move |at: &Address| {
        let socket = (*at == asked).then(|| kept.try_clone().ok()).flatten()?;
        Some(Ready::InheritedFile(Arc::clone(&given), socket))
    };
    let listening: Listening<Served> = Listening::new(2, Box::new(lend));
    let wanted = || {
        let bind = Address::Unix(Arc::clone(&path));
        Wanted { name: "a", bind, access: Access::OWN, limits: Limits::default(), moves: false }
    };
    let change = listening.prepare([wanted()], String::as_str, |_, _, _| Arc::new("a".into()));
    listening.publish(&change.map_err(|it| it.len()).expect("no living process is in the way"));
    let mode = || std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(), 0o640);
    let none = listening.prepare([], String::as_str, |_, _, _| Arc::new("a".into()));
    listening.publish(&none.map_err(|it| it.len()).expect("nothing"));
    assert!(listening.follow().borrow().is_empty());
    assert_eq!(mode(), 0o640, "it is not this process's to remove");
}

/// Workers that accept and count, at what is open.
fn counting(
    listening: &Listening<Served>,
    workers: usize,
) -> (relay::worker::Workers, Arc<AtomicUsize>) {
    let follow = (listening.follow(), listening.at_work());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let settings = relay::worker::Settings { name: "test", workers };
    let workers = relay::worker::Workers::start(settings, move |worker| {
        let (follow, counted) = (follow.clone(), Arc::clone(&counted));
        async move {
            accept(&worker, follow, |_| {
                let counted = Arc::clone(&counted);
                move |_, _, _| {
                    counted.fetch_add(1, Ordering::SeqCst);
                    std::future::ready(())
                }
            })
            .await;
        }
    });
    (workers.expect("threads"), count)
}

/// A process that takes over with these sockets.
fn successor(handed: Vec<Handed>, workers: usize) -> Listening<Served> {
    let handed = std::sync::Mutex::new(handed);
    let find = move |address: &Address| {
        let mut handed = handed.lock().expect("no panic");
        let place = handed.iter().position(|it| it.asked == *address)?;
        Ready::resumed(address, handed.remove(place).sockets)
    };
    Listening::new(workers, Box::new(find)).held()
}

async fn reaches(count: &AtomicUsize, wanted: usize) {
    while count.load(Ordering::SeqCst) < wanted {
        tokio::task::yield_now().await;
    }
    assert_eq!(count.load(Ordering::SeqCst), wanted);
}

async fn is_handed_over(before: usize, after: usize) {
    let first = Listening::new(before, Box::new(|_| None));
    let address = at(&publish(&first, &[("a", any())])[0]);
    let (old, by_first) = counting(&first, before);
    let connect = || (0..20).map(|_| std::net::TcpStream::connect(address).expect("listens"));
    let _before: Vec<_> = connect().collect();
    reaches(&by_first, 20).await;
    let handed = first.handed().expect("descriptors");
    assert_eq!(handed[0].sockets.len(), before, "one of each queue");

    let second = successor(handed, after);
    assert_eq!(at(&publish(&second, &[("a", any())])[0]), address);
    let (_new, by_second) = counting(&second, after);
    let _meanwhile: Vec<_> = connect().collect();
    reaches(&by_first, 40).await;

    first.hand_over();
    old.drain(std::time::Duration::from_secs(5)).await;
    drop(first);
    let _between: Vec<_> = connect().collect();
    assert_eq!(by_second.load(Ordering::SeqCst), 0, "it has not begun");
    second.begin();
    reaches(&by_second, 20).await;
    let _after: Vec<_> = connect().collect();
    reaches(&by_second, 40).await;
    assert_eq!(by_first.load(Ordering::SeqCst), 40);
}

#[tokio::test]
async fn what_waits_between_two_processes_is_served_by_the_next() {
    is_handed_over(2, 2).await;
}

#[tokio::test]
async fn also_where_it_has_fewer_workers_or_more() {
    is_handed_over(4, 1).await;
    is_handed_over(1, 3).await;
}

#[tokio::test]
async fn a_file_goes_to_the_next_process_and_stays_where_it_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("http.sock");
    let address = Address::unix(&path);
    let wanted = || {
        let (access, limits, bind) = (Access::OWN, Limits::default(), address.clone());
        [Wanted { name: "a", bind, access, limits, moves: false }]
    };
    let open = |listening: &Listening<Served>| {
        let change = listening.prepare(wanted(), String::as_str, |_, _, _| Arc::new("a".into()));
        listening.publish(&change.map_err(|it| it.len()).expect("bound"));
    };
    let first = Listening::new(2, Box::new(|_| None));
    open(&first);
    let (old, by_first) = counting(&first, 2);
    let second = successor(first.handed().expect("descriptors"), 2);
    open(&second);
    let (new, by_second) = counting(&second, 2);
    first.hand_over();
    old.drain(std::time::Duration::from_secs(5)).await;
    drop(first);
    let _client = std::os::unix::net::UnixStream::connect(&path).expect("it is still there");
    second.begin();
    reaches(&by_second, 1).await;
    assert_eq!(by_first.load(Ordering::SeqCst), 0);
    new.drain(std::time::Duration::from_secs(5)).await;
    assert!(!path.exists(), "it goes with the last process");
}
