//! The battery: small conversations that tell, at load, what a template can write.
//!
//! A kind of message passes if the conversation written message by message (opening, then deltas)
//! is the conversation rendered whole. What a template writes between a reply's start and its last
//! content is the model's to sample, so it is not compared; templates drop earlier reasoning there.

use serde_json::{Value, json};

use super::adapt::Plan;
use super::delta::common;
use super::message::{Message, Role, ToolCall};
use super::pieces;
use super::template::{After, ChatError, Engine, Frame};

/// The kinds of messages that are examined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
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

impl Kind {
    /// What `doctor` calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::User => "user message",
            Kind::UserAfterReply => "user after reply",
            Kind::System => "system message",
            Kind::Call => "tool call and result",
            Kind::ParallelCalls => "parallel calls",
            Kind::TextBesideCall => "text beside a call",
            Kind::UserAfterResult => "user after result",
            Kind::LateSystem => "late system message",
            Kind::TwoUsers => "two users in a row",
            Kind::Reasoning => "reasoning",
        }
    }
}

/// How a kind is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
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
pub enum Mode {
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
    pub mode: Mode,
    /// One verdict per kind, in the order of examination.
    pub verdicts: Vec<(Kind, Verdict)>,
    /// The substitutes in force.
    pub plan: Plan,
    /// The template leaves the reasoning of earlier turns out.
    pub drops_thinking: bool,
    /// It has an argument that keeps it.
    pub can_preserve_thinking: bool,
    /// The generation prompt opens the reasoning by itself.
    pub opens_thinking: bool,
    /// What closes an open reasoning block before the text.
    pub close_reasoning: String,
    /// What a plain reply is followed by in history.
    pub end_of_turn: String,
}

impl Battery {
    /// The verdict on a kind.
    pub fn verdict(&self, kind: Kind) -> Option<&Verdict> {
        self.verdicts
            .iter()
            .find(|(k, _)| *k == kind)
            .map(|(_, v)| v)
    }

    /// One readable line per finding.
    pub fn report(&self) -> Vec<String> {
        let mut lines = vec![match &self.mode {
            Mode::Local => "rendering: local deltas".to_owned(),
            Mode::Fallback { reason } => {
                format!("rendering: fallback, whole conversations ({reason})")
            }
        }];
        for (kind, verdict) in &self.verdicts {
            let kind = kind.as_str();
            lines.push(match verdict {
                Verdict::Ok => format!("{kind}: ok"),
                Verdict::Substitute { form, reason } => format!("{kind}: {form} ({reason})"),
                Verdict::Refused(reason) => format!("{kind}: refused ({reason})"),
            });
        }
        if self.drops_thinking {
            lines.push(match self.can_preserve_thinking {
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

const CLOCK: i64 = 1_767_225_600_000;

/// Examines a template and puts the plan that it needs into force.
pub(super) fn examine(engine: &mut Engine) -> Battery {
    let mut found = Battery {
        mode: Mode::Local,
        verdicts: Vec::new(),
        plan: Plan::default(),
        drops_thinking: false,
        can_preserve_thinking: engine
            .bridge
            .caps()
            .get("supports_preserve_reasoning")
            .copied()
            .unwrap_or(false),
        opens_thinking: false,
        close_reasoning: String::new(),
        end_of_turn: String::new(),
    };
    engine.turn_end = turn_end(engine);
    found.end_of_turn = engine.turn_end.clone().unwrap_or_default();
    let plain = frame(false, false);
    for (kind, conversation) in [
        (Kind::User, vec![user("one")]),
        (Kind::UserAfterReply, turns()),
    ] {
        match check(engine, &plain, &conversation) {
            Ok(()) => found.verdicts.push((kind, Verdict::Ok)),
            Err(reason) => {
                found.mode = Mode::Fallback {
                    reason: reason.clone(),
                };
                found.verdicts.push((kind, Verdict::Refused(reason)));
            }
        }
    }
    if let Err(reason) = substitute(engine, &mut found) {
        found.mode = Mode::Fallback { reason };
    }
    found.plan = engine.plan;
    reasoning(engine, &mut found);
    found
}

/// Tries the kinds that have substitutes, in an order in which each stands on the one before.
fn substitute(engine: &mut Engine, found: &mut Battery) -> Result<(), String> {
    let mut system = turns();
    system.truncate(3);
    try_kind(
        engine,
        found,
        Kind::System,
        &frame(true, false),
        &[system, turns()],
        &[("at the head of the first user message", |p| {
            p.system_in_user = true
        })],
    );
    let parser = match engine.format(&frame(true, true), After::User) {
        Ok(_)
            if !engine
                .bridge
                .caps()
                .get("supports_tools")
                .copied()
                .unwrap_or(false) =>
        {
            Some("the template describes no tools".to_owned())
        }
        Ok(format) if format.applied.parser.is_empty() => {
            Some("no parser for its calls can be made".to_owned())
        }
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    };
    let with_tools = frame(true, true);
    let calls = [tool_turns(1), tool_turns(1)[..3].to_vec(), tool_loop()];
    match parser {
        Some(reason) => {
            engine.plan.plain_tools = true;
            let joined = try_plan(engine, &with_tools, &calls, |_| {})
                .or_else(|_| try_plan(engine, &with_tools, &calls, |p| p.join_users = true));
            found.verdicts.push((
                Kind::Call,
                match joined {
                    Ok(()) => Verdict::Substitute {
                        form: PLAIN,
                        reason,
                    },
                    Err(reason) => Verdict::Refused(reason),
                },
            ));
        }
        None => try_kind(
            engine,
            found,
            Kind::Call,
            &with_tools,
            &calls,
            &[
                ("ids of nine letters and digits", |p| p.short_ids = true),
                (PLAIN, |p| p.plain_tools = true),
                (PLAIN, |p| {
                    p.plain_tools = true;
                    p.join_users = true;
                }),
            ],
        ),
    }
    let two = tool_turns(2);
    try_kind(
        engine,
        found,
        Kind::ParallelCalls,
        &with_tools,
        &[two[..4].to_vec(), two],
        &[
            ("results one by one", |p| p.results_one_by_one = true),
            ("results in one message", |p| p.join_users = true),
        ],
    );
    let mut beside = tool_turns(1);
    beside[1].text = "text beside".into();
    try_kind(
        engine,
        found,
        Kind::TextBesideCall,
        &with_tools,
        &[beside[..3].to_vec(), beside],
        &[],
    );
    let mut after = tool_turns(1);
    after.remove(3);
    try_kind(
        engine,
        found,
        Kind::UserAfterResult,
        &with_tools,
        &[after],
        &[
            ("joined with the result", |p| p.user_in_result = true),
            ("joined with the result", |p| p.join_users = true),
        ],
    );
    let mut late = turns();
    late.insert(2, Message::new(Role::System, "late system"));
    try_kind(
        engine,
        found,
        Kind::LateSystem,
        &plain_frame(),
        &[late],
        &[
            ("a user message with a prefix", |p| {
                p.late_system_as_user = true
            }),
            ("a user message with a prefix, joined with the next", |p| {
                p.late_system_as_user = true;
                p.join_users = true;
            }),
        ],
    );
    let mut users = turns();
    users.insert(3, user("three and a half"));
    users.insert(0, user("zero"));
    try_kind(
        engine,
        found,
        Kind::TwoUsers,
        &plain_frame(),
        &[users],
        &[("joined", |p| p.join_users = true)],
    );
    // Substitutes must not break what passed before them.
    check(engine, &with_tools, &turns()).map_err(|reason| format!("with the substitutes: {reason}"))
}

const PLAIN: &str = "plain format, calls as JSON text and results as user messages";

type Change = fn(&mut Plan);

fn try_kind(
    engine: &mut Engine,
    found: &mut Battery,
    kind: Kind,
    frame: &Frame,
    conversations: &[Vec<Message>],
    substitutes: &[(&'static str, Change)],
) {
    let reason = match try_plan(engine, frame, conversations, |_| {}) {
        Ok(()) => return found.verdicts.push((kind, Verdict::Ok)),
        Err(reason) => reason,
    };
    for (form, change) in substitutes {
        if try_plan(engine, frame, conversations, change).is_ok() {
            return found
                .verdicts
                .push((kind, Verdict::Substitute { form, reason }));
        }
    }
    found.verdicts.push((kind, Verdict::Refused(reason)));
}

/// Checks the conversations under a changed plan, which stays if they pass.
fn try_plan(
    engine: &mut Engine,
    frame: &Frame,
    conversations: &[Vec<Message>],
    change: impl Fn(&mut Plan),
) -> Result<(), String> {
    let before = engine.plan;
    change(&mut engine.plan);
    for conversation in conversations {
        if let Err(reason) = check(engine, frame, conversation) {
            engine.plan = before;
            return Err(reason);
        }
    }
    Ok(())
}

/// The end of turn of a plain reply: what follows it both at the end and before a user message,
/// up to the end of its first mark.
fn turn_end(engine: &Engine) -> Option<String> {
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
    let end = shared.find(['>', ']']).map_or(shared.len(), |at| at + 1);
    let mark = &shared[..end];
    let whole = mark.starts_with('<') && mark.ends_with('>')
        || mark.starts_with('[') && mark.ends_with(']');
    whole.then(|| mark.to_owned())
}

/// Whether a conversation written message by message is the conversation rendered whole.
pub(super) fn check(engine: &Engine, frame: &Frame, messages: &[Message]) -> Result<(), String> {
    let words = |error: ChatError| error.to_string();
    let whole = pieces::join(&engine.full(frame, messages, true).map_err(words)?);
    let replies: Vec<usize> = (0..messages.len())
        .filter(|&i| messages[i].role == Role::Assistant)
        .collect();
    let first = replies.first().copied().unwrap_or(messages.len());
    let opening = |generation| {
        engine
            .opening(frame, &messages[..first], generation)
            .map(|o| pieces::join(&o.pieces))
            .map_err(words)
    };
    let (with, without) = (opening(true)?, opening(false)?);
    if replies.is_empty() {
        return same(&whole, &with, "the opening");
    }
    let mut rest = strip(&whole, &with[..common(&with, &without)], "the opening")?;
    for (n, &at) in replies.iter().enumerate() {
        let reply = &messages[at];
        let last = last_content(reply);
        let end = rest
            .find(last.as_str())
            .ok_or_else(|| "the template leaves a reply out of the history".to_owned())?
            + last.len();
        rest = &rest[end..];
        let to = replies.get(n + 1).copied().unwrap_or(messages.len());
        if at + 1 == to {
            break;
        }
        let delta = |generation| {
            engine
                .delta(frame, reply, &messages[at + 1..to], generation)
                .map(|d| d.closing + &pieces::join(&d.pieces))
                .map_err(words)
        };
        let with = delta(true)?;
        let what = format!("what follows reply {}", n + 1);
        if to == messages.len() {
            return same(rest, &with, &what);
        }
        let without = delta(false)?;
        rest = strip(rest, &with[..common(&with, &without)], &what)?;
    }
    Ok(())
}

fn same(whole: &str, part: &str, what: &str) -> Result<(), String> {
    if whole == part {
        return Ok(());
    }
    Err(differs(whole, part, what))
}

fn strip<'a>(whole: &'a str, part: &str, what: &str) -> Result<&'a str, String> {
    whole
        .strip_prefix(part)
        .ok_or_else(|| differs(whole, part, what))
}

fn differs(whole: &str, part: &str, what: &str) -> String {
    let at = common(whole, part);
    let show = |text: &str| text[at..].chars().take(24).collect::<String>();
    format!(
        "{what} is rendered otherwise later: {:?} instead of {:?}",
        show(whole),
        show(part)
    )
}

/// The text of a reply that templates write last: of its last call, or its own.
fn last_content(reply: &Message) -> String {
    reply
        .calls
        .last()
        .and_then(|call| call.arguments.values().rev().find_map(Value::as_str))
        .map_or_else(|| reply.text.trim().to_owned(), str::to_owned)
}

fn reasoning(engine: &Engine, found: &mut Battery) {
    let frame = Frame {
        thinking: true,
        ..plain_frame()
    };
    let mut reply = Message::new(Role::Assistant, "visible text");
    reply.reasoning = Some("hidden thought".into());
    let now = [user("one"), reply.clone()];
    let later = [user("one"), reply, user("three")];
    let verdict = match engine.full(&frame, &later, true) {
        Ok(pieces) => {
            found.drops_thinking = !pieces::join(&pieces).contains("hidden thought");
            Verdict::Ok
        }
        Err(error) => Verdict::Refused(error.to_string()),
    };
    found.verdicts.push((Kind::Reasoning, verdict));
    let format = engine.format(&frame, After::User).ok();
    let ends = format.as_ref().map(|f| &f.applied.thinking_ends);
    let between = engine.full(&frame, &now, false).ok().and_then(|pieces| {
        let text = pieces::join(&pieces);
        let from = text.find("hidden thought")? + "hidden thought".len();
        let to = from + text[from..].find("visible text")?;
        Some(text[from..to].to_owned())
    });
    found.close_reasoning = between
        .filter(|text| !text.trim().is_empty())
        .or_else(|| Some(format!("\n{}\n\n", ends?.last()?.trim())))
        .unwrap_or_default();
    found.opens_thinking = format.is_some_and(|f| {
        let start = &f.applied.thinking_start;
        let prompt = &f.applied.generation_prompt;
        !start.is_empty()
            && prompt.rfind(start.as_str()).is_some_and(|at| {
                !f.applied
                    .thinking_ends
                    .iter()
                    .any(|end| prompt[at..].contains(end.as_str()))
            })
    });
}

fn frame(system: bool, tools: bool) -> Frame {
    Frame {
        system: system.then(|| "system text".to_owned()),
        tools: tools.then(example_tools),
        started_ms: CLOCK,
        ..Frame::default()
    }
}

fn plain_frame() -> Frame {
    frame(false, false)
}

pub(super) fn example_tools() -> Value {
    json!([
        {"type": "function", "function": {"name": "lookup", "description": "Looks a word up.", "parameters":
            {"type": "object", "properties": {"word": {"type": "string", "description": "The word."}}, "required": ["word"]}}},
        {"type": "function", "function": {"name": "store", "description": "Stores a word.", "parameters":
            {"type": "object", "properties": {"word": {"type": "string", "description": "The word."}}, "required": ["word"]}}}
    ])
}

fn user(text: &str) -> Message {
    Message::new(Role::User, text)
}

fn turns() -> Vec<Message> {
    vec![
        user("one"),
        Message::new(Role::Assistant, "two"),
        user("three"),
        Message::new(Role::Assistant, "four"),
        user(" five\n"),
    ]
}

/// A user message, `calls` calls with their results, a reply and a user message.
fn tool_turns(calls: usize) -> Vec<Message> {
    let mut out = vec![user("one"), Message::new(Role::Assistant, "")];
    for n in 0..calls {
        let id = format!("call_number_{n}");
        let name = ["lookup", "store"][n % 2];
        let mut arguments = serde_json::Map::new();
        arguments.insert("word".into(), json!(format!("argument {n}")));
        out[1].calls.push(ToolCall {
            id: id.clone(),
            name: name.into(),
            arguments,
        });
        let mut result = Message::new(Role::Tool, format!("result \"{n}\"\n"));
        result.call_id = Some(id);
        result.name = Some(name.into());
        out.push(result);
    }
    out.push(Message::new(Role::Assistant, "four"));
    out.push(user("five"));
    out
}

/// Two steps of calls in one turn.
fn tool_loop() -> Vec<Message> {
    let mut out = tool_turns(1);
    out.truncate(3);
    let mut second = tool_turns(1)[1..3].to_vec();
    second[0].calls[0].id = "call_number_9".into();
    second[0].calls[0]
        .arguments
        .insert("word".into(), json!("argument 9"));
    second[1].call_id = Some("call_number_9".into());
    second[1].text = "result 9".into();
    out.extend(second);
    out
}

#[cfg(test)]
#[path = "battery_tests.rs"]
mod tests;
