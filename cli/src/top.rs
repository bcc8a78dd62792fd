//! `shoal top`: the whole cluster, live. [`gather`] asks, `sample` remembers, `model`, `table` and
//! `notes` say what is shown (pure), `app` takes keys (pure), `draw` draws.

mod app;
mod draw;
mod gather;
mod model;
mod notes;
mod sample;
mod table;

use std::{io::IsTerminal, rc::Rc, time::Duration};

use anyhow::{Result, anyhow, bail};
use clap::Args;
use proto::registry::{AdminState, SetAdminStateRequest};
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use serde::Serialize;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};

use self::{
    app::{Act, App, Effect},
    draw::Look,
    gather::Collector,
    model::Model,
    sample::Snapshot,
    table::{Tone, tables},
};
use crate::{
    cluster::{Cluster, call},
    context::Target,
    output::{self, Format, Head, View, colours_wanted, column, printable, sentences},
    ready,
    status::alarm_text,
};

/// Watch the whole cluster live: balancers, their servers, nodes; drain and enable from there
#[derive(Args)]
#[command(after_help = "Examples:
  shoal top                          q quits, ? shows the keys
  shoal top --interval 5s
  shoal top --once                   one picture as text, for a script or a pipe
  shoal top -o json | jq '.total'    the same as JSON
  NO_COLOR=1 shoal top")]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// Time between two looks, at least 200ms
    #[arg(
        long,
        value_name = "TIME",
        value_parser = chassis::options::duration,
        default_value = "1s",
    )]
    interval: Duration,
    /// Print one picture and end
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    format: Format,
}

/// However impatient, processes are asked no more often.
const SHORTEST: Duration = Duration::from_millis(200);
/// Keys that wait to be taken.
const KEYS: usize = 32;
/// How often the reader of keys looks whether it is still wanted.
const POLL: Duration = Duration::from_millis(200);

pub async fn run(options: Options) -> Result<()> {
    let interval = options.interval.max(SHORTEST);
    let cluster = Rc::new(Cluster::open(&options.target)?);
    let collector = Collector::new(Rc::clone(&cluster), ready::client()?);
    if options.once || options.format.is_json() {
        return once(&cluster, collector, interval, options.format).await;
    }
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        bail!("this is no terminal: `shoal top --once` prints one picture");
    }
    let (sender, known) = watch::channel(Snapshot::default());
    let mut terminal = ratatui::try_init().map_err(|error| {
        anyhow!("cannot use this terminal: {error}; `shoal top --once` prints one picture")
    })?;
    let look = Look { colours: colours_wanted() };
    let name = Head::text(&cluster.head());
    let ended = tokio::select! {
        ended = watch_and_act(&cluster, &mut terminal, look, known, printable(&name)) => ended,
        () = collector.run(interval, sender) => Ok(()),
    };
    ratatui::try_restore()?;
    ended
}

/// Two looks, so that there are rates, and one picture.
async fn once(
    cluster: &Cluster,
    mut collector: Collector,
    interval: Duration,
    format: Format,
) -> Result<()> {
    collector.round().await;
    tokio::time::sleep(interval).await;
    let snapshot = collector.round().await;
    if snapshot.registry.value().is_none() {
        bail!(
            "{}",
            snapshot
                .registry
                .silent
                .clone()
                .unwrap_or_else(|| "the registry does not answer".to_owned())
        );
    }
    let picture = Picture(model::model(snapshot));
    cluster.show(&picture, format)
}

#[derive(Serialize)]
#[serde(transparent)]
struct Picture(Model);

impl View for Picture {
    fn text(&self) -> String {
        let total = &self.0.total;
        let number = |value: Option<f64>| {
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"))
        };
        let mut parts: Vec<_> = self.0.alarms.iter().map(alarm_text).collect();
        parts.push(format!(
            "{} requests/s, {} failed/s, {} of {} nodes usable, {} connections, {} tunnels",
            number(total.requests_per_second),
            number(total.failed_per_second),
            total.nodes_usable,
            total.nodes,
            total.connections,
            total.tunnels
        ));
        parts.extend(
            self.0
                .silent
                .iter()
                .map(|silent| format!("{} does not answer: {}", silent.name, silent.why)),
        );
        let shown =
            tables(&self.0).into_iter().filter(|table| !table.rows.is_empty()).map(|table| {
                let of = |it: &table::Column| {
                    if it.title == table::WHY {
                        sentences(it.title)
                    } else {
                        column(it.title, it.rank)
                    }
                };
                let columns: Vec<_> = table.columns.iter().map(of).collect();
                let rows = table.rows.iter().map(|row| row.cells.iter().map(cell).collect());
                output::table(&columns, rows)
            });
        parts.extend(shown.collect::<Vec<_>>());
        parts.join("\n\n")
    }
}

fn cell(cell: &table::Cell) -> output::Cell {
    output::Cell::new(&cell.text).toned(match cell.tone {
        Tone::Plain | Tone::Faint => output::Tone::Plain,
        Tone::Good => output::Tone::Good,
        Tone::Doubtful => output::Tone::Doubtful,
        Tone::Bad => output::Tone::Bad,
    })
}

/// Draws and takes keys until somebody quits.
async fn watch_and_act(
    cluster: &Rc<Cluster>,
    terminal: &mut ratatui::DefaultTerminal,
    look: Look,
    mut known: watch::Receiver<Snapshot>,
    name: String,
) -> Result<()> {
    let (mut keys, mut app) = (read_keys(), App::of(name));
    let (mut terminated, mut hung_up) =
        (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    let (done, mut results) = mpsc::channel::<String>(KEYS);
    let acts = tokio::task::LocalSet::new();
    let watching = async {
        loop {
            terminal.draw(|frame| draw::draw(frame, &app, look))?;
            tokio::select! {
                changed = known.changed() => {
                    if changed.is_err() { return Ok(()) }
                    app.show(model::model(&known.borrow_and_update()));
                }
                event = keys.recv() => match event {
                    None => bail!("the keyboard cannot be read any more"),
                    Some(Event::Key(key)) if key.kind != KeyEventKind::Release =>
                    match app.press(key) {
                        Effect::Quit => return Ok(()),
                        Effect::Nothing => {}
                        Effect::Do { act, name, force } => {
                            let (cluster, done) = (Rc::clone(cluster), done.clone());
                            tokio::task::spawn_local(async move {
                                // Nobody is there to be told any more: it has been done all the
                                // same.
                                done.send(carry_out(&cluster, act, &name, force).await).await.ok();
                            });
                        }
                    },
                    // A resize, or something else that is drawn anew.
                    Some(_) => {}
                },
                Some(result) = results.recv() => app.message = result,
                _ = terminated.recv() => return Ok(()),
                _ = hung_up.recv() => return Ok(()),
            }
        }
    };
    acts.run_until(watching).await
}

/// Asks the registry, and says what came of it.
async fn carry_out(cluster: &Cluster, act: Act, name: &str, force: bool) -> String {
    let admin_state = match act {
        Act::Drain => AdminState::Drain,
        Act::Enable => AdminState::Ready,
    };
    let request = SetAdminStateRequest {
        name: name.to_owned(),
        admin_state: admin_state.into(),
        reason: "shoal top".to_owned(),
        force,
        ..Default::default()
    };
    match call("the registry", cluster.registry().set_admin_state(request)).await {
        Ok(_) => format!("{name}: {} is recorded", act.verb()),
        Err(error) => {
            format!("{name} could not be {}ed: {error:#}", act.verb().trim_end_matches('e'))
        }
    }
}

/// Reads the keyboard on a thread of its own, which ends soon after nobody wants keys any more.
fn read_keys() -> mpsc::Receiver<Event> {
    let (sender, keys) = mpsc::channel(KEYS);
    std::thread::spawn(move || {
        while !sender.is_closed() {
            match event::poll(POLL) {
                Ok(false) => {}
                Ok(true) => {
                    let Ok(event) = event::read() else { return };
                    if sender.blocking_send(event).is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    });
    keys
}
