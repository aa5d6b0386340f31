//! One command, its keeper and its output.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::output::Output;
use crate::tools::Room;
use crate::tools::command;
use crate::tools::sandbox::{End, Sandbox, end_below};

/// How long a program may clean up after it was asked to end.
const GRACE: Duration = Duration::from_secs(2);
/// How long its keeper may need to end everything.
const KEEPER: Duration = Duration::from_secs(5);
/// Longest word of a keeper, in bytes.
const MAX_WORD: u64 = 64 << 10;
/// How often a cancel is looked for.
const TICK: Duration = Duration::from_millis(50);

/// What waiting came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Waited {
    Ended,
    Late,
    Cancelled,
    Flood,
}

/// A running command. Dropping it ends everything it started.
pub(super) struct Process {
    keeper: Child,
    control: UnixStream,
    output: Arc<Mutex<Output>>,
    /// Comes when the program has ended and nothing of it is left; then all output is in.
    over: Receiver<Option<End>>,
    end: Option<Option<End>>,
}

impl Process {
    pub fn start(
        sandbox: &Sandbox,
        line: &str,
        room: &Room<'_>,
        name: &str,
    ) -> io::Result<Process> {
        let shell = command::bash().unwrap_or(Path::new("/bin/sh"));
        let words: [OsString; 3] = [shell.into(), "-c".into(), line.into()];
        let (ours, theirs) = UnixStream::pair()?;
        let (mut reader, writer) = io::pipe()?;
        let mut keeper = sandbox.controlled(&words, room.project)?;
        keeper.stdin(OwnedFd::from(theirs));
        keeper.stdout(writer.try_clone()?).stderr(writer);
        let child = keeper.spawn()?;
        // It holds the other ends of the pipes.
        drop(keeper);
        let good = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let name: String = name.chars().filter(good).take(64).collect();
        let stem = format!("output-{name}");
        let output = Arc::new(Mutex::new(Output::new(room.results.clone(), stem)));
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
            .name("npast-keeper".into())
            .spawn(move || {
                let mut line = String::new();
                // A keeper has one word, and what it names is cut.
                let read = BufReader::new(told.take(MAX_WORD)).read_line(&mut line);
                let end = read.ok().and_then(|_| serde_json::from_str(&line).ok());
                // The keeper was the last to hold the output.
                let _ = reading.join();
                let _ = done.send(end);
            })?;
        Ok(Process {
            keeper: child,
            control: ours,
            output,
            over,
            end: None,
        })
    }

    pub fn output(&self) -> MutexGuard<'_, Output> {
        lock(&self.output)
    }

    /// Waits for the end, a bound or a cancel.
    pub fn wait(&mut self, most: Duration, cancelled: &dyn Fn() -> bool) -> Waited {
        let until = Instant::now() + most;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if self.wait_over(left.min(TICK)) {
                return match self.output().flooded() {
                    true => Waited::Flood,
                    false => Waited::Ended,
                };
            }
            if cancelled() {
                return Waited::Cancelled;
            }
            if self.output().flooded() {
                return Waited::Flood;
            }
            if left.is_zero() {
                return Waited::Late;
            }
        }
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        self.wait_over(Duration::ZERO)
    }

    /// How it ended, once it has.
    pub fn end(&self) -> Option<End> {
        self.end.clone().flatten()
    }

    /// Asks it to end, then ends it with all that it started.
    pub fn stop(&mut self) -> Option<End> {
        if self.end.is_none() {
            let asked = self.control.write_all(b"t");
            if asked.is_err() || self.output().flooded() || !self.wait_over(GRACE) {
                let _ = self.control.write_all(b"k");
                if !self.wait_over(KEEPER) {
                    self.end_from_outside();
                }
            }
        }
        self.end()
    }

    /// Does a keeper's work for it: first what it keeps, then the keeper. A keeper that is killed
    /// first would leave all of that running.
    fn end_from_outside(&mut self) {
        tracing::warn!("a command's keeper does not answer; npast ends what it keeps, and it");
        end_below(&self.keeper, KEEPER);
        let _ = self.keeper.kill();
        self.wait_over(KEEPER);
    }

    fn wait_over(&mut self, most: Duration) -> bool {
        if self.end.is_some() {
            return true;
        }
        match self.over.recv_timeout(most) {
            Ok(end) => {
                self.end = Some(end);
                let _ = self.keeper.wait();
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

impl Drop for Process {
    fn drop(&mut self) {
        if self.end.is_none() {
            let _ = self.control.write_all(b"k");
            if !self.wait_over(KEEPER) {
                self.end_from_outside();
            }
        }
        // Reaps the keeper; it has ended or was killed.
        let _ = self.keeper.wait();
    }
}

fn lock(output: &Mutex<Output>) -> MutexGuard<'_, Output> {
    output.lock().unwrap_or_else(PoisonError::into_inner)
}
