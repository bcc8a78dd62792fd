//! HAProxy's runtime socket: a line of commands, what is said to each, and the end of the
//! connection, unless `prompt` was among them.
//!
//! [`command`] reads a line, [`answer`] does what it says; this is the shell around them: who may
//! connect, how many at once, how long a line may be, and how long each step may take.
//! `docs/runtime-socket.md` compares the commands with HAProxy's.

pub mod answer;
pub mod command;
pub mod errors;
pub mod help;
pub mod listen;
pub mod servers;

use std::{sync::Arc, time::Duration};

use chassis::audit::{Journal, Record};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    sync::Semaphore,
    time::timeout,
};

use answer::{Runtime, Said};
use command::{Command, Error};

/// Connections at once, as HAProxy has it; more wait.
const CONNECTIONS: usize = 10;
/// A longer line ends the connection, as HAProxy's buffer does.
const LINE: u64 = 16 * 1024;
/// Between two lines, unless the client says `set timeout cli`.
const IDLE: Duration = Duration::from_secs(10);
/// The longest that a client may say.
const LONGEST_IDLE: Duration = Duration::from_secs(24 * 3600);
/// An answer is taken within this time.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);

/// The socket before anybody has connected. Cheap to clone.
#[derive(Clone)]
pub struct Socket {
    runtime: Runtime,
    journal: Journal,
    clock: chassis::Clock,
    places: Arc<Semaphore>,
}

/// Who has connected, for the audit records.
#[derive(Clone, Debug)]
pub struct Caller {
    pub who: String,
    pub from: String,
}

impl Socket {
    /// Over what commands act on.
    #[must_use]
    pub fn new(runtime: Runtime, journal: Journal, clock: chassis::Clock) -> Self {
        Self { runtime, journal, clock, places: Arc::new(Semaphore::new(CONNECTIONS)) }
    }

    /// Serves one connection to its end, once there is a place for it.
    pub async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin, caller: Caller) {
        let Ok(_place) = self.places.acquire().await else { return };
        let mut session = Session {
            socket: self,
            stream: BufReader::new(stream),
            caller,
            prompt: false,
            idle: IDLE,
        };
        if let Err(error) = session.run().await {
            tracing::debug!(who = session.caller.who, "the runtime socket: {error}");
        }
    }
}

/// One connection.
struct Session<'a, S> {
    socket: &'a Socket,
    stream: BufReader<S>,
    caller: Caller,
    prompt: bool,
    idle: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<'_, S> {
    async fn run(&mut self) -> std::io::Result<()> {
        while let Some(line) = self.line().await? {
            let mut out = String::new();
            let prompted = self.prompt;
            for command in command::parse(&line) {
                if command == Ok(Command::Quit) {
                    return self.say(&out).await;
                }
                self.answer(command, &mut out).await;
            }
            if self.prompt {
                out.push_str("> ");
            }
            self.say(&out).await?;
            // Lines that came at once are answered at once.
            if !self.prompt && (prompted || !self.stream.buffer().contains(&b'\n')) {
                break;
            }
        }
        Ok(())
    }

    /// The next line; none: the client has ended, or idled for too long.
    async fn line(&mut self) -> std::io::Result<Option<String>> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.stream).take(LINE);
        match timeout(self.idle, bounded.read_until(b'\n', &mut line)).await {
            Ok(read) => drop(read?),
            Err(_) => return Ok(None),
        }
        // What has no end is no line.
        Ok(line.ends_with(b"\n").then(|| String::from_utf8_lossy(&line).into_owned()))
    }

    async fn answer(&mut self, command: Result<Command, Error>, out: &mut String) {
        let said = match &command {
            Ok(Command::Prompt) => {
                self.prompt = !self.prompt;
                Ok(String::new())
            }
            Ok(Command::SetTimeout(millis)) => {
                self.idle = Duration::from_millis(*millis).min(LONGEST_IDLE);
                Ok(String::new())
            }
            Ok(command) => {
                let said = self.socket.runtime.run(command).await;
                self.record(command, &said);
                said
            }
            Err(Error::OfServer { target, error }) => {
                self.socket.runtime.find(target).and(Err(error.to_string()))
            }
            Err(error) => Err(error.to_string()),
        };
        match said {
            Ok(text) => out.push_str(&text),
            Err(words) => {
                out.push_str(&words);
                out.push('\n');
            }
        }
        out.push('\n');
    }

    /// What changes something is an audit record.
    fn record(&self, command: &Command, said: &Said) {
        let (what, detail) = match command {
            Command::Set(target, setting) => ("socket set", (target, format!("{setting:?}"))),
            Command::Shutdown(target) => ("socket shutdown", (target, "sessions".to_owned())),
            _ => return,
        };
        let (target, change) = detail;
        self.socket.journal.append(&Record {
            when: self.socket.clock.now(),
            who: self.caller.who.clone(),
            from: self.caller.from.clone(),
            what: what.to_owned(),
            detail: format!("{}/{}: {change}", target.backend, target.server),
            result: said.as_ref().map_or_else(Clone::clone, |_| "ok".to_owned()),
        });
    }

    async fn say(&mut self, text: &str) -> std::io::Result<()> {
        let saying = async {
            self.stream.write_all(text.as_bytes()).await?;
            self.stream.flush().await
        };
        timeout(TAKEN_WITHIN, saying).await.map_err(|_| std::io::ErrorKind::TimedOut)?
    }
}
