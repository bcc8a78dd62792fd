//! Steps as they come: a line each once it is done, and on a terminal how far the one is that is
//! under way.

use std::time::Duration;

use anyhow::{Result, anyhow};
use chassis::connect::explain;
use indicatif::{ProgressBar, ProgressStyle};
use proto::backup::{Step, StepState};
use tonic::{Code, Streaming};

use super::SERVICE;
use crate::{
    cluster::failed,
    output::{self, Format},
};

/// Shows steps.
pub struct Shown {
    bar: ProgressBar,
    print: fn(&str) -> Result<()>,
}

impl Shown {
    /// The lines are part of the answer for people, and remarks beside that for programs.
    pub fn beside(format: Format) -> Self {
        if format.is_json() { Self::on_stderr() } else { Self { bar: bar(), print: output::print } }
    }

    /// The lines are remarks beside the answer.
    pub fn on_stderr() -> Self {
        let remark = |line: &str| {
            output::remark(line);
            Ok(())
        };
        Self { bar: bar(), print: remark }
    }

    /// Shows a step as it is now.
    ///
    /// # Errors
    /// stdout cannot be written.
    pub fn show(&mut self, step: &Step) -> Result<()> {
        match step.state() {
            StepState::Done => {
                let detail = if step.detail.is_empty() {
                    String::new()
                } else {
                    format!(": {}", step.detail)
                };
                self.bar.suspend(|| (self.print)(&line(step, &detail)))?;
                self.bar.set_message("");
            }
            StepState::Failed => {
                self.bar.finish_and_clear();
                (self.print)(&line(step, ": failed"))?;
            }
            StepState::Running | StepState::Unspecified => {
                let far = match (step.done, step.total) {
                    (0, 0) => String::new(),
                    (done, 0) => format!(" ({})", super::list::size(done)),
                    (done, total) => format!(" ({} %)", done.saturating_mul(100) / total.max(1)),
                };
                self.bar.set_message(format!("{}{far}", step.title));
            }
        }
        Ok(())
    }
}

/// As wide as there is room for; what does not fit goes on below the title.
fn line(step: &Step, detail: &str) -> String {
    output::fitted(&format!("  {}. {}{detail}", step.number, step.title), "     ")
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// On stderr, and only when that is a terminal.
fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    let bar = ProgressBar::new_spinner().with_style(style);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// The next message of a stream, unless somebody presses Ctrl-C: then what is drawn is wiped away
/// before the end. `left` is how things are left then.
///
/// # Errors
/// As [`next`]; or it was interrupted.
pub async fn next_or_interrupted<M>(
    stream: &mut Streaming<M>,
    remedy: &str,
    left: &str,
) -> Result<M> {
    tokio::select! {
        message = next(stream, remedy) => message,
        _ = tokio::signal::ctrl_c() => Err(anyhow!("interrupted: {left}")),
    }
}

/// The next message of a stream. `remedy` is what to do when the backup-service is lost in the
/// middle of it.
///
/// # Errors
/// It refuses, or was lost.
pub async fn next<M>(stream: &mut Streaming<M>, remedy: &str) -> Result<M> {
    let lost = |why: &str| {
        anyhow!(
            "the backup-service was lost in the middle ({why}): see whether it runs (`shoal \
             status`, its log); {remedy}"
        )
    };
    match stream.message().await {
        Ok(Some(message)) => Ok(message),
        Ok(None) => Err(lost("it ended without an answer")),
        Err(status)
            if matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled) =>
        {
            Err(lost(&explain(&status)))
        }
        Err(status) => Err(failed(SERVICE, &status)),
    }
}
