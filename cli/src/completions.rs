//! `shoal completions`: what a shell needs to complete commands.

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::output;

/// Print completions for a shell
#[derive(Args)]
#[command(after_help = "Examples:
  shoal completions bash > /etc/bash_completion.d/shoal
  shoal completions zsh > ~/.zfunc/_shoal
  shoal completions fish > ~/.config/fish/completions/shoal.fish")]
pub struct Options {
    /// bash, zsh, fish, elvish or powershell
    shell: Shell,
}

pub fn run<Cli: CommandFactory>(options: &Options) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "shoal", &mut script);
    output::print(String::from_utf8_lossy(&script).trim_end())
}
