use std::time::Duration;

use cluster_config::document::{
    Limits,
    balancer::{ClientTimeouts, Fields, Http2, Mode, UnixFiles},
};

use super::*;

fn wanted(name: &str, bind: SocketAddr) -> Settings {
    Settings {
        name: name.to_owned(),
        bind: vec![bind.into()],
        unix: UnixFiles::default(),
        mode: Mode::Http,
        proxy_protocol: Vec::new(),
        proxy_protocol_unix: false,
        tls: None,
        http2: Http2::default(),
        use_backend: Vec::new(),
        backend: "b".to_owned(),
        health_path: None,
        stats: None,
        pac: None,
        request_header_max_size: 65_536,
        request_fields: Fields::default(),
        response_fields: Fields::default(),
        limits: Limits::default(),
        timeouts: ClientTimeouts {
            client: Duration::ZERO,
            client_idle: Duration::ZERO,
            request_head: Duration::ZERO,
        },
    }
}

#[test]
fn a_frontend_keeps_its_counters_wherever_it_is_served() {
    let announced = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&announced);
    let announce: Announce =
        Box::new(move |name, address| told.lock().unwrap().push((name.to_owned(), address)));
    let frontends = Frontends::new(2, announce, Sources::default());
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let step = |settings: &[Settings]| {
        frontends.publish(&frontends.prepare(settings, &[]).expect("bound"));
        let open = frontends.follow().borrow().clone();
        open.iter().map(|it| it.served().clone()).collect::<Vec<_>>()
    };
    let [a, b] = &step(&[wanted("a", any), wanted("b", any)])[..] else { panic!("two") };
    let [first, second] = [a, b].map(|it| it.address.ip().expect("no file"));
    let named = [(a.name.clone(), first), (b.name.clone(), second)];
    assert_eq!(*announced.lock().unwrap(), named);
    let swapped = step(&[wanted("b", first), wanted("a", second)]);
    assert_eq!(swapped.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    assert!(Arc::ptr_eq(&swapped[1].counts, &a.counts));
}

#[test]
fn an_address_that_moves_is_bound_and_not_announced() {
    let announced = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&announced);
    let announce: Announce = Box::new(move |name, _| told.lock().unwrap().push(name.to_owned()));
    let frontends = Frontends::new(2, announce, Sources::default());
    let elsewhere = SocketAddr::from(([192, 0, 2, 100], 0));
    let settings =
        [wanted("moves", elsewhere), wanted("stays", SocketAddr::from(([127, 0, 0, 1], 0)))];
    let bound = frontends.prepare(&settings, &[elsewhere.ip()]).expect("bound");
    frontends.publish(&bound);
    assert_eq!(*announced.lock().unwrap(), ["stays"]);
    assert_eq!(frontends.follow().borrow().len(), 2);
    let other = SocketAddr::from(([192, 0, 2, 101], 0));
    assert!(frontends.prepare(&[wanted("fixed", other)], &[]).is_err());
}

#[test]
fn one_frontend_listens_at_several_places() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("http.sock").display().to_string();
    let announced = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&announced);
    let announce: Announce = Box::new(move |name, _| told.lock().unwrap().push(name.to_owned()));
    let frontends = Frontends::new(1, announce, Sources::default());
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut settings = wanted("web", any);
    settings.bind = vec![Bind::Unix(path.clone()), any.into(), any.into()];
    frontends.publish(&frontends.prepare(&[settings.clone()], &[]).expect("bound"));
    assert_eq!(*announced.lock().unwrap(), ["web", "web-2"]);
    let open = frontends.follow().borrow().clone();
    let [file, one, two] = &*open else { panic!("three") };
    assert_eq!(file.address().to_string(), format!("unix:{path}"));
    assert!(one.address() != two.address());
    let [file, one, two] = [file, one, two].map(|it| it.served().counts.clone());
    assert!(Arc::ptr_eq(&file, &one) && Arc::ptr_eq(&one, &two), "counted as one");
    settings.unix.group = Some("no-such-group".to_owned());
    let problems = frontends.prepare(&[settings], &[]).map(|_| ()).expect_err("unknown");
    assert!(problems[0].contains("frontend web: there is no group"), "{problems:?}");
}

#[test]
fn what_cannot_be_bound_is_named() {
    let frontends = Frontends::new(1, Box::new(|_, _| ()), Sources::default());
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = wanted("c", stranger.local_addr().expect("bound"));
    let problems = frontends.prepare(&[taken], &[]).map(|_| ()).expect_err("in use");
    assert!(problems[0].contains("frontend c") && problems[0].contains("in use"), "{problems:?}");
}
