//! For people: the answer on standard output as it comes, all else on standard error.

use std::sync::{Arc, Mutex};

use super::prose::{self, Prose, ProseForm};
use super::screen::{Looks, Screen, Style, lock};
use super::style::TextStyle;
use super::{Pipe, ProgressLine, noticed, receipt};
use crate::agent::{CompressStage, Event, Receipt};
use crate::harmless;
use crate::slot::CallKind;

/// What the cursor stands behind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Start,
    Thinking,
    /// Whether the answer's last character was a newline.
    Answer(bool),
}

/// Prints a turn.
pub struct Text {
    pub(super) out: Pipe,
    screen: Arc<Mutex<Screen>>,
    looks: Looks,
    quiet: bool,
    /// A terminal gets rows of words.
    rows: bool,
    /// What takes long, on standard error.
    pub progress: ProgressLine,
    at: At,
    /// The answer on a terminal, in rows of words.
    answer: Prose,
    /// The thinking there.
    thinking: Prose,
    /// The receipts of the last turn.
    pub last: Vec<Receipt>,
    ended: bool,
}

impl Text {
    /// Prints to `out` and its screen's standard error; `quiet` leaves receipts, progress and thinking
    /// away.
    pub fn new(out: Pipe, quiet: bool) -> Text {
        let screen = out.screen.clone();
        let (looks, rows) = {
            let screen = lock(&screen);
            (screen.looks(), screen.has_rows())
        };
        Text {
            rows,
            answer: Prose::new(prose::form(looks.color), TextStyle::PLAIN),
            thinking: Prose::new(ProseForm::Plain, TextStyle::DIM),
            out,
            looks,
            quiet,
            progress: ProgressLine::new(looks.err && !quiet, screen.clone()),
            screen,
            at: At::Start,
            last: Vec::new(),
            ended: true,
        }
    }

    /// The first line of a run, where somebody looks.
    pub fn session(&mut self, held: Option<&str>) {
        if let Some(held) = held.filter(|_| self.looks.err) {
            self.say(&format!("sandbox: {held}"));
        }
    }

    /// Something happened in a turn.
    pub fn event(&mut self, event: Event) {
        if self.ended {
            self.ended = false;
            self.last.clear();
            self.at = At::Start;
        }
        match event {
            Event::Queued { place } => self.progress.waiting(place),
            Event::Restoring { tokens } => self.progress.restoring(tokens),
            Event::Prefill { done, total } => self.progress.prefill(done, total),
            Event::Reasoning { text } => self.thinking(&text),
            Event::Text { text } => self.answer(&text),
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
            Event::Steered { text } => {
                self.close_line();
                self.say(&format!("said: {}", harmless::line(&text)));
            }
            Event::Compress { stage } => {
                if stage == CompressStage::Writing {
                    self.close_line();
                    self.say("compressing: a summary takes the place of the middle");
                }
            }
            Event::Receipt(receipt) => {
                // The receipts of a turn are shown with its sum.
                let aside = receipt.kind == CallKind::Idle;
                if let Some(miss) = receipt.miss.as_ref().filter(|_| aside) {
                    self.close_line();
                    self.say(&harmless::line(&receipt::miss(miss)));
                }
                self.last.push(*receipt);
            }
            Event::Turn(sum) => {
                self.close_line();
                self.say(&receipt::line(&sum));
                let notes: Vec<String> = self
                    .last
                    .iter()
                    .filter_map(|r| r.miss.as_ref().map(receipt::miss))
                    .collect();
                for note in notes {
                    self.say(&harmless::line(&note));
                }
            }
            Event::Notice { text, hint } => {
                self.pause();
                noticed(&mut lock(&self.screen), &text, hint.as_deref());
            }
            // Nobody asks for it here.
            Event::Odds { .. } => {}
            // Shown by whoever made the request.
            Event::Session { .. } | Event::Question(_) | Event::Error { .. } | Event::Done(_) => {}
        }
    }

    /// No more events come.
    pub fn end(&mut self) {
        self.close_line();
        self.ended = true;
    }

    fn answer(&mut self, text: &str) {
        let Some(last) = text.chars().next_back() else {
            return;
        };
        self.progress.clear();
        if self.at == At::Thinking {
            self.close_line();
            self.part(Style::Plain, "\n");
        }
        self.at = At::Answer(last == '\n');
        match self.rows && self.looks.out {
            false => self.out.answer(text),
            true => {
                let answer = &mut self.answer;
                self.out
                    .styled(|column, width| answer.more(text, column, width));
            }
        }
    }

    /// Shown where somebody looks: on a terminal. Programs get it as events.
    fn thinking(&mut self, text: &str) {
        self.progress.clear();
        if !self.looks.err || self.quiet || text.is_empty() {
            return;
        }
        if self.at != At::Thinking {
            self.close_line();
            self.at = At::Thinking;
            if !self.looks.color {
                self.part(Style::Plain, "[thinking] ");
            }
        }
        if self.rows {
            let thinking = &mut self.thinking;
            lock(&self.screen).part_styled(|column, width| thinking.more(text, column, width));
        } else {
            self.part(Style::Dim, text);
        }
    }

    /// Something else comes on a line of its own; an answer on a terminal may go on below it.
    fn pause(&mut self) {
        self.progress.clear();
        match self.at {
            At::Answer(_) if self.rows && self.looks.out => {
                let answer = &mut self.answer;
                self.out.styled(|column, width| answer.pause(column, width));
            }
            _ => self.close_line(),
        }
    }

    /// What follows begins on a line of its own. On a terminal that may be so already: a notice came.
    fn close_line(&mut self) {
        self.progress.clear();
        match self.at {
            At::Answer(_) if self.rows && self.looks.out => {
                let answer = &mut self.answer;
                self.out.styled(|column, width| answer.end(column, width));
            }
            At::Thinking if self.rows => {
                let thinking = &mut self.thinking;
                lock(&self.screen).part_styled(|column, width| thinking.end(column, width));
            }
            _ => {}
        }
        match self.at {
            At::Answer(false) if !self.looks.out => self.out.answer("\n"),
            At::Answer(_) | At::Thinking => lock(&self.screen).fresh_line(),
            At::Start => {}
        }
        self.at = At::Start;
    }

    fn say(&mut self, line: &str) {
        if !self.quiet {
            lock(&self.screen).say(Style::Dim, line);
        }
    }

    fn part(&mut self, style: Style, text: &str) {
        lock(&self.screen).part(style, text);
    }
}

/// Characters of a call or a result on the terminal; the whole is in the session.
const SHOWN: usize = 200;

/// The beginning of a text on one line.
fn cut(text: &str) -> String {
    let line: String = text.chars().take(SHOWN + 1).collect();
    let line = harmless::line(&line);
    match line.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.into_owned(),
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
