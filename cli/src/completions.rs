//! `shoal completions`: what a shell needs to complete commands, and the names that it completes
//! them with.
//!
//! The commands and their options are in the script. Names of instances, revisions and the like are
//! asked for at the moment: the script runs `shoal complete-names` with the words so far, which
//! finds out what is wanted (pure) and lists what is remembered of the cluster.

use std::time::Duration;

use anyhow::Result;
use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use cluster::Service;
use proto::{backup::ListBackupsRequest, config::ListRevisionsRequest, health::ListChecksRequest};

use crate::{cluster::Cluster, context::Target, output};

/// Print completions for a shell
#[derive(Args)]
#[command(after_help = "Examples:
  shoal completions bash > /etc/bash_completion.d/shoal
  shoal completions zsh > ~/.zfunc/_shoal
  shoal completions fish > ~/.config/fish/completions/shoal.fish

Names of instances, revisions, checks and backups are completed, too (bash, zsh, fish): from what \
is remembered of the
cluster, or asked for within a second.")]
pub struct Options {
    /// bash, zsh, fish, elvish or powershell
    shell: Shell,
}

pub fn run<Cli: CommandFactory>(options: &Options) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "shoal", &mut script);
    let names = match options.shell {
        Shell::Bash => BASH,
        Shell::Zsh => ZSH,
        Shell::Fish => FISH,
        _ => "",
    };
    output::print(format!("{}\n{names}", String::from_utf8_lossy(&script).trim_end()).trim_end())
}

/// What the script has said about words stays; names are added to it.
const BASH: &str = r#"
_shoal_with_names() {
    _shoal "$@"
    local names
    names=$(shoal complete-names -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null) || return 0
    [[ -n $names ]] && COMPREPLY=($(compgen -W "$names" -- "${COMP_WORDS[COMP_CWORD]}"))
    return 0
}
complete -F _shoal_with_names -o nosort -o bashdefault -o default shoal 2>/dev/null ||
    complete -F _shoal_with_names -o bashdefault -o default shoal
"#;

const ZSH: &str = r#"
_shoal_with_names() {
    local -a names
    names=(${(f)"$(shoal complete-names -- "${(@)words[2,CURRENT]}" 2>/dev/null)"})
    (( $#names )) && { compadd -a names; return }
    _shoal "$@"
}
compdef _shoal_with_names shoal
"#;

const FISH: &str = r#"
function __shoal_names
    shoal complete-names -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null
end
complete -c shoal -f -a '(__shoal_names)'
complete -c shoal -l node -x -a '(__shoal_names)'
complete -c shoal -l on -x -a '(__shoal_names)'
"#;

/// List the names that would complete a command, for the scripts of `shoal completions`
#[derive(Args)]
pub struct Names {
    /// The words after `shoal`, the last one as far as it is written
    #[arg(last = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// What a word stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Of this service; of any.
    Instance(Option<Service>),
    /// Whoever keeps access records.
    Recorder,
    Revision,
    Check,
    Backup,
}

/// Longest wait for somebody who is asked: a person has a finger on the key.
const SOON: Duration = Duration::from_secs(1);
/// Revisions that are offered.
const REVISIONS: u32 = 20;

/// Lists names. Whatever is wrong, a shell hears nothing of it.
///
/// # Errors
/// stdout cannot be written.
pub async fn names<Cli: CommandFactory>(names: &Names) -> Result<()> {
    let Some(kind) = wanted(&Cli::command(), &names.words) else { return Ok(()) };
    let target = Target::among(&names.words);
    let found = tokio::time::timeout(2 * SOON, known(&target, kind))
        .await
        .ok()
        .and_then(Result::ok)
        .unwrap_or_default();
    let written = names.words.last().map_or("", String::as_str);
    let lines: Vec<_> = found.into_iter().filter(|name| name.starts_with(written)).collect();
    if lines.is_empty() { Ok(()) } else { output::print(&lines.join("\n")) }
}

async fn known(target: &Target, kind: Kind) -> Result<Vec<String>> {
    let cluster = Cluster::open(target)?;
    // What is remembered comes at once; only who has never asked this cluster waits.
    let listing = match cluster.recall() {
        Some((listing, _)) => listing,
        None => tokio::time::timeout(SOON, cluster.listing()).await??,
    };
    let of =
        |service| listing.instances.iter().filter(move |status| status.instance.service == service);
    match kind {
        Kind::Instance(service) => {
            let wanted = listing
                .instances
                .iter()
                .filter(|status| service.is_none_or(|service| status.instance.service == service));
            Ok(wanted.map(|status| status.instance.name.clone()).collect())
        }
        Kind::Recorder => Ok(of(Service::ProxyNode)
            .chain(of(Service::Balancer))
            .map(|status| status.instance.name.clone())
            .collect()),
        Kind::Revision => {
            let request = ListRevisionsRequest { page_size: REVISIONS, page_token: String::new() };
            let answer = tokio::time::timeout(SOON, async {
                cluster.config().await?.list_revisions(request).await.map_err(anyhow::Error::from)
            });
            let numbers = answer
                .await??
                .into_inner()
                .revisions
                .into_iter()
                .map(|revision| revision.number.to_string());
            Ok(["newest", "released"].into_iter().map(str::to_owned).chain(numbers).collect())
        }
        Kind::Check => {
            let Some(checker) = of(Service::HealthChecker).next() else { return Ok(Vec::new()) };
            let mut client = cluster.checker(checker)?;
            let answer = tokio::time::timeout(SOON, client.list_checks(ListChecksRequest {}))
                .await??
                .into_inner();
            Ok(answer.checks.into_iter().map(|check| check.name).collect())
        }
        Kind::Backup => {
            let Some(service) = of(Service::BackupService).next() else {
                return Ok(vec!["latest".to_owned()]);
            };
            let mut client = cluster.backup(service)?;
            let answer = tokio::time::timeout(SOON, client.list_backups(ListBackupsRequest {}))
                .await??
                .into_inner();
            Ok(std::iter::once("latest".to_owned())
                .chain(answer.backups.into_iter().map(|backup| backup.id))
                .collect())
        }
    }
}

/// What the last of these words stands for, when it is a name of something in the cluster. Pure.
fn wanted(shoal: &Command, words: &[String]) -> Option<Kind> {
    let (last, before) = words.split_last()?;
    if last.starts_with('-') {
        return None;
    }
    let mut path = Vec::new();
    let (mut command, mut positions, mut due) = (shoal, 0, None);
    let mut globals: Vec<&clap::Arg> = Vec::new();
    for word in before {
        if due.take().is_some() {
            continue;
        }
        if let Some(option) = word.strip_prefix('-') {
            let option = option.trim_start_matches('-');
            let known = |arg: &&clap::Arg| {
                arg.get_long() == Some(option)
                    || (option.len() == 1 && arg.get_short() == option.chars().next())
            };
            let found =
                command.get_arguments().find(known).or_else(|| globals.iter().copied().find(known));
            due = found
                .filter(|arg| arg.get_action().takes_values())
                .map(|arg| arg.get_id().as_str());
        } else if let Some(sub) = command.find_subcommand(word).filter(|_| positions == 0) {
            globals.extend(command.get_arguments().filter(|arg| arg.is_global_set()));
            path.push(sub.get_name());
            command = sub;
        } else {
            positions += 1;
        }
    }
    if let Some(option) = due {
        if option == "node" && path == ["logs"] {
            return Some(Kind::Recorder);
        }
        return (option == "node")
            .then_some(Kind::Instance(Some(Service::ProxyNode)))
            .or((option == "on").then_some(Kind::Instance(Some(Service::BackupService))));
    }
    match (path.as_slice(), positions) {
        (["node", "drain" | "enable" | "disable" | "weight" | "remove"], 0)
        | (["config", "retry"], 0) => Some(Kind::Instance(None)),
        (["config", "show" | "rollback"] | ["config", "rollout", "start"], 0)
        | (["config", "diff"], 0 | 1) => Some(Kind::Revision),
        (["check", "run"], 0) => Some(Kind::Check),
        (["check", "run"], 1) => Some(Kind::Instance(None)),
        (["backup", "verify" | "restore"], 0) => Some(Kind::Backup),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_word_stands_for() {
        let shoal = crate::Cli::command();
        let node = Some(Kind::Instance(Some(Service::ProxyNode)));
        for (line, expected) in [
            ("node drain |", Some(Kind::Instance(None))),
            ("node drain proxy-n|", Some(Kind::Instance(None))),
            ("node drain --reason x proxy-n|", Some(Kind::Instance(None))),
            ("node --data-dir /tmp/x weight |", Some(Kind::Instance(None))),
            ("node drain proxy-node-1 |", None),
            ("node drain --reas|", None),
            ("node drain --reason |", None),
            ("node |", None),
            ("config show |", Some(Kind::Revision)),
            ("config diff 3 |", Some(Kind::Revision)),
            ("config rollback --message x |", Some(Kind::Revision)),
            ("config rollout start |", Some(Kind::Revision)),
            ("config apply |", None),
            ("check run |", Some(Kind::Check)),
            ("check run through-proxy |", Some(Kind::Instance(None))),
            ("backup restore |", Some(Kind::Backup)),
            ("cache stats --node |", node),
            ("logs --node |", Some(Kind::Recorder)),
            ("logs -f --node prox|", Some(Kind::Recorder)),
            ("backup --on |", Some(Kind::Instance(Some(Service::BackupService)))),
            ("|", None),
            ("", None),
        ] {
            let words: Vec<_> = if line.is_empty() {
                Vec::new()
            } else {
                line.trim_end_matches('|').split(' ').map(str::to_owned).collect()
            };
            assert_eq!(wanted(&shoal, &words), expected, "{line}");
        }
    }

    #[test]
    fn scripts_ask_for_names() {
        for (shell, script) in [("bash", BASH), ("zsh", ZSH), ("fish", FISH)] {
            assert!(script.contains("shoal complete-names -- "), "{shell}");
        }
        let checked =
            std::process::Command::new("bash").args(["-n", "-c", BASH]).output().expect("bash");
        assert!(checked.status.success(), "{checked:?}");
    }
}
