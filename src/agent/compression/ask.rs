//! The summary, written by the model beside the conversation, and whether it can be used.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::agent::conversation::handle::Conversation;
use crate::agent::side::beside::SideMessage;
use crate::agent::values::error::AgentError;
use crate::agent::values::event::On;
use crate::agent::values::options::TurnOptions;
use crate::agent::values::refused::Refused;
use crate::chat::template::{After, ReplyFormat};
use crate::chat::{Message, ReplyScript};
use crate::ledger::Finish;
use crate::slot::Outcome;

/// The name of this side job in scripts.
const JOB: &str = "compress";

impl Conversation {
    /// Asks the model for a summary of all up to the last reply, of at most so many tokens.
    pub(in crate::agent) fn ask(
        &mut self,
        instruction: &Message,
        most: usize,
        options: &TurnOptions,
        script: Option<&mut ReplyScript>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<Result<String, Refused>, AgentError> {
        let Some(format) = self.format_unless(After::User, cancel)?.cloned() else {
            return Ok(Err(Refused::Interrupted));
        };
        let side = SideMessage {
            job: JOB,
            message: instruction,
            format: &format,
            most,
            grammar: false,
        };
        let outcome = self.beside(&side, None, options, script, cancel, on)?;
        match outcome {
            Ok(_) if cancel.load(Ordering::Relaxed) => Ok(Err(Refused::Interrupted)),
            Ok(outcome) => Ok(self.summary_in(&outcome, &format)),
            Err(why) => Ok(Err(why)),
        }
    }

    /// The summary that a reply on the fork is, if it is one.
    fn summary_in(&mut self, outcome: &Outcome, format: &ReplyFormat) -> Result<String, Refused> {
        let vocab = self.shared.model.vocab();
        let ended = outcome.tokens.last().is_some_and(|t| vocab.is_end(*t));
        // Where the template begins the next message a reply is whole.
        let ended = ended || (outcome.finish == Finish::StopString && !format.ends.is_empty());
        let reply = self
            .read_reply(&outcome.tokens, After::User, !ended)
            .map_err(|e| Refused::Template(e.to_string()))?;
        if !reply.calls.is_empty() {
            return Err(Refused::Calls);
        }
        if !ended {
            return Err(Refused::Cut(outcome.finish));
        }
        let text = reply.text.trim();
        if text.is_empty() {
            return Err(Refused::Empty);
        }
        match repeats(text) {
            true => Err(Refused::Loop),
            false => Ok(text.to_owned()),
        }
    }
}

/// Whether a text says the same again and again: of its rows of four words fewer than a third differ.
fn repeats(text: &str) -> bool {
    let words: Vec<&str> = text.split_whitespace().collect();
    let rows = words.windows(4);
    let all = rows.len();
    let different: HashSet<&[&str]> = rows.collect();
    all >= 24 && different.len() * 3 < all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_goes_round_in_a_circle_is_told_from_one_that_repeats_its_headings() {
        assert!(repeats(&"and then the parser ".repeat(20)));
        assert!(repeats(&format!("Goal: a parser. {}", "no no ".repeat(40))));
        let whole = "Goal\nnone\nDone\nnone\nDecisions\nnone\nErrors and fixes\nnone\nOpen questions\n\
                     none\nFiles that matter\nnone\nNext step\nwrite the parser of the second part";
        assert!(!repeats(whole));
        assert!(!repeats("no no no no no no"));
        assert!(!repeats(""));
    }
}
