//! What a command does and what is said to it: reads from the view, changes through the operator.

use jiff::Timestamp;

use super::{
    command::{AgentChange, Command, Format, Setting, Target},
    errors, help, servers,
};
use crate::{
    face::haproxy::{csv, info, json, typed},
    face::process::About,
    membership::Desired,
    operate::{Change, Error, Operator, Shown},
    snapshot::Listed,
    view::View,
};

/// What commands act on. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    pub view: View,
    pub operator: Operator,
    pub about: About,
}

/// What is said, without the empty line that ends it.
pub type Said = Result<String, String>;

impl Runtime {
    /// Runs a command. What is said is empty when a change was made, as at HAProxy.
    ///
    /// # Errors
    /// Why not, in HAProxy's words where HAProxy has any.
    pub async fn run(&self, command: &Command) -> Said {
        match command {
            Command::GetWeight(target) => {
                let shown = self.find(target)?;
                let Listed { weight, initial_weight, .. } = shown.listed();
                Ok(format!("{weight} (initial {initial_weight})\n"))
            }
            Command::Set(target, setting) => {
                let shown = self.find(target)?;
                self.set(target, &shown, setting).await
            }
            Command::Shutdown(target) => {
                self.operator.cut(&self.find(target)?);
                Ok(String::new())
            }
            Command::ClearCounters => {
                self.view.rates.clear_maxima();
                Ok(String::new())
            }
            // What the connection itself does.
            Command::Prompt | Command::Quit | Command::SetTimeout(_) => Ok(String::new()),
            Command::ShowErrors(proxy) => {
                let (view, proxy) = (self.view.clone(), proxy.clone());
                let rendering = move || errors::render(&view, proxy.as_deref());
                let rendered = tokio::task::spawn_blocking(rendering).await;
                rendered.ok().flatten().ok_or_else(|| "No such proxy.".to_owned())
            }
            show => self.show(show),
        }
    }

    fn show(&self, command: &Command) -> Said {
        let backend_missing = || "Can't find backend.".to_owned();
        match command {
            Command::ShowStat(selection, format) => {
                let rows = self.about.rows(&self.view);
                let rows = selection.of(&rows).map_err(|_| "No such proxy.".to_owned())?;
                Ok(match format {
                    Format::Plain => csv::table(rows),
                    Format::Typed => typed::table(rows),
                    Format::Json => json::table(rows),
                })
            }
            Command::ShowInfo(format) => {
                let info = self.about.info(&self.view);
                Ok(match format {
                    Format::Plain => info::plain(&info),
                    Format::Typed => info::typed(&info),
                    Format::Json => info::json(&info),
                })
            }
            Command::ShowServersState(backend) => {
                servers::state(&self.view.stats(), backend.as_deref()).ok_or_else(backend_missing)
            }
            Command::ShowServersConn(backend) => {
                servers::connections(&self.view.stats(), backend.as_deref(), self.about.workers)
                    .ok_or_else(backend_missing)
            }
            Command::ShowBackend => {
                let snapshot = self.view.snapshot();
                let names = snapshot.pools.iter().map(|pool| format!("{}\n", pool.settings.name));
                Ok(format!("# name\n{}", names.collect::<String>()))
            }
            Command::ShowPools => Ok(self.pools()),
            Command::ShowVersion => Ok(format!("{}\n", chassis::VERSION)),
            Command::ShowEnv(name) => Ok(environment(name.as_deref())),
            Command::ShowSockets => {
                let sockets = self.about.sockets();
                let lines = sockets.iter().map(|it| format!("{it} admin all\n"));
                Ok(format!("# socket lvl processes\n{}", lines.collect::<String>()))
            }
            Command::ShowLevel => Ok("admin\n".to_owned()),
            Command::Help(words) => Ok(help::help(words)),
            _ => Ok(String::new()),
        }
    }

    /// The server that is meant.
    ///
    /// # Errors
    /// In HAProxy's words: there is none of that name.
    pub fn find(&self, target: &Target) -> Result<Shown, String> {
        self.operator.find(&target.backend, &target.server).map_err(|error| words(&error))
    }

    async fn set(&self, target: &Target, shown: &Shown, setting: &Setting) -> Said {
        let mut force = false;
        let desired = match setting {
            Setting::State { admin, force: forced } => {
                force = *forced;
                Desired::from(*admin)
            }
            Setting::Weight(weight) => {
                let weight = weight.of(shown.listed().initial_weight);
                Desired { weight: Some(weight), ..Desired::default() }
            }
            Setting::Address { ip, port } => {
                let mut address = shown.listed().server.address;
                let before = address;
                address.set_ip(*ip);
                address.set_port(port.unwrap_or(address.port()));
                let desired = Desired { address: Some(address), ..Desired::default() };
                self.change(target, desired, false).await?;
                return Ok(moved(before, address));
            }
            Setting::Maxconn(most) => {
                let set = self.operator.set_maxconn(&target.backend, &target.server, *most).await;
                return set.map(|_| String::new()).map_err(|error| words(&error));
            }
            Setting::Health(well) => {
                self.operator.say(shown, *well);
                return Ok(String::new());
            }
            Setting::Checks(on) => {
                if *on && !shown.pool.settings.check.enabled {
                    return Err(
                        "Health check was not configured on this server, cannot enable.".to_owned()
                    );
                }
                self.operator.pause_checks(shown, !on);
                return Ok(String::new());
            }
            Setting::Agent(change) => return self.agent(shown, *change).await,
        };
        self.change(target, desired, force).await.map(|()| String::new())
    }

    async fn agent(&self, shown: &Shown, change: AgentChange) -> Said {
        let there_is_one = shown.pool.settings.agent_check.is_some();
        match change {
            AgentChange::On if !there_is_one => {
                return Err("Agent was not configured on this server, cannot enable.".to_owned());
            }
            AgentChange::Said(_) if !there_is_one => {
                return Err("agent checks are not enabled on this server.".to_owned());
            }
            AgentChange::On => self.operator.pause_agent(shown, false),
            AgentChange::Off => self.operator.pause_agent(shown, true),
            AgentChange::Said(up) => {
                let said = self.operator.say_as_agent(shown, up).await;
                return said.map(|_| String::new()).map_err(|error| words(&error));
            }
        }
        Ok(String::new())
    }

    async fn change(&self, target: &Target, desired: Desired, force: bool) -> Result<(), String> {
        let change = Change {
            backend: target.backend.clone(),
            server: target.server.clone(),
            desired,
            force,
        };
        self.operator.set(&change).await.map(drop).map_err(|error| words(&error))
    }

    /// There are no pools of HAProxy's kind: memory as a whole.
    fn pools(&self) -> String {
        let memory = self.about.memory();
        format!(
            "Dumping pools usage.\n  - Pool process (1 bytes) : {memory} allocated ({memory} \
             bytes), {memory} used, 0 failures, 1 users\nTotal: 1 pools, {memory} bytes \
             allocated, {memory} used.\n"
        )
    }
}

/// An error on one line, in HAProxy's words where HAProxy has any.
fn words(error: &Error) -> String {
    match error {
        Error::NoBackend { .. } => "No such backend.".to_owned(),
        Error::NoServer { .. } => "No such server.".to_owned(),
        Error::Weight => "Absolute weight can only be between 0 and 256 inclusive.".to_owned(),
        Error::Discovered { .. } | Error::Refused(_) => {
            error.to_string().replace(['\n', '\r'], " ")
        }
    }
}

/// HAProxy says what has changed, and its clients look for these words.
fn moved(from: std::net::SocketAddr, to: std::net::SocketAddr) -> String {
    let by = "by 'stats socket command'";
    let ip = if from.ip() == to.ip() {
        "no need to change the addr".to_owned()
    } else {
        format!("IP changed from '{}' to '{}'", from.ip(), to.ip())
    };
    if from.port() == to.port() {
        format!("{ip}, no need to change the port {by}\n")
    } else {
        format!("{ip}, port changed from '{}' to '{}' {by}\n", from.port(), to.port())
    }
}

/// Only Shoal's own variables: what else is there is nobody's business, and may be a secret.
fn environment(name: Option<&str>) -> String {
    let own = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(key, _)| key.starts_with("SHOAL_") && name.is_none_or(|name| name == key));
    own.map(|(key, value)| format!("{key}={}\n", value.replace(['\n', '\r'], " "))).collect()
}

/// As `show errors` writes a moment.
#[must_use]
pub fn moment(at: Timestamp) -> String {
    at.strftime("%d/%b/%Y:%H:%M:%S%.3f").to_string()
}
