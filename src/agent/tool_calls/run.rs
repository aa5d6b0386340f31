//! The calls of one reply: checked, approved, run, answered in call order. Before a call runs a
//! mark is durable that it may have; after a crash that tells what may have happened from what
//! surely did not, and results that were stored are used. Nothing decoded is ever removed.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::agent::conversation::handle::Conversation;
use crate::agent::model_call::answer::{On, Stopped};
use crate::agent::values::error::{AgentError, ErrorKind};
use crate::agent::values::event::Event;
use crate::agent::values::options::Input;
use crate::chat::Message;
use crate::chat::message::ToolCall;
use crate::ledger::Finish;
use crate::session::{MessageId, Run};
use crate::tools::{Answer, Effect, Room, Subject};

use super::rounds::Rounds;
use super::toolset::Toolset;

/// Calls that run side by side.
const SIDE_BY_SIDE: usize = 8;

const NOT_RUN_WORDS: &str = "not run";
const UNKNOWN_EFFECT: &str = "unknown effect";

/// The last reply's calls, which have no results yet.
pub(in crate::agent) struct Unanswered {
    reply: MessageId,
    /// Of the reply among the session's messages.
    seq: usize,
    pub calls: Vec<ToolCall>,
    /// The last of them could not be read.
    unread: bool,
}

impl Conversation {
    /// The calls that nobody answered, in a session whose tools are npast's to run.
    pub(in crate::agent) fn unanswered(&self) -> Option<Unanswered> {
        let last = self.messages.last()?;
        if !self.row.runs_tools || last.finish != Some(Finish::ToolCalls) {
            return None;
        }
        let Message { calls, unread, .. } = Message::from_json(&last.body).ok()?;
        (!calls.is_empty()).then_some(Unanswered {
            unread,
            reply: last.id,
            seq: last.seq,
            calls,
        })
    }

    /// The reply whose calls the messages at the end answer, or nobody does.
    pub(in crate::agent) fn unanswered_reply(&self) -> Option<MessageId> {
        let reply = self.messages.iter().rfind(|m| m.role == "assistant")?;
        (self.row.runs_tools && reply.finish == Some(Finish::ToolCalls)).then_some(reply.id)
    }

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
        let mut work = Work {
            reply,
            seq,
            calls: &calls,
            answers: vec![None; calls.len()],
            kinds: vec![Kind::Refused; calls.len()],
            granted: vec![None; calls.len()],
            shown: 0,
        };
        let mut group = Vec::new();
        for (at, call) in calls.iter().enumerate() {
            let unread = unread && at + 1 == calls.len();
            match may_run(call, unread, tools, rounds, cancel) {
                Err((answer, kind)) => {
                    (work.answers[at], work.kinds[at]) = (Some(answer), kind);
                    // What comes before it is shown first.
                    self.run(&mut work, std::mem::take(&mut group), tools, cancel)?;
                }
                Ok((effect, subject)) => {
                    work.kinds[at] = Kind::Ran(effect);
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
        work: &mut Work<'_>,
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
            .any(|at| work.kinds[*at] != Kind::Ran(Effect::Reads))
        {
            self.settle();
        }
        // The gate stays on this thread.
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
            let room = Room {
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
                            .unwrap_or_else(|_| Answer::bad("The tool failed inside."))
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

    /// What stands in for the results of calls that a crash or an error left without: what was
    /// stored, and otherwise the truth about what may have happened. In call order.
    pub(in crate::agent) fn stand_ins(
        &self,
        reply: MessageId,
        calls: usize,
    ) -> Result<Vec<String>, AgentError> {
        let runs = self.db.runs(reply)?;
        Ok((0..calls)
            .map(|at| stand_in(runs.iter().find(|run| run.call == at)))
            .collect())
    }

    /// Calls that a crash or an error left without results get them now, in the ledger's tail.
    pub(in crate::agent) fn close_calls(&mut self) -> Result<(), AgentError> {
        let Some(open) = self.unanswered() else {
            return Ok(());
        };
        let texts = self.stand_ins(open.reply, open.calls.len())?;
        let count = |word: &str| texts.iter().filter(|t| t.contains(word)).count();
        let (unknown, not_run) = (count(UNKNOWN_EFFECT), count(NOT_RUN_WORDS));
        let results = open.calls.iter().zip(&texts);
        let results = results.map(|(call, text)| Message::tool_result("", &call.name, text));
        match self.append(Input::Messages(results.collect())) {
            Ok(_) => self.notices.push((
                format!(
                    "the last turn ended between calls and their results: of {} calls {} have \
                     their result, {not_run} were not run, {unknown} may have had an effect",
                    texts.len(),
                    texts.len() - unknown - not_run,
                ),
                (unknown > 0).then(|| "look at what the calls may have changed".to_owned()),
            )),
            Err(e) if e.is(ErrorKind::Session) => return Err(e),
            // The next message brings them along.
            Err(e) => self.notices.push((
                format!("the calls of the last reply could not be closed: {e}"),
                e.hint(),
            )),
        }
        Ok(())
    }

    /// What is known of the last reply's calls where they have no results, for [`marks_of`].
    pub(in crate::agent) fn own_stand_ins(&self) -> Result<Vec<String>, AgentError> {
        match self.unanswered() {
            Some(open) => self.stand_ins(open.reply, open.calls.len()),
            None => Ok(Vec::new()),
        }
    }
}

/// Marks that give the calls of a reply these texts as their results; `reply` is its place among the
/// messages of a session that is about to be made.
pub(in crate::agent) fn marks_of(
    reply: usize,
    texts: &[String],
) -> Vec<(usize, usize, &str, &str)> {
    let effect = effect_word(Effect::Runs);
    let texts = texts.iter().enumerate();
    texts
        .map(|(at, text)| (reply, at, effect, text.as_str()))
        .collect()
}

fn stand_in(run: Option<&Run>) -> String {
    match run {
        None => format!("[npast: {NOT_RUN_WORDS}. The turn ended before this call was begun.]"),
        Some(Run {
            result: Some((_, text)),
            ..
        }) => text.clone(),
        Some(run) if run.effect == effect_word(Effect::Reads) => format!(
            "[npast: {NOT_RUN_WORDS} to its end. npast ended meanwhile; the call only reads and changed nothing.]"
        ),
        Some(_) => format!(
            "[npast: {UNKNOWN_EFFECT}. npast ended while this call ran; it may have done all, part or \
             nothing of its work. Look before you call it again.]"
        ),
    }
}

/// Whether a call may run, and what it may change; otherwise its result.
fn may_run(
    call: &ToolCall,
    unread: bool,
    tools: &mut Toolset<'_>,
    rounds: &mut Rounds,
    cancel: &AtomicBool,
) -> Result<(Effect, Subject), (Answer, Kind)> {
    let refused = |why: String| (Answer::bad(why), Kind::Refused);
    if cancel.load(Ordering::Relaxed) {
        return Err(refused(format!(
            "[npast: {NOT_RUN_WORDS}. The user interrupted the turn.]"
        )));
    }
    if let Some(stopped) = rounds.stopped() {
        let why = match stopped {
            Stopped::Steps | Stopped::Tokens => "The budget of this turn is used up.",
            Stopped::Loop | Stopped::Chances => "npast ended the turn before this call.",
        };
        return Err(refused(format!("[npast: {NOT_RUN_WORDS}. {why}]")));
    }
    if unread {
        rounds.bad();
        let wrong = tools.registry.check(&call.name, &call.arguments).err();
        return Err(refused(not_read(wrong)));
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
        Err(why) => Err((Answer::bad(why), Kind::Denied)),
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
enum Kind {
    /// It cannot be run, or its turn had ended.
    Refused,
    /// The gate did not let it pass.
    Denied,
    Ran(Effect),
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Ran(effect) => effect_word(effect),
            Kind::Refused | Kind::Denied => "none",
        }
    }
}

fn effect_word(effect: Effect) -> &'static str {
    match effect {
        Effect::Reads => "reads",
        Effect::Writes => "writes",
        Effect::Runs => "runs",
        Effect::Network => "network",
    }
}

/// The calls of a reply at work.
struct Work<'a> {
    reply: MessageId,
    seq: usize,
    calls: &'a [ToolCall],
    answers: Vec<Option<Answer>>,
    kinds: Vec<Kind>,
    /// What was approved.
    granted: Vec<Option<Subject>>,
    shown: usize,
}

impl Work<'_> {
    /// Shows the answers that have no unanswered call before them; here each gets its last word.
    fn show(&mut self, rounds: &mut Rounds, on: On<'_>) {
        while let Some(Some(answer)) = self.answers.get_mut(self.shown) {
            let call = &self.calls[self.shown];
            let kind = self.kinds[self.shown];
            let changed = answer.ok && kind == Kind::Ran(Effect::Writes);
            if kind != Kind::Refused
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
