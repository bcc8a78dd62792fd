//! The program itself.

use std::{
    fs::File,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use proto::registry::registry_client::RegistryClient;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;

use super::server::LIMIT;

/// The program itself, killed where it stands.
pub struct Program {
    child: Child,
    pub port: u16,
}

impl Program {
    pub async fn start(dir: &Path, args: &[&str]) -> Self {
        let free = || {
            TcpListener::bind("127.0.0.1:0")
                .and_then(|listener| listener.local_addr())
                .expect("a free port")
                .port()
        };
        let (port, admin) = (free(), free());
        let log = File::create(dir.join("log")).expect("a log");
        let child = Command::new(env!("CARGO_BIN_EXE_registry"))
            .args(args)
            .args(["--name", "registry-1", "--data-dir"])
            .arg(dir.join("data"))
            .args([
                "--grpc",
                &format!("127.0.0.1:{port}"),
                "--admin",
                &format!("127.0.0.1:{admin}"),
            ])
            .args(["--registry", &format!("127.0.0.1:{port}")])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("starts");
        Self { child, port }
    }

    pub async fn client(&self) -> RegistryClient<Channel> {
        let connected = async {
            loop {
                match Channel::from_shared(format!("http://127.0.0.1:{}", self.port))
                    .expect("an address")
                    .connect()
                    .await
                {
                    Ok(channel) => return RegistryClient::new(channel),
                    Err(_) => sleep(Duration::from_millis(20)).await,
                }
            }
        };
        timeout(LIMIT, connected).await.expect("it comes up")
    }

    /// What the kernel says that it used, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        let fields: Vec<_> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
        let ticks: u32 =
            fields[11..13].iter().map(|field| field.parse::<u32>().expect("ticks")).sum();
        f64::from(ticks) / 100.0
    }

    pub fn kill(mut self) {
        self.child.kill().expect("killed with -9");
        self.child.wait().expect("dead");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Already dead when the test did what it should.
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}
