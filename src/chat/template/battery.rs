//! The battery: small conversations that show, at load, what a template can write.
//!
//! A kind of message passes if the conversation written message by message (opening, then deltas)
//! is the conversation rendered whole. What a template writes between a reply's start and its last
//! content is the model's to sample, so it is not compared; templates drop earlier reasoning there.
//! The second best is a delta that equals the rendering at its own time and is kept.

use super::adapt::{AnchorText, Substitutes};
use super::check::*;
use super::forms::{After, TemplateFrame};
use super::pieces;
use super::pieces::common;
use super::renderer::Renderer;
use super::thinking::Thinking;
use crate::chat::message::Message;

/// The kinds of messages that are examined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// A first user message.
    User,
    /// A user message after a reply.
    UserAfterReply,
    /// A system message at the start.
    System,
    /// A tool call and its result.
    Call,
    /// Two calls in one reply and their results.
    ParallelCalls,
    /// Text beside a call.
    TextBesideCall,
    /// A user message right after results.
    UserAfterResult,
    /// A system message later than first.
    LateSystem,
    /// Two user messages in a row.
    TwoUsers,
    /// Reasoning in the history.
    Reasoning,
}

impl MessageKind {
    /// What `doctor` calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            MessageKind::User => "user message",
            MessageKind::UserAfterReply => "user after reply",
            MessageKind::System => "system message",
            MessageKind::Call => "tool call and result",
            MessageKind::ParallelCalls => "parallel calls",
            MessageKind::TextBesideCall => "text beside a call",
            MessageKind::UserAfterResult => "user after result",
            MessageKind::LateSystem => "late system message",
            MessageKind::TwoUsers => "two users in a row",
            MessageKind::Reasoning => "reasoning",
        }
    }
}

/// How a kind is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormVerdict {
    /// As it is.
    Ok,
    /// In another form, because of the reason.
    Substitute {
        /// The form.
        form: &'static str,
        /// What went wrong without it.
        reason: String,
    },
    /// Not at all.
    Refused(String),
}

/// Whether deltas can be rendered locally.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenderMode {
    /// After an anchor.
    Local,
    /// Only by a whole rendering and a token diff.
    Fallback {
        /// Why.
        reason: String,
    },
}

/// What was found out about a template.
#[derive(Debug, Clone, PartialEq)]
pub struct Battery {
    /// Local or fallback.
    pub mode: RenderMode,
    /// One verdict per kind, in the order of examination.
    pub verdicts: Vec<(MessageKind, FormVerdict)>,
    /// The substitutes in force.
    pub plan: Substitutes,
    /// How replies hold reasoning.
    pub thinking: Thinking,
    /// What a plain reply is followed by in history.
    pub end_of_turn: String,
    /// Lines that begin the next message, where they are ordinary text: a model that was not trained
    /// on the template's end of turn goes on with them, in another's name.
    pub next_messages: Vec<String>,
}

impl Battery {
    /// The verdict on a kind.
    pub fn verdict(&self, kind: MessageKind) -> Option<&FormVerdict> {
        self.verdicts
            .iter()
            .find(|(k, _)| *k == kind)
            .map(|(_, v)| v)
    }

    /// One readable line per finding.
    pub fn report(&self) -> Vec<String> {
        let mut lines = vec![match &self.mode {
            RenderMode::Local => "rendering: local deltas".to_owned(),
            RenderMode::Fallback { reason } => {
                format!("rendering: fallback, whole conversations ({reason})")
            }
        }];
        for (kind, verdict) in &self.verdicts {
            let kind = kind.as_str();
            lines.push(match verdict {
                FormVerdict::Ok => format!("{kind}: ok"),
                FormVerdict::Substitute { form, reason } => format!("{kind}: {form} ({reason})"),
                FormVerdict::Refused(reason) => format!("{kind}: refused ({reason})"),
            });
        }
        if self.thinking.dropped {
            lines.push(match self.thinking.can_be_preserved {
                true => "earlier reasoning: dropped, can be preserved by an argument".to_owned(),
                false => "earlier reasoning: dropped".to_owned(),
            });
        }
        if self.plan.short_ids {
            lines.push("call ids: nine letters and digits".to_owned());
        }
        lines
    }
}

/// Examines a template and puts the plan that it needs into force.
pub(super) fn examine(engine: &mut Renderer) -> Battery {
    let mut found = Battery {
        mode: RenderMode::Local,
        verdicts: Vec::new(),
        plan: Substitutes::default(),
        thinking: Thinking::default(),
        end_of_turn: String::new(),
        next_messages: Vec::new(),
    };
    engine.turn_end = turn_end(engine);
    let plain = frame(false, false);
    for (kind, conversation) in [
        (MessageKind::User, vec![user("one")]),
        (MessageKind::UserAfterReply, turns()),
    ] {
        let attempts: &[Trial] = &[(KEPT, Equality::Kept, |_| {})];
        try_kind(engine, &mut found, kind, &plain, &[conversation], attempts);
        if let Some(FormVerdict::Refused(reason)) = found.verdict(kind) {
            found.mode = RenderMode::Fallback {
                reason: reason.clone(),
            };
        }
    }
    if let Err(reason) = substitute(engine, &mut found) {
        found.mode = RenderMode::Fallback { reason };
    }
    found.plan = engine.plan;
    reasoning(engine, &mut found);
    let (reply, next) = (Message::assistant("two"), [user("three")]);
    if let Ok(delta) = engine.delta(&plain, &reply, &next, true) {
        found.next_messages = next_messages(engine, &delta);
        found.end_of_turn = delta.end_of_turn;
    }
    found
}

/// Tries the kinds that have substitutes, in an order in which each stands on the one before.
fn substitute(engine: &mut Renderer, found: &mut Battery) -> Result<(), String> {
    use Equality::{Exact, Kept};
    let mut system = turns();
    system.truncate(3);
    try_kind(
        engine,
        found,
        MessageKind::System,
        &frame(true, false),
        &[system, turns()],
        &[
            (SYSTEM_IN_USER, Exact, |p| p.system_in_user = true),
            (KEPT, Kept, |_| {}),
            (SYSTEM_IN_USER, Kept, |p| p.system_in_user = true),
        ],
    );
    let tools = frame(true, true);
    let calls = [tool_turns(1)[..3].to_vec(), tool_turns(1), tool_loop()];
    let beside: Vec<_> = calls.iter().map(|c| with_text(c)).collect();
    let plain: &[Trial] = &[
        (PLAIN, Exact, |p| p.plain_tools = true),
        (PLAIN, Exact, |p| {
            p.plain_tools = true;
            p.join_users = true;
        }),
        (PLAIN, Kept, |p| p.plain_tools = true),
    ];
    match why_plain(engine, &tools) {
        Some(reason) => {
            let verdict = match attempt(engine, &tools, &calls, plain) {
                Some(form) => FormVerdict::Substitute { form, reason },
                None => FormVerdict::Refused(reason),
            };
            found.verdicts.push((MessageKind::Call, verdict));
        }
        None => {
            let native: &[Trial] = &[
                (SHORT_IDS, Exact, |p| p.short_ids = true),
                (KEPT, Kept, |_| {}),
                (KEPT, Kept, |p| p.short_ids = true),
            ];
            let unwritten: &[Trial] = &[(CALLS_KEPT, Kept, |p| p.anchor = AnchorText::Always)];
            let verdict = match check(engine, Exact, &tools, &calls) {
                Ok(()) => FormVerdict::Ok,
                Err(reason) => match attempt(engine, &tools, &calls, native)
                    .or_else(|| attempt(engine, &tools, &beside, unwritten))
                    .or_else(|| attempt(engine, &tools, &calls, plain))
                {
                    Some(form) => FormVerdict::Substitute { form, reason },
                    None => FormVerdict::Refused(reason),
                },
            };
            found.verdicts.push((MessageKind::Call, verdict));
        }
    }
    parallel(engine, found, &tools);
    if let Err(reason) = check(engine, Exact, &tools, &beside) {
        let written = check(engine, Kept, &tools, &beside).is_ok();
        if !written && engine.plan.anchor == AnchorText::AsReply {
            engine.plan.anchor = AnchorText::Never;
        }
        found.verdicts.push((
            MessageKind::TextBesideCall,
            FormVerdict::Substitute { form: KEPT, reason },
        ));
    } else {
        found
            .verdicts
            .push((MessageKind::TextBesideCall, FormVerdict::Ok));
    }
    let mut after = in_force(engine, tool_turns(1));
    after.remove(3);
    try_kind(
        engine,
        found,
        MessageKind::UserAfterResult,
        &tools,
        &[after],
        &[
            (KEPT, Kept, |_| {}),
            ("joined with the result", Exact, |p| p.user_in_result = true),
            ("joined with the result", Exact, |p| p.join_users = true),
        ],
    );
    let mut late = turns();
    late.insert(2, Message::system("late system"));
    try_kind(
        engine,
        found,
        MessageKind::LateSystem,
        &plain_frame(),
        &[late],
        &[
            (LATE_AS_USER, Exact, |p| p.late_system_as_user = true),
            (LATE_JOINED, Exact, |p| {
                p.late_system_as_user = true;
                p.join_users = true;
            }),
            (LATE_AS_USER, Kept, |p| p.late_system_as_user = true),
        ],
    );
    let mut users = turns();
    users.insert(3, user("three and a half"));
    users.insert(0, user("zero"));
    try_kind(
        engine,
        found,
        MessageKind::TwoUsers,
        &plain_frame(),
        &[users],
        &[
            ("joined", Exact, |p| p.join_users = true),
            (KEPT, Kept, |_| {}),
        ],
    );
    // Substitutes must not break what passed before them.
    check(engine, Kept, &tools, &[turns()])
        .map_err(|reason| format!("with the substitutes: {reason}"))
}

/// Why the template's own tool calls cannot be used at all.
fn why_plain(engine: &Renderer, tools: &TemplateFrame) -> Option<String> {
    let caps = engine.bridge.caps();
    let can = |name: &str| caps.get(name).copied().unwrap_or(false);
    match engine.format(tools, After::User) {
        Err(error) => Some(error.to_string()),
        Ok(format) if format.applied.parser.is_empty() => {
            Some("llama.cpp can make no parser for its calls".to_owned())
        }
        Ok(_) if !can("supports_tools") => Some("the template describes no tools".to_owned()),
        Ok(_) => None,
    }
}

/// Two calls in one reply. Templates that know one call only get the results one by one, each
/// rendered after its own call, and a grammar that allows one call.
fn parallel(engine: &mut Renderer, found: &mut Battery, tools: &TemplateFrame) {
    let two = in_force(engine, tool_turns(2));
    let conversations = [two[..4].to_vec(), two.clone()];
    let reason = match check(engine, Equality::Exact, tools, &conversations) {
        Ok(()) => {
            return found
                .verdicts
                .push((MessageKind::ParallelCalls, FormVerdict::Ok));
        }
        Err(reason) => reason,
    };
    let attempts: &[Trial] = &[
        (KEPT, Equality::Kept, |_| {}),
        ("results in one message", Equality::Exact, |p| {
            p.join_users = true
        }),
    ];
    let form = attempt(engine, tools, &conversations, attempts).or_else(|| {
        let before = engine.plan;
        engine.plan.results_one_by_one = true;
        let delta = engine.delta(tools, &two[1], &two[2..4], true).ok()?;
        let text = pieces::join(&delta.pieces);
        let (first, second) = (text.find("result "), text.rfind("result "));
        if first < second && first.is_some() {
            return Some("one call per reply; results one by one");
        }
        engine.plan = before;
        None
    });
    found.verdicts.push((
        MessageKind::ParallelCalls,
        match form {
            Some(form) => FormVerdict::Substitute { form, reason },
            None => FormVerdict::Refused(reason),
        },
    ));
}

const KEPT: &str = "kept as first written";
const CALLS_KEPT: &str = "calls kept as sampled, the template writes none";
const SHORT_IDS: &str = "ids of nine letters and digits";
const SYSTEM_IN_USER: &str = "at the head of the first user message";
const LATE_AS_USER: &str = "a user message with a prefix";
const LATE_JOINED: &str = "a user message with a prefix, joined with the next";
const PLAIN: &str = "plain format, calls as JSON text and results as user messages";

type Trial = (&'static str, Equality, fn(&mut Substitutes));

fn try_kind(
    engine: &mut Renderer,
    found: &mut Battery,
    kind: MessageKind,
    frame: &TemplateFrame,
    conversations: &[Vec<Message>],
    attempts: &[Trial],
) {
    let verdict = match check(engine, Equality::Exact, frame, conversations) {
        Ok(()) => FormVerdict::Ok,
        Err(reason) => match attempt(engine, frame, conversations, attempts) {
            Some(form) => FormVerdict::Substitute { form, reason },
            None => FormVerdict::Refused(reason),
        },
    };
    found.verdicts.push((kind, verdict));
}

/// The first attempt under whose plan the conversations pass; its plan stays.
fn attempt(
    engine: &mut Renderer,
    frame: &TemplateFrame,
    conversations: &[Vec<Message>],
    attempts: &[Trial],
) -> Option<&'static str> {
    for (form, level, change) in attempts {
        let before = engine.plan;
        change(&mut engine.plan);
        if check(engine, *level, frame, conversations).is_ok() {
            return Some(form);
        }
        engine.plan = before;
    }
    None
}

/// The end of turn of a plain reply: what follows it both at the end and before a user message,
/// up to the end of its first mark.
fn turn_end(engine: &Renderer) -> Option<String> {
    let frame = plain_frame();
    let (reply, next) = (turns()[..2].to_vec(), turns()[..3].to_vec());
    let alone = pieces::join(&engine.full(&frame, &reply, false).ok()?);
    let followed = pieces::join(&engine.full(&frame, &next, true).ok()?);
    let after = |text: &str| {
        let at = text.rfind("two")? + "two".len();
        Some(text[at..].to_owned())
    };
    let (alone, followed) = (after(&alone)?, after(&followed)?);
    let shared = alone[..common(&alone, &followed)].trim();
    if engine
        .marks
        .eog
        .iter()
        .any(|mark| !mark.is_empty() && shared.contains(mark.as_str()))
    {
        return None;
    }
    let end = shared.find(['>', ']']).map_or(shared.len(), |at| at + 1);
    let mark = &shared[..end];
    let whole = mark.starts_with('<') && mark.ends_with('>')
        || mark.starts_with('[') && mark.ends_with(']');
    whole.then(|| mark.to_owned())
}

fn reasoning(engine: &mut Renderer, found: &mut Battery) {
    let frame = TemplateFrame {
        thinking: true,
        ..plain_frame()
    };
    let mut reply = Message::assistant("visible text");
    reply.reasoning = Some("hidden thought".into());
    let now = [user("one"), reply.clone()];
    let later = [user("one"), reply, user("three")];
    let thinking = &mut found.thinking;
    let verdict = match engine.full(&frame, &later, true) {
        Ok(pieces) => {
            thinking.dropped = !pieces::join(&pieces).contains("hidden thought");
            FormVerdict::Ok
        }
        Err(error) => FormVerdict::Refused(error.to_string()),
    };
    found.verdicts.push((MessageKind::Reasoning, verdict));
    let caps = engine.bridge.caps();
    thinking.can_be_preserved = caps.get("supports_preserve_reasoning") == Some(&true);
    let mut prompt = String::new();
    if let Ok(format) = engine.format(&frame, After::User) {
        thinking.start = format.applied.thinking_start;
        thinking.ends = format.applied.thinking_ends;
        prompt = format.applied.generation_prompt;
    }
    thinking.opened = thinking.opens(&prompt);
    let between = engine.full(&frame, &now, false).ok().and_then(|pieces| {
        let text = pieces::join(&pieces);
        let from = text.find("hidden thought")? + "hidden thought".len();
        let to = from + text[from..].find("visible text")?;
        Some(text[from..to].to_owned())
    });
    thinking.close = between
        .filter(|text| !text.trim().is_empty())
        .or_else(|| {
            let end = thinking.ends.last()?.trim();
            Some(if end.starts_with("<|") {
                end.to_owned()
            } else {
                format!("\n{end}\n\n")
            })
        })
        .unwrap_or_default();
}

#[cfg(test)]
#[path = "battery_tests.rs"]
pub(crate) mod tests;
