//! Calls in the plain tool format, wherever they stand in a reply. Small models write them before or after
//! text, in a Markdown code fence, without the wrapper, or several of them; all of these are calls. JSON
//! that names no tool of the session is text.
//!
//! Where a reply may be beginning a call, its text is not shown until that is decided, so nobody sees the
//! JSON of a call.

use serde_json::{Map, Value};

use super::attempt;
use crate::chat::message::ToolCall;

/// Most places where JSON may begin that are tried without finding an object.
const MOST_TRIED: usize = 64;
/// Most calls of one reply.
const MOST_CALLS: usize = 16;
/// Most brackets at the end of a reply that are added where the model forgot them.
const MOST_CLOSERS: usize = 4;
/// The key that the plain format asks for.
const WRAPPER: &str = "{\"tool_call";
/// How the JSON of a call begins, without its white space.
const BEGINNINGS: &[&str] = &[
    WRAPPER,
    "{\"name\":",
    "{\"tool_name\":",
    "{\"tool\":",
    "{\"function\":",
    "{\"type\":\"function\"",
];
/// Most characters by which the beginning of a call is known.
const START: usize = 24;
/// What small models write around a call that this format does not ask for.
const TAGS: (&str, &str) = ("<tool_call>", "</tool_call>");

/// A reply with calls.
#[derive(Debug, Default, PartialEq)]
pub(super) struct FoundCalls {
    /// Its text without them.
    pub text: String,
    /// In order, without ids.
    pub calls: Vec<ToolCall>,
    /// The last of them could not be read.
    pub unread: bool,
}

/// The calls of a whole reply; nothing where there is none. `tools` are the names of the session's tools. With
/// `attempts` a call that cannot be read counts as one and is the last, and so does one that names no tool.
pub(super) fn read(text: &str, tools: &[String], attempts: bool) -> Option<FoundCalls> {
    let mut found = FoundCalls::default();
    let mut spans: Vec<(usize, usize)> = Vec::new();
    let mut tried = TriedPlaces::default();
    let mut at = 0;
    while let Some(next) = tried.next(text, at) {
        at = next;
        let (value, end) = match Json::at(text, at) {
            Json::Whole(value, end) => (Some(value), end),
            Json::Open => match repaired(&text[at..]) {
                Some(value) => (Some(value), text.len()),
                None => (None, at + 1),
            },
            Json::Wrong => (None, at + 1),
        };
        if value.is_none() {
            tried.failed(&text[at..]);
        }
        let defined = value.as_ref().is_some_and(is_definition);
        let calls = value.and_then(|value| calls_of(&value, tools, attempts, text, (at, end)));
        if let Some(calls) = calls {
            found.calls.extend(calls);
            spans.push((at, end));
        } else if attempts
            && !defined
            && let Some(call) = attempted(text, at, tools)
        {
            found.calls.push(call);
            found.unread = true;
            spans.push((at, text.len()));
            break;
        }
        if found.calls.len() >= MOST_CALLS {
            break;
        }
        at = end;
    }
    found.calls.truncate(MOST_CALLS);
    found.text = without(text, &spans);
    (!found.calls.is_empty()).then_some(found)
}

/// How much of a reply that still comes may be shown, in bytes: up to where a call may be beginning.
pub(super) fn shown(text: &str, tools: &[String], attempts: bool) -> usize {
    let mut tried = TriedPlaces::default();
    let mut at = 0;
    while let Some(next) = tried.next(text, at) {
        at = next;
        match Json::at(text, at) {
            Json::Whole(value, end) => {
                let calls = calls_of(&value, tools, attempts, text, (at, end));
                let meant = attempts && !is_definition(&value);
                if calls.is_some() || (meant && may_be_attempted(text, at, tools).is_some()) {
                    return opening(text, at);
                }
                at = end;
            }
            Json::Open if begins(&text[at..]) => return opening(text, at),
            Json::Wrong if attempts && may_be_attempted(text, at, tools).is_some() => {
                return opening(text, at);
            }
            Json::Open | Json::Wrong => {
                tried.failed(&text[at..]);
                at += 1;
            }
        }
    }
    opening(text, text.len() - half_opened(text))
}

/// Places that were tried without finding an object: each costs the text behind it. What begins as a call
/// does has a bound of its own, so that no other braces use it up.
#[derive(Default)]
struct TriedPlaces {
    calls: usize,
    others: usize,
}

impl TriedPlaces {
    /// The next place from `from` on that may be tried.
    fn next(&self, text: &str, from: usize) -> Option<usize> {
        let mut at = from;
        loop {
            at = next_object(text, at)?;
            let failed = match begins(&text[at..]) {
                true => self.calls,
                false => self.others,
            };
            if failed < MOST_TRIED {
                return Some(at);
            }
            at += 1;
        }
    }

    /// No object is there.
    fn failed(&mut self, text: &str) {
        match begins(text) {
            true => self.calls += 1,
            false => self.others += 1,
        }
    }
}

/// The next place from `from` on where a JSON object may begin.
fn next_object(text: &str, from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += text.get(at..)?.find('{')?;
        let inner = text[at + 1..].trim_start();
        if inner.is_empty() || inner.starts_with(['"', '\'']) {
            return Some(at);
        }
        at += 1;
    }
}

/// Bytes at the end of a text that may be the beginning of a fence or a tag.
fn half_opened(text: &str) -> usize {
    let line = text.rfind('\n').map_or(0, |end| end + 1);
    if matches!(text[line..].trim_start(), "`" | "``") {
        return text[line..].trim_start().len();
    }
    (1..TAGS.0.len())
        .rev()
        .find(|len| text.ends_with(&TAGS.0[..*len]))
        .unwrap_or(0)
}

/// JSON that begins at a place.
enum Json {
    /// An object, and where it ends.
    Whole(Value, usize),
    /// The text ends before the object does.
    Open,
    /// It is no JSON.
    Wrong,
}

impl Json {
    fn at(text: &str, at: usize) -> Json {
        let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
        match values.next() {
            Some(Ok(value)) => Json::Whole(value, at + values.byte_offset()),
            Some(Err(error)) if error.is_eof() => Json::Open,
            _ => Json::Wrong,
        }
    }
}

/// The object that a text is with the brackets that are missing at its end.
fn repaired(text: &str) -> Option<Value> {
    serde_json::from_str(&format!("{}{}", text.trim_end(), closers(text)?)).ok()
}

/// The brackets that are missing at the end; nothing where that is inside a text, or too many are.
fn closers(text: &str) -> Option<String> {
    let (mut open, mut quoted, mut escaped) = (Vec::new(), false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '{' => open.push('}'),
            '[' => open.push(']'),
            '}' | ']' => drop(open.pop()),
            _ => {}
        }
    }
    let good = !quoted && open.len() <= MOST_CLOSERS;
    good.then(|| open.into_iter().rev().collect())
}

/// The calls that a JSON object is. One without the wrapper must name a tool of the session; so must one in the
/// middle of a line, and one with text around it where nobody would answer that there is no such tool.
fn calls_of(
    value: &Value,
    tools: &[String],
    attempts: bool,
    text: &str,
    (start, end): (usize, usize),
) -> Option<Vec<ToolCall>> {
    let object = value.as_object()?;
    let listed = object.get("tool_calls").or_else(|| object.get("tool_call"));
    let Some(inner) = listed else {
        return Some(vec![call_of(object, tools, false)?]);
    };
    let alone = without(text, &[(start, end)]).is_empty() && object.len() == 1;
    let one = |value: &Value| {
        let object = value.as_object()?;
        let object = object
            .get("tool_call")
            .and_then(Value::as_object)
            .unwrap_or(object);
        call_of(object, tools, true)
    };
    let calls: Vec<ToolCall> = match inner {
        Value::Array(list) => list.iter().map(one).collect::<Option<_>>()?,
        inner => vec![one(inner)?],
    };
    let known = |call: &ToolCall| tools.contains(&call.name);
    let meant = alone || calls.iter().all(known) || (attempts && begins_line(text, start));
    (!calls.is_empty() && meant).then_some(calls)
}

/// The call that an object is; one without the wrapper names a tool and has arguments.
fn call_of(object: &Map<String, Value>, tools: &[String], wrapped: bool) -> Option<ToolCall> {
    if defines(object) {
        return None;
    }
    if let Some(Value::Object(inner)) = object.get("function") {
        return call_of(inner, tools, wrapped);
    }
    let name = ["name", "tool_name", "tool", "function"]
        .iter()
        .find_map(|key| object.get(*key)?.as_str())?;
    let arguments = match arguments_of(object) {
        None | Some(Value::Null) if wrapped => Map::new(),
        Some(Value::Object(arguments)) => arguments.clone(),
        Some(Value::String(written)) => serde_json::from_str(written).ok()?,
        _ => return None,
    };
    let known = wrapped || tools.iter().any(|tool| tool == name);
    (known && !name.is_empty()).then(|| ToolCall {
        id: String::new(),
        name: name.to_owned(),
        arguments: Value::Object(arguments),
    })
}

fn arguments_of(object: &Map<String, Value>) -> Option<&Value> {
    ["arguments", "parameters", "args", "input"]
        .iter()
        .find_map(|key| object.get(*key))
}

/// Whether this is a tool's definition, which a model may repeat.
fn is_definition(value: &Value) -> bool {
    let Some(object) = value.as_object() else {
        return false;
    };
    let inner = object.get("function").and_then(Value::as_object);
    defines(inner.unwrap_or(object))
}

/// Whether what stands for the arguments is a schema; or there are none, and a description.
fn defines(object: &Map<String, Value>) -> bool {
    match arguments_of(object) {
        Some(Value::Object(given)) if !given.is_empty() => {
            given.get("type").is_some_and(|kind| kind == "object")
                && given.get("properties").is_some_and(Value::is_object)
        }
        _ => object.contains_key("description"),
    }
}

/// Whether a text may go on to be a call, as far as it is there.
fn begins(text: &str) -> bool {
    let start = start_of(text);
    BEGINNINGS
        .iter()
        .any(|known| start.starts_with(known) || known.starts_with(&start))
}

/// The beginning of a text without white space, with one kind of quotation mark.
fn start_of(text: &str) -> String {
    let dense = text.chars().filter(|c| !c.is_whitespace()).take(START);
    dense.map(|c| if c == '\'' { '"' } else { c }).collect()
}

/// Whether nothing but what opens a call stands before it in its line.
fn begins_line(text: &str, at: usize) -> bool {
    let before = text[..opening(text, at)].trim_end_matches([' ', '\t']);
    before.is_empty() || before.ends_with('\n')
}

/// A call at `at` that was meant and is not one: its JSON is wrong, or its arguments are no object. In the middle
/// of a line it names a tool, and the reply ends with it.
fn attempted(text: &str, at: usize, tools: &[String]) -> Option<ToolCall> {
    let call = may_be_attempted(text, at, tools)?;
    let ends = text.trim_end().ends_with(['}', ']', '`', '>', '"']);
    (ends || begins_line(text, at)).then_some(call)
}

/// The same for a text of which more may come: what is there may still become such a call.
fn may_be_attempted(text: &str, at: usize, tools: &[String]) -> Option<ToolCall> {
    let begins_line = begins_line(text, at);
    let text = &text[at..];
    let name = attempt::json_name(text);
    let known = name
        .as_ref()
        .is_some_and(|name| tools.iter().any(|tool| tool == name));
    if !begins_line && !known {
        return None;
    }
    let bare = known
        && begins(text)
        && ["\"arguments\"", "\"parameters\""]
            .iter()
            .any(|key| text.contains(key));
    let meant = bare || start_of(text).starts_with(WRAPPER);
    meant.then(|| ToolCall {
        id: String::new(),
        name: attempt::plausible(&name.unwrap_or_default()),
        arguments: Value::Object(Map::new()),
    })
}

/// A text without these parts, and without the brackets, fences and tags around them.
fn without(text: &str, spans: &[(usize, usize)]) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let mut opened = OpenedAround::default();
    let mut from = 0;
    for (start, end) in spans {
        parts.push(&text[from..opened.opening(text, *start).max(from)]);
        from = opened.closing(text, *end);
    }
    parts.push(&text[from..]);
    let parts = parts.iter().map(|part| part.trim());
    let parts: Vec<&str> = parts
        .filter(|part| {
            !part.is_empty() && part.chars().any(|c| !matches!(c, '[' | ']' | ',' | '`'))
        })
        .collect();
    parts.join("\n\n")
}

/// Where what opens a call at `at` begins: brackets, the first line of a fence, a tag.
fn opening(text: &str, at: usize) -> usize {
    OpenedAround::default().opening(text, at)
}

/// What was opened before calls and is not closed yet.
#[derive(Default)]
struct OpenedAround {
    fences: usize,
    tags: usize,
}

impl OpenedAround {
    /// Where what opens a call at `at` begins.
    fn opening(&mut self, text: &str, at: usize) -> usize {
        let mut begin = at;
        loop {
            let before = text[..begin].trim_end();
            let line = before.rfind('\n').map_or(0, |end| end + 1);
            let fence = before[line..].trim_start();
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            begin = if fence.starts_with("```") && fence[3..].chars().all(word) {
                self.fences += 1;
                before.len() - fence.len()
            } else if let Some(tagged) = before.strip_suffix(TAGS.0) {
                self.tags += 1;
                tagged.len()
            } else if let Some(listed) = before.strip_suffix(['[', ','])
                // Of a list only: a comma in a sentence is the sentence's.
                && (listed.is_empty() || listed.ends_with(['\n', '}']))
            {
                listed.len()
            } else {
                return begin;
            };
        }
    }

    /// Where what closes a call that ends at `at` ends. A fence or a tag that nothing opened opens something
    /// else.
    fn closing(&mut self, text: &str, at: usize) -> usize {
        let mut end = at;
        loop {
            let rest = text[end..].trim_start();
            let inner = if self.fences > 0
                && let Some(inner) = rest.strip_prefix("```")
            {
                self.fences -= 1;
                inner
            } else if self.tags > 0
                && let Some(inner) = rest.strip_prefix(TAGS.1)
            {
                self.tags -= 1;
                inner
            } else if let Some(inner) = rest.strip_prefix([']', ',', '}']) {
                inner
            } else {
                return end;
            };
            end = text.len() - inner.len();
        }
    }
}

#[cfg(test)]
#[path = "found_tests.rs"]
mod tests;
