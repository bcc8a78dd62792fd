//! `shoal pki`: the cluster's own certificates.

pub mod archive;
mod provision;
mod renew;

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use chassis::{Error, Identity, Role, pki};
use clap::{Args, Subcommand};

use serde::Serialize;

use crate::output::{self, Format, View};

/// Make the cluster's authority and certificates
#[derive(Args)]
#[command(after_help = "Examples:
  shoal pki init pki                                     authority, cluster key and an operator's \
  certificate
  shoal pki issue registry registry-1 --dir pki
  shoal pki issue proxy-node node-7 --dir pki --host node-7.example.com --host 10.0.0.17
  shoal pki issue proxy-node edge --dir pki --replicas 20   one certificate for processes that \
  call themselves edge-…
  shoal pki issue operator ann --dir pki --validity 720h
  shoal pki renew proxy-node-4 operator --dir pki        after most of a year: the same names, new \
  certificates and keys
  shoal pki provision --dir pki registry balancer-1      each directory gets what the process of \
  that name needs

The authority's key (ca.key) issues everything: keep it where only you can read it. Processes need \
ca.crt, their own certificate and key, and
balancers and nodes the cluster key.")]
pub struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make a new authority, the cluster key and an operator's certificate
    Init {
        /// Where they go; must not hold an authority yet
        dir: PathBuf,
        #[command(flatten)]
        validity: Validity,
    },
    /// Make a certificate for a process or a person
    Issue {
        /// Its service, or `operator`
        role: Role,
        /// Its name: the process registers under it
        name: String,
        /// So many processes may share it and register under its name, or that followed by `-` and
        /// more [default: 1; 64 if it is named as its service]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
        replicas: Option<u32>,
        /// Where the authority is
        #[arg(long, value_name = "DIR", default_value = "pki")]
        dir: PathBuf,
        /// Host name or address that other clients will check; may be repeated
        #[arg(long = "host", value_name = "HOST")]
        hosts: Vec<String>,
        #[command(flatten)]
        validity: Validity,
    },
    /// Make other certificates for who has one, with new keys: in place where the key is here, else
    /// an archive for the host that holds it. Processes take them up without a restart
    Renew {
        /// Names of processes or operators
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Where the authority is
        #[arg(long, value_name = "DIR", default_value = "pki")]
        dir: PathBuf,
        /// Where archives go
        #[arg(long, value_name = "DIR", default_value = ".", hide_default_value = true)]
        archives: PathBuf,
        #[command(flatten)]
        validity: Validity,
    },
    /// Fill directories with what the processes they are named after need: ca.crt, tls.crt,
    /// tls.key, cluster.key. Run it before every start: what is there and good is kept, what is
    /// missing or in its second half of life is issued anew
    Provision {
        /// Directory of each process, which has to be there, such as run/registry or run/balancer-1
        #[arg(required = true, value_name = "DIR")]
        directories: Vec<PathBuf>,
        /// Where the authority is; made when it does not exist
        #[arg(long, value_name = "DIR", default_value = "pki")]
        dir: PathBuf,
        #[command(flatten)]
        validity: Validity,
    },
}

#[derive(Args, Clone, Copy)]
struct Validity {
    /// How long certificates are valid, e.g. 8760h
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

pub fn run(options: Options) -> Result<()> {
    let now = chassis::Clock::system().now();
    match options.action {
        Action::Init { dir, validity } => {
            let made = pki::init(&dir, &[], now, validity.validity).map_err(Error::from)?;
            let pki::Issued { cert, key, .. } = made.operator;
            let key_of_all = dir.join("ca.key");
            report([&made.ca, &key_of_all, &made.cluster_key, &cert, &key], validity.format)
        }
        Action::Issue { role, name, replicas, dir, hosts, validity } => {
            let identity = Identity::new(role, name);
            let identity = Identity { replicas: replicas.unwrap_or(identity.replicas), ..identity };
            let issued = pki::issue_to(&dir, &identity, &hosts, now, validity.validity)
                .map_err(Error::from)?;
            report([&issued.cert, &issued.key], validity.format)
        }
        Action::Renew { names, dir, archives, validity } => {
            let lines = renew::run(&dir, &names, &archives, now, validity.validity)?;
            output::show(&Done { done: lines }, validity.format)
        }
        Action::Provision { directories, dir, validity } => output::show(
            &Done { done: provision::run(&dir, &directories, now, validity.validity)? },
            validity.format,
        ),
    }
}

/// Files that were made.
#[derive(Serialize)]
struct Made {
    files: Vec<String>,
}

impl View for Made {
    fn text(&self) -> String {
        format!("made\n  {}", self.files.join("\n  "))
    }
}

/// What was done, a line each.
#[derive(Serialize)]
struct Done {
    done: Vec<String>,
}

impl View for Done {
    fn text(&self) -> String {
        self.done.join("\n")
    }
}

fn report<'a>(files: impl IntoIterator<Item = &'a PathBuf>, format: Format) -> Result<()> {
    output::show(
        &Made { files: files.into_iter().map(|file| file.display().to_string()).collect() },
        format,
    )
}
