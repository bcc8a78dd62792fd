//! `shoal lab`: everything is looked at, then taken, then started; at the end everything is
//! drained.

use std::{collections::BTreeMap, future::Future, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail};
use chassis::operator::Context;
use cluster::Service;
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    time::{Instant, timeout, timeout_at},
};

use super::{
    Up, announcement, material,
    owner::{Event, Handle, Order, Restart},
    plan::{self, Child, ENDING, STAGES},
    ports::{self, Claims, Ports},
    readiness,
    spawn::tail,
};
use crate::{
    cluster::{Cluster, block_on},
    config::bundle,
    labs::{
        description::{self, Description, Process},
        directory::{self, Lock, Note},
    },
    output, ready,
};

/// How long everything together may take to become ready.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long balancers may take to learn of every node; a bundle of the user's own may not want them
/// all.
const ACQUAINTANCE: Duration = Duration::from_secs(10);
/// Lines of a log that are shown when its process does not start.
const LINES: usize = 20;

/// Runs a lab until it is told to stop.
///
/// # Errors
/// It cannot be started; nothing runs then.
pub fn run(options: &Up) -> Result<()> {
    let directory = match &options.data_dir {
        Some(directory) => std::path::absolute(directory)?,
        None => directory::default()?,
    };
    let given = options.config.as_deref().map(bundle::checked).transpose()?;
    let found = directory::inspect(&directory)?;
    let bundle = material::Bundle::choose(&directory, given, options.parent.as_deref())?;
    let members = plan::members(options.nodes, options.balancers, options.checkers);
    let mut claims = Claims::default();
    let candidates = ports::candidates(std::process::id());
    let ports = Ports::load(&directory)?.complete(
        options.base_port,
        &plan::wanted(&members),
        candidates,
        |port| claims.take(port),
    )?;

    let lock = directory::take(&directory, found)?;
    description::remove(&directory)?;
    ports.save(&directory)?;
    bundle.write(&directory)?;
    let papers = material::papers(&directory, &members)?;
    let password = material::console_password(&directory)?;
    let program = std::env::current_exe().context("cannot find the shoal program itself")?;
    let hooks = plan::environment(
        std::env::vars(),
        options.otlp_endpoint.as_deref(),
        options.trace_ratio.as_deref(),
    );
    let child = |member: &plan::Member| {
        plan::child(&program, &directory, member, &ports, &papers.of(member), hooks.clone())
    };
    let children = members.iter().map(child).collect();
    let restart = if options.no_restart { Restart::Never } else { Restart::Always };
    // A current-thread runtime: children are started on this very thread, which their parent-death
    // signals follow.
    block_on(async {
        let mut lab = Lab::new(directory, children, papers.operator(), restart, password)?;
        let result = lab.run(options.data_dir.is_none()).await;
        lab.end().await;
        drop((lock as Lock, claims as Claims));
        result
    })
}

/// A lab that is starting, running or ending.
struct Lab {
    directory: PathBuf,
    children: Vec<Child>,
    operator: description::Operator,
    restart: Restart,
    handles: Vec<Handle>,
    events: mpsc::Receiver<Event>,
    reporter: mpsc::Sender<Event>,
    /// How often somebody asked for the end.
    interrupts: watch::Receiver<u32>,
    pids: BTreeMap<String, u32>,
    /// Length of every log before this run.
    logged: BTreeMap<String, u64>,
    progress: ProgressBar,
    /// Of the console's user.
    password: String,
}

impl Lab {
    fn new(
        directory: PathBuf,
        children: Vec<Child>,
        operator: description::Operator,
        restart: Restart,
        password: String,
    ) -> Result<Self> {
        let (reporter, events) = mpsc::channel(64);
        std::fs::create_dir_all(directory.join("logs"))
            .with_context(|| format!("cannot write {}", directory.display()))?;
        let length = |child: &Child| std::fs::metadata(&child.log).map_or(0, |log| log.len());
        let logged = children.iter().map(|child| (child.name.clone(), length(child))).collect();
        let progress = ProgressBar::new_spinner()
            .with_style(ProgressStyle::with_template("{spinner} {msg} ({elapsed})")?);
        let progress = progress.with_finish(ProgressFinish::AndClear);
        progress.enable_steady_tick(Duration::from_millis(100));
        let (handles, pids, interrupts) = (Vec::new(), BTreeMap::new(), interrupts()?);
        Ok(Self {
            directory,
            children,
            operator,
            restart,
            handles,
            events,
            reporter,
            interrupts,
            pids,
            logged,
            progress,
            password,
        })
    }

    /// Starts everything and looks after it until somebody asks for the end.
    async fn run(&mut self, is_default: bool) -> Result<()> {
        let started = self.start().await;
        self.progress.finish_and_clear();
        if !started? {
            bail!("the lab was stopped before it was ready");
        }
        self.describe().write(&self.directory)?;
        // Without the note, commands need --data-dir; nothing else depends on it.
        let note = Note::write(&self.directory)
            .map_err(|error| output::remark(&format!("commands will need --data-dir: {error:#}")))
            .ok();
        output::print(&announcement::text(
            &self.describe(),
            &self.directory,
            (is_default || note.is_some()) && directory::running().len() < 2,
            &self.password,
        ))?;
        self.look_after().await
    }

    /// Starts everything and waits until it is ready; false when somebody asked for the end before.
    async fn start(&mut self) -> Result<bool> {
        let deadline = Instant::now() + PATIENCE;
        let cluster = Cluster::with(&self.context()?)?;
        for stage in STAGES {
            let members: Vec<_> = self
                .children
                .iter()
                .filter(|child| stage.contains(&child.service))
                .cloned()
                .collect();
            for child in &members {
                self.handles.push(Handle::start(
                    child.clone(),
                    self.restart,
                    self.reporter.clone(),
                ));
            }
            if !self
                .until(deadline, &members, all_say_so(self.progress.clone(), members.clone()))
                .await?
            {
                return Ok(false);
            }
            if stage.contains(&Service::ConfigService) {
                self.progress.set_message("giving the cluster its first configuration");
                let directory = self.directory.clone();
                let release = material::release(&cluster, &directory);
                if !self.until(deadline, &[], release).await? {
                    return Ok(false);
                }
            }
        }
        self.progress.set_message("waiting until everybody knows everybody");
        let everybody: Vec<_> = self.children.iter().map(|child| child.name.clone()).collect();
        let nodes: Vec<_> = self
            .children
            .iter()
            .filter(|child| child.service == Service::ProxyNode)
            .map(|child| child.name.clone())
            .collect();
        let acquainted = async {
            readiness::everybody_is_usable(
                &cluster,
                &everybody.iter().map(String::as_str).collect::<Vec<_>>(),
            )
            .await;
            let nodes: Vec<_> = nodes.iter().map(String::as_str).collect();
            if timeout(ACQUAINTANCE, readiness::balancers_know(&cluster, &nodes)).await.is_err() {
                output::remark("not every balancer uses every node: see `shoal explain`");
            }
            Ok(())
        };
        self.until(deadline, &[], acquainted).await
    }

    /// Waits for `what` while nothing dies; false when somebody asked for the end before.
    async fn until(
        &mut self,
        deadline: Instant,
        waited_for: &[Child],
        what: impl Future<Output = Result<()>>,
    ) -> Result<bool> {
        let mut interrupts = self.interrupts.clone();
        let mut what = std::pin::pin!(timeout_at(deadline, what));
        loop {
            tokio::select! {
                done = &mut what => return match done {
                    Ok(result) => result.map(|()| true),
                    Err(_) => Err(self.slow(waited_for).await),
                },
                Some(event) = self.events.recv() => match event {
                    Event::Started { name, pid } => { self.pids.insert(name, pid); }
                    Event::Ended { name, how, .. } => return Err(self.failed(&name, &format!("did \
                        not start ({how})"))),
                },
                _ = interrupts.wait_for(|count| *count > 0) => return Ok(false),
            }
        }
    }

    /// The failure for the first of `waited_for` that is still not ready.
    async fn slow(&self, waited_for: &[Child]) -> anyhow::Error {
        let seconds = PATIENCE.as_secs();
        let Ok(client) = ready::client() else {
            return anyhow!("the cluster is not ready after {seconds} s");
        };
        for child in waited_for {
            if let Err(reason) = readiness::ask(&client, child).await {
                return self
                    .failed(&child.name, &format!("is not ready after {seconds} s ({reason:#})"));
            }
        }
        anyhow!(
            "the cluster is not ready after {seconds} s: see the logs in {}",
            self.directory.join("logs").display()
        )
    }

    /// A failure with the end of the child's log.
    fn failed(&self, name: &str, what: &str) -> anyhow::Error {
        let Some(child) = self.children.iter().find(|child| child.name == name) else {
            return anyhow!("{name} {what}");
        };
        let log = tail(&child.log, self.logged.get(name).copied().unwrap_or(0), LINES);
        anyhow!("{name} {what}; the end of its log {}:\n{log}", child.log.display())
    }

    /// Keeps `lab.json` true until somebody asks for the end.
    async fn look_after(&mut self) -> Result<()> {
        let mut interrupts = self.interrupts.clone();
        loop {
            tokio::select! {
                Some(event) = self.events.recv() => match event {
                    Event::Started { name, pid } => {
                        output::remark(&format!("{name} runs again (pid {pid})"));
                        self.pids.insert(name, pid);
                        self.describe().write(&self.directory)?;
                    }
                    Event::Ended { name, how, again } => output::remark(&died(&name, &how, again)),
                },
                _ = interrupts.wait_for(|count| *count > 0) => return Ok(()),
            }
        }
    }

    /// Drains and ends everything, service by service; a second request kills what is left.
    async fn end(&mut self) {
        self.progress.finish_and_clear();
        if let Err(error) = description::remove(&self.directory) {
            output::remark(&format!("{error:#}"));
        }
        self.events.close();
        let before = *self.interrupts.borrow();
        let progress = ProgressBar::new_spinner().with_finish(ProgressFinish::AndClear);
        for service in ENDING {
            progress.set_message(format!("draining {service} (Ctrl-C again: end at once)"));
            let ending = || self.handles.iter().filter(|handle| handle.child.service == service);
            ending().for_each(|handle| handle.order(Order::Drain));
            let mut interrupts = self.interrupts.clone();
            for handle in self.handles.iter_mut().filter(|handle| handle.child.service == service) {
                tokio::select! {
                    () = handle.ended() => continue,
                    _ = interrupts.wait_for(|count| *count > before) => handle.order(Order::Kill),
                }
                handle.ended().await;
            }
        }
        progress.finish_and_clear();
    }

    fn describe(&self) -> Description {
        let processes: Vec<_> = self.children.iter().map(|child| self.process(child)).collect();
        let frontends = processes
            .iter()
            .filter_map(|process| process.endpoints.get("frontend").cloned())
            .collect();
        Description { frontends, processes, operator: self.operator.clone() }
    }

    fn process(&self, child: &Child) -> Process {
        let Child { name, service, argv, env, cwd, endpoints, .. } = child.clone();
        let pid = self.pids.get(&name).copied().unwrap_or(0);
        Process { name, service: service.to_string(), pid, argv, env, cwd, endpoints }
    }

    fn context(&self) -> Result<Context> {
        let description::Operator { ca, cert, key } = self.operator.clone();
        let registry = self
            .children
            .iter()
            .find(|child| child.service == Service::Registry)
            .and_then(|child| child.endpoints.get("grpc"));
        let Some(registry) = registry.cloned() else { bail!("a lab has a registry") };
        Ok(Context { registry: vec![registry], ca, cert, key })
    }
}

async fn all_say_so(progress: ProgressBar, children: Vec<Child>) -> Result<()> {
    let client = ready::client()?;
    for child in &children {
        progress.set_message(format!("waiting for {}", child.name));
        readiness::says_so(&client, child).await;
    }
    Ok(())
}

fn died(name: &str, how: &str, again: Option<Duration>) -> String {
    let next = again.map_or_else(
        || "it stays so (--no-restart)".to_owned(),
        |pause| format!("starting it again in {} ms", pause.as_millis()),
    );
    format!("{name} died ({how}): {next}")
}

/// Counts requests to end: Ctrl-C, SIGTERM, a closed terminal.
fn interrupts() -> Result<watch::Receiver<u32>> {
    let (sender, receiver) = watch::channel(0);
    let mut kinds = Vec::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        kinds.push(signal(kind)?);
    }
    let [mut interrupt, mut terminate, mut hangup] =
        <[_; 3]>::try_from(kinds).map_err(|_| anyhow!("three signals"))?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            sender.send_modify(|count| *count += 1);
        }
    });
    Ok(receiver)
}
