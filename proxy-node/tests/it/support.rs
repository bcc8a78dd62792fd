//! A node in this process, origins that do as they are told, and a client that hides nothing.

use std::{
    collections::{BTreeMap, HashMap},
    io::{Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use cluster_config::document::{
    Access, Acl, Egress, Limits, ProxyDocument, Rule, Term, Verdict,
    egress::{EgressAllow, EgressTarget},
    heads::Replies,
    proxy::{AccessLog, AccessLogFormat, Cache, Direct, ForwardedFor, Listen, OriginTls, Timeouts},
};
use dataplane::trace::span::Tracer;
use proxy_node::{
    cache::sketch::Sketch,
    config::Generation,
    dns::{
        self, Resolved, Resolver,
        files::{Files, System},
        share::Question,
    },
    egress::{self, ClusterPorts},
    listen::{Entrance, Listeners},
    metrics::Metrics,
    node::{Node, Store},
    record, start,
};
use relay::{
    clients::Clients,
    proof::{Challenge, Key},
    worker::Workers,
};
use tokio::sync::mpsc;

pub const KEY: [u8; 32] = [7; 32];
pub const NAME: &str = "proxy-node-1";

/// The files of every bundle here.
static FILES: Mutex<BTreeMap<&'static str, Vec<u8>>> = Mutex::new(BTreeMap::new());

fn file(path: &str) -> std::io::Result<Vec<u8>> {
    FILES.lock().unwrap().get(path).cloned().ok_or_else(|| std::io::ErrorKind::NotFound.into())
}

/// Puts a file into every bundle.
pub fn add_file(path: &'static str, content: Vec<u8>) {
    FILES.lock().unwrap().insert(path, content);
}

/// A node with both listeners on loopback. Loopback origins are allowed, the own ports are not.
pub struct Proxy {
    pub address: SocketAddr,
    pub relay: SocketAddr,
    pub node: Arc<Node>,
    pub workers: Option<Workers>,
    pub log: std::path::PathBuf,
    pub listeners: Arc<Listeners>,
    pub document: ProxyDocument,
    _dir: tempfile::TempDir,
}

pub fn listen_at(bind: SocketAddr) -> Listen {
    Listen { bind, health_path: Some("/".into()), proxy_protocol: false, limits: Limits::default() }
}

pub fn document(listen: SocketAddr) -> ProxyDocument {
    let long = Duration::from_secs(20);
    ProxyDocument {
        workers: None,
        listen: vec![listen_at(listen)],
        visible_hostname: "test-node".into(),
        trusted_downstreams: vec![],
        forwarded_for: ForwardedFor::Replace,
        max_connections: None,
        request_header_max_size: 64 << 10,
        replies: Replies::default(),
        cache: Cache {
            memory: 32 << 20,
            disk: 0,
            max_object_size: 1 << 20,
            collapsed_forwarding: true,
            owners: false,
            follow_timeout: long,
            range_offset_limit: 1 << 16,
            quick_abort: None,
            store_until_close: false,
            stale_if_unreachable: Duration::from_secs(24 * 3600),
            targeted_fields: vec![],
            vary_normalized: vec!["accept-encoding".into()],
            refresh_patterns: vec![],
            policy: Default::default(),
            purge: Default::default(),
        },
        compression: None,
        parents: vec![],
        icp: None,
        siblings: Default::default(),
        direct: Direct::default(),
        access: Access {
            acls: [("all".to_owned(), Acl::All)].into(),
            rules: vec![Rule {
                verdict: Verdict::Allow,
                terms: vec![Term { acl: "all".into(), negated: false }],
                page: None,
            }],
            egress: Egress {
                allow: vec![EgressAllow {
                    to: vec![EgressTarget::Loopback],
                    ports: vec![],
                    clients: vec![],
                }],
                deny: vec![],
            },
        },
        origin_tls: OriginTls { ca_file: None, system_ca: false },
        timeouts: Timeouts {
            connect: long,
            dns: long,
            read: long,
            write: long,
            request_head: long,
            request_body: long,
            client_idle: long,
            upstream_idle: long,
            tunnel_idle: long,
        },
        log_targets: Vec::new(),
        access_log: AccessLog {
            format: AccessLogFormat::Squid,
            rotate: Default::default(),
            request_id: true,
        },
    }
}

impl Proxy {
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    /// What its clients have.
    pub fn clients(&self) -> Arc<Clients> {
        self.workers.as_ref().unwrap().clients()
    }

    pub fn with(change: impl FnOnce(&mut ProxyDocument)) -> Self {
        Self::with_names(change, HashMap::new())
    }

    /// A node of this name.
    pub fn named(name: &'static str, change: impl FnOnce(&mut ProxyDocument)) -> Self {
        let dns = |resolver: Resolver, mut questions: mpsc::Receiver<Question>| async move {
            let unknown = |_, _| async { (Err(dns::Error::NotFound), Duration::from_secs(60)) };
            dns::serve(resolver, &mut questions, unknown).await;
        };
        Self::with_dns(name, change, dns, None)
    }

    /// `names`: what the resolver answers; others do not exist.
    pub fn with_names(
        change: impl FnOnce(&mut ProxyDocument),
        names: HashMap<&'static str, Vec<IpAddr>>,
    ) -> Self {
        Self::traced(change, names, None)
    }

    /// One that exports spans.
    pub fn traced(
        change: impl FnOnce(&mut ProxyDocument),
        names: HashMap<&'static str, Vec<IpAddr>>,
        tracer: Option<Tracer>,
    ) -> Self {
        Self::looking_up(
            change,
            move |host| names.get(host).cloned().map(Into::into).ok_or(dns::Error::NotFound),
            tracer,
        )
    }

    /// `lookup`: what the resolver answers.
    pub fn with_lookup(
        change: impl FnOnce(&mut ProxyDocument),
        lookup: impl Fn(&str) -> Resolved + Send + 'static,
    ) -> Self {
        Self::looking_up(change, lookup, None)
    }

    fn looking_up(
        change: impl FnOnce(&mut ProxyDocument),
        lookup: impl Fn(&str) -> Resolved + Send + 'static,
        tracer: Option<Tracer>,
    ) -> Self {
        let dns = |resolver: Resolver, mut questions: mpsc::Receiver<Question>| async move {
            dns::serve(resolver, &mut questions, |host, _| {
                let found = lookup(&host);
                async move { (found, Duration::from_secs(60)) }
            })
            .await;
        };
        Self::with_dns(NAME, change, dns, tracer)
    }

    /// A node on a host with these files.
    pub fn on_host(resolv_conf: &str, hosts: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files =
            Files { resolv_conf: dir.path().join("resolv.conf"), hosts: dir.path().join("hosts") };
        std::fs::write(&files.resolv_conf, resolv_conf).unwrap();
        std::fs::write(&files.hosts, hosts).unwrap();
        let system = Arc::new(System::new(files));
        let dns = |resolver: Resolver, mut questions: mpsc::Receiver<Question>| async move {
            resolver.renew(system.refresh().unwrap());
            drop(dir);
            dns::serve(resolver, &mut questions, |host, early| {
                dns::look_up(system.clone(), host, early)
            })
            .await;
        };
        Self::with_dns(NAME, |_| {}, dns, None)
    }

    /// `dns`: who answers the resolver's questions.
    fn with_dns<F: Future<Output = ()>>(
        name: &'static str,
        change: impl FnOnce(&mut ProxyDocument),
        dns: impl FnOnce(Resolver, mpsc::Receiver<Question>) -> F + Send + 'static,
        tracer: Option<Tracer>,
    ) -> Self {
        let bind = || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            listener
        };
        let (proxy, relay_door) = (bind(), bind());
        let (address, relay) = (proxy.local_addr().unwrap(), relay_door.local_addr().unwrap());
        let mut document = document(address);
        change(&mut document);
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("access.log");
        let (recorder, _thread) = record::start(log.clone(), name).unwrap();
        let (resolver, questions) = Resolver::new();
        let answering = resolver.clone();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(dns(answering, questions));
        });
        let generation = Generation::from_document("r1".into(), document.clone(), file).unwrap();
        let node = Arc::new(Node {
            name: name.into(),
            cache_name: name.into(),
            pseudonym: ArcSwap::from_pointee(format!("{name}.test")),
            cluster_key: Key::new(&KEY),
            store: Store::new(document.cache.memory),
            confirmation: Default::default(),
            petitions: Default::default(),
            current: ArcSwap::from_pointee(generation),
            cluster_names: ArcSwap::default(),
            owners: ArcSwap::default(),
            icp: Arc::default(),
            popular: Sketch::new(10),
            probe_targets: ArcSwap::default(),
            ports: ArcSwap::from_pointee(ClusterPorts::new(
                [],
                [address, relay],
                egress::own_addresses(),
            )),
            resolver,
            recorder,
            metrics: Metrics::new(),
            compressor: Default::default(),
            answers: dataplane::count::PerWorker::new(2),
            tracer,
            trace_origins: false,
            load: std::sync::atomic::AtomicU8::default(),
            serving: AtomicBool::new(true),
            zone: jiff::tz::TimeZone::UTC,
            steady: proxy_node::clock::Steady::start(proxy_node::clock::unix_millis()),
            refusals: proxy_node::node::Throttle::default(),
            shares: proxy_node::node::Throttle::default(),
        });
        let listeners = Arc::new(
            Listeners::new(
                Entrance::Bound(relay_door),
                Entrance::Bound(proxy),
                2,
                (chassis::Inherited::default(), None),
            )
            .unwrap(),
        );
        let limits = document.listen.first().map_or_else(Limits::default, |it| it.limits);
        listeners.reconcile(&[Listen { limits, ..listen_at(address) }]).unwrap();
        let workers = start::start_workers(&node, &listeners, 2).unwrap();
        Self { address, relay, node, workers: Some(workers), log, listeners, document, _dir: dir }
    }

    /// Puts another configuration in force.
    pub fn change(&mut self, change: impl FnOnce(&mut ProxyDocument)) {
        change(&mut self.document);
        let generation =
            Generation::from_document("r2".into(), self.document.clone(), file).unwrap();
        let generation = generation.after(&self.node.current.load());
        self.node.current.store(Arc::new(generation));
    }

    /// A request on a connection of its own, read to the end.
    pub fn ask(&self, method: &str, url: &str, fields: &str) -> Reply {
        let host = url.split('/').nth(2).unwrap_or_default();
        self.raw(
            format!("{method} {url} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n")
                .as_bytes(),
            method,
        )
    }

    pub fn get(&self, url: &str) -> Reply {
        self.ask("GET", url, "")
    }

    pub fn raw(&self, bytes: &[u8], method: &str) -> Reply {
        let mut stream = connect(self.address);
        stream.write_all(bytes).unwrap();
        read_reply(&mut stream, method)
    }

    /// Lines of the access log once there are so many.
    pub fn log_lines(&self, count: usize) -> Vec<String> {
        until("the access log has its lines", || {
            let text = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            (lines.len() >= count).then_some(lines)
        })
    }
}

/// A connection to a relay listener on which both sides have proved themselves.
pub fn proved(listener: SocketAddr, challenge: &Challenge) -> TcpStream {
    let mut stream = connect(listener);
    stream.write_all(challenge.header()).unwrap();
    let mut answer = [0; 64];
    stream.read_exact(&mut answer).unwrap();
    let confirmation =
        challenge.confirm(&Key::new(&KEY), NAME, &answer).expect("the node proves itself");
    stream.write_all(&confirmation).unwrap();
    stream
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

/// Waits for a state.
pub fn until<T>(what: &str, mut state: impl FnMut() -> Option<T>) -> T {
    let deadline = relay::clock::now() + Duration::from_secs(30);
    loop {
        if let Some(reached) = state() {
            return reached;
        }
        assert!(relay::clock::now() < deadline, "not reached: {what}");
        std::thread::yield_now();
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// The message was complete by its own framing.
    pub complete: bool,
}

impl Reply {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    String::from_utf8(head).ok()
}

/// Reads one response, interim ones skipped.
pub fn read_reply(stream: &mut TcpStream, method: &str) -> Reply {
    let nothing = Reply { status: 0, head: String::new(), body: vec![], complete: false };
    let head = loop {
        let Some(head) = read_head(stream) else { return nothing };
        if !head.starts_with("HTTP/1.1 1") {
            break head;
        }
    };
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let mut reply = Reply { status, head, body: vec![], complete: true };
    if method == "HEAD" || matches!(status, 204 | 304) || (method == "CONNECT" && status == 200) {
        return reply;
    }
    if reply.field("transfer-encoding").is_some() {
        reply.complete = read_chunks(stream, &mut reply.body);
    } else if let Some(length) =
        reply.field("content-length").map(|length| length.parse::<usize>().unwrap())
    {
        let mut taken = (&mut *stream).take(length as u64);
        reply.complete = taken.read_to_end(&mut reply.body).is_ok() && reply.body.len() == length;
    } else {
        reply.complete = stream.read_to_end(&mut reply.body).is_ok();
    }
    reply
}

/// False when the last chunk never came. Trailers go behind the body as text.
fn read_chunks(stream: &mut TcpStream, body: &mut Vec<u8>) -> bool {
    let line = |stream: &mut TcpStream| {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            if !matches!(stream.read(&mut byte), Ok(1)) {
                return None;
            }
            line.push(byte[0]);
        }
        line.truncate(line.len() - 2);
        String::from_utf8(line).ok()
    };
    loop {
        let Some(size) = line(stream).and_then(|size| usize::from_str_radix(&size, 16).ok()) else {
            return false;
        };
        if size == 0 {
            break;
        }
        let mut chunk = vec![0; size + 2];
        if stream.read_exact(&mut chunk).is_err() {
            return false;
        }
        body.extend_from_slice(&chunk[..size]);
    }
    loop {
        match line(stream) {
            Some(end) if end.is_empty() => return true,
            Some(trailer) => body.extend_from_slice(trailer.as_bytes()),
            None => return false,
        }
    }
}

/// What an origin does after a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Then {
    Keep,
    Close,
    Reset,
}

/// An origin that runs a script for every request.
pub struct Origin {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Origin {
    pub fn start(script: impl Fn(&mut TcpStream, &str) -> Then + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (requests, connections, script) =
            (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)), Arc::new(script));
        let (seen, counted) = (Arc::clone(&requests), Arc::clone(&connections));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counted.fetch_add(1, Ordering::SeqCst);
                let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
                std::thread::spawn(move || converse(stream, &seen, &*script));
            }
        });
        Self { address, requests, connections }
    }

    /// Answers every request with these bytes.
    pub fn answering(bytes: impl Into<Vec<u8>>, then: Then) -> Self {
        let bytes = bytes.into();
        Self::start(move |stream, _| {
            drop(stream.write_all(&bytes));
            then
        })
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn converse(
    mut stream: TcpStream,
    seen: &Mutex<Vec<String>>,
    script: &dyn Fn(&mut TcpStream, &str) -> Then,
) {
    while let Some(head) = read_head(&mut stream) {
        seen.lock().unwrap().push(head.clone());
        match script(&mut stream, &head) {
            Then::Keep => {}
            Then::Close => return drop(stream.shutdown(Shutdown::Both)),
            Then::Reset => {
                drop(socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)));
                return;
            }
        }
    }
}

/// A whole response.
pub fn response(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{fields}\r\n{body}", body.len())
}

/// A gate that scripts wait at until the test opens it.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, std::sync::Condvar)>);

impl Gate {
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub fn wait(&self) {
        let mut open = self.0.0.lock().unwrap();
        while !*open {
            open = self.0.1.wait(open).unwrap();
        }
    }
}
