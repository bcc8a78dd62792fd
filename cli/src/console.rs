//! `shoal console`: who may log in to the web page.

use std::{
    io::{BufRead, IsTerminal, Write},
    os::fd::AsRawFd,
    path::PathBuf,
};

use ::console::auth::users;
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use serde::Serialize;

use crate::output::{self, Format, View};

/// Say who may log in to the web page
#[derive(Args)]
#[command(after_help = "Examples:
  shoal console passwd ann --users console.users                  asks for the password twice
  pass show shoal/ann | shoal console passwd ann --users console.users
  shoal serve console --users console.users …                     a running console reads the file \
  again when it changes")]
pub struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Add somebody, or change their password: asked for on a terminal, else the first line of
    /// standard input
    Passwd {
        /// Their name, as audit records will tell it
        name: String,
        /// The console's users file; made when it does not exist
        #[arg(long, value_name = "FILE", env = "SHOAL_CONSOLE_USERS")]
        users: PathBuf,
        #[command(flatten)]
        format: Format,
    },
}

/// Who may log in now.
#[derive(Serialize)]
struct Admitted {
    name: String,
    users: PathBuf,
}

impl View for Admitted {
    fn text(&self) -> String {
        format!("{} may log in to consoles that use {}", self.name, self.users.display())
    }
}

/// Runs `shoal console …`.
///
/// # Errors
/// The password or the file cannot be used; nothing was changed then.
pub fn run(options: Options) -> Result<()> {
    let Action::Passwd { name, users: path, format } = options.action;
    users::check_name(&name).with_context(|| "choose another name")?;
    let password = if std::io::stdin().is_terminal() { ask_twice()? } else { first_line()? };
    users::set(&path, &name, &password)?;
    output::show(&Admitted { name, users: path }, format)
}

fn first_line() -> Result<String> {
    let mut line = String::new();
    let most = u64::try_from(users::LONGEST + 2)?;
    std::io::Read::take(std::io::stdin().lock(), most)
        .read_line(&mut line)
        .context("cannot read the password from standard input")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn ask_twice() -> Result<String> {
    let silence = Silence::begin().context(
        "cannot switch off the terminal's echo; give the password on standard input instead",
    )?;
    let ask = |prompt: &str| {
        eprint!("{prompt}: ");
        std::io::stderr().flush()?;
        let line = first_line();
        eprintln!();
        line
    };
    let (password, again) = (ask("Password")?, ask("Again")?);
    drop(silence);
    if password != again {
        bail!("the two passwords differ: nothing was changed");
    }
    Ok(password)
}

/// A terminal that does not show what is typed, until dropped.
struct Silence {
    before: libc::termios,
}

impl Silence {
    fn begin() -> std::io::Result<Self> {
        let stdin = std::io::stdin().as_raw_fd();
        let mut before = std::mem::MaybeUninit::<libc::termios>::uninit();
        // SAFETY: the pointer is to room for one termios, which the call fills when it answers 0.
        if unsafe { libc::tcgetattr(stdin, before.as_mut_ptr()) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: filled by the call above.
        let before = unsafe { before.assume_init() };
        let mut silent = before;
        silent.c_lflag &= !libc::ECHO;
        // SAFETY: the pointer is to a termios that lives through the call.
        if unsafe { libc::tcsetattr(stdin, libc::TCSAFLUSH, &raw const silent) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(Self { before })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // SAFETY: the pointer is to a termios that lives through the call. A terminal that is gone
        // needs no echo.
        unsafe {
            libc::tcsetattr(std::io::stdin().as_raw_fd(), libc::TCSANOW, &raw const self.before);
        }
    }
}
