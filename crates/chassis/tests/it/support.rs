//! Certificates, options, and processes that run in threads of the test.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use chassis::{
    Clock, Error, Options, Policy, Process, Role,
    authorize::{ANYONE, OPERATORS, Rule},
    connect::{Connector, Expected, ServiceChannel, Transport},
    credentials::{Credentials, Files},
    pki,
};
use clap::Parser;
use cluster::Service;
use tempfile::TempDir;
use tokio::sync::Notify;

/// Everything that the doubles serve.
pub static POLICY: Policy = Policy::new(&[
    Rule::write("/shoal.registry.v1.Registry/Register", ANYONE),
    Rule::read("/shoal.registry.v1.Registry/KeepAlive", ANYONE),
    Rule::write("/shoal.registry.v1.Registry/Deregister", ANYONE),
    Rule::write("/shoal.registry.v1.Registry/SetAdminState", OPERATORS),
    Rule::read("/shoal.registry.v1.Registry/ListInstances", ANYONE),
    Rule::read("/shoal.registry.v1.Registry/Watch", ANYONE),
    Rule::read("/shoal.config.v1.ConfigService/Subscribe", ANYONE),
    Rule::read("/shoal.config.v1.ConfigService/FetchFile", ANYONE),
]);

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    chassis: Options,
}

/// A directory with an authority and room for data dirs.
pub struct World {
    pub directory: TempDir,
}

impl World {
    pub fn new() -> Self {
        let world = Self { directory: tempfile::tempdir().unwrap() };
        let services = [
            (Service::Registry, "registry-1"),
            (Service::ConfigService, "config-1"),
            (Service::ProxyNode, "node-1"),
            (Service::ProxyNode, "node-2"),
        ];
        let others: Vec<_> =
            services.map(|(service, name)| (Role::Service(service), name.to_owned())).into();
        pki::init(&world.pki(), &others, chassis::Clock::system().now(), pki::VALIDITY).unwrap();
        world
    }

    pub fn pki(&self) -> PathBuf {
        self.directory.path().join("pki")
    }

    pub fn files(&self, name: &str) -> Files {
        let file = |extension| self.pki().join(format!("{name}.{extension}"));
        Files { ca: self.pki().join("ca.crt"), cert: file("crt"), key: file("key") }
    }

    /// Options of a process with this certificate, all ports free ones of loopback.
    pub fn options(&self, name: &str, registry: Option<SocketAddr>, more: &[&str]) -> Options {
        let files = self.files(name);
        let path = |path: &Path| path.display().to_string();
        let data_dir = path(&self.directory.path().join(name));
        let (ca, cert, key) = (path(&files.ca), path(&files.cert), path(&files.key));
        let registry = registry.map(|address| address.to_string());
        let mut arguments = vec![
            "test",
            "--grpc",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
            "--data-dir",
            &data_dir,
            "--ca",
            &ca,
        ];
        arguments.extend([
            "--cert",
            &cert,
            "--key",
            &key,
            "--drain-propagation",
            "0s",
            "--lease-ttl",
            "1s",
            "--log-level",
            "panic=error",
        ]);
        if let Some(registry) = &registry {
            arguments.extend(["--registry", registry]);
        }
        arguments.extend(more);
        CommandLine::parse_from(arguments).chassis
    }

    /// A channel with the certificate `name` to a service at an address.
    pub fn channel(&self, name: &str, service: Service, address: SocketAddr) -> ServiceChannel {
        channel(self.files(name), service, address)
    }
}

pub fn channel(files: Files, service: Service, address: SocketAddr) -> ServiceChannel {
    let transport = Transport::Mutual(Credentials::load(files, Clock::system()).unwrap());
    Connector::new(transport, Expected { service, name: None }, move || {
        vec![address.to_string()].into()
    })
    .channel()
}

/// A process in a thread.
pub struct Running {
    pub process: Process,
    crash: Arc<Notify>,
    thread: JoinHandle<Result<(), Error>>,
}

/// Runs a process whose body is `setup` and then the drain.
pub fn start<F>(service: &'static str, options: Options, setup: F) -> Running
where
    F: FnOnce(&Process) -> Result<(), Error> + Send + 'static,
{
    let (sender, receiver) = mpsc::sync_channel(1);
    let crash = Arc::new(Notify::new());
    let crashing = Arc::clone(&crash);
    let thread = std::thread::spawn(move || {
        chassis::run(service, &options, |process| async move {
            setup(&process)?;
            sender.send(process.clone()).unwrap();
            tokio::select! {
                () = crashing.notified() => Ok(()),
                drained = process.drain(async {}) => drained,
            }
        })
    });
    let process = receiver.recv_timeout(Duration::from_secs(20)).expect("the process starts");
    Running { process, crash, thread }
}

impl Running {
    /// Asks it to stop and waits until it has drained.
    pub fn stop(self) -> Result<(), Error> {
        self.process.lifecycle.stop().raise();
        self.ended()
    }

    /// Waits until it ends by itself.
    pub fn ended(self) -> Result<(), Error> {
        let Self { process, thread, .. } = self;
        drop(process);
        thread.join().unwrap()
    }

    /// Ends it without any drain, as a crash would.
    pub fn crash(self) {
        self.crash.notify_one();
        self.ended().unwrap();
    }

    pub fn grpc(&self) -> SocketAddr {
        self.process.ports.listeners()["grpc"]
    }
}

/// Waits until something is so.
pub async fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never so: {what}");
}
