//! The calls of a turn as a person sees them: what is written, what runs, what came of it. A call is shown
//! once: where it was asked about, the question has shown it. Pure: events in, rows out.

use std::collections::VecDeque;

use serde_json::Value;

use super::marked;
use super::style::{StyledText, TextStyle};
use super::{call, cut, term};
use crate::harmless;
use crate::tools::FileDiff;

/// A result of so many lines is shown whole; of a longer one so many less two.
const WHOLE: usize = 10;
/// A failure of so many lines is sentences, of at most so many characters each.
const SENTENCES: usize = 3;
const MAX_SENTENCE: usize = 600;
/// Rows of a change that is shown with its result.
const CHANGED: usize = 20;
/// Results that can be shown whole later.
const KEPT: usize = 50;
/// Rows of what a running call has written.
const LIVE: usize = 5;

/// The calls of the turn, and the results of this run.
#[derive(Default)]
pub struct CallSteps {
    /// Calls without results, in order.
    pending: VecDeque<PendingCall>,
    results: VecDeque<KeptResult>,
    /// Results so far.
    count: usize,
    /// Whether `/show` can be typed.
    pub numbered: bool,
}

struct PendingCall {
    id: String,
    name: String,
    arguments: Value,
    /// It stands on the terminal already.
    shown: bool,
}

/// A result, to be shown whole.
struct KeptResult {
    number: usize,
    words: String,
    text: String,
}

/// The result of a call.
pub struct StepResult {
    /// The tool.
    pub name: String,
    /// Whether the call succeeded.
    pub ok: bool,
    /// What the model reads.
    pub text: String,
    /// How long it ran.
    pub seconds: Option<f64>,
    /// The exit code of its program.
    pub exit: Option<i32>,
    /// Why it did not run, for people.
    pub refused: Option<String>,
    /// What it changed, where nobody was asked.
    pub change: Option<FileDiff>,
}

impl CallSteps {
    /// Another turn begins.
    pub fn begin(&mut self) {
        self.pending.clear();
    }

    /// A call is whole.
    pub fn call(&mut self, id: String, name: String, arguments: Value) {
        self.pending.push_back(PendingCall {
            id,
            name,
            arguments,
            shown: false,
        });
    }

    /// A call of this tool was asked about: the question shows it.
    pub fn asked(&mut self, tool: &str) {
        let mut waiting = self.pending.iter_mut();
        if let Some(call) = waiting.find(|call| call.name == tool && !call.shown) {
            call.shown = true;
        }
    }

    /// The line of a call that is being written.
    pub fn writing(name: &str, target: Option<&str>, tokens: usize, seconds: f64) -> String {
        format!(
            "writing: {} · {} tokens · {}",
            call::begun(name, target),
            term::count(tokens),
            duration(seconds)
        )
    }

    /// The rows of a call (its id and its tool) that runs: what it is, for how long, and the end of its output.
    pub fn running(
        &self,
        call: (&str, &str),
        seconds: f64,
        tail: &str,
        width: usize,
    ) -> Vec<String> {
        let (id, name) = call;
        let running = self.pending.iter().find(|call| call.id == id);
        let words = running.map(|of| call::words(&of.name, &of.arguments));
        let time = duration(seconds);
        let words = words.unwrap_or_else(|| call::begun(name, None));
        let words = cut(&words, width.saturating_sub(time.len() + 4).max(8));
        let mut rows = vec![format!("{words} · {time}")];
        let lines: Vec<&str> = tail.lines().collect();
        let last = &lines[lines.len().saturating_sub(LIVE)..];
        rows.extend(last.iter().map(|line| format!("  | {line}")));
        rows
    }

    /// The line of a call that runs where nothing can be drawn again; once for each call.
    pub fn started(&mut self, id: &str) -> Option<StyledText> {
        let mut waiting = self.pending.iter_mut();
        let call = waiting.find(|call| call.id == id)?;
        if std::mem::replace(&mut call.shown, true) {
            return None;
        }
        let words = call::words(&call.name, &call.arguments);
        Some(StyledText::new(format!("• {words}"), TextStyle::PLAIN))
    }

    /// The rows of a result; the call's own line is the first of them, unless it was shown.
    pub fn result(&mut self, result: StepResult, width: usize) -> Vec<StyledText> {
        let at = self
            .pending
            .iter()
            .position(|call| call.name == result.name);
        let call = at.and_then(|at| self.pending.remove(at));
        self.count += 1;
        let arguments = call.as_ref().map_or(&Value::Null, |call| &call.arguments);
        let words = match call {
            Some(_) => call::words(&result.name, arguments),
            None => call::begun(&result.name, None),
        };
        let shown = call.as_ref().is_some_and(|call| call.shown);
        let head = match &result.refused {
            // The question stands right above it.
            Some(why) if shown => format!("• {}", harmless::line(why)),
            _ => head(&words, shown, &result, width),
        };
        let mut rows = vec![StyledText::new(head, TextStyle::PLAIN)];
        let remembered = match &*result.name {
            "memory" if result.ok => call::remembered(arguments),
            _ => Vec::new(),
        };
        match &result {
            StepResult {
                refused: Some(_), ..
            } if shown => {}
            StepResult {
                refused: Some(why), ..
            } => rows.extend(text_rows(why, width)),
            StepResult {
                change: Some(change),
                ..
            } => rows.extend(self.changed(change, width)),
            _ if !remembered.is_empty() => {
                rows.extend(remembered.iter().flat_map(|line| text_rows(line, width)));
            }
            StepResult { name, ok: true, .. } if name == "todo" => {
                rows.extend(plan(&result.text, width));
            }
            _ => rows.extend(self.body(&result, width)),
        }
        self.results.push_back(KeptResult {
            number: self.count,
            words,
            text: match result.change {
                Some(change) => change.diff,
                None => result.text,
            },
        });
        if self.results.len() > KEPT {
            self.results.pop_front();
        }
        rows
    }

    /// The first lines of a result, and how many more there are.
    fn body(&self, result: &StepResult, width: usize) -> Vec<StyledText> {
        let mut text = result.text.trim_end();
        if let Some(code) = result.exit {
            // The first line of the result says it.
            text = text
                .strip_suffix(&format!("Exit code {code}."))
                .unwrap_or(text)
                .trim_end();
        }
        let lines = text.lines().count();
        let shown = match lines > WHOLE {
            true => WHOLE - 2,
            false => lines,
        };
        // Why a call failed is a sentence, and a sentence is read to its end.
        let wraps = !result.ok && result.exit.is_none() && lines <= SENTENCES;
        let mut rows: Vec<StyledText> = Vec::new();
        for line in text.lines().take(shown) {
            match wraps {
                true => rows.extend(text_rows(&start(line, MAX_SENTENCE), width)),
                false => rows.push(line_row(line, width)),
            }
        }
        if lines > shown {
            rows.push(self.more(lines - shown));
        }
        rows
    }

    /// A change that nobody was asked about.
    fn changed(&self, change: &FileDiff, width: usize) -> Vec<StyledText> {
        let mut rows = Vec::new();
        if let Some(unread) = change.unread {
            rows.extend(text_rows(unread.words(), width));
        }
        let lines = change.diff.lines().count();
        for (at, line) in marked::diff(&change.diff, width).enumerate() {
            if rows.len() + line.len() > CHANGED && at > 0 {
                rows.push(self.more(lines - at));
                break;
            }
            rows.extend(line.into_iter().take(CHANGED));
        }
        rows
    }

    fn more(&self, lines: usize) -> StyledText {
        let more = format!("    … {} more", term::count(lines));
        let text = match self.numbered {
            true => format!("{more} (/show {})", self.count),
            false => more,
        };
        StyledText::new(text, TextStyle::DIM)
    }

    /// A result of this run whole, the last one without a number.
    ///
    /// # Errors
    /// A sentence: there is none of this number.
    pub fn whole(&self, number: Option<usize>) -> Result<Vec<StyledText>, String> {
        let (Some(first), Some(last)) = (self.results.front(), self.results.back()) else {
            return Err("No tool has given a result yet.".to_owned());
        };
        let number = number.unwrap_or(last.number);
        let Some(result) = self.results.iter().find(|one| one.number == number) else {
            return Err(format!(
                "There is no result {number}; those of this chat are {} to {}.",
                first.number, last.number
            ));
        };
        let head = StyledText::new(format!("• {}", result.words), TextStyle::PLAIN);
        let lines = result.text.lines();
        let lines =
            lines.map(|line| StyledText::new(format!("    {}", safe(line)), TextStyle::DIM));
        Ok(std::iter::once(head).chain(lines).collect())
    }
}

/// The first row of a result: the call, how it ended, how long it took.
fn head(words: &str, shown: bool, result: &StepResult, width: usize) -> String {
    let mut facts = Vec::new();
    match (result.exit, result.ok, &result.refused) {
        (Some(code), ..) => facts.push(format!("exit code {code}")),
        (None, false, None) => facts.push("failed".to_owned()),
        (None, true, None) if shown => facts.push("done".to_owned()),
        _ => {}
    }
    facts.extend(result.seconds.map(duration));
    let facts = facts.join(" · ");
    if shown {
        return match facts.is_empty() {
            true => format!("• {}", result.name),
            false => format!("• {facts}"),
        };
    }
    if facts.is_empty() {
        return format!("• {}", cut(words, width.saturating_sub(3).max(8)));
    }
    let room = width.saturating_sub(facts.chars().count() + 6).max(8);
    format!("• {} · {facts}", cut(words, room))
}

/// A plan with signs for what is done, at work and open.
fn plan(text: &str, width: usize) -> Vec<StyledText> {
    let row = |line: &str| {
        let (sign, style, rest) = match line.split_at_checked(4) {
            Some(("[x] ", rest)) => ("✓ ", TextStyle::DIM, rest),
            Some(("[>] ", rest)) => ("▸ ", TextStyle::PLAIN, rest),
            Some(("[ ] ", rest)) => ("☐ ", TextStyle::PLAIN, rest),
            _ => ("", TextStyle::DIM, line),
        };
        let text = cut(
            &format!("    {sign}{}", safe(rest)),
            width.saturating_sub(1).max(8),
        );
        StyledText::new(text, style)
    };
    text.lines().map(row).collect()
}

/// A sentence for people, in rows.
fn text_rows(text: &str, width: usize) -> Vec<StyledText> {
    let text = harmless::line(text);
    let rows = marked::sentence(TextStyle::DIM, &text, width.saturating_sub(4));
    rows.into_iter()
        .map(|row| StyledText::new(format!("    {}", row.text()), row.style()))
        .collect()
}

/// A line of a result, cut at the width.
fn line_row(line: &str, width: usize) -> StyledText {
    // Only what can be seen of it.
    let line = format!("    {}", safe(&start(line, width.max(8) * 2)));
    StyledText::new(cut(&line, width.saturating_sub(1).max(8)), TextStyle::DIM)
}

/// The first characters of a text.
fn start(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// Tabs are four spaces, so that the width is known.
fn safe(line: &str) -> String {
    harmless::text(line).replace('\t', "    ")
}

/// `0.4 s`, `12 s`, `3 min 5 s`.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 60.0 => format!("{s:.0} s"),
        s => format!("{} min {} s", (s / 60.0) as u64, (s % 60.0) as u64),
    }
}

#[cfg(test)]
#[path = "steps_tests.rs"]
mod tests;
