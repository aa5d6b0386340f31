//! What a person or a program sees. Standard output carries the answer (or, with `--json`, events);
//! receipts, progress, thinking and notices go to standard error.

pub mod json;
mod progress;
pub mod receipt;
mod showing;
mod term;
mod text;

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use progress::Progress;
pub use showing::Showing;
pub use term::{ago, bytes, count, printable, table};
pub use text::Text;

use super::Run;
use super::error::Failure;
use super::interrupt;
use crate::agent::{Event, Info};
use crate::kv;
use crate::session::Watcher;

/// Standard output that may go away: then the turn is cancelled and the run ends quietly.
pub struct Pipe<W> {
    to: W,
    cancel: Arc<AtomicBool>,
    failed: Option<std::io::Error>,
}

impl<W: Write> Pipe<W> {
    fn new(to: W, cancel: Arc<AtomicBool>) -> Pipe<W> {
        Pipe {
            to,
            cancel,
            failed: None,
        }
    }

    /// Writes and flushes; after a failure, nothing.
    fn write(&mut self, text: &str) {
        if self.failed.is_some() {
            return;
        }
        let done = self
            .to
            .write_all(text.as_bytes())
            .and_then(|()| self.to.flush());
        if let Err(error) = done {
            self.failed = Some(error);
            self.cancel.store(true, Ordering::SeqCst);
        }
    }
}

/// Where a turn's events go.
pub enum Output {
    /// For people.
    Text(Box<Text<std::io::Stdout, std::io::Stderr>>),
    /// For programs.
    Json(json::Lines<std::io::Stdout>),
}

impl Output {
    /// `cancel` is set when standard output goes away.
    pub fn new(run: &Run, cancel: Arc<AtomicBool>) -> Output {
        let pipe = Pipe::new(std::io::stdout(), cancel);
        match run.json {
            true => Output::Json(json::Lines::new(pipe)),
            false => Output::Text(Box::new(Text::on_this_terminal(pipe, run.quiet))),
        }
    }

    /// The conversation that is open now; `held` is what its programs are kept from, where it has
    /// tools.
    pub fn session(&mut self, info: &Info, held: Option<&str>) {
        match self {
            Output::Text(text) => text.session(held),
            Output::Json(lines) => lines.session(info, held),
        }
    }

    /// Something happened in a turn.
    pub fn event(&mut self, event: Event) {
        match self {
            Output::Text(text) => text.event(event),
            Output::Json(lines) => lines.event(event),
        }
    }

    /// No more events come, however the turn ended.
    pub fn end(&mut self) {
        if let Output::Text(text) = self {
            text.end();
        }
    }

    /// Whether standard output went away: there is nobody to write for.
    ///
    /// # Errors
    /// When writing failed for another reason.
    pub fn gone(&self) -> Result<bool, Failure> {
        let failed = match self {
            Output::Text(text) => &text.out.failed,
            Output::Json(lines) => &lines.out.failed,
        };
        match failed {
            None => Ok(false),
            Some(e) if e.kind() == ErrorKind::BrokenPipe => Ok(true),
            Some(e) => Err(Failure::failed(
                "io",
                format!("standard output cannot be written: {e}"),
            )),
        }
    }
}

/// The last line on the terminal is not finished: what else is printed begins with a new one.
static LINE_OPEN: AtomicBool = AtomicBool::new(false);

/// What rooms below have to say while a turn works, out of the order of its events.
pub struct Aside;

impl Watcher for Aside {
    fn notice(&self, text: &str, hint: Option<&str>) {
        if LINE_OPEN.swap(false, Ordering::Relaxed) {
            let _ = writeln!(std::io::stderr());
        }
        notice(text, hint);
    }

    fn stop_asked(&self) -> bool {
        interrupt::pressed()
    }

    /// Before a model is loaded: then its store gives way.
    fn make_room(&self, folder: &Path, bytes: u64) -> u64 {
        let gone = kv::give_way(&folder.join("kv"), bytes);
        if gone.files > 0 {
            self.notice(
                &format!(
                    "the disk is full: {} KV files ({}) were removed, so that messages can be stored",
                    gone.files,
                    term::bytes(gone.bytes)
                ),
                Some("free some space; what was removed is read again when it is needed"),
            );
        }
        gone.bytes
    }
}

/// One notice on standard error, in either mode: a miss, a refused file, a failed write.
pub fn notice(text: &str, hint: Option<&str>) {
    let mut to = std::io::stderr().lock();
    let _ = writeln!(to, "npast: {text}");
    if let Some(hint) = hint {
        let _ = writeln!(to, "  hint: {hint}");
    }
}

/// Prints a finished text; a reader that went away is no error.
pub fn page(text: &str) -> Result<i32, Failure> {
    let mut to = std::io::stdout().lock();
    match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Failure::failed(
            "io",
            format!("standard output cannot be written: {e}"),
        )),
        _ => Ok(0),
    }
}
