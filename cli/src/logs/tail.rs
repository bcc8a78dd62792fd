//! The last access records of all nodes and balancers, and new ones as they come.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::IsTerminal,
    time::Duration,
};

use anyhow::{Result, anyhow, bail};
use cluster::InstanceStatus;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;
use tokio::sync::mpsc;

use super::{
    ANSWER, SOURCES,
    ask::{Question, Source, Told},
    line::{self, Line, newest},
    searched::{Searched, remarks},
};
use crate::{
    cluster::{Cluster, ask_together, call, failed},
    output::{self, Format, View},
};

/// Messages of nodes that wait to be printed; nodes wait when it is full, and say what a slow
/// reader missed.
const WAITING: usize = 64;
/// The first messages of all nodes are printed in order; a node that takes longer comes later.
const TOGETHER: Duration = Duration::from_secs(2);
/// New nodes are looked for, and lost ones asked again, so often.
const LOOK: Duration = Duration::from_secs(5);
/// Longest wait for everything that one of them tells: a search takes ten seconds, and may wait for
/// another one.
const ALL: Duration = Duration::from_secs(30);
/// One message of a node carries at most so many.
const FIRST: usize = 256;

#[derive(Serialize)]
struct Lines {
    records: Vec<Line>,
    /// Who did not answer, and why.
    missing: Vec<String>,
    /// Nodes whose access log is switched off.
    off: Vec<String>,
    /// How far back everybody's records go who keeps any in memory.
    kept_since: BTreeMap<String, Timestamp>,
    /// How far the files were searched of those where memory did not reach back far enough.
    searched: BTreeMap<String, Searched>,
    #[serde(skip)]
    question: Question,
}

/// Prints the last records of all.
///
/// # Errors
/// Nobody answered.
pub async fn last(
    cluster: &Cluster,
    sources: &[InstanceStatus],
    question: Question,
    format: Format,
) -> Result<()> {
    let far = Far::new(format);
    let ask = async |status: &InstanceStatus| {
        Ok(Ok(tonic::Response::new(all(cluster, status, &question, &far).await?)))
    };
    let answers = ask_together(sources, ALL, ask).await;
    drop(far);
    let (records, missing, off) = (Vec::new(), Vec::new(), Vec::new());
    let mut lines = Lines {
        records,
        missing,
        off,
        kept_since: BTreeMap::new(),
        searched: BTreeMap::new(),
        question,
    };
    for (name, answer) in answers {
        match answer {
            Ok(told) => {
                lines.records.extend(told.lines);
                lines.kept_since.extend(told.since.map(|since| (name.clone(), since)));
                lines.searched.extend(told.searched.map(|searched| (name.clone(), searched)));
                lines.off.extend(told.off.then_some(name));
            }
            Err(error) => lines.missing.push(format!("{error:#}")),
        }
    }
    if lines.missing.len() == sources.len() {
        bail!("{}", lines.missing.join("; "));
    }
    lines.records = newest(lines.records, lines.question.count);
    cluster.show(&lines, format)?;
    if !format.is_json() {
        remarks(&lines.searched, &TimeZone::system())
            .iter()
            .for_each(|remark| output::remark(remark));
    }
    for why in &lines.missing {
        output::remark(&format!("without a node: {why}"));
    }
    Ok(())
}

/// All that one of them tells.
async fn all(
    cluster: &Cluster,
    status: &InstanceStatus,
    question: &Question,
    far: &Far,
) -> Result<Told> {
    let name = &status.instance.name;
    let silent = |_| {
        anyhow!(
            "{name} did not answer within {} s: see `shoal status` and its log",
            ANSWER.as_secs()
        )
    };
    let asking = Source::of(status, cluster.channel(status)?);
    let asking = tokio::time::timeout(ANSWER, asking.ask(question, question.count, false))
        .await
        .map_err(silent)?;
    let mut telling = asking.map_err(|status| failed(name, &status))?.into_inner();
    let mut all = Told::default();
    // Who searches says how far it is all the time.
    while let Some(told) = tokio::time::timeout(ANSWER, telling.message(name))
        .await
        .map_err(silent)?
        .map_err(|status| failed(name, &status))?
    {
        all.off |= told.off;
        all.since = all.since.or(told.since);
        far.show(name, told.searched.as_ref());
        all.searched = told.searched.or(all.searched);
        all.lines.extend(told.lines);
    }
    Ok(all)
}

/// How far searches are, on a terminal.
struct Far(Option<ProgressBar>);

impl Far {
    fn new(format: Format) -> Self {
        let style = ProgressStyle::with_template("{spinner} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let shown = !format.is_json() && std::io::stderr().is_terminal();
        Self(shown.then(|| ProgressBar::new_spinner().with_style(style)))
    }

    fn show(&self, name: &str, searched: Option<&Searched>) {
        let (Some(bar), Some(searched)) = (&self.0, searched.filter(|searched| searched.under_way))
        else {
            return;
        };
        let back = searched.back_to.map_or_else(String::new, |at| {
            at.to_zoned(TimeZone::system()).strftime(", back to %F %T").to_string()
        });
        bar.set_message(format!(
            "searching the log files of {name}: {}{back}",
            output::bytes(searched.bytes)
        ));
        bar.tick();
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

impl View for Lines {
    fn text(&self) -> String {
        let zone = TimeZone::system();
        let mut parts = Vec::new();
        if self.records.is_empty() {
            parts.push(output::fitted(
                &nothing(&self.question, &self.kept_since, &self.searched, &zone),
                "",
            ));
        } else {
            parts.push(line::lines(&self.records, &zone, output::width()));
        }
        parts.extend(self.off.iter().map(|name| output::fitted(&off(name), "")));
        parts.join("\n")
    }
}

/// Why there may be nothing. Pure.
fn nothing(
    question: &Question,
    kept_since: &BTreeMap<String, Timestamp>,
    searched: &BTreeMap<String, Searched>,
    zone: &TimeZone,
) -> String {
    if !question.searches() {
        return "No requests yet.".to_owned();
    }
    let time = |at: Timestamp| at.to_zoned(zone.clone()).strftime("%F %T").to_string();
    let kept: Vec<_> =
        kept_since.iter().map(|(name, since)| format!("{name} since {}", time(*since))).collect();
    let kept = if kept.is_empty() { "nobody has any yet".to_owned() } else { kept.join(", ") };
    let files = if searched.is_empty() { "" } else { ", and in the log files" };
    let text = format!("No such request among the records in memory ({kept}){files}.");
    // The first 48 bits of an id say when its request came (RFC 9562 §5.7).
    let began = question.filter.request().and_then(|id| id.get_timestamp()).map(|at| at.to_unix());
    let began = began.and_then(|(seconds, nanos)| {
        Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanos).ok()?).ok()
    });
    began.map_or_else(
        || text.clone(),
        |began| format!("{text} By its id, this one came at {}.", time(began)),
    )
}

fn off(name: &str) -> String {
    format!(
        "{name} keeps no records: the bundle switches its access log off (access_log: {{format: \
         none}})"
    )
}

/// What comes from one of them.
enum News {
    Told(String, Told),
    Ended(String, String),
}

/// Prints the last records, and then new ones until nobody reads them any more.
///
/// # Errors
/// stdout cannot be written.
pub async fn follow(
    cluster: &Cluster,
    name: Option<&str>,
    sources: Vec<InstanceStatus>,
    question: Question,
    format: Format,
) -> Result<()> {
    if !format.is_json() {
        // Beside the records, which are lines for other programs, too.
        output::remark(&cluster.head().text());
    }
    let (sender, mut news) = mpsc::channel(WAITING);
    let mut followed = BTreeSet::new();
    start(cluster, sources, (&question, question.count.min(FIRST)), &mut followed, &sender);
    let mut printer = Printer { zone: TimeZone::system(), json: format.is_json() };
    if !printer.first(&mut news, &mut followed, question.count).await? {
        return Ok(());
    }
    let mut look = tokio::time::interval_at(tokio::time::Instant::now() + LOOK, LOOK);
    loop {
        tokio::select! {
            Some(news) = news.recv() => if !printer.take(news, &mut followed)? { return Ok(()) },
            _ = look.tick() => {
                for service in SOURCES {
                    // A registry that does not answer hides only those who are new.
                    let mut sources = cluster.instances(service).await.unwrap_or_default();
                    sources.retain(|source| name.is_none_or(|name| source.instance.name == name));
                    start(cluster, sources, (&question, 0), &mut followed, &sender);
                }
            }
        }
    }
}

/// Follows those of `sources` that are not followed yet, from their last so many records on.
fn start(
    cluster: &Cluster,
    sources: Vec<InstanceStatus>,
    (question, last): (&Question, usize),
    followed: &mut BTreeSet<String>,
    sender: &mpsc::Sender<News>,
) {
    for status in sources {
        let Ok(channel) = cluster.channel(&status) else { continue };
        let source = Source::of(&status, channel);
        if followed.insert(status.instance.name.clone()) {
            // It ends with the command, whose runtime it is on.
            tokio::spawn(follow_one(
                source,
                status.instance.name,
                (question.clone(), last),
                sender.clone(),
            ));
        }
    }
}

async fn follow_one(
    source: Source,
    name: String,
    (question, last): (Question, usize),
    news: mpsc::Sender<News>,
) {
    let why = async {
        let mut telling = call(&name, source.ask(&question, last, true)).await?;
        while let Some(told) = telling.message(&name).await? {
            if news.send(News::Told(name.clone(), told)).await.is_err() {
                break;
            }
        }
        anyhow::Ok("it stops".to_owned())
    };
    let why = why.await.unwrap_or_else(|error| format!("{error:#}"));
    // Nobody listens any more: nothing is left to be said.
    news.send(News::Ended(name, why)).await.ok();
}

struct Printer {
    zone: TimeZone,
    json: bool,
}

impl Printer {
    /// The first message of everybody, merged.
    async fn first(
        &mut self,
        news: &mut mpsc::Receiver<News>,
        followed: &mut BTreeSet<String>,
        count: usize,
    ) -> Result<bool> {
        let (mut lines, mut waited) = (Vec::new(), followed.clone());
        let deadline = tokio::time::Instant::now() + TOGETHER;
        while !waited.is_empty() {
            match tokio::time::timeout_at(deadline, news.recv()).await {
                Ok(Some(News::Told(name, told))) => {
                    waited.remove(&name);
                    self.remarks(&name, &told);
                    lines.extend(told.lines);
                }
                Ok(Some(News::Ended(name, why))) => {
                    waited.remove(&name);
                    Self::ended(&name, &why, followed);
                }
                Ok(None) | Err(_) => break,
            }
        }
        self.print(&newest(lines, count))
    }

    /// Prints what came; false when nobody reads any more.
    fn take(&mut self, news: News, followed: &mut BTreeSet<String>) -> Result<bool> {
        match news {
            News::Told(name, told) => {
                self.remarks(&name, &told);
                self.print(&told.lines)
            }
            News::Ended(name, why) => {
                Self::ended(&name, &why, followed);
                Ok(true)
            }
        }
    }

    fn ended(name: &str, why: &str, followed: &mut BTreeSet<String>) {
        output::remark(&format!("-- {name}: {why}; it is asked again"));
        followed.remove(name);
    }

    fn remarks(&self, name: &str, told: &Told) {
        if told.missed > 0 {
            output::remark(&format!(
                "-- {name}: {} records were missed, because they came faster than they were read",
                told.missed
            ));
        }
        if told.off && told.lines.is_empty() {
            output::remark(&format!("-- {}", off(name)));
        }
    }

    fn print(&self, lines: &[Line]) -> Result<bool> {
        for line in lines {
            let text = if self.json {
                output::line_of(line)?
            } else {
                line::followed(line, &self.zone, output::width())
            };
            if !output::print_to_reader(&text)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Wanted, times::Times},
        *,
    };

    #[test]
    fn what_is_not_found_may_be_older_than_what_is_kept() {
        let question = |request: &str| {
            let wanted = Wanted {
                request: (!request.is_empty()).then(|| request.to_owned()),
                ..Wanted::default()
            };
            let filter = wanted.filter().unwrap();
            Question::new(&wanted, filter, Times::default(), 20)
        };
        let kept = BTreeMap::from([("balancer-1".to_owned(), Timestamp::UNIX_EPOCH)]);
        assert_eq!(
            nothing(&question(""), &kept, &BTreeMap::new(), &TimeZone::UTC),
            "No requests yet."
        );
        let text = nothing(
            &question("018bcfe5-687b-7000-8000-000000000000"),
            &kept,
            &BTreeMap::new(),
            &TimeZone::UTC,
        );
        assert!(
            text.contains("balancer-1 since 1970-01-01 00:00:00")
                && text.contains("came at 2023-11-14 22:13:20"),
            "{text}"
        );
        assert!(
            nothing(
                &question("00000000-0000-4000-8000-000000000000"),
                &BTreeMap::new(),
                &BTreeMap::new(),
                &TimeZone::UTC
            )
            .contains("nobody has any")
        );
    }
}
