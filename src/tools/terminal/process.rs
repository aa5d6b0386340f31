//! One command, its supervisor and its output.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::output::CollectedOutput;
use crate::tools::CallContext;
use crate::tools::command;
use crate::tools::sandbox::{ProgramEnd, Sandbox, end_below};

/// How long a program may clean up after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);
/// How long its supervisor may need to end everything.
const SUPERVISOR_LIMIT: Duration = Duration::from_secs(5);
/// Longest word of a supervisor, in bytes.
const MAX_WORD: u64 = 64 << 10;
/// How often a cancel is looked for.
const TICK: Duration = Duration::from_millis(50);

/// What waiting came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ProcessWait {
    Ended,
    Late,
    Cancelled,
    Flood,
}

/// A running command. Dropping it ends everything it started.
pub(super) struct CommandProcess {
    supervisor: Child,
    control: UnixStream,
    output: Arc<Mutex<CollectedOutput>>,
    /// Comes when the program has ended and nothing of it is left; then all output is in.
    over: Receiver<Option<ProgramEnd>>,
    end: Option<Option<ProgramEnd>>,
}

impl CommandProcess {
    pub fn start(
        sandbox: &Sandbox,
        line: &str,
        room: &CallContext<'_>,
        name: &str,
    ) -> io::Result<CommandProcess> {
        let shell = command::bash().unwrap_or(Path::new("/bin/sh"));
        let words: [OsString; 3] = [shell.into(), "-c".into(), line.into()];
        let (ours, theirs) = UnixStream::pair()?;
        let (mut reader, writer) = io::pipe()?;
        let mut supervisor = sandbox.controlled(&words, room.project)?;
        supervisor.stdin(OwnedFd::from(theirs));
        supervisor.stdout(writer.try_clone()?).stderr(writer);
        let child = supervisor.spawn()?;
        // The command value holds the other ends of the pipes.
        drop(supervisor);
        let good = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let name: String = name.chars().filter(good).take(64).collect();
        let stem = format!("output-{name}");
        let output = Arc::new(Mutex::new(CollectedOutput::new(room.results.clone(), stem)));
        let (done, over) = bounded(1);
        let filled = output.clone();
        let reading = std::thread::Builder::new()
            .name("npast-output".into())
            .spawn(move || {
                let mut bytes = vec![0; 64 << 10];
                loop {
                    match reader.read(&mut bytes) {
                        Ok(0) => return,
                        Ok(n) => lock(&filled).push(&bytes[..n]),
                        Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                        Err(_) => return,
                    }
                }
            })?;
        let told = ours.try_clone()?;
        std::thread::Builder::new()
            .name("npast-sandbox".into())
            .spawn(move || {
                let mut line = String::new();
                // A supervisor has one word, and what it names is cut.
                let read = BufReader::new(told.take(MAX_WORD)).read_line(&mut line);
                let end = read.ok().and_then(|_| serde_json::from_str(&line).ok());
                // The supervisor was the last to hold the output.
                let _ = reading.join();
                let _ = done.send(end);
            })?;
        Ok(CommandProcess {
            supervisor: child,
            control: ours,
            output,
            over,
            end: None,
        })
    }

    pub fn output(&self) -> MutexGuard<'_, CollectedOutput> {
        lock(&self.output)
    }

    /// Waits for the end, a bound or a cancel; meanwhile what it wrote last can be seen.
    pub fn wait(&mut self, most: Duration, room: &CallContext<'_>) -> ProcessWait {
        let until = Instant::now() + most;
        loop {
            self.output().show(room.live);
            let left = until.saturating_duration_since(Instant::now());
            if self.wait_over(left.min(TICK)) {
                return match self.output().flooded() {
                    true => ProcessWait::Flood,
                    false => ProcessWait::Ended,
                };
            }
            if room.cancelled() {
                return ProcessWait::Cancelled;
            }
            if self.output().flooded() {
                return ProcessWait::Flood;
            }
            if left.is_zero() {
                return ProcessWait::Late;
            }
        }
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        self.wait_over(Duration::ZERO)
    }

    /// How it ended, once it has.
    pub fn end(&self) -> Option<ProgramEnd> {
        self.end.clone().flatten()
    }

    /// Asks it to end, then ends it with all that it started.
    pub fn stop(&mut self) -> Option<ProgramEnd> {
        if self.end.is_none() {
            let asked = self.control.write_all(b"t");
            if asked.is_err() || self.output().flooded() || !self.wait_over(GRACE) {
                let _ = self.control.write_all(b"k");
                if !self.wait_over(SUPERVISOR_LIMIT) {
                    self.end_from_outside();
                }
            }
        }
        self.end()
    }

    /// Does a supervisor's work for it: first what it keeps, then the supervisor. A supervisor that is killed
    /// first would leave all of that running.
    fn end_from_outside(&mut self) {
        tracing::warn!("a command's supervisor does not answer; npast ends what it keeps, and it");
        end_below(&self.supervisor, SUPERVISOR_LIMIT);
        let _ = self.supervisor.kill();
        self.wait_over(SUPERVISOR_LIMIT);
    }

    fn wait_over(&mut self, most: Duration) -> bool {
        if self.end.is_some() {
            return true;
        }
        match self.over.recv_timeout(most) {
            Ok(end) => {
                self.end = Some(end);
                let _ = self.supervisor.wait();
                true
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => {
                self.end = Some(None);
                true
            }
        }
    }
}

impl Drop for CommandProcess {
    fn drop(&mut self) {
        if self.end.is_none() {
            let _ = self.control.write_all(b"k");
            if !self.wait_over(SUPERVISOR_LIMIT) {
                self.end_from_outside();
            }
        }
        // Reaps the supervisor; it has ended or was killed.
        let _ = self.supervisor.wait();
    }
}

fn lock(output: &Mutex<CollectedOutput>) -> MutexGuard<'_, CollectedOutput> {
    output.lock().unwrap_or_else(PoisonError::into_inner)
}
