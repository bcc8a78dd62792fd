//! Examples in `--help`: each line can be pasted as it is shown, whatever the width of the
//! terminal, and a command of a command (`shoal node drain`) shows those of its parent that are its
//! own.

use clap::Command;

/// As narrow as terminals usually are.
const WIDTH: usize = 80;
/// Between a command and what it is for.
const GAP: &str = "  ";

/// Lays out the examples of `command` and of everything below it.
pub fn dress(command: Command) -> Command {
    dressed(command, "", "")
}

/// `path` is how the parent is called, `inherited` its examples.
fn dressed(command: Command, path: &str, inherited: &str) -> Command {
    let path = format!("{path} {}", command.get_name()).trim_start().to_owned();
    let own = match command.get_after_help().map(ToString::to_string) {
        Some(own) => own,
        None => about(inherited, &path),
    };
    let command = if own.is_empty() { command } else { command.after_help(layout(&own)) };
    command.mut_subcommands(|sub| dressed(sub, &path, &own))
}

/// Those examples in `text` that are of this command.
fn about(text: &str, path: &str) -> String {
    let is_its_own = |line: &&str| {
        line.trim_start()
            .strip_prefix(path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    };
    let lines: Vec<_> = text.lines().filter(is_its_own).collect();
    if lines.is_empty() { String::new() } else { format!("Examples:\n{}", lines.join("\n")) }
}

/// Indented lines are examples; the rest is prose, which clap wraps.
fn layout(text: &str) -> String {
    text.lines()
        .map(|line| if line.starts_with("  ") { example(line) } else { line.to_owned() })
        .collect::<Vec<_>>()
        .join("\n")
}

/// What an example is for becomes a comment of the shell, beside it where there is room, else above
/// it.
fn example(line: &str) -> String {
    let (command, gap, purpose) = match line.trim_start().split_once(GAP) {
        Some((command, rest)) => (command, rest.len() - rest.trim_start().len(), rest.trim_start()),
        None => (line.trim_start(), 0, ""),
    };
    if purpose.is_empty() {
        return format!("  {}", continued(command));
    }
    let beside = format!("  {command}{GAP}{}# {purpose}", " ".repeat(gap));
    if beside.chars().count() <= WIDTH {
        beside
    } else {
        format!("  # {purpose}\n  {}", continued(command))
    }
}

/// A command over several lines, which a shell reads as one. Nothing is cut within quotes.
fn continued(command: &str) -> String {
    let (mut lines, mut line, mut quoted) = (Vec::new(), String::new(), false);
    for word in command.split(' ') {
        let room = WIDTH - if lines.is_empty() { 4 } else { 8 };
        if !quoted && !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        quoted ^= word.matches('\'').count() % 2 == 1;
    }
    lines.push(line);
    lines.join(" \\\n      ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_can_be_pasted() {
        for (line, shown) in [
            ("  shoal status", "  shoal status"),
            ("  shoal status     who is there", "  shoal status     # who is there"),
            (
                "  curl -x http://127.0.0.1:8080 http://example.com/       through a balancer, a \
                 node and its cache",
                "  # through a balancer, a node and its cache\n  curl -x http://127.0.0.1:8080 \
                 http://example.com/",
            ),
            (
                "  shoal node enrol proxy-node proxy-node-4 --address 10.0.0.17 --registry \
                 10.0.0.5:7001    what a bare host needs",
                "  # what a bare host needs\n  shoal node enrol proxy-node proxy-node-4 --address \
                 10.0.0.17 --registry \\\n      10.0.0.5:7001",
            ),
        ] {
            assert_eq!(layout(line), shown);
        }
        let quoted = "  shoal audit -o json | jq -r '.records[] | select(.result != \"ok\") | \
            [.when, .who, .what, .result] | @tsv'";
        let shown = layout(quoted);
        assert_eq!(shown.replace(" \\\n      ", " "), quoted, "nothing is lost");
        assert!(
            shown
                .lines()
                .last()
                .is_some_and(|line| line.trim_start().starts_with('\'') || line.contains(" '")),
            "{shown}"
        );
    }

    #[test]
    fn a_command_shows_its_own_examples() {
        let parent = "Examples:\n  shoal node list\n  shoal node drain x     why\n  shoal node \
            drainage\n\nProse.";
        assert_eq!(about(parent, "shoal node drain"), "Examples:\n  shoal node drain x     why");
        assert_eq!(about(parent, "shoal node enrol"), "");
    }
}
