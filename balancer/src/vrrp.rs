//! Addresses that one of several balancers holds: VRRP, version 2 (RFC 3768) and 3 (RFC 9568).
//!
//! **What it is.** For each instance of the bundle that names this balancer, a [`state`] machine
//! decides who holds the addresses; [`packet`] is what the balancers say to each other, over a raw
//! [`socket`]. What a master has to do besides, a [`reconciler`] does: put the addresses on the
//! interface ([`address`]), renew their short lifetime, and [`announce`] them. Whoever is not well
//! ([`fitness`]) steps behind. A program of the host may be told ([`hook`]).
//!
//! **Threads.** Two of its own, made with the first instance. `vrrp` keeps time: it sends and hears
//! advertisements, is asked for nothing else, and asks the scheduler for precedence, so that a busy
//! data path does not cost a balancer its addresses. `vrrp-addresses` waits for the kernel's tables
//! and for hooks.
//!
//! **What it is not.** No virtual hardware address: as keepalived does it by default, the addresses
//! are on the interface with its own, and the network is told where. Advertisements have to come
//! from the same link (TTL 255), also those from `unicast_peers`.
//!
//! **Reading order.** [`settings`] → [`packet`] → [`state`] → [`instance`] → [`reconciler`] →
//! [`address`]; `before` is what a successor begins with, `claims` whose an instance is on this
//! host; [`roll`] starts and stops instances as the configuration says, [`seen`] shows them.

pub mod address;
pub mod announce;
mod before;
mod claims;
pub mod fitness;
pub mod hook;
pub mod instance;
pub mod packet;
pub mod reconciler;
pub mod roll;
pub mod seen;
pub mod settings;
pub mod socket;
pub mod state;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cluster_config::document::balancer::Vrrp;
use tokio::sync::{mpsc, oneshot, watch};

use before::{Before, STATE};
use chassis::takeover::Belongings;
use claims::Claims;
use fitness::Ailment;
use instance::Peers;
use roll::{Command, Roll};
use seen::{Seen, Shown, Standing};
use settings::Instance;

/// What comes meanwhile waits for the instances that are being stopped.
const COMMANDS: usize = 8;
/// To leave all instances takes no longer.
const RESIGN_WITHIN: Duration = Duration::from_secs(3);

/// What the instances are told by their process.
#[derive(Clone)]
pub struct Surroundings {
    /// This balancer.
    pub name: String,
    pub clock: chassis::Clock,
    /// Where passwords are.
    pub secrets: PathBuf,
    /// The program that is told of changes.
    pub notify: Option<PathBuf>,
    /// The process that this one takes over from.
    pub predecessor: Option<chassis::Predecessor>,
}

/// The instances of this balancer.
pub struct Virtual {
    around: Surroundings,
    /// Of the thread, once there is one.
    commands: Mutex<Option<mpsc::Sender<Command>>>,
    fitness: watch::Sender<Ailment>,
    peers: watch::Sender<Peers>,
    shown: Shown,
    claims: Claims,
    /// What is wanted, as long as a predecessor takes part.
    held: Mutex<Option<Vec<Instance>>>,
    before: Before,
}

impl Virtual {
    /// None yet.
    #[must_use]
    pub fn new(around: Surroundings) -> Self {
        let before = Before::of(around.predecessor.as_ref());
        Self {
            commands: Mutex::default(),
            fitness: watch::Sender::new(before.ailment.clone()),
            peers: watch::Sender::default(),
            shown: Shown::default(),
            claims: Claims::resumed(around.predecessor.as_ref()),
            held: Mutex::new(around.predecessor.as_ref().map(|_| Vec::new())),
            before,
            around,
        }
    }

    /// What was thought of this balancer when it began: it may be another one's successor.
    #[must_use]
    pub fn ailment_at_first(&self) -> Ailment {
        self.before.ailment.clone()
    }

    /// Its predecessor has let go.
    pub fn begin(&self) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(instances) = held {
            self.apply(instances);
        }
    }

    /// What a successor needs, to go on where this one is.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn belongings(&self) -> std::io::Result<Belongings> {
        let seen = self.shown.all();
        let masters = seen.iter().filter(|it| it.standing == Standing::Master);
        let before = Before {
            ailment: self.fitness.borrow().clone(),
            masters: masters.map(|it| (it.instance.name.clone(), it.became_master)).collect(),
        };
        let handed = self.claims.handed()?;
        Ok(Belongings { handed, state: [(STATE.to_owned(), before.to_json())].into() })
    }

    /// Leaves all instances as they are: a successor goes on with them.
    pub fn hand_over(&self) {
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(commands) = commands else { return };
        let (done, left) = oneshot::channel();
        if commands.try_send(Command::HandOver(done)).is_ok() {
            // An error means that the thread is gone.
            drop(left.blocking_recv());
        }
        self.claims.clear();
    }

    /// What a document wants of this balancer.
    ///
    /// # Errors
    /// Every instance that cannot be taken up.
    pub fn prepare(&self, wanted: &[Vrrp]) -> Result<Vec<Instance>, Vec<String>> {
        let Surroundings { name, secrets, .. } = &self.around;
        Instance::all(wanted, name, secrets)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    /// Takes part in these instances, and in no others. Those that have not changed go on.
    pub fn apply(&self, instances: Vec<Instance>) {
        if let Some(held) = &mut *self.held.lock().unwrap_or_else(PoisonError::into_inner) {
            *held = instances;
            return;
        }
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        if commands.as_ref().is_none_or(mpsc::Sender::is_closed) {
            if instances.is_empty() {
                return;
            }
            match self.start() {
                Ok(started) => *commands = Some(started),
                Err(error) => {
                    tracing::error!("no threads for virtual addresses: {error}");
                    return;
                }
            }
        }
        if let Some(commands) = &*commands
            && commands.try_send(Command::Apply(instances)).is_err()
        {
            tracing::error!("the virtual addresses stay as they are: their thread does not answer");
        }
    }

    fn start(&self) -> std::io::Result<mpsc::Sender<Command>> {
        let (sender, commands) = mpsc::channel(COMMANDS);
        Roll {
            around: self.around.clone(),
            fitness: self.fitness.subscribe(),
            peers: self.peers.subscribe(),
            shown: self.shown.clone(),
            claims: self.claims.clone(),
            resumes: self.before.masters.clone(),
        }
        .start(commands)?;
        Ok(sender)
    }

    /// This balancer is well, or what it lacks.
    pub fn judge(&self, ailment: &Ailment) {
        self.fitness.send_if_modified(|known| {
            let changed = known != ailment;
            known.clone_from(ailment);
            changed
        });
    }

    /// Where other balancers are.
    pub fn meet(&self, peers: Peers) {
        self.peers.send_if_modified(|known| {
            let changed = **known != *peers;
            *known = peers;
            changed
        });
    }

    /// Whether there is any instance.
    #[must_use]
    pub fn takes_part(&self) -> bool {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// What can be seen of the instances.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.shown.all()
    }

    /// Leaves all instances, so that another balancer takes the addresses over at once.
    pub async fn resign(&self) {
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(commands) = commands else { return };
        let (done, left) = oneshot::channel();
        if commands.try_send(Command::Resign(done)).is_ok()
            && tokio::time::timeout(RESIGN_WITHIN, left).await.is_err()
        {
            tracing::warn!("the virtual addresses are left to their lifetime");
        }
    }
}

/// Handle of all that.
pub type Handle = Arc<Virtual>;
