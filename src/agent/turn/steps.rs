//! A turn of a session with tools: reply, calls, results, reply, until the model answers without a
//! call. The results of one reply enter the ledger together, in call order, when the last is in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::agent::conversation::handle::Conversation;
use crate::agent::conversation::stored::text_of;
use crate::agent::model_call::sum::RunningSum;
use crate::agent::tool_calls::rounds::Rounds;
use crate::agent::tool_calls::steering::Steering;
use crate::agent::tool_calls::toolset::Toolset;
use crate::agent::values::error::AgentError;
use crate::agent::values::event::{Event, On};
use crate::agent::values::options::{Input, TurnOptions};
use crate::agent::values::outcome::{TurnEnd, TurnStop};
use crate::chat::message::Role;
use crate::chat::template::After;
use crate::chat::{Message, ReplyScript};
use crate::ledger::Finish;
use crate::session;

/// What a turn with tools works with.
struct TurnWork<'a, 't> {
    options: &'a TurnOptions,
    tools: &'a mut Toolset<'t>,
    cancel: &'a Arc<AtomicBool>,
    sum: RunningSum,
}

impl Conversation {
    /// Runs a turn: model calls and the tools they ask for. `cancel` ends it: a reply stops between
    /// decode calls, running tools get the signal, and calls that did not run get a result that says so.
    /// Without tools it is one model call.
    ///
    /// # Errors
    /// When the input is not usable (nothing was stored then), decoding fails, or npast.db cannot
    /// take a mark or a result; the session goes on with whatever was stored.
    pub fn work(
        &mut self,
        input: Input,
        options: &TurnOptions,
        tools: Option<&mut Toolset<'_>>,
        script: Option<&mut ReplyScript>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<TurnEnd, AgentError> {
        let (mut script, mut tools) = (script, tools);
        let end = self.operation(|talk| {
            let (tools, script) = (tools.as_deref_mut(), script.as_deref_mut());
            talk.whole_turn(input, options, tools, script, cancel, &mut *on)
        });
        self.say(on);
        if end.is_ok() {
            self.after_turn(options, tools, script, cancel, on);
        }
        end
    }

    /// Compresses the conversation after a turn, if that is due and does not wait for idle time. The turn's
    /// result is there already.
    pub(in crate::agent) fn after_turn(
        &mut self,
        options: &TurnOptions,
        tools: Option<&mut Toolset<'_>>,
        script: Option<&mut ReplyScript>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) {
        let later = options.idle || cancel.load(Ordering::Relaxed);
        if later || !self.compression_due(options) {
            return;
        }
        let done =
            self.operation(|talk| talk.compress_when_due(options, tools, script, cancel, &mut *on));
        if let Err(error) = done {
            // The turn itself ended well.
            let text = format!("the conversation was not compressed: {error}");
            self.notices.push((text, error.hint()));
        }
        self.say(on);
    }

    /// A turn with its sums, whatever its input is.
    pub(in crate::agent) fn whole_turn(
        &mut self,
        input: Input,
        options: &TurnOptions,
        tools: Option<&mut Toolset<'_>>,
        script: Option<&mut ReplyScript>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<TurnEnd, AgentError> {
        if !options.wish.is_none() {
            // What cannot be done is refused before the input is stored.
            self.wished(after(&input), &options.wish, cancel)?;
        }
        let Some(tools) = tools else {
            let mut sum = RunningSum::begin();
            let mut script = script;
            self.say(on);
            let end = self
                .append_step(input, options, None, script.as_deref_mut(), cancel, on)
                .and_then(|appended| self.answer(&appended, options, script, cancel, &mut sum, on));
            sum.show(None, on);
            return end;
        };
        let mut work = TurnWork {
            options,
            tools,
            cancel,
            sum: RunningSum::begin(),
        };
        let end = self.steps(input, &mut work, script, on);
        let stopped = end.as_ref().ok().and_then(|end| end.stopped);
        work.sum.show(stopped, on);
        end
    }

    fn steps(
        &mut self,
        mut input: Input,
        work: &mut TurnWork<'_, '_>,
        mut script: Option<&mut ReplyScript>,
        on: On<'_>,
    ) -> Result<TurnEnd, AgentError> {
        let TurnWork {
            options,
            tools,
            cancel,
            sum,
        } = work;
        let mut rounds = Rounds::new(tools.budget);
        tools.results.begin_turn();
        let mut steered = None;
        loop {
            self.say(on);
            let shown = script.as_deref_mut();
            let committed = self.committed;
            let appended = self.append_step(input, options, Some(&mut **tools), shown, cancel, on);
            let followed = tools.follow(self);
            let appended = match appended.and_then(|appended| followed.map(|()| appended)) {
                Ok(appended) => appended,
                Err(error) => {
                    // What was committed is stored, even where nothing can be read any more.
                    if let Some(text) = steered.filter(|_| self.committed == committed) {
                        self.hand_back(text, &tools.steering);
                    }
                    return Err(error);
                }
            };
            if let Some(text) = steered.take() {
                on(Event::Steered { text });
            }
            let script = script.as_deref_mut();
            let end = self.answer(&appended, options, script, cancel, sum, on)?;
            if end.finish != Finish::ToolCalls {
                return Ok(end);
            }
            rounds.reply(sum.generated());
            let answers = self.answer_calls(tools, &mut rounds, cancel, on);
            sum.asked(tools.gate.waited());
            let answers = answers?;
            if answers.is_empty() {
                return Ok(end);
            }
            let stopped = rounds.stopped();
            let cancelled = cancel.load(Ordering::Relaxed);
            if stopped.is_none() && !cancelled {
                let mut all = answers;
                steered = tools.steering.take();
                all.extend(steered.as_deref().map(Message::user));
                input = Input::Messages(all);
                continue;
            }
            // Durable and without an answer: the next message finds them, and an empty one lets
            // the model go on from here.
            self.append(Input::Messages(answers))?;
            if let Some(stopped) = stopped {
                let hint = "say how to go on; an empty message lets it go on as it is";
                self.notices
                    .push((sentence(stopped, tools), Some(hint.to_owned())));
            }
            return Ok(TurnEnd {
                finish: match cancelled {
                    true => Finish::Interrupted,
                    false => end.finish,
                },
                withdrawn: None,
                stopped,
            });
        }
    }

    /// Runs a turn of one model call on this thread. `cancel` stops it between decode calls; what
    /// was decoded stays. Calls in the reply are shown and do not run: see
    /// [`Conversation::work`].
    ///
    /// # Errors
    /// When the input is not usable (nothing was stored then) or decoding fails (the message stays
    /// open, to be answered later).
    pub fn turn(
        &mut self,
        input: Input,
        options: &TurnOptions,
        script: Option<&mut ReplyScript>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<TurnEnd, AgentError> {
        self.work(input, options, None, script, cancel, on)
    }

    /// After a failed write: a line that the user sent meanwhile waits again, unless it is stored.
    pub(in crate::agent) fn hand_back(&mut self, text: String, steering: &Steering) {
        let said =
            |m: &session::StoredMessage| m.role == "user" && text_of(&m.body).ends_with(&text);
        let stored = self.read_stored().is_ok() && self.open_messages().any(said);
        if !stored {
            steering.steer_again(text);
        }
    }
}

/// What the reply to an input comes after.
fn after(input: &Input) -> After {
    match input {
        Input::Messages(all) if all.last().is_some_and(|m| m.role == Role::Tool) => After::Results,
        _ => After::User,
    }
}

fn sentence(stopped: TurnStop, tools: &Toolset<'_>) -> String {
    match stopped {
        TurnStop::Steps => format!("the turn was ended after {} steps", tools.budget.steps),
        TurnStop::Tokens => format!("the turn was ended after {} tokens", tools.budget.tokens),
        TurnStop::Loop => "the turn was ended: the same call gave the same result 5 times".into(),
        TurnStop::Chances => "the turn was ended: three calls in a row could not be run".into(),
    }
}
