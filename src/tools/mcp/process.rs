//! A server's process group: started with a bare environment, ended whole. The group is killed
//! before its leader is reaped, so that its number cannot have become somebody else's.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::runtime::Handle;

use super::one_line::one_line;
use super::{Launch, ServerConfig, ServerSurroundings};
use crate::tools::sandbox::MESSAGE_PREFIX;
use crate::tools::shown;

/// How long a server may take to end by itself, and once more after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);

/// How often an ending server is looked at.
const GLANCE: Duration = Duration::from_millis(10);

/// Bytes of a server's stderr that reach the log.
const MAX_LOGGED: usize = 64 << 10;

/// Longest line of it, in bytes.
const MAX_LINE: u64 = 1000;

/// How long the end of a server's stderr is waited for when its last words are wanted.
const LISTENED: Duration = Duration::from_millis(500);

/// The last line that a server wrote to stderr.
pub(super) struct Told {
    last: Mutex<String>,
    /// Disconnected at the end of stderr.
    end: Receiver<()>,
}

impl Told {
    /// The last words of a server that has probably ended, where it had any. It may wait for
    /// [`LISTENED`].
    pub fn last(&self) -> Option<String> {
        let _ = self.end.recv_timeout(LISTENED);
        let last = self.last.lock().ok()?.clone();
        (!last.is_empty()).then_some(last)
    }

    /// Why a server did not work, with what it said itself. It may wait, as [`Told::last`] does.
    pub fn because(&self, reason: &str) -> String {
        match self.last() {
            // Of its supervisor: it did not begin.
            Some(last) if last.starts_with(MESSAGE_PREFIX) => {
                last[MESSAGE_PREFIX.len()..].to_owned()
            }
            Some(last) => format!("{reason}; it said: {last}"),
            None => reason.to_owned(),
        }
    }
}

/// A running server; its group ends with this, which may take [`GRACE`] and a moment: drop it where
/// nobody else waits.
pub(super) struct ServerProcess {
    child: Child,
    group: Option<Pid>,
    pipes: Option<(ChildStdin, ChildStdout)>,
    told: Arc<Told>,
}

impl ServerProcess {
    /// Starts a server in a process group of its own.
    ///
    /// # Errors
    /// Why it could not be started.
    pub fn start(
        config: &ServerConfig,
        around: &ServerSurroundings<'_>,
        runtime: &Handle,
    ) -> Result<ServerProcess, String> {
        let failed = |error| format!("{} cannot be started: {error}", config.command);
        let words: Vec<OsString> = std::iter::once(&config.command)
            .chain(&config.args)
            .map(OsString::from)
            .collect();
        // A variable that is named twice has the server's own value.
        let own = config
            .env
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        let env: Vec<(OsString, OsString)> = around.env.iter().cloned().chain(own).collect();
        let mut command = (around.command)(&Launch {
            server: config,
            words: &words,
            env: &env,
            folder: around.project,
        })
        .map_err(failed)?;
        command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let (speaking, end) = bounded(0);
        let told = Arc::new(Told {
            last: Mutex::default(),
            end,
        });
        if let Some(stderr) = child.stderr.take() {
            let (name, told) = (config.name.clone(), told.clone());
            // It ends with the pipe; without it a talkative server would stand still.
            let listen = move || {
                listen(&name, stderr, &told);
                drop(speaking);
            };
            let named = std::thread::Builder::new().name("mcp-stderr".to_owned());
            if let Err(error) = named.spawn(listen) {
                tracing::warn!(%error, "a server's stderr is not read");
            }
        }
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let mut process = ServerProcess {
            child,
            group,
            pipes: None,
            told,
        };
        let _entered = runtime.enter();
        let stdin = stdin.and_then(|stdin| ChildStdin::from_std(stdin).ok());
        let stdout = stdout.and_then(|stdout| ChildStdout::from_std(stdout).ok());
        process.pipes = stdin.zip(stdout);
        Ok(process)
    }

    /// Its stdin and stdout, once.
    pub fn pipes(&mut self) -> Option<(ChildStdin, ChildStdout)> {
        self.pipes.take()
    }

    /// What it says on stderr.
    pub fn told(&self) -> Arc<Told> {
        self.told.clone()
    }

    /// Whether its first process has ended. It stays a zombie, which keeps the group's number.
    fn ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        let Some(group) = self.group else { return true };
        !matches!(waitid(WaitId::Pid(group), options), Ok(None))
    }

    /// Sends a signal to all of its group; what of it still runs is not known.
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group
            && let Err(error) = kill_process_group(group, signal)
            && error != Errno::SRCH
        {
            tracing::warn!(%error, "a server could not be ended");
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // The supervisor of a server ends everything that the server started at SIGTERM, and could not at
        // SIGKILL.
        ask(&[self], Some(Signal::TERM));
        self.signal(Signal::KILL);
        // A killed process ends at once, unless the kernel holds it: that is not waited for for ever.
        ask(&[self], None);
        if let Ok(None) = self.child.try_wait() {
            tracing::warn!("a server that was killed has not ended yet");
        }
    }
}

/// Ends servers whose pipes are closed: each may end by itself, gets SIGTERM, is killed with all that
/// it started. It takes at most twice [`GRACE`] for all of them together.
pub(super) fn end(processes: Vec<ServerProcess>) {
    let all: Vec<&ServerProcess> = processes.iter().collect();
    ask(&all, None);
    ask(&all, Some(Signal::TERM));
    for process in &all {
        process.signal(Signal::KILL);
    }
}

/// Waits for servers to end, at most for [`GRACE`]; those that have not ended yet get a signal.
fn ask(processes: &[&ServerProcess], signal: Option<Signal>) {
    let until = Instant::now() + GRACE;
    let mut left: Vec<&ServerProcess> = processes.iter().copied().filter(|p| !p.ended()).collect();
    if let Some(signal) = signal {
        left.iter().for_each(|process| process.signal(signal));
    }
    while !left.is_empty() && Instant::now() < until {
        std::thread::sleep(GLANCE);
        left.retain(|process| !process.ended());
    }
}

/// Reads a server's stderr to its end: the first of it reaches the log.
fn listen(name: &str, stderr: ChildStderr, told: &Told) {
    let mut reader = BufReader::new(stderr);
    let mut logged = 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = one_line(&shown::clean(&line));
        if text.is_empty() {
            continue;
        }
        if logged < MAX_LOGGED {
            logged += text.len();
            tracing::info!(server = name, "{text}");
        }
        if let Ok(mut last) = told.last.lock() {
            *last = text;
        }
    }
}
