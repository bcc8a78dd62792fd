//! From options to a running process and back to an exit code.

use std::{future::Future, process::ExitCode, time::Duration};

use clap::{Args, Command};
use cluster::Service;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{
    audit::Journal,
    clock::Clock,
    cluster_key::ClusterKey,
    connect::Transport,
    credentials::{Credentials, Files},
    data_dir::DataDir,
    drain,
    error::{Error, ErrorContext},
    identity::ProcessIdentity,
    inherited::Inherited,
    metrics,
    options::Options,
    process::{Parts, Process},
    role::Role,
    succession, systemd,
    takeover::{self, Claimant, Predecessor},
    telemetry,
    version::VERSION,
};

/// Connections are descriptors: the soft limit goes up to what the hard one allows, as nginx and
/// HAProxy do it.
fn raise_descriptor_limit() -> nix::Result<()> {
    getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard))
}

/// How long tasks have to end after the body did.
const RUNTIME_WITHIN: Duration = Duration::from_millis(500);

/// The whole of a service's `main`: reads the options, runs, says on standard error what went
/// wrong.
pub fn main<O: Args>(service: &'static str, run: impl FnOnce(O) -> Result<(), Error>) -> ExitCode {
    let command =
        O::augment_args(Command::new(service).version(VERSION).about(format!("Shoal's {service}")));
    let options = command.try_get_matches().and_then(|matches| O::from_arg_matches(&matches));
    match options {
        Ok(options) => exit(run(options)),
        Err(usage) => {
            // Help and version come this way too, and go to standard output; nothing more can be
            // done when it is closed.
            drop(usage.print());
            ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2))
        }
    }
}

/// Says on standard error what went wrong, if anything, and answers the exit code.
#[must_use]
pub fn exit(result: Result<(), Error>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if failure.code() != 0 {
                eprintln!("error: {failure}");
            }
            ExitCode::from(failure.code())
        }
    }
}

/// Runs a service's body as a process of the cluster: certificate, control runtime, telemetry, data
/// dir, signals. Blocks until the body has drained.
///
/// # Errors
/// Whatever keeps the process from running, before anything was changed; or the body's own failure.
pub fn run<F, T>(service: &'static str, options: &Options, body: F) -> Result<(), Error>
where
    F: FnOnce(Process) -> T,
    T: Future<Output = Result<(), Error>>,
{
    let service: Service = service.parse().context("run", "this is a defect: please report it")?;
    let clock = Clock::system();
    // Before anything opens descriptors of its own, which must not get between those that were
    // passed.
    let inherited = Inherited::from_environment()?;
    // First, because what is counted before it is lost.
    let recorder = metrics::install();
    let (transport, name) = identify(service, options, &clock)?;
    let cluster_key = options.cluster_key.as_deref().map(ClusterKey::read).transpose()?;
    let authorities = match &transport {
        Transport::Mutual(credentials) => credentials.current().authorities.clone(),
        Transport::Plaintext => Vec::new(),
    };
    // Its name is in every line of the log: a replica that numbers itself has to know it first.
    let numbered = options
        .numbered
        .then(|| DataDir::first_free(options, service, &name, &authorities))
        .transpose()?;
    let (name, numbered) =
        numbered.map_or((name, None), |(name, directory)| (name, Some(directory)));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .context(
            "start the control runtime",
            "raise the limits on threads and files of this user",
        )?;
    let inside = runtime.enter();
    let telemetry = telemetry::init(service, &name, options)?;
    if let Err(error) = raise_descriptor_limit() {
        tracing::warn!("cannot raise the limit on open files, so fewer connections fit: {error}");
    }
    let predecessor = predecessor(service, options, &name, &authorities)?;
    let path = options.data_dir_of(&name);
    let data_dir = match (numbered, &predecessor) {
        (Some(directory), _) => directory,
        (None, None) => DataDir::open(&path, service, &name, &authorities)?,
        (None, Some(predecessor)) => {
            let lock = succession::lock(predecessor)?;
            DataDir::resume(&path, lock, (service, &name), &authorities)?
        }
    };
    let identity = match &predecessor {
        None => ProcessIdentity::new(service, &name),
        Some(predecessor) => succession::identity(predecessor, service, &name)?,
    };
    let audit = Journal::open(&data_dir.path("audit.jsonl"), clock.clone()).context(
        "write audit records to the data dir",
        "check who owns its audit.jsonl, and the disk",
    )?;
    let process = Process::new(Parts {
        identity,
        options: options.clone(),
        clock,
        data_dir,
        cluster_key,
        transport,
        audit,
        complaints: telemetry.complaints(),
        inherited,
        predecessor,
        recorder,
        runtime: runtime.handle().clone(),
        spans: telemetry.spans(),
    });
    housekeeping(&process);
    let id = process.identity.id();
    tracing::info!(%service, name, %id, version = VERSION, "starting");
    let result = runtime.block_on(until_signalled(process.clone(), body));
    process.lifecycle.closing().raise();
    process.lifecycle.servers_closing().raise();
    // Before the runtime, which carries the last traces.
    drop(telemetry);
    drop(inside);
    runtime.shutdown_timeout(RUNTIME_WITHIN);
    if result.as_ref().is_err_and(|failure| failure.code() != 0) && !process.was_up() {
        process.data_dir.discard();
    }
    result
}

async fn until_signalled<F, T>(process: Process, body: F) -> Result<(), Error>
where
    F: FnOnce(Process) -> T,
    T: Future<Output = Result<(), Error>>,
{
    let stop = process.lifecycle.stop();
    tokio::select! {
        // First, so that signals are caught before the body does anything.
        biased;
        second = drain::signals(stop) => {
            second.context("listen for signals", "raise the limits on files of this user")?;
            Err(Error::new("stopped at once by a second signal").exit_code(130))
        }
        result = body(process) => result,
    }
}

/// The process that this one takes over from, if it shall and there is one.
fn predecessor(
    service: Service,
    options: &Options,
    name: &str,
    clusters: &[String],
) -> Result<Option<Predecessor>, Error> {
    if !options.take_over {
        return Ok(None);
    }
    if !matches!(service, Service::Balancer | Service::ProxyNode) {
        return Err(Error::new(format!("--take-over: a {service} is restarted instead"))
            .remedy("leave the option out; it is for balancer and proxy-node")
            .exit_code(2));
    }
    let service = service.to_string();
    let own = Claimant { service: &service, name, clusters };
    takeover::claim(&options.data_dir_of(name), &own)
}

/// Who this process is, and how it proves it.
fn identify(
    service: Service,
    options: &Options,
    clock: &Clock,
) -> Result<(Transport, String), Error> {
    let Some(files) = Files::from_options(options)? else {
        return Ok((
            Transport::Plaintext,
            options.name.clone().unwrap_or_else(|| service.to_string()),
        ));
    };
    let cert = files.cert.clone();
    let credentials = Credentials::load(files, clock.clone())?;
    let identity = credentials.current().identity.clone();
    if identity.role != Role::Service(service) {
        return Err(Error::new(format!(
            "the certificate {} is for {identity}, not for a {service}",
            cert.display()
        ))
        .remedy(format!("issue one with `shoal pki issue {service} NAME`")));
    }
    let name = options.name.clone().unwrap_or_else(|| identity.name.clone());
    if !identity.may_be_named(&name) {
        let sentence = format!("the certificate {} does not allow the name {name}", cert.display());
        let remedy = format!(
            "call the process {0}, or issue a certificate with `shoal pki issue {service} {name}`, \
             or one for several processes named {0}-… with `shoal pki issue {service} {0} \
             --replicas N`",
            identity.name
        );
        return Err(Error::new(sentence).remedy(remedy));
    }
    if options.insecure_plaintext {
        return Ok((Transport::Plaintext, name));
    }
    Ok((Transport::Mutual(credentials), name))
}

/// What every process does beside its work.
fn housekeeping(process: &Process) {
    let Process { identity, lifecycle, tasks, status, exposition, .. } = process;
    let labels = [
        ("service", identity.service().to_string()),
        ("name", identity.name().to_owned()),
        ("version", VERSION.to_owned()),
    ];
    ::metrics::gauge!(metrics::PROCESS, &labels).set(1.0);
    if let Transport::Mutual(credentials) = process.network.transport() {
        let credentials = credentials.clone();
        tasks.spawn("certificate", move || credentials.clone().follow());
    } else {
        tracing::warn!(
            "gRPC is plaintext and believes every peer: for experiments on a closed network only"
        );
    }
    if systemd::is_listening() {
        let (status, lifecycle) = (status.clone(), lifecycle.clone());
        tasks.spawn("service-manager", move || systemd::tell(status.clone(), lifecycle.clone()));
    }
    let exposition = exposition.clone();
    tasks.spawn("metrics-upkeep", move || {
        let exposition = exposition.clone();
        async move {
            loop {
                tokio::time::sleep(Duration::from_secs(5)).await;
                exposition.run_upkeep();
            }
        }
    });
}
