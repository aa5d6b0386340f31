//! The battery's small conversations, and the comparison of a conversation written message by
//! message with the same rendered whole.

use serde_json::{Value, json};

use super::adapt::AnchorText;
use super::forms::{ChatError, Delta, TemplateFrame};
use super::pieces::{self, common};
use super::renderer::Renderer;
use crate::chat::message::plain;
use crate::chat::message::{Message, Role, ToolCall};

/// The clock of the conversations (ms since 1970): any, but always the same.
pub(super) const CLOCK: i64 = 1_767_225_600_000;

/// How much must be equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Equality {
    /// The conversation written message by message is the conversation rendered whole.
    Exact,
    /// Each delta is what the whole rendering ends in when the delta is appended; the template
    /// would write it in another way later. The ledger keeps what was written first.
    Kept,
}

/// Whether conversations come out the same, to the given level.
pub(super) fn check(
    engine: &Renderer,
    level: Equality,
    frame: &TemplateFrame,
    conversations: &[Vec<Message>],
) -> Result<(), String> {
    conversations.iter().try_for_each(|messages| match level {
        Equality::Exact => exact(engine, frame, messages),
        Equality::Kept => kept(engine, frame, messages),
    })
}

fn words(error: ChatError) -> String {
    error.to_string()
}

/// The reply at `at`, and the end of the messages that follow it.
pub(super) fn steps(messages: &[Message]) -> Vec<(usize, usize)> {
    let replies: Vec<usize> = (0..messages.len())
        .filter(|&i| messages[i].role == Role::Assistant)
        .collect();
    let ends = replies.iter().skip(1).copied().chain([messages.len()]);
    let pairs = replies.iter().copied().zip(ends);
    pairs.filter(|(at, to)| at + 1 < *to).collect()
}

fn exact(engine: &Renderer, frame: &TemplateFrame, messages: &[Message]) -> Result<(), String> {
    let whole = pieces::join(&engine.full(frame, messages, true).map_err(words)?);
    let first = messages
        .iter()
        .position(|m| m.role == Role::Assistant)
        .unwrap_or(messages.len());
    let opening = |generation| {
        engine
            .opening(frame, &messages[..first], generation)
            .map(|o| pieces::join(&o.pieces))
            .map_err(words)
    };
    let (with, without) = (opening(true)?, opening(false)?);
    if first == messages.len() {
        return same(&whole, &with, "the opening");
    }
    let mut rest = strip(&whole, &with[..common(&with, &without)], "the opening")?;
    for (at, to) in steps(messages) {
        let reply = &messages[at];
        rest = after_reply(engine, rest, reply, |t, c| t.find(c))?;
        let delta = |generation| appended(engine, frame, reply, &messages[at + 1..to], generation);
        let with = delta(true)?;
        let what = format!("what follows message {}", at + 1);
        if to == messages.len() {
            return same(rest, &with, &what);
        }
        let without = delta(false)?;
        rest = strip(rest, &with[..common(&with, &without)], &what)?;
    }
    Ok(())
}

fn kept(engine: &Renderer, frame: &TemplateFrame, messages: &[Message]) -> Result<(), String> {
    for (at, to) in steps(messages) {
        let whole = pieces::join(&engine.full(frame, &messages[..to], true).map_err(words)?);
        let rest = after_reply(engine, &whole, &messages[at], |t, c| t.rfind(c))?;
        let delta = appended(engine, frame, &messages[at], &messages[at + 1..to], true)?;
        same(rest, &delta, &format!("what follows message {}", at + 1))?;
        if delta.contains(TOOL_TEXT) || delta.contains("nchor system") {
            return Err("system text or tools are repeated with every message".to_owned());
        }
    }
    Ok(())
}

/// The text of a delta, with the closing of a plain reply. What closes a call depends on its
/// arguments, and the model writes it.
fn appended(
    engine: &Renderer,
    frame: &TemplateFrame,
    reply: &Message,
    messages: &[Message],
    generation: bool,
) -> Result<String, String> {
    let delta = engine
        .delta(frame, reply, messages, generation)
        .map_err(words)?;
    let text = pieces::join(&delta.pieces);
    Ok(
        if native_calls(engine, reply) && !delta.end_of_turn.is_empty() {
            text
        } else {
            delta.closing + &text
        },
    )
}

fn native_calls(engine: &Renderer, reply: &Message) -> bool {
    !reply.calls.is_empty() && !engine.plan.plain_tools
}

/// What stands after the last content of a reply: of its last call, or else its text; after calls,
/// from the end of turn on.
fn after_reply<'a>(
    engine: &Renderer,
    text: &'a str,
    reply: &Message,
    find: fn(&str, &str) -> Option<usize>,
) -> Result<&'a str, String> {
    let native = native_calls(engine, reply);
    let own = if native {
        reply.text.clone()
    } else {
        plain::flatten(reply).text
    };
    let argument = reply.calls.last().filter(|_| native).and_then(|call| {
        call.arguments
            .as_object()?
            .values()
            .rev()
            .find_map(Value::as_str)
    });
    let rest = [argument, Some(own.trim())]
        .into_iter()
        .flatten()
        .filter(|content| !content.is_empty())
        .find_map(|content| Some(&text[find(text, content)? + content.len()..]))
        .ok_or_else(|| "the template leaves a reply out of the history".to_owned())?;
    let end = engine.turn_end_in(rest).filter(|_| native);
    Ok(&rest[end.map_or(0, |(at, _)| at)..])
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

pub(super) fn frame(system: bool, tools: bool) -> TemplateFrame {
    TemplateFrame {
        system: system.then(|| "system text".to_owned()),
        tools: tools.then(example_tools),
        started_ms: CLOCK,
        ..TemplateFrame::default()
    }
}

/// Is in every example tool, and so shows where the template writes tools.
pub(super) const TOOL_TEXT: &str = "Looks a word up.";

pub(super) fn plain_frame() -> TemplateFrame {
    frame(false, false)
}

pub(in crate::chat) fn example_tools() -> Value {
    json!([
        {"type": "function", "function": {"name": "lookup", "description": TOOL_TEXT, "parameters":
            {"type": "object", "properties": {"word": {"type": "string", "description": "The word."}}, "required": ["word"]}}},
        {"type": "function", "function": {"name": "store", "description": TOOL_TEXT, "parameters":
            {"type": "object", "properties": {"word": {"type": "string", "description": "The word."}}, "required": ["word"]}}}
    ])
}

pub(super) fn user(text: &str) -> Message {
    Message::user(text)
}

pub(super) fn turns() -> Vec<Message> {
    vec![
        user("one"),
        Message::assistant("two"),
        user("three"),
        Message::assistant("four"),
        user(" five\n"),
    ]
}

/// A user message, `calls` calls with their results, a reply and a user message.
pub(super) fn tool_turns(calls: usize) -> Vec<Message> {
    let mut out = vec![user("one"), Message::assistant("")];
    for n in 0..calls {
        let id = format!("call_number_{n}");
        let name = ["lookup", "store"][n % 2];
        out[1].calls.push(ToolCall {
            id: id.clone(),
            name: name.into(),
            arguments: json!({"word": format!("argument {n}")}),
        });
        let result = Message::tool_result(id, name, format!("result \"{n}\"\n"));
        out.push(result);
    }
    out.push(Message::assistant("four"));
    out.push(user("five"));
    out
}

/// The conversation with a text in every reply that has calls.
pub(super) fn with_text(messages: &[Message]) -> Vec<Message> {
    let mut out = messages.to_vec();
    for (n, message) in out
        .iter_mut()
        .enumerate()
        .filter(|(_, m)| !m.calls.is_empty())
    {
        message.text = format!("beside {n}");
    }
    out
}

/// With a text beside the calls where only that shows in the history.
pub(super) fn in_force(engine: &Renderer, messages: Vec<Message>) -> Vec<Message> {
    match engine.plan.anchor {
        AnchorText::Always => with_text(&messages),
        _ => messages,
    }
}

/// Two steps of calls in one turn.
pub(super) fn tool_loop() -> Vec<Message> {
    let mut out = tool_turns(1);
    out.truncate(3);
    let mut second = tool_turns(1)[1..3].to_vec();
    second[0].calls[0].id = "call_number_9".into();
    second[0].calls[0].arguments = json!({"word": "argument 9"});
    second[1].call_id = Some("call_number_9".into());
    second[1].text = "result 9".into();
    out.extend(second);
    out
}

/// The lines by which a delta begins its user message and the reply after it, and by which a later
/// system message begins.
pub(super) fn next_messages(engine: &Renderer, user: &Delta) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut add = |delta: &Delta| {
        for piece in &delta.pieces {
            let pieces::Piece::Template(text) = piece else {
                continue;
            };
            let text = text.strip_prefix(&delta.end_of_turn).unwrap_or(text);
            let line = text.trim_end();
            let words = line.trim_start_matches(['\n', '\r']);
            // A line, with a name in it, that has no control token by which it differs from a reply's text.
            let begins_line = words.len() < line.len() && !words.contains('\n');
            let named = words.chars().filter(|c| c.is_alphabetic()).count() > 1;
            if begins_line && named && !engine.hostile(text) && !found.iter().any(|l| l == line) {
                found.push(line.to_owned());
            }
        }
    };
    add(user);
    let (reply, late) = (Message::assistant("two"), [Message::system("late")]);
    if !engine.plan.late_system_as_user
        && let Ok(delta) = engine.delta(&plain_frame(), &reply, &late, true)
    {
        add(&delta);
    }
    found
}
