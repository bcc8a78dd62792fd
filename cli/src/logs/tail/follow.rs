//! `shoal logs --follow`: the records of several processes as they come.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Result;
use cluster::InstanceStatus;
use jiff::tz::TimeZone;
use tokio::sync::mpsc;

use super::{
    super::{
        SOURCES,
        ask::{Question, Source, Told},
        line::{self, Line, newest},
    },
    off,
};
use crate::{
    cluster::{Cluster, call},
    output::{self, Format},
};

/// Messages of nodes that wait to be printed; nodes wait when it is full, and say what a slow
/// reader missed.
pub(super) const WAITING: usize = 64;

/// The first messages of all nodes are printed in order; a node that takes longer comes later.
pub(super) const TOGETHER: Duration = Duration::from_secs(2);

/// New nodes are looked for, and lost ones asked again, so often.
pub(super) const LOOK: Duration = Duration::from_secs(5);

/// One message of a node carries at most so many.
pub(super) const FIRST: usize = 256;

/// What comes from one of them.
pub(super) enum News {
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
pub(super) fn start(
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

pub(super) async fn follow_one(
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

pub(super) struct Printer {
    pub(super) zone: TimeZone,
    pub(super) json: bool,
}

impl Printer {
    /// The first message of everybody, merged.
    pub(super) async fn first(
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
    pub(super) fn take(&mut self, news: News, followed: &mut BTreeSet<String>) -> Result<bool> {
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

    pub(super) fn ended(name: &str, why: &str, followed: &mut BTreeSet<String>) {
        output::remark(&format!("-- {name}: {why}; it is asked again"));
        followed.remove(name);
    }

    pub(super) fn remarks(&self, name: &str, told: &Told) {
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

    pub(super) fn print(&self, lines: &[Line]) -> Result<bool> {
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
    use std::collections::BTreeMap;

    use jiff::Timestamp;

    use super::{super::nothing, *};
    use crate::logs::{Wanted, times::Times};

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
