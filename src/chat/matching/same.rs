//! Whether two histories say the same: the history that a client sends is compared with the stored one, in
//! a form that no client changes. Pure. A change of form never ends the match, a change of
//! meaning always does, at the message in which it is.
//!
//! The form of a message: its role; its text without white space at both ends; its calls as (name,
//! arguments as JSON values: keys in any order, numbers by value); results by their place among the
//! calls. Ids, reasoning, and every field that a [`Message`] does not have are no part of it.
//!
//! - [`normal`]: a history with the same number of messages for all clients: an assistant's message
//!   that was split is one again, results stand in the order of their calls, a message that says
//!   nothing is left out.
//! - [`chain`]: a digest of a message and all before it: equal digests are equal histories.
//! - [`common`]: how far two histories are the same, and where and how they differ.
//! - `check`: what no conversation can be.

use std::fmt;

use super::blocks::masked_first;
pub use super::chain::{START, chain};
pub use super::check::{Disorder, check};
pub use super::said::NormalMessage;
use super::values::{bare, same_value};
use crate::chat::message::{Message, Role};

#[cfg(test)]
#[path = "same_tests.rs"]
mod tests;

/// How far two histories are the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Matched {
    /// Messages in normal form that are the same from the start on.
    pub messages: usize,
    /// What follows them, if anything follows in either history.
    pub difference: Option<Difference>,
}

/// The first difference of two histories.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// The stored message, its index in the history that was given; nothing where that one ends.
    pub stored: Option<usize>,
    /// The incoming message, as above.
    pub incoming: Option<usize>,
    /// Its role: of the incoming message, where there is one.
    pub role: Role,
    /// What differs.
    pub what: DifferenceKind,
}

/// What differs between two messages. No text of a message is in it: it may be logged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DifferenceKind {
    /// The stored history ends here.
    New,
    /// The incoming history ends here.
    Missing,
    /// Another role: that of the stored message.
    Role(Role),
    /// Another text, from this character of the bare texts on.
    Text {
        /// Counted from 0.
        at: usize,
    },
    /// Another number of calls: stored, incoming.
    Calls(usize, usize),
    /// Another tool is called: the call's place, the stored name, the incoming one.
    Name(usize, String, String),
    /// Other arguments: the call's place, the tool, the first argument that differs.
    Arguments(usize, String, String),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = self.role.as_str();
        match self.incoming.or(self.stored) {
            Some(at) => write!(f, "message {at} ({role}): ")?,
            None => write!(f, "({role}): ")?,
        }
        match &self.what {
            DifferenceKind::New => write!(f, "it is new"),
            DifferenceKind::Missing => write!(f, "the history that was sent ends before it"),
            DifferenceKind::Role(stored) => {
                write!(f, "a message of role {} stood here", stored.as_str())
            }
            DifferenceKind::Text { at } => write!(f, "its text differs from character {at} on"),
            DifferenceKind::Calls(stored, sent) => {
                write!(f, "it has {sent} calls, and had {stored}")
            }
            DifferenceKind::Name(at, stored, sent) => {
                write!(f, "call {at} is of the tool {sent}, and was of {stored}")
            }
            DifferenceKind::Arguments(at, tool, key) => {
                write!(f, "the argument {key} of call {at} ({tool}) differs")
            }
        }
    }
}

/// A history in normal form. Costs O(bytes).
pub fn normal(history: &[Message]) -> Vec<NormalMessage> {
    let mut out: Vec<NormalMessage> = Vec::with_capacity(history.len());
    for (at, message) in history.iter().enumerate() {
        if message.note {
            continue;
        }
        if message.role != Role::Assistant {
            let message = message.clone();
            out.push(NormalMessage { message, at });
            continue;
        }
        let mut message = without_thought(message.clone());
        if bare(&message.text).is_empty() && message.calls.is_empty() {
            continue;
        }
        match out.last_mut() {
            Some(last) if last.message.role == Role::Assistant => {
                let before = &mut last.message;
                match (
                    bare(&before.text).is_empty(),
                    bare(&message.text).is_empty(),
                ) {
                    (_, true) => {}
                    (true, false) => before.text = message.text,
                    (false, false) => before.text = format!("{}\n{}", before.text, message.text),
                }
                before.reasoning = before.reasoning.take().or(message.reasoning);
                before.calls.append(&mut message.calls);
                before.unread |= message.unread;
            }
            _ => out.push(NormalMessage { message, at }),
        }
    }
    order_results(&mut out);
    out
}

/// An assistant's message whose text begins with its thinking in tags, as some clients store it.
fn without_thought(mut message: Message) -> Message {
    let text = bare(&message.text);
    if let Some((thought, rest)) = text
        .strip_prefix("<think>")
        .and_then(|inner| inner.split_once("</think>"))
    {
        let thought = bare(thought);
        if message.reasoning.is_none() && !thought.is_empty() {
            message.reasoning = Some(thought.to_owned());
        }
        message.text = bare(rest).to_owned();
    }
    message
}

/// Results in the order of their calls, where their ids say which are whose; each with the name of
/// its tool.
fn order_results(history: &mut [NormalMessage]) {
    let mut i = 0;
    while i < history.len() {
        let calls = std::mem::take(&mut history[i].message.calls);
        let from = i + 1;
        let run = history[from..].iter();
        let count = run.take_while(|s| s.message.role == Role::Tool).count();
        if !calls.is_empty() {
            let results = &mut history[from..from + count];
            let place = |result: &NormalMessage| {
                let id = result
                    .message
                    .call_id
                    .as_deref()
                    .filter(|id| !id.is_empty())?;
                let mut places = calls.iter().enumerate().filter(|(_, call)| call.id == id);
                let only = places.next().map(|(at, _)| at);
                only.filter(|_| places.next().is_none())
            };
            let mut places: Vec<usize> = results.iter().filter_map(place).collect();
            places.sort_unstable();
            places.dedup();
            let known = places.len() == count;
            if known {
                results.sort_by_key(|result| place(result).unwrap_or(usize::MAX));
            }
            for (at, result) in results.iter_mut().enumerate() {
                let at = if known { places[at] } else { at };
                if let Some(call) = calls.get(at) {
                    result.message.name = Some(call.name.clone());
                }
            }
        }
        history[i].message.calls = calls;
        i = from + count;
    }
}

/// How far two histories are the same. Costs O(bytes).
pub fn common(stored: &[Message], incoming: &[Message]) -> Matched {
    compare(&normal(stored), &normal(&from_outside(incoming)))
}

/// A history that came from outside: what says of itself that it is npast's own is not.
pub fn from_outside(history: &[Message]) -> Vec<Message> {
    let own = |message: &Message| Message {
        note: false,
        unread: false,
        ..message.clone()
    };
    history.iter().map(own).collect()
}

/// As [`common`], of histories in normal form.
pub fn compare(stored: &[NormalMessage], incoming: &[NormalMessage]) -> Matched {
    for at in 0..stored.len().max(incoming.len()) {
        let (old, new) = (stored.get(at), incoming.get(at));
        let what = match (old, new) {
            (Some(old), Some(new)) => differs(&old.message, &new.message, is_first(stored, at)),
            (None, _) => Some(DifferenceKind::New),
            (_, None) => Some(DifferenceKind::Missing),
        };
        if let (Some(what), Some(one)) = (what, new.or(old)) {
            return Matched {
                messages: at,
                difference: Some(Difference {
                    stored: old.map(|s| s.at),
                    incoming: new.map(|s| s.at),
                    role: one.message.role,
                    what,
                }),
            };
        }
    }
    Matched {
        messages: stored.len(),
        difference: None,
    }
}

/// Whether the message at `at` is the first user message: what clients write into it with each request
/// is not compared here (see [`super::pins`]).
pub fn is_first(history: &[NormalMessage], at: usize) -> bool {
    let user = |s: &NormalMessage| s.message.role == Role::User;
    history.iter().position(user) == Some(at)
}

/// What differs between two messages; `first` says that they are first user messages.
pub fn differs(stored: &Message, incoming: &Message, first: bool) -> Option<DifferenceKind> {
    if stored.role != incoming.role {
        return Some(DifferenceKind::Role(stored.role));
    }
    let text = |a: &str, b: &str| {
        let (a, b) = (bare(a), bare(b));
        (a != b).then(|| DifferenceKind::Text {
            at: a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count(),
        })
    };
    let said = match first && stored.text != incoming.text {
        true => text(&masked_first(&stored.text), &masked_first(&incoming.text)),
        false => text(&stored.text, &incoming.text),
    };
    if said.is_some() {
        return said;
    }
    for (at, (old, new)) in stored.calls.iter().zip(&incoming.calls).enumerate() {
        if old.name != new.name {
            return Some(DifferenceKind::Name(at, old.name.clone(), new.name.clone()));
        }
        if !same_value(&old.arguments, &new.arguments) {
            let old_keys = old.arguments.as_object().into_iter().flatten();
            let new_keys = new.arguments.as_object().into_iter().flatten();
            let key = old_keys.chain(new_keys).map(|(key, _)| key).find(|key| {
                match (old.arguments.get(key), new.arguments.get(key)) {
                    (Some(a), Some(b)) => !same_value(a, b),
                    _ => true,
                }
            });
            let key = key.cloned().unwrap_or_default();
            return Some(DifferenceKind::Arguments(at, new.name.clone(), key));
        }
    }
    (stored.calls.len() != incoming.calls.len()).then_some(DifferenceKind::Calls(
        stored.calls.len(),
        incoming.calls.len(),
    ))
}
