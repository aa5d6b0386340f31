//! A turn of a session with tools: reply, calls, results, reply, until the model answers without a
//! call. The results of one reply enter the ledger together, in call order, when the last is in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::append::Appended;
use super::error::ErrorKind;
use super::rounds::Rounds;
use super::turn::{On, Sum};
use super::{AgentError, Conversation, Event, Input, Stopped, Toolset, TurnEnd, TurnOptions};
use crate::chat::message::Role;
use crate::chat::template::After;
use crate::chat::{Message, Script};
use crate::ledger::Finish;

/// What a turn works with.
struct Pass<'a, 't> {
    options: &'a TurnOptions,
    tools: &'a mut Toolset<'t>,
    cancel: &'a Arc<AtomicBool>,
    sum: Sum,
}

impl Conversation {
    /// Runs a turn: model calls and the tools they ask for. `cancel` ends it: a reply stops between
    /// decode calls, running tools are told, and calls that did not run get a result that says so.
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
        script: Option<&mut Script>,
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

    /// What is done at the end of a turn where nothing waits for idle time.
    pub(super) fn after_turn(
        &mut self,
        options: &TurnOptions,
        tools: Option<&mut Toolset<'_>>,
        script: Option<&mut Script>,
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

    /// A turn with its sums, whatever asked for it.
    pub(super) fn whole_turn(
        &mut self,
        input: Input,
        options: &TurnOptions,
        tools: Option<&mut Toolset<'_>>,
        script: Option<&mut Script>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<TurnEnd, AgentError> {
        if !options.wish.is_none() {
            // What cannot be done is said before the input is stored.
            self.wished(after(&input), &options.wish, cancel)?;
        }
        let Some(tools) = tools else {
            let mut sum = Sum::begin();
            let mut script = script;
            self.say(on);
            let end = self
                .append_step(input, options, None, script.as_deref_mut(), cancel, on)
                .and_then(|appended| self.answer(&appended, options, script, cancel, &mut sum, on));
            sum.show(None, on);
            return end;
        };
        let mut pass = Pass {
            options,
            tools,
            cancel,
            sum: Sum::begin(),
        };
        let end = self.steps(input, &mut pass, script, on);
        let stopped = end.as_ref().ok().and_then(|end| end.stopped);
        pass.sum.show(stopped, on);
        end
    }

    fn steps(
        &mut self,
        mut input: Input,
        pass: &mut Pass<'_, '_>,
        mut script: Option<&mut Script>,
        on: On<'_>,
    ) -> Result<TurnEnd, AgentError> {
        let Pass {
            options,
            tools,
            cancel,
            sum,
        } = pass;
        let mut rounds = Rounds::new(tools.budget);
        tools.results.begin_turn();
        let mut steered = None;
        loop {
            self.say(on);
            let shown = script.as_deref_mut();
            let appended = self.append_step(input, options, Some(&mut **tools), shown, cancel, on);
            tools.follow(self)?;
            let appended = match appended {
                Ok(appended) => appended,
                Err(error) => {
                    if let Some(text) = steered {
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
            let answers = self.answer_calls(tools, &mut rounds, cancel, on)?;
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

    /// Makes the input of a step durable. A conversation that it makes too long is compressed; results
    /// that do not fit all the same are replaced by a sentence.
    fn append_step(
        &mut self,
        input: Input,
        options: &TurnOptions,
        tools: Option<&mut Toolset<'_>>,
        mut script: Option<&mut Script>,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<Appended, AgentError> {
        let new = match &input {
            Input::Text(text) => vec![Message::user(text)],
            Input::Messages(all) => all.clone(),
            Input::Open | Input::Continue => Vec::new(),
        };
        let mut appended = self.append(input.clone());
        if appended.as_ref().is_err_and(|e| e.is(ErrorKind::TooLong))
            && self.compress_for(&new, options, script.as_deref_mut(), cancel, on)?
        {
            appended = self.append(input.clone());
        }
        let appended = match appended {
            Err(e) if e.is(ErrorKind::TooLong) => self.append_shortened(e, input)?,
            appended => appended?,
        };
        // The answer to a message comes first, where there is room for one.
        let results = new.iter().any(|m| m.role == Role::Tool);
        let now = results || !self.has_room();
        let now = now && !appended.continued;
        if !now || !self.compress_when_due(options, tools, script, cancel, on)? {
            return Ok(appended);
        }
        // The inputs went along without tokens; they get them now.
        let again = self.append(Input::Open)?;
        Ok(Appended {
            text: appended.text,
            ..again
        })
    }

    /// An input that did not fit, with its results made short.
    fn append_shortened(
        &mut self,
        error: AgentError,
        input: Input,
    ) -> Result<Appended, AgentError> {
        let Input::Messages(all) = input else {
            return Err(error);
        };
        if self.unanswered().is_none() || !all.iter().any(|m| m.role == Role::Tool) {
            return Err(error);
        }
        self.notices.push((
            "the results of the last calls do not fit into the context; the model is told so"
                .into(),
            Some("start a new session, or give a larger --ctx".into()),
        ));
        self.append(Input::Messages(all.into_iter().map(shortened).collect()))
    }
}

/// What the reply to an input comes after.
fn after(input: &Input) -> After {
    match input {
        Input::Messages(all) if all.last().is_some_and(|m| m.role == Role::Tool) => After::Results,
        _ => After::User,
    }
}

/// A result that did not fit.
fn shortened(mut message: Message) -> Message {
    if message.role == Role::Tool && message.text.len() > 200 {
        message.text = format!(
            "[npast: this result of {} bytes does not fit: the context is nearly full. Answer with \
             what you have.]",
            message.text.len()
        );
    }
    message
}

fn sentence(stopped: Stopped, tools: &Toolset<'_>) -> String {
    match stopped {
        Stopped::Steps => format!("the turn was ended after {} steps", tools.budget.steps),
        Stopped::Tokens => format!("the turn was ended after {} tokens", tools.budget.tokens),
        Stopped::Loop => "the turn was ended: the same call gave the same result 5 times".into(),
        Stopped::Chances => "the turn was ended: three calls in a row could not be run".into(),
    }
}
