//! Starts and stops instances as the configuration says; the owner of their tasks.

use std::{collections::BTreeMap, io, sync::Arc, thread, time::Duration};

use nix::libc;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{self, timeout},
};

use super::{
    Surroundings,
    address::{Fault, Kernel},
    claims::Claims,
    fitness::Ailment,
    hook,
    instance::{HOLD, Peers, Work, Worker},
    reconciler::{Desired, Reconciler},
    seen::{Seen, Shown, Standing},
    settings::Instance,
};

/// An instance that is stopped has this long to take its addresses off.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);
/// Its program has this long to be told of the end.
const TELL_WITHIN: Duration = Duration::from_secs(1);
/// How often it is looked whether all instances live.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What the thread that keeps time asks for; it needs CAP_SYS_NICE.
const PRECEDENCE: i32 = -15;

/// What the owner is asked for.
pub enum Command {
    /// Take part in these.
    Apply(Vec<Instance>),
    /// Leave all, and say when that is done.
    Resign(oneshot::Sender<()>),
    /// Leave all as they are, and say when that is done.
    HandOver(oneshot::Sender<()>),
}

/// What instances are made with.
pub struct Roll {
    pub around: Surroundings,
    pub fitness: watch::Receiver<Ailment>,
    pub peers: watch::Receiver<Peers>,
    pub shown: Shown,
    pub claims: Claims,
    /// Instances that a predecessor was master of, and how often it had become that: they go on as
    /// such when they begin.
    pub resumes: BTreeMap<String, u64>,
}

/// One instance's tasks.
struct Running {
    instance: watch::Sender<Arc<Instance>>,
    stop: watch::Sender<bool>,
    desire: watch::Sender<Desired>,
    worker: JoinHandle<()>,
    reconciler: JoinHandle<()>,
    hook: Option<JoinHandle<()>>,
}

impl Running {
    fn lives(&self) -> bool {
        !self.worker.is_finished() && !self.reconciler.is_finished()
    }

    /// Says nothing more and takes nothing off: a successor holds the addresses.
    async fn abandon(self) {
        // The worker first: without the other one it would say that it leaves. What it desires is
        // kept until that one has ended, which would take the addresses off otherwise.
        let _desired = self.desire;
        for task in [self.worker, self.reconciler].into_iter().chain(self.hook) {
            task.abort();
            // It was aborted, or has ended by itself.
            drop(task.await);
        }
    }

    async fn end(self) {
        self.stop.send_replace(true);
        drop(self.desire);
        let ended = async {
            let worker = self.worker.await;
            (worker, self.reconciler.await)
        };
        if timeout(LEAVE_WITHIN, ended).await.is_err() {
            tracing::warn!("addresses are left to their lifetime");
        }
        if let Some(hook) = self.hook {
            let aborted = hook.abort_handle();
            if timeout(TELL_WITHIN, hook).await.is_err() {
                aborted.abort();
            }
        }
    }
}

impl Roll {
    /// On two threads.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn start(self, commands: mpsc::Receiver<Command>) -> io::Result<()> {
        let beside = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("vrrp-addresses")
            .enable_all()
            .build()?;
        let keeps_time = Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("vrrp".to_owned()).spawn(move || {
            take_precedence();
            let beside: Runtime = beside;
            keeps_time.block_on(self.run(commands, beside.handle()));
            beside.shutdown_background();
        })?;
        Ok(())
    }

    async fn run(mut self, mut commands: mpsc::Receiver<Command>, beside: &Handle) {
        let mut running = BTreeMap::<String, Running>::new();
        let mut wanted = Vec::new();
        let mut look = time::interval(LOOK_EVERY);
        let done = loop {
            let mut applied = false;
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Apply(instances)) => (wanted, applied) = (instances, true),
                    Some(Command::Resign(done)) => break Some(done),
                    Some(Command::HandOver(done)) => {
                        for (_, instance) in running {
                            instance.abandon().await;
                        }
                        return done.send(()).unwrap_or_default();
                    }
                    None => break None,
                },
                _ = look.tick() => {}
            }
            self.settle(&mut running, &wanted, beside).await;
            if applied {
                self.claims.settled();
            }
        };
        self.settle(&mut running, &[], beside).await;
        if let Some(done) = done {
            // Who asked may have given up.
            done.send(()).unwrap_or_default();
        }
    }

    /// Compares what runs with what shall run, and changes what differs.
    async fn settle(
        &mut self,
        running: &mut BTreeMap<String, Running>,
        wanted: &[Instance],
        beside: &Handle,
    ) {
        let stays = |name: &str, it: &Running| {
            let same = wanted.iter().find(|wanted| wanted.name == name);
            it.lives()
                && same.is_some_and(|same| same.differs_in_priority_alone(&it.instance.borrow()))
        };
        let goes: Vec<_> = running.iter().filter(|(name, it)| !stays(name, it)).collect();
        let goes: Vec<String> = goes.into_iter().map(|(name, _)| name.clone()).collect();
        for name in goes {
            if let Some(gone) = running.remove(&name) {
                if !gone.lives() {
                    tracing::error!(instance = name, "it has failed and is begun anew");
                }
                let instance = Arc::clone(&gone.instance.borrow());
                gone.end().await;
                self.claims.end(&instance);
                self.shown.remove(&name);
            }
        }
        for instance in wanted {
            match running.get(&instance.name) {
                Some(it) => {
                    it.instance.send_if_modified(|known| {
                        let changed = **known != *instance;
                        *known = Arc::new(instance.clone());
                        changed
                    });
                }
                None => {
                    if let Some(begun) = self.begin(instance, beside) {
                        running.insert(instance.name.clone(), begun);
                    }
                }
            }
        }
    }

    fn begin(&mut self, instance: &Instance, beside: &Handle) -> Option<Running> {
        let instance = Arc::new(instance.clone());
        let fresh = !self.shown.all().iter().any(|it| it.instance.name == instance.name);
        if let Err(fault) = self.claims.make(&instance) {
            self.show(&instance, &fault, fresh);
            return None;
        }
        let kernel = {
            let _beside = beside.enter();
            Kernel::open()
        };
        let kernel = match kernel {
            Ok(kernel) => kernel,
            Err(fault) => {
                self.claims.end(&instance);
                self.show(&instance, &fault, fresh);
                return None;
            }
        };
        self.show(&instance, &Fault::Starting, true);
        let resumes = self.resumes.remove(&instance.name);
        if let Some(became_master) = resumes {
            // It becomes master once more, which is the same time.
            let before = became_master.saturating_sub(1);
            self.shown.change(&instance.name, |seen| seen.became_master = before);
        }
        // What the predecessor has put there stays.
        let hold_until = resumes.map(|_| time::Instant::now() + HOLD);
        let (desire, desired) = watch::channel(Desired { hold_until, ..Desired::default() });
        let (tell, facts) = watch::channel(None);
        let (told, heard) = watch::channel(None);
        let (stop, stopped) = watch::channel(false);
        let (change, changed) = watch::channel(Arc::clone(&instance));
        let hook = self
            .around
            .notify
            .clone()
            .map(|program| beside.spawn(hook::follow(program, instance.name.clone(), heard)));
        let reconciler = Reconciler { kernel, instance, desired, facts: tell };
        let work = Work {
            instance: changed,
            facts,
            desired: desire.clone(),
            fitness: self.fitness.clone(),
            peers: self.peers.clone(),
            told,
            shown: self.shown.clone(),
            clock: self.around.clock.clone(),
            resumes: resumes.is_some(),
            stop: stopped,
        };
        Some(Running {
            instance: change,
            stop,
            desire,
            reconciler: beside.spawn(reconciler.run()),
            worker: tokio::spawn(Worker::new(work).run()),
            hook,
        })
    }

    fn show(&self, instance: &Arc<Instance>, fault: &Fault, fresh: bool) {
        if !fresh {
            return;
        }
        if *fault != Fault::Starting {
            tracing::error!(instance = %instance.name, "takes no part: {fault}");
        }
        self.shown.put(Seen {
            instance: Arc::clone(instance),
            standing: Standing::Fault(fault.to_string()),
            since: self.around.clock.now(),
            priority: instance.priority(self.fitness.borrow().is_none()),
            ailment: self.fitness.borrow().clone(),
            master: None,
            became_master: 0,
        });
    }
}

/// The scheduler lets this thread run before others that are due.
fn take_precedence() {
    // SAFETY: plain numbers; thread 0 is the caller.
    let refused = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, PRECEDENCE) } != 0;
    if refused {
        let error = io::Error::last_os_error();
        tracing::info!(
            "the thread that keeps VRRP's time has no precedence over others ({error}); \
             CAP_SYS_NICE gives it"
        );
    }
}
