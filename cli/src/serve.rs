//! `shoal serve`: one service in this process, the same library as in its own binary.

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// Run one service in this process
#[derive(Args)]
#[command(after_help = "Examples:
  shoal serve registry --ca ca.crt --cert registry-1.crt --key registry-1.key
  shoal serve proxy-node --registry 10.0.0.5:7001 --ca ca.crt --cert node.crt --key node.key \
  --cluster-key cluster.key

The help of each shows the variable for every flag: [env: SHOAL_…].")]
pub struct Options {
    #[command(subcommand)]
    service: Process,
}

#[derive(Subcommand)]
enum Process {
    /// Who is there, and who may serve
    Registry(Box<registry::Options>),
    /// Versioned configuration and its rollout
    ConfigService(Box<config_service::Options>),
    /// Probes and opinions
    HealthChecker(Box<health_checker::Options>),
    /// Backups of the cluster's state, and the way back
    BackupService(Box<backup_service::Options>),
    /// Caching forward proxy
    ProxyNode(Box<proxy_node::Options>),
    /// Load balancer in front of the nodes
    Balancer(Box<balancer::Options>),
    /// Web page
    Console(Box<::console::Options>),
}

pub fn run(options: Options) -> ExitCode {
    let result = match options.service {
        Process::Registry(options) => registry::run(*options),
        Process::ConfigService(options) => config_service::run(*options),
        Process::HealthChecker(options) => health_checker::run(*options),
        Process::BackupService(options) => backup_service::run(*options),
        Process::ProxyNode(options) => proxy_node::run(*options),
        Process::Balancer(options) => balancer::run(*options),
        Process::Console(options) => ::console::run(*options),
    };
    chassis::exit(result)
}
