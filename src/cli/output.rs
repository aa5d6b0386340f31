//! What a person or a program sees. Standard output carries the answer (or, with `--json`, events);
//! receipts, progress, thinking and notices go to standard error.

mod area;
mod call;
pub mod json;
mod marked;
mod progress;
mod prose;
pub mod receipt;
mod screen;
mod steps;
mod style;
mod term;
mod text;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

pub use area::{AreaRow, cut, wrap};
pub use marked::{diff, marked, sentence};
pub use progress::ProgressLine;
pub use screen::{Log, Screen, harmless_panics, screen};
pub use term::{ago, bytes, count, table};
pub use text::Text;

use prose::ProseForm;
use style::PROMPT;
pub use style::{StyledText, TextStyle};

use super::CliContext;
use super::error::Failure;
use super::interrupt;
use crate::agent::{Event, OpenQuestion};
use crate::attach::Talking;
use crate::kv;
use crate::session::Watcher;

/// Standard output that may go away: then the turn is cancelled and the run ends quietly.
pub struct Pipe {
    screen: Arc<Mutex<Screen>>,
    cancel: Arc<AtomicBool>,
    failed: Option<std::io::Error>,
}

impl Pipe {
    fn new(screen: Arc<Mutex<Screen>>, cancel: Arc<AtomicBool>) -> Pipe {
        Pipe {
            screen,
            cancel,
            failed: None,
        }
    }

    /// Writes an answer; after a failure, nothing.
    fn answer(&mut self, text: &str) {
        self.write(|screen| screen.answer(text));
    }

    /// Writes pieces of an answer to a terminal; see [`Screen::answer_styled`].
    fn styled(&mut self, make: impl FnOnce(usize, usize) -> Vec<StyledText>) {
        self.write(|screen| screen.answer_styled(make));
    }

    /// Writes an event.
    fn event(&mut self, line: &str) {
        self.write(|screen| screen.event(line));
    }

    fn write(&mut self, write: impl FnOnce(&mut Screen) -> std::io::Result<()>) {
        if self.failed.is_some() {
            return;
        }
        let done = write(&mut screen::lock(&self.screen));
        if let Err(error) = done {
            self.failed = Some(error);
            self.cancel.store(true, Ordering::SeqCst);
        }
    }
}

/// Where a turn's events go.
pub enum EventOutput {
    /// For people.
    Text(Box<Text>),
    /// For programs.
    Json(json::JsonLines),
}

impl EventOutput {
    /// `cancel` is set when standard output goes away.
    pub fn new(run: &CliContext, cancel: Arc<AtomicBool>) -> EventOutput {
        let pipe = Pipe::new(screen::shared().clone(), cancel);
        match run.json {
            true => EventOutput::Json(json::JsonLines::new(pipe)),
            false => EventOutput::Text(Box::new(Text::new(pipe, run.quiet))),
        }
    }

    /// The session that is open now.
    pub fn session(&mut self, session: &Talking) {
        match self {
            EventOutput::Text(text) => text.session(session.sandbox().as_deref()),
            EventOutput::Json(lines) => lines.event(session.event()),
        }
    }

    /// Something happened in a turn.
    pub fn event(&mut self, event: Event) {
        match self {
            EventOutput::Text(text) => text.event(event),
            EventOutput::Json(lines) => lines.event(event),
        }
    }

    /// A question comes next, which shows the call that it is about.
    pub fn asked(&mut self, question: &OpenQuestion) {
        if let EventOutput::Text(text) = self {
            text.asked(question);
        }
    }

    /// No more events come, however the turn ended.
    pub fn end(&mut self) {
        if let EventOutput::Text(text) = self {
            text.end();
        }
    }

    /// Whether standard output went away: there is nobody to write for.
    ///
    /// # Errors
    /// When writing failed for another reason.
    pub fn gone(&self) -> Result<bool, Failure> {
        let failed = match self {
            EventOutput::Text(text) => &text.out.failed,
            EventOutput::Json(lines) => &lines.out.failed,
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

/// What rooms below have to say while a turn works, out of the order of its events.
pub struct Aside;

impl Watcher for Aside {
    fn notice(&self, text: &str, hint: Option<&str>) {
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
    noticed(&mut screen(), text, hint);
}

fn noticed(screen: &mut Screen, text: &str, hint: Option<&str>) {
    screen.say_rows(TextStyle::PLAIN, &format!("npast: {text}"));
    if let Some(hint) = hint {
        screen.say_rows(TextStyle::PLAIN, &format!("  hint: {hint}"));
    }
}

/// What went wrong, on standard error.
pub fn failed(failure: &Failure) {
    notice(&failure.message, failure.hint.as_deref());
}

/// From now on a terminal gets replies as they are written: no rows of words, no Markdown.
pub fn show_raw() {
    screen().set_raw();
}

/// One line on standard error: what npast itself has to say to a person.
pub fn say(text: &str) {
    screen().say(TextStyle::PLAIN, text);
}

/// Rows on standard error.
pub fn rows(rows: &[StyledText]) {
    screen().rows(rows);
}

/// A message that a person sent, behind its prompt.
pub fn said(text: &str) {
    let pieces = vec![
        StyledText::new("> ", PROMPT),
        StyledText::new(text, TextStyle::PLAIN),
    ];
    screen().say_styled(pieces);
}

/// Lines of npast's own words on standard error, in rows of words where it is a terminal.
pub fn say_rows(style: TextStyle, text: &str) {
    screen().say_rows(style, text);
}

/// The first rows of a text on a terminal, dim, beside `beside` columns; at most `most`, and how many there
/// are behind those.
pub fn first_rows(text: &str, most: usize, beside: usize) -> (Vec<Vec<StyledText>>, usize) {
    let (width, _) = screen().size();
    let width = width.saturating_sub(beside);
    let mut rows = prose::rows(text, ProseForm::Plain, TextStyle::DIM, width);
    let more = rows.len().saturating_sub(most);
    rows.truncate(most);
    (rows, more)
}

/// A text that was shown before: its last rows on a terminal, dim, at most `most` of them, and how many
/// there are before those.
pub fn last_rows(text: &str, most: usize) -> (usize, Vec<Vec<StyledText>>) {
    let mut screen = screen();
    let (width, _) = screen.size();
    let form = prose::form(screen.looks().color);
    let mut rows = prose::rows(text, form, TextStyle::DIM, width);
    let before = rows.len().saturating_sub(most);
    (before, rows.split_off(before))
}

/// Rows that are made already, on standard error.
pub fn say_styled(rows: Vec<Vec<StyledText>>) {
    let mut screen = screen();
    for row in rows {
        screen.say_styled(row);
    }
}

/// A question on standard error, answered behind it.
pub fn question(text: &str) {
    screen().part(TextStyle::PLAIN, text);
}

/// Prints a finished text for people; a reader that went away is no error.
pub fn page(text: &str) -> Result<i32, Failure> {
    printed(screen().page(text))
}

/// Prints a finished text that a program may read: it gets it as it is, and a terminal harmless.
pub fn content(text: &str) -> Result<i32, Failure> {
    printed(screen().answer(text))
}

fn printed(done: std::io::Result<()>) -> Result<i32, Failure> {
    match done {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Failure::failed(
            "io",
            format!("standard output cannot be written: {e}"),
        )),
        _ => Ok(0),
    }
}

/// Whether bars are wanted: somebody looks at standard error.
pub fn bars(run: &CliContext) -> bool {
    !run.quiet && !run.json && screen().looks().err
}

#[cfg(test)]
mod tests {
    /// What no file but the screen's may hold, and where one does, why.
    const WAYS: [&str; 17] = [
        "println!",
        "print!",
        "dbg!",
        "stdout()",
        "stderr()",
        "io::stdout",
        "io::stderr",
        "stdio::",
        "/dev/tty",
        "/dev/std",
        "Stdio::inherit",
        "libc::write",
        "STDOUT",
        "STDERR",
        "panic::set_hook",
        "tracing_subscriber::fmt",
        "indicatif",
    ];
    const NAMED: [(&str, &str, &str); 9] = [
        ("src/cli/output/screen.rs", "", "it is the screen"),
        (
            "src/cli/log.rs",
            "tracing_subscriber::fmt",
            "it writes to `Log`",
        ),
        (
            "src/llama/bridge/remote.rs",
            "",
            "a process of its own; npast reads its answers",
        ),
        (
            "src/agent/engine/probe.rs",
            "",
            "a process of its own; npast reads its words",
        ),
        (
            "src/tools/sandbox/stages.rs",
            "",
            "a process of its own, harmless there",
        ),
        (
            "src/tools/sandbox/supervisor.rs",
            "",
            "a process of its own, harmless there",
        ),
        (
            "src/tools/sandbox/inner.rs",
            "stdio::",
            "it takes the program's standard input away",
        ),
        (
            "src/tools/sandbox/probe.rs",
            "",
            "a process of its own; npast reads its JSON",
        ),
        (
            "src/cli/chat/external.rs",
            "Stdio::inherit",
            "the user's own editor has the terminal",
        ),
    ];

    fn sources(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let tests = name == "tests"
                || name == "tests.rs"
                || name == "testing.rs"
                || name.ends_with("_tests.rs");
            match path.is_dir() {
                _ if tests => {}
                true => sources(&path, found),
                false if name.ends_with(".rs") => found.push(path),
                false => {}
            }
        }
    }

    /// A second place that prints could forget to make untrusted text safe.
    #[test]
    fn nothing_but_the_screen_prints() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut found = Vec::new();
        sources(&root.join("src"), &mut found);
        assert!(found.len() > 150, "{} files", found.len());
        let mut used = std::collections::HashSet::new();
        for path in found {
            let text = std::fs::read_to_string(&path).unwrap();
            let name = path
                .strip_prefix(root)
                .unwrap()
                .to_string_lossy()
                .into_owned();
            // Unit tests stand at the end of a file, and print to whoever runs them.
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
            for (at, line) in code.lines().enumerate() {
                let line = line.split("//").next().unwrap();
                for way in WAYS.iter().filter(|way| line.contains(**way)) {
                    let named = NAMED
                        .iter()
                        .find(|(file, what, _)| *file == name && (what.is_empty() || what == way));
                    assert!(named.is_some(), "{name}:{}: {way} in {line:?}", at + 1);
                    used.insert(named.unwrap());
                }
            }
        }
        let idle: Vec<_> = NAMED.iter().filter(|one| !used.contains(one)).collect();
        assert!(idle.is_empty(), "named and not needed: {idle:?}");
    }
}
