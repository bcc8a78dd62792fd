//! The health-checker probes instances the way their users would and reports opinions to the
//! registry.
//!
//! It decides nobody's fate: every checker is alone in what it sees, and the registry folds what
//! several see. It keeps no state of its own.
//!
//! Reading order, the way of a probe: [`targets`] (whom), [`assignment`] (is it mine), [`schedule`]
//! (when), [`probe`] (how), [`builtin`] (against what), [`opinion`] (what follows), [`report`] (to
//! whom). [`prober`] is the task that walks it, [`api`] its face.

pub mod api;
pub mod assignment;
pub mod builtin;
pub mod metrics;
pub mod opinion;
pub mod probe;
pub mod prober;
pub mod report;
pub mod schedule;
pub mod targets;

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use chassis::{Error, ErrorContext, Process, probe::Signer};
use cluster::{Opinion, Service};
use cluster_config::ChecksDocument;
use proto::health::health_checker_server::HealthCheckerServer;
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc, watch},
};

/// Opinions that may wait for the reporter.
const OPINIONS: usize = 4096;

/// Options of this service.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// What every service takes
    #[command(flatten)]
    pub chassis: chassis::Options,
    /// Address of the built-in target, which probes ask for through the proxies
    #[arg(long, env = "SHOAL_TARGET", default_value = "0.0.0.0:0", value_name = "ADDRESS:PORT")]
    pub target: SocketAddr,
}

/// Runs until it is asked to stop and has drained.
///
/// # Errors
/// What kept it from starting or serving, with the remedy.
pub fn run(options: Options) -> Result<(), Error> {
    let signer = Arc::new(Signer::new()?);
    let mut chassis = options.chassis.clone();
    chassis.tags.push(signer.tag());
    chassis::run("health-checker", &chassis, move |process| async move {
        serve(process, options, signer).await
    })
}

async fn serve(process: Process, options: Options, signer: Arc<Signer>) -> Result<(), Error> {
    metrics::describe();
    // Probes of https URLs use the process's one provider; a second installation in the same
    // process changes nothing.
    drop(rustls::crypto::ring::default_provider().install_default());
    let listener = TcpListener::bind(options.target)
        .await
        .context("bind the built-in target", "choose another --target")?;
    let target = listener
        .local_addr()
        .context("read the address of the built-in target", "choose another --target")?;
    // So that nodes know their probes from what clients ask for.
    process.ports.announce(chassis::membership::PROBE_TARGET, target);
    let port = target.port();
    let listener = Arc::new(listener);
    process.tasks.spawn("target", move || builtin::serve(Arc::clone(&listener)));

    let (checks, current) = watch::channel(Vec::new());
    let follower = process.configuration(BTreeMap::new(), move |rendered| {
        let document = ChecksDocument::from_json(&rendered.document)
            .map_err(|error| vec![chassis::configuration::Problem::new(error.to_string())])?;
        checks.send_replace(document.checks.into_iter().map(Arc::new).collect());
        Ok(())
    })?;

    let (opinions, received) = mpsc::channel::<Opinion>(OPINIONS);
    let (handle, inbox) = prober::channel(&process, port, signer);
    let (asked, membership) = (handle.clone(), process.network.membership());
    process.tasks.spawn("prober", move || {
        prober::Prober::new(&asked, opinions.clone()).run(
            inbox.clone(),
            current.clone(),
            membership.clone(),
        )
    });
    let (channel, received) =
        (process.network.channel(Service::Registry), Arc::new(Mutex::new(received)));
    process.tasks.spawn("report", move || {
        let (channel, received) = (channel.clone(), Arc::clone(&received));
        async move { report::run(channel, &mut *received.lock().await).await }
    });

    process.serve_grpc(
        tonic::service::Routes::new(HealthCheckerServer::new(api::Api::new(handle))),
        &api::POLICY,
    )?;
    process.serve_admin(axum::Router::new())?;
    process.register();
    follower.first().await?;
    process.set_ready(true);
    process.drain(std::future::ready(())).await
}
