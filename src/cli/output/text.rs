//! For people: the answer on standard output as it comes, all else on standard error.

use std::sync::{Arc, Mutex};

use super::prose::{self, Prose, ProseForm};
use super::screen::{Looks, Screen, lock};
use super::steps::{CallSteps, StepResult};
use super::style::{StyledText, TextStyle};
use super::{Pipe, ProgressLine, noticed, receipt};
use crate::agent::{CompressStage, Event, OpenQuestion, Receipt};
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
    /// The calls of the turn, and the results of the run.
    pub steps: CallSteps,
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
            steps: CallSteps::default(),
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
            self.steps.begin();
            self.at = At::Start;
        }
        match event {
            Event::Queued { place } => self.progress.waiting(place),
            Event::Restoring { tokens } => self.progress.restoring(tokens),
            Event::Prefill { done, total } => self.progress.prefill(done, total),
            Event::Reasoning { text } => self.thinking(&text),
            Event::Text { text } => self.answer(&text),
            Event::Calling {
                name,
                target,
                tokens,
                seconds,
            } => {
                let line = CallSteps::writing(&name, target.as_deref(), tokens, seconds);
                self.progress.call(&[line]);
            }
            Event::ToolCall {
                id,
                name,
                arguments,
            } => {
                self.close_line();
                self.steps.call(id, name, arguments);
            }
            Event::Running {
                id,
                name,
                seconds,
                tail,
                ..
            } => self.running((&id, &name), seconds, &tail),
            Event::ToolResult {
                name,
                ok,
                text,
                seconds,
                exit,
                refused,
                change,
                ..
            } => {
                let result = StepResult {
                    name,
                    ok,
                    text,
                    seconds,
                    exit,
                    refused,
                    change,
                };
                self.close_line();
                let width = lock(&self.screen).size().0;
                let rows = self.steps.result(result, width);
                self.rows(&rows);
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

    /// A question comes next, which shows its call.
    pub fn asked(&mut self, question: &OpenQuestion) {
        self.close_line();
        self.steps.asked(&question.tool);
    }

    /// A call runs. Where nothing can be drawn again it is one line.
    fn running(&mut self, call: (&str, &str), seconds: f64, tail: &str) {
        if self.looks.err && self.looks.moves {
            let width = lock(&self.screen).size().0;
            let rows = self.steps.running(call, seconds, tail, width);
            return self.progress.call(&rows);
        }
        if let Some(row) = self.steps.started(call.0) {
            self.close_line();
            self.rows(&[row]);
        }
    }

    fn answer(&mut self, text: &str) {
        let Some(last) = text.chars().next_back() else {
            return;
        };
        self.progress.clear();
        if self.at == At::Thinking {
            self.close_line();
            self.part(TextStyle::PLAIN, "\n");
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
                self.part(TextStyle::PLAIN, "[thinking] ");
            }
        }
        if self.rows {
            let thinking = &mut self.thinking;
            lock(&self.screen).part_styled(|column, width| thinking.more(text, column, width));
        } else {
            self.part(TextStyle::DIM, text);
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
            lock(&self.screen).say(TextStyle::DIM, line);
        }
    }

    fn rows(&mut self, rows: &[StyledText]) {
        if !self.quiet {
            lock(&self.screen).rows(rows);
        }
    }

    fn part(&mut self, style: TextStyle, text: &str) {
        lock(&self.screen).part(style, text);
    }
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
