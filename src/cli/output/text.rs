//! For people: the answer on standard output as it comes, all else on standard error.

use std::io::{IsTerminal, Stderr, Stdout, Write};
use std::sync::atomic::Ordering;

use super::{LINE_OPEN, Pipe, Progress, printable, receipt};
use crate::agent::{Event, Receipt};

/// What the streams can show.
#[derive(Clone, Copy, Debug, Default)]
pub struct Looks {
    /// Standard output is a terminal.
    pub out: bool,
    /// Standard error is a terminal.
    pub err: bool,
    /// Dimming is wanted.
    pub color: bool,
    /// No receipts, progress, thinking.
    pub quiet: bool,
}

/// What the cursor stands behind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Start,
    Thinking,
    /// Whether the answer's last character was a newline.
    Answer(bool),
}

/// Prints a turn.
pub struct Text<O, E> {
    pub(super) out: Pipe<O>,
    err: E,
    looks: Looks,
    /// Bars on standard error.
    pub progress: Progress,
    at: At,
    /// The receipts of the last turn.
    pub last: Vec<Receipt>,
    ended: bool,
}

impl Text<Stdout, Stderr> {
    /// As this process's streams are.
    pub fn on_this_terminal(out: Pipe<Stdout>, quiet: bool) -> Text<Stdout, Stderr> {
        let err = std::io::stderr();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        let looks = Looks {
            out: std::io::stdout().is_terminal(),
            err: err.is_terminal(),
            color: !plain,
            quiet,
        };
        Text::new(out, err, looks)
    }
}

impl<O: Write, E: Write> Text<O, E> {
    /// Prints to `out` and `err`.
    pub fn new(out: Pipe<O>, err: E, looks: Looks) -> Text<O, E> {
        Text {
            out,
            err,
            looks,
            progress: Progress::new(looks.err && !looks.quiet),
            at: At::Start,
            last: Vec::new(),
            ended: true,
        }
    }

    /// The first line of a run, where somebody looks.
    pub fn session(&mut self, held: Option<&str>) {
        if let Some(held) = held.filter(|_| self.looks.err) {
            self.say(&format!("sandbox: {}", printable(held)));
        }
    }

    /// Something happened in a turn.
    pub fn event(&mut self, event: Event) {
        self.print(event);
        let open = self.looks.err && matches!(self.at, At::Thinking | At::Answer(false));
        LINE_OPEN.store(open || self.progress.drawn(), Ordering::Relaxed);
    }

    fn print(&mut self, event: Event) {
        if self.ended {
            self.ended = false;
            self.last.clear();
            self.at = At::Start;
        }
        match event {
            Event::Restoring { tokens } => self.progress.restoring(tokens),
            Event::Prefill { done, total } => self.progress.prefill(done, total),
            Event::Reasoning(text) => self.thinking(&text),
            Event::Text(text) => self.answer(&text),
            Event::ToolCall {
                name, arguments, ..
            } => {
                self.close_line();
                let call = format!("{name} {arguments}");
                self.say(&format!("call: {}", cut(&call)));
            }
            Event::ToolResult { ok, text, .. } => {
                self.close_line();
                let line = result(ok, &text);
                self.say(&line);
            }
            Event::Steered(text) => {
                self.close_line();
                let text = printable(&text).replace(['\n', '\t'], " ");
                self.say(&format!("said: {text}"));
            }
            Event::Receipt(receipt) => self.last.push(*receipt),
            Event::Turn(sum) => {
                self.close_line();
                self.say(&receipt::line(&sum));
                let notes: Vec<String> = self
                    .last
                    .iter()
                    .filter_map(|r| r.miss.as_ref().map(receipt::miss))
                    .collect();
                for note in notes {
                    let note = printable(&note).replace(['\n', '\t'], " ");
                    self.say(&note);
                }
            }
            Event::Notice { text, hint } => {
                self.close_line();
                let _ = writeln!(self.err, "npast: {}", printable(&text));
                if let Some(hint) = hint {
                    let _ = writeln!(self.err, "  hint: {}", printable(&hint));
                }
            }
        }
    }

    /// No more events come.
    pub fn end(&mut self) {
        self.close_line();
        LINE_OPEN.store(false, Ordering::Relaxed);
        self.ended = true;
    }

    fn answer(&mut self, text: &str) {
        let Some(last) = text.chars().next_back() else {
            return;
        };
        self.progress.clear();
        if self.at == At::Thinking {
            self.close_line();
            let _ = writeln!(self.err);
        }
        self.at = At::Answer(last == '\n');
        match self.looks.out {
            true => self.out.write(&printable(text)),
            false => self.out.write(text),
        }
    }

    /// Shown where somebody looks: on a terminal. Programs get it as events.
    fn thinking(&mut self, text: &str) {
        self.progress.clear();
        if !self.looks.err || self.looks.quiet || text.is_empty() {
            return;
        }
        if self.at != At::Thinking {
            self.close_line();
            self.at = At::Thinking;
            if !self.looks.color {
                let _ = write!(self.err, "[thinking] ");
            }
        }
        let text = self.dim(&printable(text));
        let _ = write!(self.err, "{text}");
        let _ = self.err.flush();
    }

    /// What follows begins on a line of its own.
    fn close_line(&mut self) {
        self.progress.clear();
        match self.at {
            At::Answer(false) => self.out.write("\n"),
            At::Thinking => {
                let _ = writeln!(self.err);
            }
            At::Start | At::Answer(true) => {}
        }
        self.at = At::Start;
    }

    fn say(&mut self, line: &str) {
        if !self.looks.quiet {
            let line = self.dim(line);
            let _ = writeln!(self.err, "{line}");
        }
    }

    fn dim(&self, text: &str) -> String {
        match self.looks.err && self.looks.color {
            true => format!("\u{1b}[2m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }
}

/// Characters of a call or a result on the terminal; the whole is in the session.
const SHOWN: usize = 200;

/// The beginning of a text on one line.
fn cut(text: &str) -> String {
    let line: String = text.chars().take(SHOWN + 1).collect();
    let line = printable(&line).replace(['\n', '\t'], " ");
    match line.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// A call's result in one line: its first words, and how much there is.
fn result(ok: bool, text: &str) -> String {
    let mark = if ok { "result" } else { "failed" };
    let first = text.lines().find(|line| !line.trim().is_empty());
    let lines = text.lines().count();
    let more = match lines {
        0 | 1 => String::new(),
        _ => format!(" ({lines} lines)"),
    };
    format!("{mark}: {}{more}", cut(first.unwrap_or_default().trim()))
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
