//! The calls of one reply: checked, approved, run, answered in call order. Before a call runs, a
//! durable mark says that it may have run. After a crash the marks show which calls may have had an effect,
//! and stored results are used. Nothing decoded is ever removed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;

use crate::agent::conversation::handle::Conversation;
use crate::agent::input::unanswered::{NOT_RUN_WORDS, Unanswered, effect_word};
use crate::agent::values::error::AgentError;
use crate::agent::values::event::{Event, On};
use crate::agent::values::outcome::TurnStop;
use crate::chat::Message;
use crate::chat::message::{ToolCall, plain};
use crate::session::MessageId;
use crate::tools::{AskedFile, CallContext, Effect, FileChange, LiveOutput, Subject, ToolAnswer};

use super::rounds::Rounds;
use super::toolset::{GatedCall, Toolset};

/// Calls that run side by side.
const SIDE_BY_SIDE: usize = 8;
/// How often is looked what a running call has written.
const LIVE_EVERY: Duration = Duration::from_millis(200);
/// A call that writes nothing is still said to run, so often.
const STILL_EVERY: Duration = Duration::from_secs(1);

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
            call.arguments = self.arguments_of(call, tools);
        }
        let mut work = ToolWork {
            reply,
            seq,
            calls: &calls,
            answers: vec![None; calls.len()],
            kinds: vec![CallEnd::Refused; calls.len()],
            granted: vec![None; calls.len()],
            asked: vec![None; calls.len()],
            views: calls.iter().map(|_| CallView::default()).collect(),
            shown: 0,
        };
        let form = match self.formats.plain_calls() {
            true => CallForm::Plain,
            false => CallForm::Template,
        };
        let mut group = Vec::new();
        for (at, call) in calls.iter().enumerate() {
            let unread = (unread && at + 1 == calls.len()).then_some(form);
            let id = call_name(seq, at);
            match may_run(call, &id, unread, tools, rounds, cancel) {
                Err(refused) => {
                    (work.answers[at], work.kinds[at]) = (Some(refused.answer), refused.kind);
                    work.views[at].refused = refused.to_user;
                    // What comes before it is shown first.
                    self.run(&mut work, std::mem::take(&mut group), tools, cancel, on)?;
                }
                Ok(allowed) => {
                    let effect = allowed.effect;
                    work.kinds[at] = CallEnd::Ran(effect);
                    work.granted[at] = Some(allowed.subject);
                    work.asked[at] = allowed.asked;
                    work.views[at].change = allowed.change;
                    if effect == Effect::Reads {
                        group.push(at);
                        continue;
                    }
                    self.run(&mut work, std::mem::take(&mut group), tools, cancel, on)?;
                    self.run(&mut work, vec![at], tools, cancel, on)?;
                }
            }
            work.show(rounds, on);
        }
        self.run(&mut work, group, tools, cancel, on)?;
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
        on: On<'_>,
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
        let (calls, granted, asked, seq) = (work.calls, &work.granted, &work.asked, work.seq);
        let views = &work.views;
        let one = |at: usize| {
            let call = &calls[at];
            let id = call_name(seq, at);
            let room = CallContext {
                project,
                temp,
                results,
                secret,
                limits: *limits,
                granted: granted[at].as_ref(),
                asked: asked[at].as_ref(),
                call: &id,
                cancel,
                live: &views[at].live,
                host: &**host,
            };
            registry.run(&call.name, &call.arguments, &room)
        };
        let mut answers = Vec::with_capacity(group.len());
        for some in group.chunks(SIDE_BY_SIDE) {
            answers.extend(side_by_side(some, calls, views, &one, on));
        }
        let mut unit = self.db.begin(self.row.id)?;
        for (at, (answer, _)) in group.iter().zip(&answers) {
            unit.end_run(work.reply, *at, answer.ok, &answer.text)?;
        }
        unit.commit()?;
        for (at, (answer, took)) in group.into_iter().zip(answers) {
            work.answers[at] = Some(answer);
            work.views[at].took = Some(took);
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

/// Runs calls on threads of their own, and says every now and then how far those are that take long. It
/// gives the answers in the order of the calls, and how long each took.
fn side_by_side(
    group: &[usize],
    calls: &[ToolCall],
    views: &[CallView],
    one: &(dyn Fn(usize) -> ToolAnswer + Sync),
    on: On<'_>,
) -> Vec<(ToolAnswer, Duration)> {
    let mut answers: Vec<Option<(ToolAnswer, Duration)>> = vec![None; group.len()];
    let begun = Instant::now();
    // What was said of each: when, and of how many bytes.
    let mut said = vec![(begun, 0); group.len()];
    std::thread::scope(|scope| {
        let (done, ended) = crossbeam_channel::bounded(group.len());
        for (place, at) in group.iter().enumerate() {
            let done = done.clone();
            scope.spawn(move || {
                let answer = catch_unwind(AssertUnwindSafe(|| one(*at)))
                    .unwrap_or_else(|_| ToolAnswer::bad("The tool failed inside."));
                let _ = done.send((place, answer, begun.elapsed()));
            });
        }
        drop(done);
        loop {
            match ended.recv_timeout(LIVE_EVERY) {
                Ok((place, answer, took)) => answers[place] = Some((answer, took)),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            for (place, at) in group.iter().enumerate() {
                let (when, before) = said[place];
                let (bytes, tail) = views[*at].live.last();
                let elapsed = when.elapsed();
                let due = elapsed >= STILL_EVERY || (bytes != before && elapsed >= LIVE_EVERY);
                let first = when == begun && elapsed >= LIVE_EVERY;
                if answers[place].is_some() || !(due || first) {
                    continue;
                }
                said[place] = (Instant::now(), bytes);
                on(Event::Running {
                    id: calls[*at].id.clone(),
                    name: calls[*at].name.clone(),
                    seconds: begun.elapsed().as_secs_f64(),
                    bytes,
                    tail,
                });
            }
        }
    });
    let lost = || (ToolAnswer::bad("The tool failed inside."), begun.elapsed());
    answers
        .into_iter()
        .map(|answer| answer.unwrap_or_else(lost))
        .collect()
}

/// A call that may run.
struct AllowedCall {
    effect: Effect,
    subject: Subject,
    /// The file that it changes, as it was when somebody was asked.
    asked: Option<AskedFile>,
    /// What it is about to change in a file, where nobody was asked about it.
    change: Option<FileChange>,
}

/// A call that does not run.
struct RefusedCall {
    answer: ToolAnswer,
    kind: CallEnd,
    /// Why, for a person.
    to_user: Option<String>,
}

impl RefusedCall {
    fn new(why: String, to_user: &str) -> RefusedCall {
        RefusedCall {
            answer: ToolAnswer::bad(why),
            kind: CallEnd::Refused,
            to_user: Some(format!("not run: {to_user}")),
        }
    }
}

/// Whether a call may run, and what it may change; otherwise its result. `unread` says that the call could
/// not be read, and which form it should have.
fn may_run(
    call: &ToolCall,
    id: &str,
    unread: Option<CallForm>,
    tools: &mut Toolset<'_>,
    rounds: &mut Rounds,
    cancel: &AtomicBool,
) -> Result<AllowedCall, RefusedCall> {
    if cancel.load(Ordering::Relaxed) {
        return Err(RefusedCall::new(
            format!("[npast: {NOT_RUN_WORDS}. The user interrupted the turn.]"),
            "you stopped the turn",
        ));
    }
    if let Some(stopped) = rounds.stopped() {
        let why = match stopped {
            TurnStop::Steps | TurnStop::Tokens => "The budget of this turn is used up.",
            TurnStop::Loop | TurnStop::Chances => "npast ended the turn before this call.",
        };
        return Err(RefusedCall::new(
            format!("[npast: {NOT_RUN_WORDS}. {why}]"),
            "the turn had ended before it",
        ));
    }
    let Toolset {
        registry,
        project,
        temp,
        results,
        secret,
        limits,
        host,
        gate,
        ..
    } = tools;
    let wrong = registry.check(&call.name, &call.arguments).err();
    if let Some(form) = unread {
        rounds.bad();
        let to_model = match form {
            CallForm::Template => not_read(wrong),
            CallForm::Plain => format!(
                "[npast: {NOT_RUN_WORDS}. This call could not be read.] Write the call again as one JSON \
                 object and nothing else, with double quotes, and with \\n for a line feed and \\\" for a \
                 quotation mark in a value: {}",
                plain::FORM
            ),
        };
        let to_user = "this call cannot be read; the model is told how to write it";
        return Err(RefusedCall::new(to_model, to_user));
    }
    let Some(tool) = registry.get(&call.name) else {
        rounds.bad();
        let to_user = "there is no such tool; the model is told which there are";
        return Err(RefusedCall::new(wrong.unwrap_or_default(), to_user));
    };
    if let Some(wrong) = wrong {
        rounds.bad();
        let to_user = "its arguments are wrong; the model is told what is wrong with them";
        return Err(RefusedCall::new(wrong, to_user));
    }
    let live = LiveOutput::default();
    let room = CallContext {
        project,
        temp,
        results,
        secret,
        limits: *limits,
        granted: None,
        asked: None,
        call: id,
        cancel,
        live: &live,
        host: &**host,
    };
    let gated = GatedCall::new(tool, &call.arguments, room);
    match gate.pass(&gated) {
        Ok(subject) => Ok(AllowedCall {
            effect: tool.effect(&call.arguments),
            subject,
            asked: gated.asked(),
            change: gated.unseen_change(),
        }),
        Err(denial) => Err(RefusedCall {
            answer: ToolAnswer::bad(denial.to_model()),
            kind: CallEnd::Denied,
            to_user: denial.to_user().map(str::to_owned),
        }),
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

/// The id of a call that is ours, for files are named after it.
fn call_name(seq: usize, at: usize) -> String {
    format!("call-{seq}-{at}")
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
    /// The files that are changed, as they were when somebody was asked.
    asked: Vec<Option<AskedFile>>,
    /// What people see of them.
    views: Vec<CallView>,
    shown: usize,
}

/// What a person sees of a call, beside its result.
#[derive(Default)]
struct CallView {
    live: LiveOutput,
    /// How long it ran.
    took: Option<Duration>,
    /// Why it did not run.
    refused: Option<String>,
    /// What it changes in a file.
    change: Option<FileChange>,
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
            let view = &mut self.views[self.shown];
            let change = view.change.take().filter(|_| answer.ok);
            on(Event::ToolResult {
                id: call.id.clone(),
                name: call.name.clone(),
                ok: answer.ok,
                text: answer.text.clone(),
                seconds: view.took.map(|took| took.as_secs_f64()),
                exit: view.live.exit(),
                refused: view.refused.take(),
                change: change.map(|change| change.diff()),
            });
            self.shown += 1;
        }
    }
}
