//! A question beside the conversation: the model answers it with all that it has read, on a fork, and
//! the conversation stays as it was (law 8). Neither the question nor the answer is
//! stored; the receipt is.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::agent::conversation::handle::Conversation;
use crate::agent::model_call::coming::Coming;
use crate::agent::model_call::sum::RunningSum;
use crate::agent::values::error::{AgentError, ErrorKind};
use crate::agent::values::event::{Event, On};
use crate::agent::values::options::TurnOptions;
use crate::agent::values::outcome::TurnEnd;
use crate::agent::values::refused::Refused;
use crate::chat::template::After;
use crate::chat::{Message, ReplyScript};
use crate::ledger::Finish;

use super::beside::SideMessage;

/// The name of this side job in scripts.
const JOB: &str = "btw";
/// Most tokens of an answer, where the turn's options name no fewer: it needs room beside the
/// conversation.
const MOST: usize = 1024;

impl Conversation {
    /// Has the model answer a question beside the conversation. Its text comes as events; tools are
    /// not run for it.
    ///
    /// # Errors
    /// When the conversation has no message yet, the template cannot write the question there, or the engine fails.
    pub fn aside(
        &mut self,
        question: &str,
        options: &TurnOptions,
        script: Option<&mut ReplyScript>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<TurnEnd, AgentError> {
        let mut sum = RunningSum::begin();
        let end = self.operation(|talk| {
            talk.say(on);
            let mut count = |event: Event| {
                if let Event::Receipt(receipt) = &event {
                    sum.add(receipt);
                }
                on(event);
            };
            talk.aside_now(question, options, script, cancel, &mut count)
        });
        sum.show(None, on);
        self.say(on);
        end
    }

    fn aside_now(
        &mut self,
        question: &str,
        options: &TurnOptions,
        script: Option<&mut ReplyScript>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<TurnEnd, AgentError> {
        let stopped = || AgentError::new(ErrorKind::Interrupted, "interrupted");
        let format = self.format_unless(After::User, cancel)?;
        let format = format.cloned().ok_or_else(stopped)?;
        let mut coming = Coming::new(&format, false, &options.stop, 0)?;
        let message = Message::user(question);
        let beside = SideMessage {
            job: JOB,
            message: &message,
            format: &format,
            most: options.max_tokens.unwrap_or(MOST).min(MOST),
            grammar: false,
        };
        let shown = Some(&mut coming);
        let outcome = match self.beside(&beside, shown, options, script, cancel, on)? {
            Ok(outcome) => outcome,
            Err(Refused::Interrupted) => return Err(stopped()),
            Err(Refused::Nothing) => {
                return Err(AgentError::new(
                    ErrorKind::Input,
                    "there is no conversation yet that a question could stand beside",
                )
                .hinted("ask it as a message"));
            }
            Err(why) => {
                return Err(AgentError::new(
                    ErrorKind::Refused,
                    format!("the question cannot be answered beside the conversation: {why}"),
                ));
            }
        };
        let finish = coming.why(outcome.finish);
        let (events, reply) = coming.finish(finish, self.row.seed);
        events.into_iter().for_each(&mut *on);
        if !reply.calls.is_empty() {
            self.notices.push((
                "the model called a tool, and tools are not run beside the conversation".to_owned(),
                Some("ask it as a message to have the tool run".to_owned()),
            ));
        }
        Ok(TurnEnd {
            finish: match (finish, reply.calls.is_empty()) {
                (Finish::Stop, false) => Finish::ToolCalls,
                (finish, _) => finish,
            },
            withdrawn: None,
            stopped: None,
        })
    }
}
