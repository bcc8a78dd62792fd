//! Shoal as `shoal lab` runs it: a balancer with the origin as its static server and a proxy-node,
//! or two balancers with few and with many servers.

use std::{fs, net::SocketAddr};

use anyhow::{Context, Result};
use tempfile::TempDir;
use testkit::lab::{Lab, Options};

use super::{Contender, Setting, Who, few};

/// A running lab.
#[derive(Debug)]
pub struct Shoal {
    lab: Lab,
    who: &'static [Who],
    _bundle: TempDir,
}

/// Those who are one lab.
const LABS: [&[Who]; 4] = [
    &[Who::ShoalBalancer, Who::ShoalNode],
    &[Who::ShoalNodeDisk],
    &[Who::ShoalTcp],
    &[Who::ShoalFew, Who::ShoalMany],
];

impl Shoal {
    /// The lab inherits the core of this process and so starts one worker a service, as everybody
    /// else has.
    pub async fn start(who: Who, setting: Setting<'_>) -> Result<Self> {
        let who = LABS.into_iter().find(|lab| lab.contains(&who)).context("nobody of a lab")?;
        let bundle = tempfile::tempdir()?;
        fs::write(bundle.path().join("cluster.yaml"), configuration(who, setting))?;
        let balancers = if who.contains(&Who::ShoalMany) { "2" } else { "1" };
        let bundle_path = bundle.path().to_string_lossy();
        let arguments = ["--nodes", "1", "--balancers", balancers, "--config", &bundle_path]
            .map(str::to_owned)
            .to_vec();
        let lab = Lab::start(Options { arguments, ..Options::default() }).await;
        Ok(Self { lab, who, _bundle: bundle })
    }

    /// Whether it is one of its processes.
    pub fn has(&self, who: Who) -> bool {
        self.who.contains(&who)
    }

    /// One of its processes.
    pub fn contender(&self, who: Who) -> Result<Contender> {
        let balancer = |number: usize| {
            let address = self.lab.description.frontends.get(number - 1).copied();
            let pid = self.lab.process(&format!("balancer-{number}")).pid;
            Ok(Contender { address: address.context("no such balancer")?, pid })
        };
        match who {
            Who::ShoalNode | Who::ShoalNodeDisk => {}
            Who::ShoalMany => return balancer(2),
            _ => return balancer(1),
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

fn configuration(who: &[Who], setting: Setting<'_>) -> String {
    let tls = setting.tls.map_or_else(String::new, |certificate| {
        format!(
            ", tls: {{min_version: \"1.3\", certificates: [{{certificate: \"file:{}\", key: \
             \"file:{}\"}}]}}",
            certificate.certificate().display(),
            certificate.key().display()
        )
    });
    let mode = if who.contains(&Who::ShoalTcp) { "tcp" } else { "http" };
    let memory = setting.memory;
    let disk = if who.contains(&Who::ShoalNodeDisk) { ", disk: 1GiB" } else { "" };
    let all = backends(setting, mode, setting.servers);
    let overrides = if who.contains(&Who::ShoalFew) {
        format!(
            "overrides: [{{match: {{name: balancer-1}}, set: {{balancer: {{backends: {}}}}}}}]\n",
            backends(setting, mode, few(setting.servers))
        )
    } else {
        String::new()
    };
    format!(
        "version: 1\n\
         proxy:\n\
         \x20 listen: [{{bind: \"${{node.listen.proxy}}\"}}]\n\
         \x20 cache: {{memory: {memory}MiB{disk}}}\n\
         \x20 access:\n\
         \x20   rules: [{{allow: [localhost]}}, {{deny: [all]}}]\n\
         \x20   egress: {{allow: [{{to: [loopback], clients: [127.0.0.0/8]}}]}}\n\
         balancer:\n\
         \x20 frontends: [{{name: bench, bind: \"${{node.listen.frontend}}\", mode: {mode}, \
         backend: origins{tls}}}]\n\
         \x20 backends: {all}\n{overrides}"
    )
}

/// The one backend with these servers. One origin is looked at; a thousand would cost more than
/// what is measured.
fn backends(setting: Setting<'_>, mode: &str, servers: &[SocketAddr]) -> String {
    let list: Vec<_> = (1..)
        .zip(servers)
        .map(|(number, server)| format!("{{name: origin-{number}, address: \"{server}\"}}"))
        .collect();
    let balance = setting.balance;
    let header = if balance == "header_hash" { ", hash_header: X-User" } else { "" };
    let check = if setting.servers.len() == 1 { "" } else { ", check: {enabled: false}" };
    format!(
        "[{{name: origins, mode: {mode}, balance: {balance}{header}{check}, servers: {{static: \
         [{}]}}}}]",
        list.join(", ")
    )
}
