//! The calls of one reply: checked, approved, run, answered in call order. Before a call runs, a
//! durable mark says that it may have run. After a crash the marks show which calls may have had an effect,
//! and stored results are used. Nothing decoded is ever removed.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::agent::conversation::handle::Conversation;
use crate::agent::input::unanswered::{NOT_RUN_WORDS, Unanswered, effect_word};
use crate::agent::values::error::AgentError;
use crate::agent::values::event::{Event, On};
use crate::agent::values::outcome::TurnStop;
use crate::chat::Message;
use crate::chat::message::{ToolCall, plain};
use crate::session::MessageId;
use crate::tools::{CallContext, Effect, Subject, ToolAnswer};

use super::rounds::Rounds;
use super::toolset::Toolset;

/// Calls that run side by side.
const SIDE_BY_SIDE: usize = 8;

impl Conversation {
    /// Runs the calls of the last reply and gives their results, one for each.
    pub(in crate::agent) fn answer_calls(
        &mut self,
        tools: &mut Toolset<'_>,
        rounds: &mut Rounds,
        cancel: &AtomicBool,
        on: On<'_>,
    ) -> Result<Vec<Message>, AgentError> {
        let Some(Unanswered {
            reply,
            seq,
            mut calls,
            unread,
        }) = self.unanswered()
        else {
            return Ok(Vec::new());
        };
        for call in &mut calls {
            call.arguments = tools.registry.coerced(&call.name, &call.arguments);
        }
        let mut work = ToolWork {
            reply,
            seq,
            calls: &calls,
            answers: vec![None; calls.len()],
            kinds: vec![CallEnd::Refused; calls.len()],
            granted: vec![None; calls.len()],
            shown: 0,
        };
        let form = match self.formats.plain_calls() {
            true => CallForm::Plain,
            false => CallForm::Template,
        };
        let mut group = Vec::new();
        for (at, call) in calls.iter().enumerate() {
            let unread = (unread && at + 1 == calls.len()).then_some(form);
            match may_run(call, unread, tools, rounds, cancel) {
                Err((answer, kind)) => {
                    (work.answers[at], work.kinds[at]) = (Some(answer), kind);
                    // What comes before it is shown first.
                    self.run(&mut work, std::mem::take(&mut group), tools, cancel)?;
                }
                Ok((effect, subject)) => {
                    work.kinds[at] = CallEnd::Ran(effect);
                    work.granted[at] = Some(subject);
                    if effect == Effect::Reads {
                        group.push(at);
                        continue;
                    }
                    self.run(&mut work, std::mem::take(&mut group), tools, cancel)?;
                    self.run(&mut work, vec![at], tools, cancel)?;
                }
            }
            work.show(rounds, on);
        }
        self.run(&mut work, group, tools, cancel)?;
        work.show(rounds, on);
        // By position: the ids are the model's, and may not differ.
        Ok(work
            .answers
            .into_iter()
            .zip(&calls)
            .map(|(answer, call)| {
                let text = answer.map(|a| a.text).unwrap_or_default();
                Message::tool_result("", &call.name, text)
            })
            .collect())
    }

    /// Runs calls side by side: marked before, their results stored after.
    fn run(
        &mut self,
        work: &mut ToolWork<'_>,
        group: Vec<usize>,
        tools: &Toolset<'_>,
        cancel: &AtomicBool,
    ) -> Result<(), AgentError> {
        if group.is_empty() {
            return Ok(());
        }
        let mut unit = self.db.begin(self.row.id)?;
        for at in &group {
            unit.start_run(work.reply, *at, work.kinds[*at].word())?;
        }
        unit.commit()?;
        if group
            .iter()
            .any(|at| work.kinds[*at] != CallEnd::Ran(Effect::Reads))
        {
            self.settle();
        }
        // All that a running call may use. The gate is not among it: it may ask the user, and does so on
        // this thread, before a call runs.
        let Toolset {
            registry,
            project,
            temp,
            results,
            secret,
            limits,
            host,
            ..
        } = tools;
        let (calls, granted, seq) = (work.calls, &work.granted, work.seq);
        let one = |at: usize| {
            let call = &calls[at];
            // Ours, for files are named after it.
            let id = format!("call-{seq}-{at}");
            let room = CallContext {
                project,
                temp,
                results,
                secret,
                limits: *limits,
                granted: granted[at].as_ref(),
                call: &id,
                cancel,
                host: &**host,
            };
            registry.run(&call.name, &call.arguments, &room)
        };
        let mut answers = Vec::with_capacity(group.len());
        for some in group.chunks(SIDE_BY_SIDE) {
            match some {
                [only] => answers.push(one(*only)),
                _ => std::thread::scope(|scope| {
                    let one = &one;
                    let running: Vec<_> = some
                        .iter()
                        .map(|at| scope.spawn(move || one(*at)))
                        .collect();
                    answers.extend(running.into_iter().map(|run| {
                        run.join()
                            .unwrap_or_else(|_| ToolAnswer::bad("The tool failed inside."))
                    }));
                }),
            }
        }
        let mut unit = self.db.begin(self.row.id)?;
        for (at, answer) in group.iter().zip(&answers) {
            unit.end_run(work.reply, *at, answer.ok, &answer.text)?;
        }
        unit.commit()?;
        for (at, answer) in group.into_iter().zip(answers) {
            work.answers[at] = Some(answer);
        }
        Ok(())
    }
}

/// How the model's calls are written.
#[derive(Clone, Copy)]
enum CallForm {
    /// As its chat template has them.
    Template,
    /// In npast's plain format.
    Plain,
}

/// Whether a call may run, and what it may change; otherwise its result. `unread` says that the call could
/// not be read, and which form it should have.
fn may_run(
    call: &ToolCall,
    unread: Option<CallForm>,
    tools: &mut Toolset<'_>,
    rounds: &mut Rounds,
    cancel: &AtomicBool,
) -> Result<(Effect, Subject), (ToolAnswer, CallEnd)> {
    let refused = |why: String| (ToolAnswer::bad(why), CallEnd::Refused);
    if cancel.load(Ordering::Relaxed) {
        return Err(refused(format!(
            "[npast: {NOT_RUN_WORDS}. The user interrupted the turn.]"
        )));
    }
    if let Some(stopped) = rounds.stopped() {
        let why = match stopped {
            TurnStop::Steps | TurnStop::Tokens => "The budget of this turn is used up.",
            TurnStop::Loop | TurnStop::Chances => "npast ended the turn before this call.",
        };
        return Err(refused(format!("[npast: {NOT_RUN_WORDS}. {why}]")));
    }
    if let Some(form) = unread {
        rounds.bad();
        let wrong = tools.registry.check(&call.name, &call.arguments).err();
        return Err(refused(match form {
            CallForm::Template => not_read(wrong),
            CallForm::Plain => format!(
                "[npast: {NOT_RUN_WORDS}. This call could not be read.] Write the call again as one JSON \
                 object and nothing else, with double quotes, and with \\n for a line feed and \\\" for a \
                 quotation mark in a value: {}",
                plain::FORM
            ),
        }));
    }
    let Some(tool) = tools.registry.get(&call.name) else {
        rounds.bad();
        let why = tools.registry.check(&call.name, &call.arguments).err();
        return Err(refused(why.unwrap_or_default()));
    };
    if let Err(why) = tools.registry.check(&call.name, &call.arguments) {
        rounds.bad();
        return Err(refused(why));
    }
    match tools.gate.pass(tool, &call.arguments) {
        Ok(subject) => Ok((tool.effect(&call.arguments), subject)),
        Err(why) => Err((ToolAnswer::bad(why), CallEnd::Denied)),
    }
}

/// The result of a call that lacks the form of calls; `wrong` is what else is wrong with it.
fn not_read(wrong: Option<String>) -> String {
    let why = wrong.unwrap_or_else(|| {
        "It is not written as this model's calls are. A value that holds one of the marks of a call, \
         such as a closing one, ends there: write such a value in another way."
            .to_owned()
    });
    format!("[npast: {NOT_RUN_WORDS}. This call could not be read.] {why} Write the call again.")
}

/// What became of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CallEnd {
    /// It cannot be run, or its turn had ended.
    Refused,
    /// The gate did not let it pass.
    Denied,
    Ran(Effect),
}

impl CallEnd {
    fn word(self) -> &'static str {
        match self {
            CallEnd::Ran(effect) => effect_word(effect),
            CallEnd::Refused | CallEnd::Denied => "none",
        }
    }
}

/// The calls of a reply at work.
struct ToolWork<'a> {
    reply: MessageId,
    seq: usize,
    calls: &'a [ToolCall],
    answers: Vec<Option<ToolAnswer>>,
    kinds: Vec<CallEnd>,
    /// What was approved.
    granted: Vec<Option<Subject>>,
    shown: usize,
}

impl ToolWork<'_> {
    /// Shows the answers that have no unanswered call before them; here each gets its last word.
    fn show(&mut self, rounds: &mut Rounds, on: On<'_>) {
        while let Some(Some(answer)) = self.answers.get_mut(self.shown) {
            let call = &self.calls[self.shown];
            let kind = self.kinds[self.shown];
            let changed = answer.ok && kind == CallEnd::Ran(Effect::Writes);
            if kind != CallEnd::Refused
                && let Some(word) = rounds.ran(call, changed, &answer.text)
            {
                answer.text.push_str(&word);
            }
            on(Event::ToolResult {
                id: call.id.clone(),
                name: call.name.clone(),
                ok: answer.ok,
                text: answer.text.clone(),
            });
            self.shown += 1;
        }
    }
}
