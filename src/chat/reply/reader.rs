//! From what a model writes to a message: events while it comes, the message at its end.
//!
//! llama.cpp's parser reads a whole reply each time, so npast runs it at growing distances: all runs
//! together read a fixed multiple of the reply. Nothing is lost: what does not parse, and half a call, is
//! text.

use serde_json::{Map, Value};

use super::begun::BegunCall;
use super::{attempt, found};
use crate::chat::message::{Message, ToolCall};
use crate::chat::template::ReplyFormat;
use crate::llama::bridge::{BridgeError, ParsedReply, ReplyParser};

/// Bytes between two readings of a short reply.
const STEP: usize = 12;
/// A reply is read again when it has grown by this part of its length.
const GROWTH: usize = 64;

/// Something to show while a reply comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplyEvent {
    /// More reasoning.
    Reasoning(String),
    /// More text.
    Text(String),
}

/// Reads one reply.
#[derive(Debug)]
pub struct ReplyReader {
    parser: ReplyParser,
    format: ReplyFormat,
    raw: String,
    reasoning: String,
    text: String,
    next: usize,
    /// A call that cannot be read is a call all the same.
    attempts: bool,
    /// The call that is being written.
    begun: Option<BegunCall>,
}

impl ReplyReader {
    /// A reader of one reply in this format. It loads the parser of the format.
    ///
    /// # Errors
    /// If the format's parser cannot be loaded.
    pub fn new(format: &ReplyFormat) -> Result<ReplyReader, BridgeError> {
        Ok(ReplyReader {
            parser: ReplyParser::new(&format.applied)?,
            format: format.clone(),
            raw: String::new(),
            reasoning: String::new(),
            text: String::new(),
            next: 0,
            attempts: false,
            begun: None,
        })
    }

    /// Whether npast answers the calls. If it does, a call that cannot be read becomes a call with a mark
    /// ([`Message::unread`]), so that its result can say so; otherwise it is text.
    pub fn answering_attempts(mut self, on: bool) -> ReplyReader {
        self.attempts = on;
        self
    }

    /// What was written so far, markup included.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// Takes more of the reply (whole characters, control tokens as text, without the end of turn).
    pub fn push(&mut self, more: &str) -> Vec<ReplyEvent> {
        self.raw.push_str(more);
        if self.raw.len() < self.next {
            return Vec::new();
        }
        self.next = self.raw.len() + STEP.max(self.raw.len() / GROWTH);
        match self.parser.parse(&self.raw, true) {
            Ok(parsed) => {
                self.begun = self.begun_in(&parsed);
                self.show(&parsed.reasoning, &parsed.content, false)
            }
            Err(_) => Vec::new(),
        }
    }

    /// The call that is being written, if one is.
    pub fn begun(&self) -> Option<&BegunCall> {
        self.begun.as_ref()
    }

    fn begun_in(&self, parsed: &ParsedReply) -> Option<BegunCall> {
        let Some(last) = parsed.calls.last() else {
            // What may be a plain call is not shown before it is whole.
            let text = parsed.content.trim_end();
            let begun = self.decided(&parsed.content) < text.len();
            return begun.then(|| BegunCall::new(0, String::new(), ""));
        };
        let mut call = ToolCall {
            id: String::new(),
            name: last.name.clone(),
            arguments: Value::Null,
        };
        self.format.names.restore(&mut call);
        let place = parsed.calls.len() - 1;
        Some(BegunCall::new(place, call.name, &last.arguments))
    }

    /// How much of a text that is not whole is certainly no call without a mark, in bytes.
    fn decided(&self, text: &str) -> usize {
        match self.format.plain_calls {
            true => found::shown(text, &self.format.plain_tools, self.attempts),
            false => text.len(),
        }
    }

    /// The end of the reply: what was not shown yet, and the message. `cut` says that the reply
    /// did not end by itself (length, interrupt, stop string). `seed` makes the calls' ids differ
    /// from those of other replies.
    pub fn finish(mut self, cut: bool, seed: u64) -> (Vec<ReplyEvent>, Message) {
        let message = self.message(cut, seed);
        let reasoning = message.reasoning.clone().unwrap_or_default();
        let events = self.show(&reasoning, &message.text, true);
        (events, message)
    }

    fn message(&self, cut: bool, seed: u64) -> Message {
        let parsed = match self.parser.parse(&self.raw, false) {
            Ok(parsed) => parsed,
            Err(_) => return self.attempted(self.salvaged(), cut, seed),
        };
        if !parsed.calls.is_empty() {
            if cut {
                return self.without_calls(parsed);
            }
            return match self.calls(&parsed, seed) {
                Some(mut calls) => {
                    let lost = self.lost(&parsed, &calls, seed);
                    let unread = lost.is_some();
                    calls.extend(lost);
                    Message {
                        calls,
                        unread,
                        ..message(parsed.reasoning, parsed.content)
                    }
                }
                None => self.attempted(self.without_calls(parsed), cut, seed),
            };
        }
        if self.format.plain_calls
            && !cut
            && let Some(found) =
                found::read(&parsed.content, &self.format.plain_tools, self.attempts)
        {
            let mut calls = found.calls;
            for (index, call) in calls.iter_mut().enumerate() {
                call.id = id(seed, index);
                self.format.names.restore(call);
            }
            return Message {
                calls,
                unread: found.unread,
                ..message(parsed.reasoning, found.text)
            };
        }
        if self.format.held && !cut {
            return message(parsed.reasoning, parsed.content);
        }
        let unread = self.unread(&parsed, cut);
        let whole = message(parsed.reasoning, parsed.content + unread);
        self.attempted(whole, cut, seed)
    }

    /// The calls before one that the parser cannot read: it refuses them all.
    fn before_unread(&self, seed: u64) -> Option<Message> {
        let begins = attempt::each(&self.raw, &self.format.applied);
        // Before the first there is none.
        let behind = begins.len().saturating_sub(1);
        begins.into_iter().take(behind).find_map(|at| {
            let parsed = self.parser.parse(self.raw[..at].trim_end(), false).ok()?;
            let mut calls = self
                .calls(&parsed, seed)
                .filter(|calls| !calls.is_empty())?;
            let found = attempt::find(&self.raw[at..], &self.format.applied)?;
            calls.push(ToolCall {
                id: id(seed, calls.len()),
                name: found.name,
                arguments: Value::Object(found.arguments),
            });
            Some(Message {
                calls,
                unread: true,
                ..message(parsed.reasoning, parsed.content)
            })
        })
    }

    /// A reply with a call in its text that the parser could not read: the call, marked so.
    fn attempted(&self, mut whole: Message, cut: bool, seed: u64) -> Message {
        if !self.attempts || cut || self.format.plain_calls {
            return whole;
        }
        if let Some(some) = self.before_unread(seed) {
            return some;
        }
        let Some(found) = attempt::find(&whole.text, &self.format.applied) else {
            return whole;
        };
        whole.text.truncate(found.at);
        whole.text.truncate(whole.text.trim_end().len());
        whole.unread = true;
        whole.calls = vec![ToolCall {
            id: id(seed, 0),
            name: found.name,
            arguments: Value::Object(found.arguments),
        }];
        whole
    }

    /// A call after those that could be read.
    fn lost(&self, parsed: &ParsedReply, calls: &[ToolCall], seed: u64) -> Option<ToolCall> {
        if !self.attempts {
            return None;
        }
        let rest = self.after_reasoning(&parsed.reasoning);
        let found = attempt::after(rest, calls, &self.format.applied)?;
        Some(ToolCall {
            id: id(seed, calls.len()),
            name: found.name,
            arguments: Value::Object(found.arguments),
        })
    }

    /// The calls of a reply; none if one of them is not whole.
    fn calls(&self, parsed: &ParsedReply, seed: u64) -> Option<Vec<ToolCall>> {
        let mut calls = calls(parsed, seed)?;
        let bare = |call: &ToolCall| call.arguments.as_object().is_some_and(Map::is_empty);
        if calls.iter().any(bare) {
            // llama.cpp reads an object that was written as a text as none.
            for (call, written) in calls.iter_mut().zip(attempt::as_texts(&self.raw)) {
                if let Some(written) = written.filter(|_| bare(call)) {
                    call.arguments = Value::Object(written);
                }
            }
        }
        calls
            .iter_mut()
            .for_each(|call| self.format.names.restore(call));
        Some(calls)
    }

    /// A reply whose calls are not whole: their markup is text.
    fn without_calls(&self, parsed: ParsedReply) -> Message {
        let rest = self.after_reasoning(&parsed.reasoning);
        let text = match rest.find(&parsed.content) {
            Some(at) if !parsed.content.is_empty() => &rest[at..],
            _ => rest.trim_start(),
        };
        message(parsed.reasoning, text.to_owned())
    }

    /// What the parser left out at the end of a text: the start of a mark that never came, a call
    /// that it could not read. A whole mark that closes the text is none of it.
    fn unread<'a>(&'a self, parsed: &ParsedReply, cut: bool) -> &'a str {
        let rest = self.after_reasoning(&parsed.reasoning);
        if parsed.content.is_empty() {
            let begun = attempt::begun(rest, &self.format.applied);
            return begun.map_or("", |at| &rest[at..]);
        }
        let at = match rest.rfind(&parsed.content) {
            Some(at) if !parsed.content.is_empty() => at + parsed.content.len(),
            _ => return "",
        };
        let rest = &rest[at..];
        let closed = rest.trim_end().ends_with(['>', ']']);
        match rest.trim().is_empty() || (closed && !cut) {
            true => "",
            false => rest,
        }
    }

    /// The reply from the end of its reasoning on.
    fn after_reasoning(&self, reasoning: &str) -> &str {
        if reasoning.is_empty() {
            return &self.raw;
        }
        let from = self
            .raw
            .find(reasoning)
            .map_or(0, |at| at + reasoning.len());
        let rest = &self.raw[from..];
        let ends = self.format.applied.thinking_ends.iter();
        ends.filter_map(|end| rest.trim_start().strip_prefix(end.trim()))
            .min_by_key(|after| after.len())
            .unwrap_or(rest)
    }

    /// A reply without the form its template expects: reasoning by its tags, the rest text.
    fn salvaged(&self) -> Message {
        let applied = &self.format.applied;
        let start = applied.thinking_start.trim();
        let opened = !start.is_empty()
            && applied.generation_prompt.rfind(start).is_some_and(|at| {
                let after = &applied.generation_prompt[at..];
                !applied
                    .thinking_ends
                    .iter()
                    .any(|end| after.contains(end.trim()))
            });
        let body = match self.raw.trim_start().strip_prefix(start) {
            Some(body) if !start.is_empty() => body,
            _ if opened => &self.raw,
            _ => return message(String::new(), self.raw.clone()),
        };
        // A call ends the reasoning too.
        let begun = attempt::begun(body, applied);
        let end = applied
            .thinking_ends
            .iter()
            .map(|end| end.trim())
            .filter(|end| !end.is_empty())
            .filter_map(|end| body.find(end).map(|at| (at, end.len())))
            .min();
        if let Some(begun) = begun.filter(|begun| end.is_none_or(|(at, _)| *begun < at)) {
            return message(body[..begun].to_owned(), body[begun..].to_owned());
        }
        match end {
            Some((at, len)) => message(
                body[..at].to_owned(),
                body[at + len..].trim_start().to_owned(),
            ),
            None => message(body.to_owned(), String::new()),
        }
    }

    /// Events for what is new. A reading that takes something back is waited out; at the end the
    /// rest is shown from where both agree.
    fn show(&mut self, reasoning: &str, text: &str, last: bool) -> Vec<ReplyEvent> {
        let mut events = Vec::new();
        if let Some(more) = news(&self.reasoning, reasoning, last) {
            self.reasoning = reasoning.to_owned();
            events.push(ReplyEvent::Reasoning(more));
        }
        // What may be the beginning of a plain call is shown when that is decided.
        let text = match last {
            false => &text[..self.decided(text)],
            true => text,
        };
        if let Some(more) = news(&self.text, text, last) {
            self.text = text.to_owned();
            events.push(ReplyEvent::Text(more));
        }
        events
    }
}

fn news(shown: &str, now: &str, last: bool) -> Option<String> {
    // The last reading may see white space before a text that those before it did not, or none.
    let as_shown = match last {
        true => now.trim_start().strip_prefix(shown.trim_start()),
        false => None,
    };
    let more = match now.strip_prefix(shown).or(as_shown) {
        Some(more) => more,
        None if last && !shown.starts_with(now) => {
            let same = shown
                .bytes()
                .zip(now.bytes())
                .take_while(|(a, b)| a == b)
                .count();
            let from = (0..=same)
                .rev()
                .find(|at| now.is_char_boundary(*at))
                .unwrap_or(0);
            &now[from..]
        }
        None => return None,
    };
    (!more.is_empty()).then(|| more.to_owned())
}

fn message(reasoning: String, text: String) -> Message {
    Message {
        reasoning: (!reasoning.is_empty()).then_some(reasoning),
        ..Message::assistant(text)
    }
}

/// The calls of a reply; none if one of them is not whole.
fn calls(parsed: &ParsedReply, seed: u64) -> Option<Vec<ToolCall>> {
    let whole = |(index, call): (usize, &crate::llama::bridge::ParsedCall)| {
        let text = match call.arguments.trim() {
            "" => "{}",
            text => text,
        };
        // Some models write the object as a text.
        let arguments: Map<String, Value> = match serde_json::from_str(text).ok()? {
            Value::Object(arguments) => arguments,
            Value::String(inner) => serde_json::from_str(&inner).ok()?,
            _ => return None,
        };
        (!call.name.is_empty()).then(|| ToolCall {
            id: match call.id.as_str() {
                "" => id(seed, index),
                given => given.to_owned(),
            },
            name: call.name.clone(),
            arguments: Value::Object(arguments),
        })
    };
    parsed.calls.iter().enumerate().map(whole).collect()
}

/// Nine letters and digits: the form that the strictest templates accept.
fn id(seed: u64, index: usize) -> String {
    let mut bytes = seed.to_le_bytes().to_vec();
    bytes.extend((index as u64).to_le_bytes());
    blake3::hash(&bytes).to_hex()[..9].to_owned()
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
