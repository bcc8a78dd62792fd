//! `shoal node enrol`: everything that a bare host needs to join, in one archive: certificate, key,
//! authority, cluster key, settings. What runs there is the unit of the package, and the settings
//! are the two flags that it cannot know.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use chassis::{ClusterKey, Error, Role, credentials, pki};
use clap::Args;
use cluster::Service;
use serde::Serialize;

use crate::{
    context::{Intent, Target},
    output::{self, Format, View},
    pki::archive,
};

/// Where `shoal console passwd` puts people on an enrolled host.
const USERS: &str = "/etc/shoal/console/users";

#[derive(Args)]
pub struct Enrol {
    /// What the host will run
    service: Service,
    /// Stable, unique name of the new instance
    name: String,
    /// Host name or address under which the others reach it
    #[arg(long, value_name = "HOST", value_parser = host)]
    address: String,
    /// Where the registry is [default: that of the running lab]
    #[arg(
        long,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        value_parser = chassis::options::seed,
    )]
    registry: Vec<String>,
    /// Where the authority is: the directory that `shoal pki init` made
    #[arg(long, value_name = "DIR", default_value = "pki")]
    pki: PathBuf,
    /// The archive to write; must not exist yet [default: NAME.tar]
    #[arg(long, value_name = "FILE")]
    archive: Option<PathBuf>,
    /// Where the host stands
    #[arg(long, default_value = "", hide_default_value = true)]
    datacenter: String,
    /// Where in the data centre
    #[arg(long, default_value = "", hide_default_value = true)]
    zone: String,
    /// How long the certificate is valid, e.g. 8760h
    #[arg(
        long,
        value_name = "TIME",
        default_value = "8760h",
        value_parser = chassis::options::duration,
    )]
    validity: Duration,
    #[command(flatten)]
    format: Format,
}

/// What was made.
#[derive(Serialize)]
struct Enrolled {
    name: String,
    service: Service,
    archive: PathBuf,
    registry: Vec<String>,
    #[serde(skip)]
    said: String,
}

impl View for Enrolled {
    fn text(&self) -> String {
        self.said.clone()
    }
}

/// Issues the certificate, writes the archive and says what to do with it.
///
/// # Errors
/// Something is missing or there already; then nothing was changed.
pub fn run(enrol: &Enrol, target: &Target) -> Result<()> {
    let archive = enrol.archive.clone().unwrap_or_else(|| format!("{}.tar", enrol.name).into());
    refuse_again(enrol, &archive)?;
    if !enrol.pki.join("ca.key").is_file() {
        bail!(
            "{} holds no authority: give the directory that `shoal pki init` made with --pki",
            enrol.pki.display()
        );
    }
    let registry = registry(enrol, target)?;
    let cluster_key = needs_cluster_key(enrol.service)
        .then(|| ClusterKey::read(&enrol.pki.join("cluster.key")))
        .transpose()?;
    let issued = pki::issue(
        &enrol.pki,
        Role::Service(enrol.service),
        &enrol.name,
        std::slice::from_ref(&enrol.address),
        chassis::Clock::system().now(),
        enrol.validity,
    )
    .map_err(Error::from)?;
    let written = contents(enrol, &registry, &issued, cluster_key)
        .and_then(|files| archive::write(&archive, enrol.service, &files));
    // The certificate stays, as a record that the name is taken; its key goes with the archive and
    // nowhere else.
    let mut withdrawn = vec![&issued.key];
    if written.is_err() {
        withdrawn.push(&issued.cert);
    }
    for file in withdrawn {
        fs::remove_file(file).with_context(|| format!("cannot remove {}", file.display()))?;
    }
    written?;
    let said = what_next(enrol, &registry, &archive);
    output::show(
        &Enrolled { name: enrol.name.clone(), service: enrol.service, archive, registry, said },
        enrol.format,
    )
}

/// Whoever was enrolled once is not enrolled again by mistake: two processes of one name would take
/// it from each other.
fn refuse_again(enrol: &Enrol, archive: &Path) -> Result<()> {
    let Enrol { name, pki, .. } = enrol;
    let record = pki.join(format!("{name}.crt"));
    let (record, archive) = (
        [record.exists(), archive.exists()],
        [record, archive.to_owned()].map(|file| file.display().to_string()),
    );
    let [recorded, file] = archive;
    match record {
        [false, false] => Ok(()),
        [false, true] => bail!("{file} exists already: choose another --archive, or remove it"),
        [true, left] => {
            let remove = if left {
                format!("remove {recorded} and {file}")
            } else {
                format!("remove {recorded}")
            };
            bail!(
                "the name {name} is taken already ({recorded}): choose another name; if it is the \
                 same instance, `shoal pki renew {name} --dir {}` \
                 makes it another certificate, and if its host never joined, {remove} and enrol it \
                 again",
                pki.display()
            )
        }
    }
}

/// The registry's addresses; none for the registry itself, which is its own.
fn registry(enrol: &Enrol, target: &Target) -> Result<Vec<String>> {
    if !enrol.registry.is_empty() || enrol.service == Service::Registry {
        return Ok(enrol.registry.clone());
    }
    let found = target
        .find(Intent::Change)
        .map_err(|error| {
            anyhow!("{error:#}; it is not known where the registry is: give --registry HOST:PORT")
        })?
        .0
        .registry;
    if let Some(here) =
        found.iter().find(|seed| only_here(seed)).filter(|_| !only_here(&enrol.address))
    {
        bail!(
            "the registry at {here} cannot be reached from {}: give --registry HOST:PORT, as that \
             host sees it (without it, the registry of the \
             running lab is meant)",
            enrol.address
        );
    }
    Ok(found)
}

/// Whether an address, with a port or without, is one of this machine alone.
fn only_here(address: &str) -> bool {
    let host = address
        .rsplit_once(':')
        .filter(|(_, port)| port.parse::<u16>().is_ok())
        .map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse()
            .or_else(|_| host.parse())
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Balancers and nodes prove themselves to each other with it.
const fn needs_cluster_key(service: Service) -> bool {
    matches!(service, Service::Balancer | Service::ProxyNode)
}

/// The files of the archive: name below the service's directory, content.
fn contents(
    enrol: &Enrol,
    registry: &[String],
    issued: &pki::Issued,
    cluster_key: Option<ClusterKey>,
) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let read =
        |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    // What the host would refuse at its start is refused here.
    let files = credentials::Files {
        ca: issued.ca.clone(),
        cert: issued.cert.clone(),
        key: issued.key.clone(),
    };
    credentials::Credentials::load(files, chassis::Clock::system()).map_err(Error::from)?;
    let mut contents = vec![
        ("ca.crt", read(&issued.ca)?),
        ("tls.crt", read(&issued.cert)?),
        ("tls.key", read(&issued.key)?),
        ("environment", settings(enrol, registry).into_bytes()),
    ];
    contents.extend(cluster_key.map(|key| ("cluster.key", key.to_text().into_bytes())));
    Ok(contents)
}

/// What the unit reads as its environment.
fn settings(enrol: &Enrol, registry: &[String]) -> String {
    let service = enrol.service;
    let mut text = format!(
        "# Settings of {service} {}, made by `shoal node enrol`. `shoal serve {service} --help` \
         shows the variable of every flag, as\n\
         # [env: SHOAL_…]; then: systemctl restart shoal-{service}\n",
        enrol.name
    );
    for (variable, value) in [
        ("SHOAL_REGISTRY", registry.join(",")),
        ("SHOAL_ADVERTISE", enrol.address.clone()),
        ("SHOAL_DATACENTER", enrol.datacenter.clone()),
        ("SHOAL_ZONE", enrol.zone.clone()),
        // Not there yet: as long as it is not, nobody can log in.
        (
            "SHOAL_CONSOLE_USERS",
            if service == Service::Console { USERS.to_owned() } else { String::new() },
        ),
    ] {
        if !value.is_empty() {
            text.push_str(&format!("{variable}={}\n", quoted(&value)));
        }
    }
    text
}

/// As systemd.exec(5) reads it back: quotes, dollars and backslashes are themselves.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:,[]/".contains(c);
    if value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

fn what_next(enrol: &Enrol, registry: &[String], archive: &Path) -> String {
    let Enrol { service, name, address, .. } = enrol;
    let file = archive
        .file_name()
        .map_or_else(|| archive.display().to_string(), |name| name.to_string_lossy().into_owned());
    let registry = if registry.is_empty() {
        String::new()
    } else {
        format!(" It finds the registry at {}.", registry.join(", "))
    };
    format!(
        "made {} for {service} {name}.{registry} Whoever has this file can join the cluster: copy \
         it over a safe channel, and remove it here \
         and there.\n\n\
         On {address}, as root:\n  \
         apt-get install ./shoal_{}_$(dpkg --print-architecture).deb\n  \
         tar -xkpf {file} -C /\n  \
         systemctl enable --now shoal-{service}\n\n\
         Then `shoal node list --service {service}` shows it{}.",
        archive.display(),
        chassis::VERSION,
        also(*service),
    )
}

/// What else the host of this service needs to know.
fn also(service: Service) -> String {
    match service {
        // They join when they have something to do.
        Service::Balancer | Service::ProxyNode => ", once a configuration is applied".to_owned(),
        Service::Console => format!(
            "; `shoal console passwd NAME --users {USERS}`, there and as root, lets somebody log in"
        ),
        _ => String::new(),
    }
}

/// Reads a host name or an address, without a port.
fn host(text: &str) -> Result<String, String> {
    let name = !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'));
    if name || text.parse::<IpAddr>().is_ok() {
        Ok(text.to_owned())
    } else {
        Err("give a host name or an address without a port, such as 10.0.0.17 or \
            node-7.example.com"
            .to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for (text, good) in [
            ("10.0.0.17", true),
            ("fd00::1", true),
            ("node-7.example.com", true),
            ("node:3128", false),
            ("", false),
            ("a b", false),
        ] {
            assert_eq!(host(text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn addresses_of_this_machine_alone() {
        for (address, expected) in [
            ("127.0.0.1:7001", true),
            ("[::1]:7001", true),
            ("localhost:7001", true),
            ("127.0.0.1", true),
            ("::1", true),
            ("10.0.0.5:7001", false),
            ("[fd00::1]:7001", false),
            ("fd00::1", false),
            ("registry.example.com:7001", false),
        ] {
            assert_eq!(only_here(address), expected, "{address}");
        }
    }

    #[test]
    fn values_survive_the_environment_file() {
        for (value, written) in [
            ("10.0.0.5:7001,[fd00::1]:7001", "10.0.0.5:7001,[fd00::1]:7001"),
            ("room 2", "\"room 2\""),
            ("a\"b\\c", "\"a\\\"b\\\\c\""),
        ] {
            assert_eq!(quoted(value), written);
        }
    }
}
