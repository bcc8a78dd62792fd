//! One service of the control plane alone, as a real process, and the many who talk to it,
//! simulated in this process over the real protocol: mutual TLS, a connection each.

pub mod fleet;
pub mod instances;
pub mod watchers;

use std::{net::SocketAddr, path::PathBuf, process::Command};

use anyhow::{Context, Result};
use chassis::{
    Clock, Identity, Role, ServiceChannel,
    connect::{Connector, Expected, Transport},
    credentials::{Credentials, Files},
    pki,
};
use cluster::Service;
use tempfile::TempDir;

use crate::{
    contender::{free_address, process::Process},
    cpu,
};

/// A service that runs alone; dropping it ends it.
#[derive(Debug)]
pub struct Alone {
    /// Its gRPC port.
    pub address: SocketAddr,
    service: Service,
    process: Process,
    papers: PathBuf,
    _directory: TempDir,
}

impl Alone {
    /// Starts it on the contenders' core, with certificates of its own.
    pub async fn start(service: Service, arguments: &[&str]) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("shoal-bench-").tempdir()?;
        let papers = directory.path().join("pki");
        let now = Clock::system().now();
        let names = [service, Service::Balancer]
            .map(|service| (Role::Service(service), service.to_string()));
        pki::init(&papers, &names, now, pki::VALIDITY)?;
        let nodes = Identity::new(Role::Service(Service::ProxyNode), Service::ProxyNode.as_str());
        pki::issue_to(&papers, &Identity { replicas: u32::MAX, ..nodes }, &[], now, pki::VALIDITY)?;
        let address = free_address()?;
        let admin = free_address()?;
        let process = Process::start(address, |data| {
            let mut command = Command::new(testkit::lab::binary());
            command.args([
                "serve",
                service.as_str(),
                "--name",
                service.as_str(),
                "--log-format",
                "pretty",
                "--advertise",
                "127.0.0.1",
            ]);
            command.arg("--data-dir").arg(data.join("data")).args([
                "--grpc",
                &address.to_string(),
                "--admin",
                &admin.to_string(),
            ]);
            // Its own address stands for a registry: nobody else is there.
            command.args(["--registry", &address.to_string()]);
            for (flag, file) in [
                ("--ca", "ca.crt".to_owned()),
                ("--cert", format!("{service}.crt")),
                ("--key", format!("{service}.key")),
            ] {
                command.arg(flag).arg(papers.join(file));
            }
            command.arg("--cluster-key").arg(papers.join("cluster.key")).args(arguments);
            Ok(command)
        });
        let process = process.await.with_context(|| format!("start {service}"))?;
        cpu::pin(process.pid(), cpu::CONTENDER)?;
        Ok(Self { address, service, process, papers, _directory: directory })
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Whoever has that certificate.
    pub fn caller(&self, certificate: &str) -> Result<Caller> {
        let file = |extension: &str| self.papers.join(format!("{certificate}.{extension}"));
        let files = Files { ca: self.papers.join("ca.crt"), cert: file("crt"), key: file("key") };
        let credentials = Credentials::load(files, Clock::system())?;
        Ok(Caller {
            transport: Transport::Mutual(credentials),
            service: self.service,
            address: self.address.to_string(),
        })
    }
}

/// Makes connections with one certificate.
#[derive(Clone, Debug)]
pub struct Caller {
    transport: Transport,
    service: Service,
    address: String,
}

impl Caller {
    /// A connection of its own.
    pub async fn connect(&self) -> Result<ServiceChannel> {
        let (expected, address) =
            (Expected { service: self.service, name: None }, self.address.clone());
        let connector =
            Connector::new(self.transport.clone(), expected, move || vec![address.clone()].into());
        Ok(connector.connected().await?)
    }
}
