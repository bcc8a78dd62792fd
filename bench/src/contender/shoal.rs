//! Shoal as `shoal lab` runs it: one balancer with the origin as its static server, one proxy-node.

use std::{fs, net::SocketAddr};

use anyhow::{Context, Result};
use tempfile::TempDir;
use testkit::lab::{Lab, Options};

use super::{Contender, Who};

/// A running lab.
#[derive(Debug)]
pub struct Shoal {
    lab: Lab,
    _bundle: TempDir,
}

impl Shoal {
    /// The lab inherits the core of this process and so starts one worker a service, as everybody
    /// else has.
    pub async fn start(origin: SocketAddr) -> Result<Self> {
        let bundle = tempfile::tempdir()?;
        fs::write(bundle.path().join("cluster.yaml"), configuration(origin))?;
        let arguments =
            ["--nodes", "1", "--balancers", "1", "--config", &bundle.path().to_string_lossy()]
                .map(str::to_owned)
                .to_vec();
        let lab = Lab::start(Options { arguments, ..Options::default() }).await;
        Ok(Self { lab, _bundle: bundle })
    }

    /// One of its processes.
    pub fn contender(&self, who: Who) -> Result<Contender> {
        if who == Who::ShoalBalancer {
            return Ok(Contender {
                address: self.lab.frontend(),
                pid: self.lab.process("balancer-1").pid,
            });
        }
        let node = self.lab.process("proxy-node-1");
        let address = node
            .endpoints
            .get("proxy")
            .context("a node without a listener for clients")?
            .parse()?;
        Ok(Contender { address, pid: node.pid })
    }
}

fn configuration(origin: SocketAddr) -> String {
    format!(
        "version: 1\n\
         proxy:\n\
         \x20 listen: [{{bind: \"${{node.listen.proxy}}\"}}]\n\
         \x20 cache: {{memory: 256MiB}}\n\
         \x20 access:\n\
         \x20   rules: [{{allow: [localhost]}}, {{deny: [all]}}]\n\
         \x20   egress: {{allow: [{{to: [loopback], clients: [127.0.0.0/8]}}]}}\n\
         balancer:\n\
         \x20 frontends: [{{name: bench, bind: \"${{node.listen.frontend}}\", mode: http, backend: \
         origins}}]\n\
         \x20 backends:\n\
         \x20   - {{name: origins, balance: round_robin, servers: {{static: [{{name: origin, \
         address: \"{origin}\"}}]}}}}\n"
    )
}
