//! What the socket understands, as `help` and what is not understood tell it.

/// A command and what it does.
const COMMANDS: [(&str, &str); 31] = [
    ("clear counters", "have the maxima begin anew"),
    ("disable agent <bk>/<srv>", "have agent checks rest"),
    ("disable health <bk>/<srv>", "have this balancer's checks of a server rest"),
    ("disable server <bk>/<srv> [force]", "take a server out, on every balancer"),
    ("enable agent <bk>/<srv>", "have agent checks go on"),
    ("enable health <bk>/<srv>", "have this balancer's checks of a server go on"),
    ("enable server <bk>/<srv>", "take a server in again, on every balancer"),
    ("get weight <bk>/<srv>", "tell a server's weight, and the one it began with"),
    ("set maxconn server <bk>/<srv> <n>", "bound what a server has at a time, 0: do not"),
    ("set server <bk>/<srv> addr <ip> [port <p>]", "move a server that the bundle names"),
    ("set server <bk>/<srv> agent [up|down]", "say it in the agent's place, until it differs"),
    ("set server <bk>/<srv> health [up|down]", "call a server well, or not, until checks differ"),
    ("set server <bk>/<srv> state <state> [force]", "ready, drain or maint, on every balancer"),
    ("set server <bk>/<srv> weight <n>[%]", "change a server's weight, on every balancer"),
    ("set timeout cli <delay>", "let this connection idle for so long"),
    ("set weight <bk>/<srv> <n>[%]", "change a server's weight, on every balancer"),
    ("show backend", "list the backends"),
    ("show cli level", "tell what this connection may do"),
    ("show cli sockets", "list the sockets"),
    ("show env [<name>]", "list the variables of the environment that are Shoal's"),
    ("show errors [<px>]", "list the latest requests that were refused as malformed"),
    ("show info [json|typed]", "tell of the process"),
    ("show pools", "tell of the memory in use"),
    ("show servers conn [<bk>]", "list the servers' connections"),
    ("show servers state [<bk>]", "list the servers' states"),
    ("show stat [<px> <type> <srv>] [json|no-maint|typed|up]", "list all counters"),
    ("show version", "tell the version"),
    ("shutdown sessions server <bk>/<srv>", "end what is under way at a server"),
    ("help [<command>]", "list the commands that begin so, or all"),
    ("prompt", "stay, and ask for more"),
    ("quit", "close the connection"),
];

fn listed(wanted: impl Fn(&str) -> bool) -> String {
    let rows = COMMANDS.iter().filter(|(command, _)| wanted(command));
    let lines: Vec<_> =
        rows.map(|(command, meaning)| format!("  {command:<54} : {meaning}")).collect();
    lines.join("\n")
}

/// What is always of use.
fn is_general(command: &str) -> bool {
    ["help", "prompt", "quit"].iter().any(|it| command.starts_with(it))
}

/// Whether a command begins with as many of these words as any does.
fn begins_with(command: &str, words: &[String]) -> bool {
    let mut known = command.split(' ');
    words.iter().all(|word| known.next().is_some_and(|it| it == word || it.starts_with('<')))
}

/// Commands that begin with these words; all, where none does.
#[must_use]
pub fn help(words: &[String]) -> String {
    let wanted = |command: &str| begins_with(command, words) || is_general(command);
    format!("The following commands are valid at this level:\n{}\n", listed(wanted))
}

/// What is said to a line that is no command: those that begin like it, or all.
#[must_use]
pub fn unknown(words: &[String]) -> String {
    let near = (1..=words.len()).rev().find_map(|count| {
        let words = &words[..count];
        let any = COMMANDS.iter().any(|(command, _)| begins_with(command, words));
        any.then_some(words)
    });
    match near {
        Some(words) => format!(
            "Unknown command, but maybe one of the following ones is a better match:\n{}",
            listed(|command| begins_with(command, words) || is_general(command))
        ),
        None => format!(
            "Unknown command. Please enter one of the following commands only:\n{}",
            listed(|_| true)
        ),
    }
}
