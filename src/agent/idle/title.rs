//! A better title than the user's first words: the model is asked for one on a fork after its first answer,
//! once. What is no title is refused, and the first words stay.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::agent::conversation::handle::Conversation;
use crate::agent::conversation::read_reply::read_as;
use crate::agent::side::beside::SideMessage;
use crate::agent::values::error::AgentError;
use crate::agent::values::event::On;
use crate::agent::values::options::TurnOptions;
use crate::agent::values::refused::Refused;
use crate::chat::template::{After, ReplyFormat};
use crate::chat::{Message, ReplyScript};
use crate::ledger::Finish;
use crate::session::Titled;
use crate::slot::Outcome;

/// The name of this side job in scripts and receipts.
const JOB: &str = "title";
/// Most tokens that are sampled for a title.
const MOST: usize = 48;
/// Columns of a title.
const COLUMNS: usize = 60;
/// A longer line is no title.
const LONG: usize = 200;

const INSTRUCTION: &str = "[npast: give this conversation a title for a list.] Write at most six words that \
     say what it is about, in the language that the user writes in, and nothing else: no quotes, no full \
     stop. Call no tool.";

impl Conversation {
    /// Whether the model is to be asked for a title: npast named the session, and it has an answer.
    pub(in crate::agent) fn title_due(&self) -> bool {
        let answered = self
            .last_reply()
            .is_some_and(|(row, _)| row.finish == Some(Finish::Stop));
        self.titled == Some(Titled::First) && answered
    }

    /// Asks the model for a title and stores it, or that it gave none.
    pub(in crate::agent) fn find_title(
        &mut self,
        options: &TurnOptions,
        script: Option<&mut ReplyScript>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<(), AgentError> {
        // A model that thinks is asked not to: a title is not worth it.
        let thinks = self.row.thinking.unwrap_or(false);
        let quiet = thinks.then(|| self.frozen.quiet());
        let format = match &quiet {
            Some(quiet) => quiet
                .format(&self.shared, After::User, cancel)?
                .map(|made| made.format),
            None => self.format_unless(After::User, cancel)?.cloned(),
        };
        let Some(format) = format else {
            return Ok(());
        };
        let own = quiet.map(|quiet| std::mem::replace(&mut self.frozen, quiet));
        let message = Message::user(INSTRUCTION);
        let beside = SideMessage {
            job: JOB,
            message: &message,
            format: &format,
            most: MOST,
            grammar: false,
        };
        let asked = self.beside(&beside, None, options, script, cancel, on);
        if let Some(own) = own {
            self.frozen = own;
        }
        let title = match asked? {
            _ if cancel.load(Ordering::SeqCst) => return Ok(()),
            Err(Refused::Interrupted) => return Ok(()),
            Ok(outcome) => self.title_in(&outcome, &format)?,
            Err(why) => {
                tracing::info!(%why, "the model could not be asked for a title");
                None
            }
        };
        self.db.set_title(self.row.id, title.as_deref())?;
        self.titled = Some(match title {
            Some(_) => Titled::Model,
            None => Titled::Kept,
        });
        Ok(())
    }

    /// The title that a reply on the fork is, if it is one.
    fn title_in(
        &self,
        outcome: &Outcome,
        format: &ReplyFormat,
    ) -> Result<Option<String>, AgentError> {
        let vocab = self.shared.model.vocab();
        let ended = outcome.tokens.last().is_some_and(|t| vocab.is_end(*t));
        let ended = ended || (outcome.finish == Finish::StopString && !format.ends.is_empty());
        if !ended {
            return Ok(None);
        }
        let raw = self.raw_text(&outcome.tokens);
        let reply = read_as(format, &raw, self.row.seed, self.row.runs_tools, false)?;
        Ok(match reply.calls.is_empty() {
            true => clean(&reply.text),
            false => None,
        })
    }
}

/// A title as a list can show it: one line of at most [`COLUMNS`] columns, without control characters, marks
/// of emphasis and quotes around it. Nothing where that leaves nothing, or the line is no title.
fn clean(text: &str) -> Option<String> {
    let line = text.lines().find(|line| !line.trim().is_empty())?;
    if line.chars().nth(LONG).is_some() {
        return None;
    }
    let seen: String = line
        .chars()
        .filter(|c| c.is_whitespace() || (!c.is_control() && c.width() != Some(0) || is_mark(*c)))
        .collect();
    let words: Vec<&str> = seen.split_whitespace().collect();
    let line = words.join(" ");
    let line = line.strip_prefix("Title:").unwrap_or(&line);
    let around = |c: char| c.is_whitespace() || "\"'`*_#“”„‘’«»「」『』".contains(c);
    let line = line.trim_matches(around);
    let line = line.strip_suffix('.').unwrap_or(line).trim_end();
    if !line.chars().any(char::is_alphanumeric) {
        return None;
    }
    Some(cut(line))
}

/// A character without a width of its own that belongs to a letter, unlike one that turns the direction of
/// writing or is not seen at all.
fn is_mark(c: char) -> bool {
    !matches!(c as u32, 0x00ad | 0x061c | 0x180e | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff | 0xe0000..=0xe0fff)
        && !c.is_control()
}

/// At most [`COLUMNS`] columns, cut between words where that is possible.
fn cut(line: &str) -> String {
    if line.width() <= COLUMNS {
        return line.to_owned();
    }
    // By the text and not by its characters: some pairs are wider than both alone.
    let ends = line.char_indices().map(|(at, _)| at);
    let fits = |end: &usize| line[..*end].width() < COLUMNS;
    let end = ends.take_while(fits).last().unwrap_or(0);
    let kept = &line[..end];
    let whole = kept.rsplit_once(' ').map_or(kept, |(words, _)| words);
    format!("{}…", whole.trim_end())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_title_is_one_clean_line_or_none() {
        let table = [
            ("Parser repair", Some("Parser repair")),
            (
                "\n  \"Parser   repair.\"  \nsecond line",
                Some("Parser repair"),
            ),
            ("**Title**", Some("Title")),
            ("Title: Parser repair", Some("Parser repair")),
            ("„Der Zug nach Köln“", Some("Der Zug nach Köln")),
            ("Don't stop", Some("Don't stop")),
            ("red\u{1b}[2J", Some("red[2J")),
            ("\u{202e}evil\u{200b}", Some("evil")),
            ("cafe\u{301}", Some("cafe\u{301}")),
            ("日本語の題", Some("日本語の題")),
            // Ordinary text, whatever it looks like.
            ("About <|im_end|>", Some("About <|im_end|>")),
            ("", None),
            (" \n\t", None),
            ("\"\"", None),
            ("...", None),
        ];
        for (text, title) in table {
            assert_eq!(clean(text).as_deref(), title, "{text:?}");
        }
        assert_eq!(clean(&"x".repeat(10_000)), None);
        let long = clean(&"words and ".repeat(15)).unwrap();
        assert_eq!(
            long,
            "words and words and words and words and words and words…"
        );
    }

    proptest! {
        #[test]
        fn whatever_a_model_writes_a_title_fits_a_list(text in any::<String>()) {
            if let Some(title) = clean(&text) {
                prop_assert!(title.width() <= COLUMNS, "{title:?}");
                prop_assert!(!title.chars().any(char::is_control), "{title:?}");
                prop_assert_eq!(title.trim(), &title);
                prop_assert_eq!(&crate::harmless::line(&title), &title);
            }
        }
    }
}
