//! Two hosts that share an address by VRRP, each with something that answers clients: our
//! balancers, or keepalived beside a small web server. Network namespaces on one bridge; `a` has
//! the higher priority.

use std::fs;

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use testkit::network::Network;
use tokio::process::Child;

use super::Who;
use crate::{
    cpu,
    trial::{Fault, Vrrp},
};

/// The host that holds the address first, and gets it back; and the one that takes it over.
const FIRST: &str = "a";
pub const SECOND: &str = "b";
/// What their answers say.
pub const FIRST_ADDRESS: &str = "10.77.0.11";
pub const SECOND_ADDRESS: &str = "10.77.0.12";
const HOSTS: [(&str, u8, &str); 2] = [(FIRST, 200, FIRST_ADDRESS), (SECOND, 190, SECOND_ADDRESS)];
const PORT: u16 = 8080;

/// A running pair; dropping it ends its processes.
pub struct Pair {
    /// Where it is.
    pub network: Network,
    who: Who,
    vrrp: Vrrp,
    first: Child,
    _second: Child,
}

impl Pair {
    /// Starts both and waits until the first one alone has the address.
    pub async fn start(who: Who, vrrp: Vrrp) -> Result<Self> {
        let mut network = Network::new(&HOSTS.map(|(host, _, _)| host));
        match who {
            Who::ShoalPair => {
                fs::create_dir(network.path("secrets"))?;
                fs::write(network.path("secrets/vrrp_auth"), "1234\n")?;
                network.control(&section(vrrp)).await;
            }
            Who::Keepalived => {
                for (host, _, address) in HOSTS {
                    network.web_server(host, "0.0.0.0", PORT, address);
                }
            }
            other => bail!("{} is no pair", other.name()),
        }
        let first = member(&network, who, vrrp, FIRST)?;
        let second = member(&network, who, vrrp, SECOND)?;
        network.until_held_by(&[FIRST]).await;
        Ok(Self { network, who, vrrp, first, _second: second })
    }

    /// Hits the first one.
    pub fn hit(&self, fault: Fault) -> Result<()> {
        match fault {
            // Nobody of it lives to see the others die: it would leave in order.
            Fault::Kill => self.signal(Signal::SIGSTOP).and_then(|()| self.signal(Signal::SIGKILL)),
            Fault::Freeze => self.signal(Signal::SIGSTOP),
        }
    }

    /// Undoes that, and waits until the first one alone has the address again.
    pub async fn mend(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Freeze => self.signal(Signal::SIGCONT)?,
            Fault::Kill => {
                self.first.wait().await?;
                if self.network.holders().contains(&FIRST) {
                    let address = format!("{}/24", testkit::network::VIRTUAL);
                    let words = ["ip", "address", "delete", &address, "dev", "eth0"];
                    self.network.on(FIRST, &words);
                }
                self.first = member(&self.network, self.who, self.vrrp, FIRST)?;
            }
        }
        self.network.until_held_by(&[FIRST]).await;
        Ok(())
    }

    /// To the whole process tree, children first: they are the ones who speak VRRP.
    fn signal(&self, signal: Signal) -> Result<()> {
        let root = self.first.id().context("the first one has ended")?.cast_signed();
        for pid in cpu::tree(root).into_iter().rev() {
            kill(Pid::from_raw(pid), signal).with_context(|| format!("{signal} to {pid}"))?;
        }
        Ok(())
    }
}

/// Ours or keepalived on a host.
fn member(network: &Network, who: Who, vrrp: Vrrp, host: &str) -> Result<Child> {
    if who == Who::ShoalPair {
        return Ok(network.balancer(host, &[]));
    }
    let (_, priority, _) = HOSTS.into_iter().find(|it| it.0 == host).context("no such host")?;
    let file = network.path(&format!("{host}.conf"));
    fs::write(&file, configuration(vrrp, priority))?;
    let [main, child] = ["main", "vrrp"].map(|which| network.path(&format!("{host}.{which}.pid")));
    let words = ["keepalived", "-n", "-l", "-D", "-f", &file, "-p", &main, "-r", &child];
    // What it left when it was killed would keep it from starting.
    for left in [&main, &child] {
        if fs::exists(left)? {
            fs::remove_file(left)?;
        }
    }
    Ok(network.spawn(host, host, &words))
}

/// The section `vrrp` of the bundle.
fn section(vrrp: Vrrp) -> String {
    let own = match vrrp {
        Vrrp::V2 => "version: 2, auth_pass: \"secret:vrrp_auth\"".to_owned(),
        Vrrp::V3(millis) => format!("advert_interval: {millis}ms"),
    };
    let [(first, high, _), (second, low, _)] = HOSTS;
    format!(
        "  - {{name: V, interface: eth0, virtual_router_id: 51, priority: {{{first}: {high}, \
         {second}: {low}}}, {own}, addresses: [{}/24]}}\n",
        testkit::network::VIRTUAL
    )
}

/// keepalived's.
fn configuration(vrrp: Vrrp, priority: u8) -> String {
    let (version, own) = match vrrp {
        Vrrp::V2 => {
            (2, "advert_int 1\n authentication {\n auth_type PASS\n auth_pass 1234\n }".to_owned())
        }
        Vrrp::V3(millis) => (3, format!("advert_int {}", f64::from(millis) / 1e3)),
    };
    format!(
        "global_defs {{\n vrrp_version {version}\n}}\nvrrp_instance VI_1 {{\n state BACKUP\n \
         interface eth0\n virtual_router_id 51\n priority {priority}\n {own}\n \
         virtual_ipaddress {{\n {}/24\n }}\n}}\n",
        testkit::network::VIRTUAL
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_told_the_same() {
        let (ours, theirs) = (section(Vrrp::V3(100)), configuration(Vrrp::V3(100), 190));
        assert!(ours.contains("priority: {a: 200, b: 190}, advert_interval: 100ms"), "{ours}");
        assert!(theirs.contains("priority 190\n advert_int 0.1\n"), "{theirs}");
        let (ours, theirs) = (section(Vrrp::V2), configuration(Vrrp::V2, 200));
        assert!(ours.contains("version: 2, auth_pass"), "{ours}");
        assert!(theirs.contains("vrrp_version 2") && theirs.contains("advert_int 1\n"), "{theirs}");
    }
}
