//! A balancer in this process over fake nodes: real sockets, no control plane.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use balancer::{
    engine::{Engine, Running, Surroundings},
    face::grpc::{Face, message},
    operate::{Operator, registry::Registry},
    standing::locality::Place,
    view::View,
};
use chassis::membership::{Membership, Watch};
use cluster::{AdminState, Instance, InstanceId, InstanceStatus, Service, State};
use cluster_config::FileReference;
use dataplane::trace::span::Tracer;
use jiff::Timestamp;
use proto::balancer as pb;
use relay::{
    proof::{self, Confirmation, Key},
    proxy_protocol::{self, Header},
};
use serde_json::Value;
use testkit::{
    client::{Answer, Connection},
    message::{Head, Reader},
    wait::until,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::JoinSet,
};

/// Of a bundle without lists.
pub const NO_FILES: fn(&FileReference) -> io::Result<Vec<u8>> =
    |_| Err(io::ErrorKind::NotFound.into());

/// The key that balancer and fake nodes share.
pub const KEY: [u8; 32] = [7; 32];

/// How a fake node behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Answers 200 with its name.
    Serve,
    /// Reads a request and closes.
    CloseUnanswered,
    /// Sends half of a small response and closes: its origin did.
    CutSmall,
    /// Sends half of a small response and resets the connection.
    ResetSmall,
    /// Sends half of a small response and dies.
    DieSmall,
    /// Sends a fifth of a large response and closes.
    CutLarge,
    /// Accepts, reads, and never answers anything, probes neither: a stopped process.
    Silent,
    /// Answers probes at once and requests when the gate opens: its origins are slow.
    SlowOrigin,
    /// Answers nothing, and counts who does not wait for it any longer.
    Deserted,
    /// Answers 503 as its own failure.
    OwnError,
    /// Answers 502 as its origin's failure.
    OriginError,
    /// Sends interim responses and never a final one.
    InterimsForEver,
    /// Answers CONNECT with a 2xx that announces a body.
    FramedTunnel,
    /// Carries tunnels in frames, on connections that outlive them.
    KeepsConnections,
    /// Answers as soon as it has the head.
    Overtake,
    /// Answers 503 that its origin said.
    Unavailable,
    /// Takes so many milliseconds for an answer, of which it waited so many for its origin.
    Takes(u64, u64),
    /// Answers 200 with a megabyte.
    Large,
    /// Has another cluster key, as somebody has who only has a certificate.
    Impostor,
}

/// One request that a fake node has seen.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub head: Head,
    pub body: Vec<u8>,
    pub proxied: Header,
    /// How many requests came on the same connection before.
    pub before: usize,
}

struct Shared {
    name: String,
    mode: Mutex<Mode>,
    arrivals: Mutex<Vec<Arrival>>,
    probes: Mutex<usize>,
    load: Mutex<Option<u8>>,
    left: Mutex<usize>,
    gate: Notify,
    dies: Notify,
}

/// A fake node behind a relay listener.
pub struct Node {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Node {
    pub async fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self::on(name, listener)
    }

    fn on(name: &str, listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            mode: Mutex::new(Mode::Serve),
            arrivals: Mutex::default(),
            probes: Mutex::default(),
            load: Mutex::default(),
            left: Mutex::default(),
            gate: Notify::new(),
            dies: Notify::new(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, accepting: Mutex::new(Some(accepting)) }
    }

    pub fn name(&self) -> &str {
        &self.shared.name
    }

    pub fn set(&self, mode: Mode) {
        *self.shared.mode.lock().unwrap() = mode;
    }

    /// Lets waiting requests of a slow origin go.
    pub fn open_gate(&self) {
        self.set(Mode::Serve);
        self.shared.gate.notify_waiters();
    }

    pub fn arrivals(&self) -> Vec<Arrival> {
        self.shared.arrivals.lock().unwrap().clone()
    }

    /// Requests that were given up before they were answered.
    pub fn left(&self) -> usize {
        *self.shared.left.lock().unwrap()
    }

    /// It says that it is so full from now on.
    pub fn set_load(&self, percent: u8) {
        *self.shared.load.lock().unwrap() = Some(percent);
    }

    pub fn probes(&self) -> usize {
        *self.shared.probes.lock().unwrap()
    }

    /// As kill -9: nobody listens any more, and every connection is closed.
    pub async fn kill(&self) {
        let accepting = self.accepting.lock().unwrap().take();
        if let Some(accepting) = accepting {
            accepting.abort();
            assert!(accepting.await.is_err());
            // Its connections are told to end with it, and hold what they share until they have.
            until("every connection is closed", || async {
                (Arc::strong_count(&self.shared) == 1).then_some(())
            })
            .await;
        }
    }

    /// Starts again at the same address.
    pub async fn restart(&self) -> Self {
        let listener = until("the port is free again", || async {
            TcpListener::bind(self.address).await.ok()
        })
        .await;
        Self::on(self.name(), listener)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.dies.notified() => return,
        };
        let Ok((stream, _)) = accepted else { return };
        connections.spawn(connection(stream, Arc::clone(&shared)));
    }
}

async fn connection(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut seen = Vec::new();
    let proxied = loop {
        if stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
            return;
        }
        if let Some((proxied, length)) = proxy_protocol::parse(&seen).expect("a PROXY header") {
            let header: Vec<u8> = seen.drain(..length).collect();
            if !prove(&mut stream, &header, &mut seen, &shared).await {
                return;
            }
            break proxied;
        }
    };
    let (read, mut write) = stream.into_split();
    let mut reader = Reader::new(std::io::Cursor::new(seen).chain(read));
    let mut before = 0;
    while let Ok(Some(head)) = reader.head().await {
        if *shared.mode.lock().unwrap() == Mode::Overtake {
            respond(&head, Mode::Serve, &shared, &mut write).await;
        }
        let Ok(body) = reader.body(&head).await else { return };
        if head.line.starts_with("OPTIONS * ") {
            *shared.probes.lock().unwrap() += 1;
            if *shared.mode.lock().unwrap() == Mode::Silent {
                return std::future::pending().await;
            }
            let load = *shared.load.lock().unwrap();
            let load = load.map(|load| format!("Shoal-Load: {load}\r\n")).unwrap_or_default();
            let answer = format!("HTTP/1.1 200 OK\r\n{load}Content-Length: 0\r\n\r\n");
            if write.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
            continue;
        }
        shared.arrivals.lock().unwrap().push(Arrival { head: head.clone(), body, proxied, before });
        before += 1;
        let mode = *shared.mode.lock().unwrap();
        if head.line.starts_with("CONNECT ") && mode == Mode::Serve {
            if write.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.is_ok() {
                echo(reader, write).await;
            }
            return;
        }
        if head.line.starts_with("CONNECT ") && mode == Mode::KeepsConnections {
            let framed = b"HTTP/1.1 200 OK\r\nShoal-Tunnel: framed\r\n\r\n";
            let answered = write.write_all(framed).await.is_ok();
            if answered && echo_frames(&mut reader, &mut write).await.is_some() {
                continue;
            }
            return;
        }
        if mode == Mode::Deserted {
            drop(reader.head().await);
            *shared.left.lock().unwrap() += 1;
            return;
        }
        if mode == Mode::InterimsForEver {
            while write.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").await.is_ok() {}
            return;
        }
        if head.line.starts_with("CONNECT ") && mode == Mode::FramedTunnel {
            let framed = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Kept: 1\r\n\r\n";
            if write.write_all(framed).await.is_ok() {
                echo(reader, write).await;
            }
            return;
        }
        if !respond(&head, mode, &shared, &mut write).await {
            if mode == Mode::ResetSmall {
                drop(write.as_ref().set_zero_linger());
                // Dropped, it would end in order first.
                write.forget();
            }
            return;
        }
    }
}

/// As a node proves itself; false: the balancer has gone, or does not believe it. What came with
/// the balancer's proof is left in `seen`.
async fn prove(stream: &mut TcpStream, header: &[u8], seen: &mut Vec<u8>, shared: &Shared) -> bool {
    assert!(seen.is_empty(), "nothing is sent before the node has proved itself: {seen:?}");
    let impostor = *shared.mode.lock().unwrap() == Mode::Impostor;
    let key = Key::new(&if impostor { [0; 32] } else { KEY });
    let nonce = proof::nonce().expect("a nonce");
    if stream.write_all(&proof::answer(&key, &shared.name, &nonce, header)).await.is_err() {
        return false;
    }
    while seen.len() < size_of::<Confirmation>() {
        if stream.read_buf(seen).await.unwrap_or(0) == 0 {
            return false;
        }
    }
    let confirmation: Vec<u8> = seen.drain(..size_of::<Confirmation>()).collect();
    assert!(!impostor, "an impostor is told nothing");
    assert!(
        proof::confirms(
            &key,
            &shared.name,
            &nonce,
            header,
            &confirmation.try_into().expect("32 bytes")
        ),
        "it is for this node"
    );
    true
}

async fn echo(
    reader: Reader<impl tokio::io::AsyncRead + Unpin>,
    mut write: impl tokio::io::AsyncWrite + Unpin,
) {
    let (mut read, early) = reader.into_parts();
    if write.write_all(&early).await.is_ok() {
        drop(tokio::io::copy(&mut read, &mut write).await);
    }
}

/// Sends each frame back, until both directions have ended. None: the connection has before.
async fn echo_frames(
    reader: &mut Reader<impl tokio::io::AsyncRead + Unpin>,
    write: &mut (impl tokio::io::AsyncWrite + Unpin),
) -> Option<()> {
    loop {
        let header: [u8; 4] = reader.exactly(4).await.ok()?.try_into().ok()?;
        let frame = reader.exactly(u32::from_be_bytes(header) as usize).await.ok()?;
        write.write_all(&[&header[..], &frame].concat()).await.ok()?;
        if frame.is_empty() {
            return Some(());
        }
    }
}

/// Answers a request; whether the connection stays.
async fn respond(
    head: &Head,
    mode: Mode,
    shared: &Shared,
    write: &mut (impl tokio::io::AsyncWrite + Unpin),
) -> bool {
    let name = &shared.name;
    let ok = |length: usize| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nShoal-Origin-Time: 3\r\nX-Node: \
             {name}\r\n\r\n"
        )
    };
    let text = match mode {
        Mode::Serve | Mode::KeepsConnections | Mode::Overtake => ok(name.len()) + name,
        Mode::Large => ok(1_000_000) + &"x".repeat(1_000_000),
        Mode::CloseUnanswered => return false,
        Mode::Silent | Mode::Deserted | Mode::InterimsForEver | Mode::FramedTunnel => {
            std::future::pending().await
        }
        Mode::CutSmall => {
            drop(write.write_all((ok(10) + "half").as_bytes()).await);
            return false;
        }
        Mode::ResetSmall | Mode::DieSmall => {
            drop(write.write_all((ok(10) + "half").as_bytes()).await);
            if mode == Mode::DieSmall {
                shared.dies.notify_one();
                return std::future::pending().await;
            }
            return false;
        }
        Mode::CutLarge => {
            drop(write.write_all((ok(100_000) + &"x".repeat(20_000)).as_bytes()).await);
            return false;
        }
        Mode::Unavailable => {
            "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nsorry".to_owned()
        }
        Mode::Takes(all, origin) => {
            tokio::time::sleep(std::time::Duration::from_millis(all)).await;
            ok(name.len()).replace("Time: 3", &format!("Time: {origin}")) + name
        }
        Mode::Impostor => unreachable!("nobody asks an impostor"),
        Mode::SlowOrigin => {
            shared.gate.notified().await;
            ok(name.len()) + name
        }
        Mode::OwnError => {
            format!(
                "HTTP/1.1 503 Full\r\nProxy-Status: {name}; \
                 error=connection_limit_reached\r\nContent-Length: 0\r\n\r\n"
            )
        }
        Mode::OriginError => format!(
            "HTTP/1.1 502 Bad\r\nProxy-Status: {name}; error=connection_refused\r\nContent-Length: \
             0\r\n\r\n"
        ),
    };
    let text = if head.line.starts_with("HEAD ") {
        text.split_inclusive("\r\n\r\n").next().unwrap_or_default().to_owned()
    } else {
        text
    };
    write.write_all(text.as_bytes()).await.is_ok()
}

/// A balancer over fake nodes.
pub struct Cluster {
    pub nodes: Vec<Node>,
    pub frontend: SocketAddr,
    pub view: View,
    pub engine: Engine,
    pub running: Running,
    membership: watch::Sender<Arc<Membership>>,
    settings: serde_json::Value,
    revision: usize,
    pub directory: tempfile::TempDir,
}

/// The document of one frontend and one backend; `extra` is laid over the backend, and what it has
/// under `frontend` over the frontend, and its `log_targets` over those.
pub fn document(extra: &serde_json::Value) -> Vec<u8> {
    let mut backend = serde_json::json!({
        "name": "squid_servers", "balance": "round_robin",
        "discover": {"service": "proxy-node", "tags": [], "datacenter": null}, "servers": [],
        "check": {"enabled": true, "inter": "1s", "timeout": "2s", "rise": 2, "fall": 3},
        "passive": {"max_fails": 2, "fail_timeout": "30s", "count": ["connect", "reset"]},
        "suspicion": {"after": "500ms", "probe_timeout": "250ms", "probes": 2},
        "retry": {"attempts": 3, "budget": 20},
        "timeouts": {"connect": "5s", "server": "50s", "tunnel_idle": "1h"},
        "keepalive": 32, "keepalive_idle": "60s", "panic_threshold": 50
    });
    let mut frontend = serde_json::json!({
        "name": "proxy_frontend", "bind": "127.0.0.1:0", "backend": "squid_servers",
        "health_path": "/",
        "timeouts": {"client": "50s", "client_idle": "60s", "request_head": "10s"}
    });
    let mut log_targets = serde_json::json!([]);
    for (key, value) in extra.as_object().into_iter().flatten() {
        if key == "log_targets" {
            log_targets = value.clone();
            continue;
        }
        match value.as_object().filter(|_| key == "frontend") {
            Some(values) => values.iter().for_each(|(key, value)| frontend[key] = value.clone()),
            None => backend[key] = value.clone(),
        }
    }
    let document = serde_json::json!({
        "frontends": [frontend], "backends": [backend], "log_targets": log_targets
    });
    serde_json::to_vec(&document).expect("JSON")
}

impl Cluster {
    /// That many nodes, named node-1 and so on, and a balancer with two workers that knows all of
    /// them.
    pub async fn start(nodes: usize) -> Self {
        Self::with(nodes, serde_json::json!({})).await
    }

    pub async fn with(count: usize, settings: serde_json::Value) -> Self {
        Self::traced(count, settings, None).await
    }

    /// One that exports spans.
    pub async fn traced(count: usize, settings: serde_json::Value, tracer: Option<Tracer>) -> Self {
        let mut nodes = Vec::new();
        for index in 1..=count {
            nodes.push(Node::start(&format!("node-{index}")).await);
        }
        let directory = tempfile::tempdir().expect("a directory");
        let (membership, watch) = Watch::manual(Membership::default());
        let listed = watch.clone();
        let runtime = tokio::runtime::Handle::current();
        let engine = Engine::new(Surroundings {
            workers: 2,
            name: "balancer-1".to_owned(),
            cluster_key: KEY,
            place: Place { datacenter: "beijing".to_owned(), zone: "a".to_owned() },
            membership: watch,
            clock: chassis::Clock::system(),
            access_log: directory.path().join("access.log"),
            announce: Box::new(|_, _| ()),
            inherited: chassis::Inherited::default(),
            predecessor: None,
            tracer,
            secrets: directory.path().join("secrets"),
            notify: None,
            spawn: Arc::new(move |_, task| drop(runtime.spawn(async move { task().await }))),
        })
        .expect("an access log");
        engine.apply("r1", &document(&settings), NO_FILES).expect("a good configuration");
        crate::runtime_socket::make_pages(&engine, listed);
        let running = engine.start("cluster-1").expect("workers");
        let mut view = engine.view();
        let open = view.open.wait_for(|open| !open.is_empty()).await.expect("running").clone();
        let frontend = open[0].address().ip().expect("no file");
        let cluster = Self {
            nodes,
            frontend,
            view,
            engine,
            running,
            membership,
            settings,
            revision: 1,
            directory,
        };
        cluster.list_all();
        for node in &cluster.nodes {
            cluster.until_standing(node.name(), pb::Standing::Usable).await;
            let proven = || async {
                cluster
                    .server(node.name())
                    .filter(|it| it.counters.is_some_and(|it| it.checks_passed > 0))
            };
            until("its check passes", proven).await;
        }
        cluster
    }

    /// Puts another backend into force.
    pub fn apply(&mut self, settings: serde_json::Value) -> Result<(), Vec<String>> {
        self.revision += 1;
        self.settings = settings;
        self.engine.apply(&format!("r{}", self.revision), &document(&self.settings), NO_FILES)
    }

    /// Where copies of the log go.
    pub fn targets(&self) -> std::sync::Arc<Vec<std::sync::Arc<dataplane::log::target::Target>>> {
        self.view.recorder.log().targets.current()
    }

    /// What was put into force last is said to be in force.
    pub async fn until_applied(&self) {
        let revision = format!("r{}", self.revision);
        until(format!("{revision} is in force"), || async {
            (self.stats().revision == revision).then_some(())
        })
        .await;
    }

    /// The registry lists every node as usable.
    pub fn list_all(&self) {
        self.list(&self.nodes.iter().map(status).collect::<Vec<_>>());
    }

    /// The registry lists these.
    pub fn list(&self, statuses: &[InstanceStatus]) {
        let instances: BTreeMap<_, _> =
            statuses.iter().map(|status| (status.instance.name.clone(), status.clone())).collect();
        self.membership.send_replace(Arc::new(Membership { instances, ..Membership::default() }));
    }

    pub fn stats(&self) -> pb::Stats {
        message::stats(&self.view.stats())
    }

    /// The gRPC service over a registry that is out of reach, of a process that was told of this
    /// revision last.
    pub fn face(&self, applied: &str) -> Face {
        let (_, status) = watch::channel(chassis::Status {
            applied_revision: applied.to_owned(),
            ..chassis::Status::default()
        });
        let operator = self.operator();
        Face::new(self.view.clone(), operator, status, chassis::StopSignal::default())
    }

    /// Takes what operators want, with a registry that is out of reach.
    pub fn operator(&self) -> Operator {
        let nowhere = tonic::transport::Endpoint::from_static("http://127.0.0.1:9").connect_lazy();
        Operator::new(self.view.clone(), Registry::new(nowhere.into()))
    }

    pub fn frontend_stats(&self) -> pb::Frontend {
        self.stats().frontends.remove(0)
    }

    pub fn server(&self, name: &str) -> Option<pb::Server> {
        self.stats().backends.into_iter().flat_map(|it| it.servers).find(|it| it.name == name)
    }

    pub fn counters(&self, name: &str) -> pb::ServerCounters {
        self.server(name).and_then(|it| it.counters).unwrap_or_default()
    }

    pub async fn until_standing(&self, name: &str, standing: pb::Standing) {
        let reached =
            || async { self.server(name).filter(|it| it.standing == i32::from(standing)) };
        until(format!("{name} is {standing:?}"), reached).await;
    }

    pub async fn open(&self) -> Connection {
        Connection::open(self.frontend).await.expect("the frontend")
    }

    /// One request on a connection of its own.
    pub async fn get(&self, method: &str, body: &[u8]) -> Answer {
        self.open()
            .await
            .request(method, "http://origin.example/x", &[], body)
            .await
            .expect("an answer")
    }

    pub fn arrivals(&self) -> Vec<Arrival> {
        self.nodes.iter().flat_map(Node::arrivals).collect()
    }
}

/// A node as the registry lists it.
pub fn status(node: &Node) -> InstanceStatus {
    InstanceStatus {
        instance: Instance {
            service: Service::ProxyNode,
            name: node.name().to_owned(),
            id: InstanceId(uuid::Uuid::from_u128(1)),
            generation: 1,
            endpoints: BTreeMap::from([
                ("relay".to_owned(), node.address.to_string()),
                ("proxy".to_owned(), format!("{}.test:3128", node.name())),
            ]),
            datacenter: String::new(),
            zone: String::new(),
            tags: vec![],
            weight: 1,
            version: String::new(),
            applied_revision: String::new(),
            applied_hash: String::new(),
        },
        admin_state: AdminState::Ready,
        state: State::Usable,
        reasons: vec![],
        registered_at: Timestamp::UNIX_EPOCH,
        changed_at: Timestamp::UNIX_EPOCH,
        lease_expires_at: Timestamp::UNIX_EPOCH,
        effective_weight: 1,
        opinions: vec![],
        withheld_state: None,
    }
}

/// The node that answered.
pub fn by(answer: &Answer) -> String {
    answer.head.field("x-node").unwrap_or_default().to_owned()
}

/// The access records of a balancer, once there are as many.
pub async fn records(cluster: &Cluster, count: usize) -> Vec<Value> {
    let path = cluster.directory.path().join("access.log");
    until(format!("{count} access records"), || async {
        let lines = std::fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<Value> =
            lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        (lines.len() >= count).then_some(lines)
    })
    .await
}
