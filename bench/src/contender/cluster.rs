//! Whole clusters: something that balances over three caches, of which one can be hit. Ours and
//! HAProxy's with Squids.

use std::{
    collections::BTreeSet,
    fs,
    net::{SocketAddr, UdpSocket},
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;
use testkit::{
    lab::{Lab, Options},
    wait::PATIENCE,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    process::Child,
    time::timeout,
};

use super::{Who, free_address, haproxy, process::Process, squid};
use crate::trial::Fault;

const NODES: usize = 3;
/// The one that is hit.
const VICTIM: usize = 1;

/// A running cluster; dropping it ends its processes.
#[derive(Debug)]
pub struct Cluster {
    /// Where clients connect.
    pub entrance: SocketAddr,
    members: Members,
}

/// What each cache has for what it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// What each has by itself, and a disk where that is usual.
    Usual,
    /// So many MiB, and no disk.
    Each(u32),
}

#[derive(Debug)]
enum Members {
    Shoal {
        _bundle: Option<TempDir>,
        lab: Box<Lab>,
        restarted: Option<Child>,
    },
    Peers {
        haproxy: Process,
        squids: Vec<Option<Process>>,
        ports: Vec<squid::Ports>,
        siblings: bool,
        memory: Memory,
    },
}

impl Cluster {
    /// Starts one and waits until all three nodes may serve.
    pub async fn start(who: Who, origin: SocketAddr, memory: Memory) -> Result<Self> {
        let cluster = match who {
            Who::ShoalCluster => shoal(memory, "round_robin").await?,
            Who::ShoalOwners => shoal(memory, "uri_hash").await?,
            Who::Reference | Who::Siblings | Who::Tuned => peers(who, origin, memory).await?,
            other => bail!("{} is no cluster", other.name()),
        };
        cluster.until_well().await?;
        Ok(cluster)
    }

    /// The processes that carry traffic.
    pub fn data_plane(&self) -> Result<Vec<i32>> {
        match &self.members {
            Members::Shoal { lab, .. } => Ok(["balancer-1"]
                .into_iter()
                .chain(["proxy-node-1", "proxy-node-2", "proxy-node-3"])
                .map(|name| lab.process(name).pid)
                .collect()),
            Members::Peers { haproxy, squids, .. } => {
                let squids = squids.iter().map(|squid| squid.as_ref().context("no such node"));
                let squids: Result<Vec<_>> = squids.map(|squid| Ok(squid?.pid())).collect();
                Ok(std::iter::once(haproxy.pid()).chain(squids?).collect())
            }
        }
    }

    /// Hits the node.
    pub fn hit(&self, fault: Fault) -> Result<()> {
        self.signal(if fault == Fault::Kill { Signal::SIGKILL } else { Signal::SIGSTOP })
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = match &self.members {
            Members::Shoal { lab, restarted, .. } => {
                let restarted = restarted.as_ref().and_then(Child::id).map(u32::cast_signed);
                restarted.unwrap_or_else(|| lab.process("proxy-node-2").pid)
            }
            Members::Peers { squids, .. } => {
                squids.get(VICTIM).and_then(Option::as_ref).context("no such node")?.pid()
            }
        };
        kill(Pid::from_raw(pid), signal).with_context(|| format!("{signal} to {pid}"))
    }

    /// Undoes what [`Cluster::hit`] did, and does not wait for what follows.
    pub async fn mend(&mut self, fault: Fault) -> Result<()> {
        if fault == Fault::Freeze {
            return self.signal(Signal::SIGCONT);
        }
        match &mut self.members {
            Members::Shoal { lab, restarted, .. } => *restarted = Some(lab.restart("proxy-node-2")),
            Members::Peers { squids, ports, siblings, memory, .. } => {
                // Ended and waited for before its address is taken again.
                squids[VICTIM] = None;
                squids[VICTIM] = Some(start_squid(ports, VICTIM, *siblings, *memory).await?);
            }
        }
        Ok(())
    }

    /// Waits until every node may serve again.
    pub async fn until_well(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            if self.down().await.is_ok_and(|down| down == Some(0)) {
                return Ok(());
            }
            ensure!(begun.elapsed() < PATIENCE, "not all nodes are usable after {PATIENCE:?}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    /// How many nodes get no requests now; none when the balancer does not know all of them yet.
    async fn down(&self) -> Result<Option<usize>> {
        let states: Vec<bool> = match &self.members {
            Members::Shoal { lab, .. } => {
                let metrics = metrics(lab).await?;
                values(&metrics, "shoal_balancer_server_usable").map(|value| value == 1.0).collect()
            }
            Members::Peers { haproxy, .. } => servers(haproxy)
                .await?
                .iter()
                .map(|server| server.status.starts_with("UP"))
                .collect(),
        };
        Ok((states.len() == NODES).then(|| states.iter().filter(|up| !**up).count()))
    }

    /// How often so far the balancer took a node for dead.
    pub async fn ejections(&self) -> Result<u64> {
        Ok(match &self.members {
            Members::Shoal { lab, .. } => {
                values(&metrics(lab).await?, "shoal_balancer_server_ejections_total").sum::<f64>()
                    as u64
            }
            Members::Peers { haproxy, .. } => {
                servers(haproxy).await?.iter().map(|server| server.downs).sum()
            }
        })
    }
}

async fn shoal(memory: Memory, balance: &str) -> Result<Cluster> {
    // A node that was killed stays dead for everybody alike until it is started again here.
    let mut arguments =
        ["--nodes", "3", "--balancers", "1", "--no-restart"].map(str::to_owned).to_vec();
    let mut bundle = None;
    if let Memory::Each(memory) = memory {
        let directory = tempfile::tempdir()?;
        fs::write(directory.path().join("cluster.yaml"), configuration(memory, balance))?;
        arguments.extend(["--config".to_owned(), directory.path().to_string_lossy().into_owned()]);
        bundle = Some(directory);
    }
    let lab = Box::new(Lab::start(Options { arguments, ..Options::default() }).await);
    let entrance = lab.frontend();
    Ok(Cluster { entrance, members: Members::Shoal { _bundle: bundle, lab, restarted: None } })
}

fn configuration(memory: u32, balance: &str) -> String {
    format!(
        "version: 1\n\
         proxy:\n\
         \x20 listen: [{{bind: \"${{node.listen.proxy}}\"}}]\n\
         \x20 cache: {{memory: {memory}MiB}}\n\
         \x20 access:\n\
         \x20   rules: [{{allow: [localhost]}}, {{deny: [all]}}]\n\
         \x20   egress: {{allow: [{{to: [loopback], clients: [127.0.0.0/8]}}]}}\n\
         balancer:\n\
         \x20 frontends: [{{name: bench, bind: \"${{node.listen.frontend}}\", backend: nodes}}]\n\
         \x20 backends: [{{name: nodes, balance: {balance}, servers: {{service: proxy-node}}}}]\n"
    )
}

async fn peers(who: Who, origin: SocketAddr, memory: Memory) -> Result<Cluster> {
    // Asking siblings only delays when one of them is silent: the tuned cluster does without.
    let siblings = who != Who::Tuned;
    let mut ports = Vec::new();
    let mut taken = BTreeSet::new();
    while ports.len() < NODES {
        let http = free_address()?;
        let icp = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
        if taken.insert(http.port()) && taken.insert(icp) {
            ports.push(squid::Ports { http, icp });
        }
    }
    let mut squids = Vec::new();
    for number in 0..NODES {
        squids.push(Some(start_squid(&ports, number, siblings, memory).await?));
    }
    let listen = free_address()?;
    let nodes: Vec<_> = ports.iter().map(|ports| ports.http).collect();
    let haproxy = Process::start(listen, |directory| match who {
        Who::Reference => haproxy::reference(directory, listen, &nodes),
        Who::Siblings => haproxy::keepalive(directory, listen, &nodes),
        _ => haproxy::tuned(directory, listen, &nodes, origin),
    });
    let haproxy = haproxy.await.context("start HAProxy")?;
    Ok(Cluster {
        entrance: listen,
        members: Members::Peers { haproxy, squids, ports, siblings, memory },
    })
}

async fn start_squid(
    ports: &[squid::Ports],
    number: usize,
    siblings: bool,
    memory: Memory,
) -> Result<Process> {
    let own = *ports.get(number).context("no such node")?;
    let others: Vec<_> = ports
        .iter()
        .enumerate()
        .filter(|(index, _)| siblings && *index != number)
        .map(|(_, ports)| *ports)
        .collect();
    Process::start(own.http, |directory| squid::node(directory, own, &others, number + 1, memory))
        .await
        .context("start Squid")
}

/// What the balancer's admin port says of itself.
async fn metrics(lab: &Lab) -> Result<String> {
    let address = lab
        .process("balancer-1")
        .endpoints
        .get("admin")
        .cloned()
        .context("a balancer without an admin port")?;
    let mut text = String::new();
    timeout(PATIENCE, async {
        let mut stream = TcpStream::connect(&address).await?;
        stream
            .write_all(
                format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
                    .as_bytes(),
            )
            .await?;
        stream.read_to_string(&mut text).await
    })
    .await??;
    Ok(text)
}

/// The values of a metric, whatever its labels.
fn values<'a>(metrics: &'a str, name: &'a str) -> impl Iterator<Item = f64> + 'a {
    metrics.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name)?;
        rest.starts_with(['{', ' ']).then(|| rest.rsplit(' ').next()?.parse().ok()).flatten()
    })
}

/// One line of HAProxy's statistics.
#[derive(Debug, PartialEq, Eq)]
struct Server {
    status: String,
    downs: u64,
}

async fn servers(haproxy: &Process) -> Result<Vec<Server>> {
    let mut text = String::new();
    timeout(PATIENCE, async {
        let mut stream = UnixStream::connect(haproxy::stats_socket(haproxy.directory())).await?;
        stream.write_all(b"show stat\n").await?;
        stream.read_to_string(&mut text).await
    })
    .await??;
    Ok(parse_servers(&text))
}

/// The servers in what `show stat` answers: CSV whose first line names the columns.
fn parse_servers(text: &str) -> Vec<Server> {
    let mut lines = text.lines();
    let columns: Vec<&str> =
        lines.next().unwrap_or_default().trim_start_matches("# ").split(',').collect();
    let column = |name| columns.iter().position(|column| *column == name);
    let (Some(name), Some(status), Some(downs)) =
        (column("svname"), column("status"), column("chkdown"))
    else {
        return Vec::new();
    };
    lines
        .map(|line| line.split(',').collect::<Vec<_>>())
        .filter(|fields| fields.get(name).is_some_and(|name| name.starts_with("squid")))
        .filter_map(|fields| {
            Some(Server {
                status: (*fields.get(status)?).to_owned(),
                downs: fields.get(downs)?.parse().ok()?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn haproxy_s_statistics_are_read_by_the_names_of_their_columns() {
        let text = "# \
            pxname,svname,chkdown,status,\nsquid_servers,squid1,0,UP,\nsquid_servers,squid2,3,DOWN \
            1/2,\nsquid_servers,BACKEND,0,UP,\n";
        let server = |status: &str, downs| Server { status: status.to_owned(), downs };
        assert_eq!(parse_servers(text), [server("UP", 0), server("DOWN 1/2", 3)]);
        assert_eq!(parse_servers(""), []);
    }

    #[test]
    fn metrics_are_read_by_their_whole_name() {
        let text = "# HELP a b\nusable{server=\"x y\"} 1\nusable_not 7\nusable 0\n";
        assert_eq!(values(text, "usable").collect::<Vec<_>>(), [1.0, 0.0]);
    }
}
