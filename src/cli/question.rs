//! A question about a call, at a terminal: how it is shown, so that a model's text cannot
//! look like npast's own, and what an answer means.

use std::collections::VecDeque;

use unicode_width::UnicodeWidthStr;

use super::console::Console;
use super::output::{StyledText, TextStyle, count, diff, marked, rows, say, screen, sentence};
use crate::agent::OpenQuestion;
use crate::approve::Grant;
use crate::harmless;

/// Rows of npast's own around what is shown of a call.
const AROUND: usize = 6;
/// Rows of a call that are shown in the smallest window.
const LEAST: usize = 3;
/// Most characters of a reason.
const MAX_REASON: usize = 2_000;

/// Asks the person until an answer is clear; none at all is a no. With a no may come what the model is
/// told instead.
pub fn ask(console: &Console, question: &OpenQuestion) -> (Grant, Option<String>) {
    let (columns, lines) = screen().size();
    let mut view = QuestionView::new(question, columns);
    let mut shown = view.head();
    shown.extend(view.page(lines.saturating_sub(AROUND).max(LEAST)));
    shown.extend(view.foot());
    rows(&shown);
    loop {
        let Some(line) = console.ask(view.words()) else {
            return (Grant::No, None);
        };
        match read(&line, !question.rules.is_empty()) {
            Some(Answer::Grant(grant, reason)) => return (grant, reason),
            Some(Answer::View) if view.is_whole() => say("All of it is shown."),
            Some(Answer::View) => {
                let (columns, lines) = screen().size();
                view.resize(columns);
                rows(&view.page(lines.saturating_sub(LEAST).max(LEAST)));
            }
            None => say(view.keys()),
        }
    }
}

/// A question on a terminal of so many columns. What a model wrote stands behind a mark in every row: no
/// row of it looks like one of npast's own.
struct QuestionView<'q> {
    question: &'q OpenQuestion,
    columns: usize,
    /// Lines of the call that are not shown yet, each in its rows.
    left: CallRows<'q>,
    /// How many lines those are.
    lines: usize,
    /// Rows of the line that is shown next.
    next: VecDeque<StyledText>,
}

type CallRows<'q> = Box<dyn Iterator<Item = Vec<StyledText>> + 'q>;

/// The lines of a call, each in rows of a terminal of so many columns.
fn call_rows(question: &OpenQuestion, columns: usize) -> CallRows<'_> {
    match &question.change {
        Some(change) => Box::new(diff(&change.diff, columns)),
        None => Box::new(marked(&question.text, columns)),
    }
}

impl<'q> QuestionView<'q> {
    fn new(question: &'q OpenQuestion, columns: usize) -> QuestionView<'q> {
        QuestionView {
            question,
            columns,
            left: call_rows(question, columns),
            lines: call_lines(question),
            next: VecDeque::new(),
        }
    }

    /// The window has so many columns now: a row that it would break would lose its mark.
    fn resize(&mut self, columns: usize) {
        if columns != self.columns {
            // A line that was begun is shown again.
            self.lines += usize::from(!self.next.is_empty());
            self.next.clear();
            let shown = call_lines(self.question) - self.lines;
            self.left = Box::new(call_rows(self.question, columns).skip(shown));
            self.columns = columns;
        }
    }

    /// What would be done, as a question.
    fn head(&self) -> Vec<StyledText> {
        let question = self.question;
        let verb = named(&question.verb);
        let mut letters = verb.chars();
        let verb: String = match letters.next() {
            Some(first) => first.to_uppercase().chain(letters).collect(),
            None => "Run".to_owned(),
        };
        let Some(change) = &question.change else {
            return vec![StyledText::new(
                format!("{verb} this? ({})", named(&question.tool)),
                TextStyle::PLAIN,
            )];
        };
        let lines = match (change.unread, change.added, change.removed) {
            (Some(unread), added, _) => format!("+{added}; {}", unread.words()),
            (None, 0, 0) => "no line changes".to_owned(),
            (None, added, 0) => format!("+{added}"),
            (None, 0, removed) => format!("-{removed}"),
            (None, added, removed) => format!("+{added} -{removed}"),
        };
        let file = named(&question.text);
        let whole = format!("{verb} {file}? ({lines})");
        // A name with spaces could write a row of its own.
        let plain = !file.contains(char::is_whitespace) && whole.width() < self.columns;
        if plain {
            return vec![StyledText::new(whole, TextStyle::PLAIN)];
        }
        let asked = format!("{verb} this file? ({lines})");
        let mut rows = sentence(TextStyle::PLAIN, &asked, self.columns);
        rows.extend(marked(&file, self.columns).flatten());
        rows
    }

    /// So many rows more of the call, and how much is left then.
    fn page(&mut self, most: usize) -> Vec<StyledText> {
        let mut page = Vec::new();
        while page.len() < most {
            match self.next.pop_front() {
                Some(row) => page.push(row),
                None => match self.left.next() {
                    Some(line) => {
                        self.lines = self.lines.saturating_sub(1);
                        self.next = line.into();
                    }
                    None => break,
                },
            }
        }
        // One row is not worth a key.
        if self.lines == 0 && self.next.len() == 1 {
            page.extend(self.next.pop_front());
        }
        let left = self.lines + usize::from(!self.next.is_empty());
        if left > 0 {
            let noun = if left == 1 { "line" } else { "lines" };
            let more = format!("  … {} more {noun}: v shows more", count(left));
            page.push(StyledText::new(more, TextStyle::DIM));
        }
        page
    }

    fn is_whole(&self) -> bool {
        self.lines == 0 && self.next.is_empty()
    }

    /// Why it is asked, and what else an answer would allow.
    fn foot(&self) -> Vec<StyledText> {
        let question = self.question;
        let mut rows = Vec::new();
        if let Some(why) = &question.why {
            let why = format!("It asks because {}.", named(why));
            rows.extend(sentence(TextStyle::PLAIN, &why, self.columns));
        }
        if !question.rules.is_empty() {
            let scope = match &question.scope {
                Some(scope) => named(scope),
                None => {
                    let rules = question.rules.iter().map(|rule| named(rule));
                    rules.collect::<Vec<_>>().join(", ")
                }
            };
            let scope = format!("s and a: {scope}. n REASON tells the model why not.");
            rows.extend(sentence(TextStyle::DIM, &scope, self.columns));
        }
        rows
    }

    /// What the answer stands behind.
    fn words(&self) -> &'static str {
        match (self.question.rules.is_empty(), self.is_whole()) {
            (true, true) => "[y]es [N]o ",
            (true, false) => "[y]es [v]iew [N]o ",
            (false, true) => "[y]es [s]ession [a]lways [N]o ",
            (false, false) => "[y]es [s]ession [a]lways [v]iew [N]o ",
        }
    }

    /// What can be typed.
    fn keys(&self) -> &'static str {
        match self.question.rules.is_empty() {
            true => {
                "That is no answer. y: do it once; n: do not; n REASON: do not, and tell the model \
                 why; v: show more of it."
            }
            false => {
                "That is no answer. y: do it once; s: and the like until npast ends; a: and the like \
                 always, in this folder; n: do not; n REASON: do not, and tell the model why; v: show \
                 more of it."
            }
        }
    }
}

fn call_lines(question: &OpenQuestion) -> usize {
    match &question.change {
        Some(change) => change.diff.lines().count(),
        None => question.text.lines().count(),
    }
}

/// A word of a question on one line, with all that is hidden written out.
fn named(text: &str) -> String {
    harmless::line(&harmless::exact(text)).into_owned()
}

/// What a line says.
#[derive(Debug, PartialEq)]
enum Answer {
    Grant(Grant, Option<String>),
    /// More of the call.
    View,
}

/// Reads an answer; none where it is not clear what it means.
fn read(line: &str, rules: bool) -> Option<Answer> {
    let line = line.trim();
    let (word, rest) = match line.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim()),
        None => (line, ""),
    };
    let word = word.trim_end_matches([',', ':', ';', '.']).to_lowercase();
    let grant = match word.as_str() {
        "" | "n" | "no" => {
            let reason: String = rest.chars().take(MAX_REASON).collect();
            return Some(Answer::Grant(
                Grant::No,
                (!reason.is_empty()).then_some(reason),
            ));
        }
        _ if !rest.is_empty() => return None,
        "y" | "yes" => Grant::Once,
        "s" | "session" if rules => Grant::Session,
        "a" | "always" if rules => Grant::Always,
        "v" | "view" => return Some(Answer::View),
        _ => return None,
    };
    Some(Answer::Grant(grant, None))
}

#[cfg(test)]
#[path = "question_tests.rs"]
mod tests;
