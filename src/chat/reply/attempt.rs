//! Calls that do not have the template's form: where one begins, and what it seems to ask for. npast
//! reports what is found here and never runs it: only llama.cpp's parser decides what a call is.

use serde_json::{Map, Value};

use crate::chat::message::ToolCall;
use crate::chat::template::adapt::plain_name;
use crate::llama::bridge::Applied;

/// How formats open a call. Those count that a format's own parser knows.
const OPENERS: &[&str] = &[
    "<tool_call>",
    "<function=",
    "<function name=",
    "<tool_calls>",
    "<|tool_call>",
    "<|tool_call|>",
    "<|tool_calls|>",
    "<|tool_call_start|>",
    "<|tool_calls_section_begin|>",
    "<|tool_call_begin|>",
    "<|tool▁calls▁begin|>",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁call▁begin｜>",
    "<seed:tool_call>",
    "<minimax:tool_call>",
    "<|python_tag|>",
    "<|action_start|>",
    "<|START_ACTION|>",
    "<TOOLCALL>",
    "<invoke name=",
    "[TOOL_CALLS]",
    " to=functions.",
    ">>>",
];

/// Openers of which each call has one.
const EACH: &[&str] = &[
    "<tool_call>",
    "<function=",
    "<function name=",
    "<invoke name=",
    "<|tool_call>",
    "<|tool_call_begin|>",
    "<｜tool▁call▁begin｜>",
];

/// What stands before a tool's name, and what ends it.
const NAMES: &[(&str, &[char])] = &[
    ("<function=", &['>', '\n']),
    ("<function name=\"", &['"', '\n']),
    ("<invoke name=\"", &['"', '\n']),
    ("to=functions.", &[' ', '<', '\n']),
    ("functions.", &[':', '<', '\n', ' ']),
    ("call:", &['{', '<', '\n']),
    ("[TOOL_CALLS]", &['[', '{', '\n']),
    ("<tool_call>", &['\n', '<', '{']),
    ("[", &['(', '\n', '{']),
    (">>>", &['\n', '{']),
];

/// How a parameter is written, one at a time: before its name, before and after its value.
const PARAMETERS: &[(&str, &str, &str)] = &[
    ("<parameter=", ">", "</parameter>"),
    ("<parameter name=\"", "\">", "</parameter>"),
    ("<param name=\"", "\">", "</param>"),
    ("<arg_key>", "<arg_value>", "</arg_value>"),
];

/// Most calls of a reply that are looked for.
const MOST_CALLS: usize = 16;

/// Most places where JSON may begin that are tried.
const MOST_TRIED: usize = 64;

/// Most parameters that are looked for.
const MOST_PARAMETERS: usize = 64;

/// A call that was begun.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CallAttempt {
    /// Where in the text.
    pub at: usize,
    /// The tool that was meant, as far as it is known.
    pub name: String,
    /// What could be read of the arguments.
    pub arguments: Map<String, Value>,
}

/// The openers that a format's parser knows.
fn openers<'a>(applied: &'a Applied) -> impl Iterator<Item = &'a str> {
    let all = OPENERS.iter().map(|opener| -> &'a str { opener });
    all.filter(|opener| {
        let escaped = Value::from(*opener).to_string();
        applied
            .parser
            .contains(escaped[1..escaped.len() - 1].trim())
    })
}

/// Where a call begins in a text: at an opener that the format's parser knows.
pub(super) fn begun(text: &str, applied: &Applied) -> Option<usize> {
    let words = applied.triggers.iter().filter(|t| t.kind == 1);
    let words = words.map(|t| t.value.trim()).filter(|word| word.len() > 2);
    openers(applied)
        .chain(words)
        .filter_map(|opener| text.find(opener))
        .min()
}

/// The call that a text holds, or is.
pub(super) fn find(text: &str, applied: &Applied) -> Option<CallAttempt> {
    if let Some(at) = begun(text, applied) {
        let body = &text[at..];
        let (name, arguments) = in_json(body).unwrap_or_else(|| (named(body), pairs(body)));
        return Some(CallAttempt {
            at,
            name: plausible(&name),
            arguments,
        });
    }
    // Formats without openers have nothing but the JSON of a call.
    if openers(applied).next().is_some() {
        return None;
    }
    let inner = text.trim();
    let inner = inner.strip_prefix("```json").unwrap_or(inner);
    if !inner.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let (name, arguments) = in_json(inner)?;
    Some(CallAttempt {
        at: 0,
        name: plausible(&name),
        arguments,
    })
}

/// Where single calls begin in a reply, the last first.
pub(super) fn each(text: &str, applied: &Applied) -> Vec<usize> {
    let known = EACH
        .iter()
        .find(|opener| applied.parser.contains(**opener) && text.contains(**opener));
    let at = known.map(|opener| text.rmatch_indices(opener).take(MOST_CALLS));
    at.into_iter().flatten().map(|(at, _)| at).collect()
}

/// The first call of a reply behind those that were read: formats that open each call with a mark
/// have more marks then than calls.
pub(super) fn after(text: &str, read: &[ToolCall], applied: &Applied) -> Option<CallAttempt> {
    EACH.iter().find_map(|opener| {
        // A value may hold the mark.
        if !applied.parser.contains(opener) || read.iter().any(|c| holds(&c.arguments, opener)) {
            return None;
        }
        let (at, _) = text.match_indices(opener).nth(read.len())?;
        find(&text[at..], applied)
    })
}

fn holds(value: &Value, mark: &str) -> bool {
    match value {
        Value::String(text) => text.contains(mark),
        Value::Array(list) => list.iter().any(|v| holds(v, mark)),
        Value::Object(map) => map.values().any(|v| holds(v, mark)),
        _ => false,
    }
}

/// The objects that calls have written as texts, in the order of the calls; nothing for a call whose
/// arguments are none such.
pub(super) fn as_texts(text: &str) -> Vec<Option<Map<String, Value>>> {
    let mut out = Vec::new();
    let mut at = 0;
    for _ in 0..MOST_TRIED {
        let Some(next) = text[at..].find('{') else {
            break;
        };
        at += next;
        let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
        match values.next() {
            Some(Ok(value)) => {
                at += values.byte_offset();
                let written = ["arguments", "parameters", "args"]
                    .iter()
                    .find_map(|key| value.get(*key));
                if value.get("name").is_some() || written.is_some() {
                    let text = written.and_then(Value::as_str);
                    out.push(text.and_then(|text| serde_json::from_str(text).ok()));
                }
            }
            _ => at += 1,
        }
    }
    out
}

/// A call as JSON, under the names that formats have for its parts.
fn in_json(text: &str) -> Option<(String, Map<String, Value>)> {
    let from = text.find('{')?;
    let mut values = serde_json::Deserializer::from_str(&text[from..]).into_iter::<Value>();
    let mut value = values.next()?.ok()?;
    for inner in ["tool_call", "function"] {
        if let Some(object @ Value::Object(_)) = value.get_mut(inner) {
            value = object.take();
        }
    }
    let name = ["name", "tool_name", "function"]
        .iter()
        .find_map(|key| value.get(*key)?.as_str())?
        .to_owned();
    let arguments = ["arguments", "parameters", "args"]
        .iter()
        .find_map(|key| value.get(*key));
    match arguments {
        Some(Value::Object(arguments)) => Some((name, arguments.clone())),
        Some(_) => Some((name, Map::new())),
        None => None,
    }
}

fn named(body: &str) -> String {
    if let Some(name) = json_name(body) {
        return name;
    }
    let found = NAMES.iter().filter_map(|(before, ends)| {
        let from = body.find(before)? + before.len();
        let rest = body[from..].trim_start();
        let end = rest.find(*ends).unwrap_or(rest.len());
        let name = rest[..end].trim();
        let plain = !name.is_empty() && name.len() <= 64 && !name.contains(char::is_whitespace);
        plain.then(|| name.to_owned())
    });
    found.into_iter().next().unwrap_or_default()
}

/// The name in JSON that is not whole.
pub(super) fn json_name(body: &str) -> Option<String> {
    let (_, rest) = body.split_once("\"name\"")?;
    let rest = rest.trim_start().strip_prefix(':')?.trim_start();
    let (name, _) = rest.strip_prefix('"')?.split_once('"')?;
    (!name.is_empty() && name.len() <= 64).then(|| name.to_owned())
}

fn pairs(body: &str) -> Map<String, Value> {
    let mut out = Map::new();
    for (open, between, close) in PARAMETERS {
        let mut rest = body;
        while let Some(at) = rest.find(open) {
            rest = &rest[at + open.len()..];
            let Some(end) = rest.find(between) else { break };
            let name = rest[..end]
                .split(['<', '"'])
                .next()
                .unwrap_or_default()
                .trim();
            rest = &rest[end + between.len()..];
            let Some(end) = rest.find(close) else { break };
            let value = rest[..end].trim_matches('\n');
            if out.len() < MOST_PARAMETERS && name.len() <= 128 {
                out.insert(name.to_owned(), Value::from(value));
            }
            rest = &rest[end + close.len()..];
        }
        if !out.is_empty() {
            break;
        }
    }
    out
}

/// A name that templates can write.
pub(super) fn plausible(name: &str) -> String {
    let name: String = plain_name(name).chars().take(64).collect();
    match name.is_empty() {
        true => "unknown".to_owned(),
        false => name,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn format(parser: &str) -> Applied {
        Applied {
            parser: parser.to_owned(),
            ..Applied::plain(String::new(), String::new())
        }
    }

    #[test]
    fn a_call_is_found_in_the_forms_that_formats_have() {
        let table = [
            (
                "<tool_call>\n<function=readfile>\n<parameter=path>\na.txt\n</parameter>\n</function>\n</tool_call>",
                "readfile",
                json!({"path": "a.txt"}),
            ),
            (
                "Now.\n<tool_call>\n{\"name\": \"readfile\", \"arguments\": {\"path\": \"a\"}}\n</tool_call>",
                "readfile",
                json!({"path": "a"}),
            ),
            (
                "<tool_call>look\n<arg_key>z</arg_key>\n<arg_value>1</arg_value>\n</tool_call>",
                "look",
                json!({"z": "1"}),
            ),
            (
                "<invoke name=\"look\"><parameter name=\"z\">1</parameter></invoke>",
                "look",
                json!({"z": "1"}),
            ),
            ("[TOOL_CALLS]look[ARGS]{\"z\": 1}", "look", json!({})),
            ("<|tool_call>call:look{z:1}", "look", json!({})),
            (" to=functions.look <|message|>{", "look", json!({})),
            ("<|tool_call_start|>[look(z=1)]", "look", json!({})),
            (
                "<tool_call>\n{\"name\": \"look\", \"argu",
                "look",
                json!({}),
            ),
            ("<tool_call>", "unknown", json!({})),
        ];
        for (text, name, arguments) in table {
            let format = format(&OPENERS.join(" "));
            let found = find(text, &format).expect(text);
            assert_eq!(
                (found.name.as_str(), Value::Object(found.arguments)),
                (name, arguments),
                "{text}"
            );
        }
        let json = "{\"name\": \"look\", \"parameters\": {\"z\": 1}}";
        let bare = find(json, &format("")).expect("a call");
        assert_eq!((bare.at, bare.name.as_str()), (0, "look"));
    }

    #[test]
    fn arguments_that_were_written_as_a_text_are_found_in_order() {
        let text = r#"a { b <c>{"name": "x", "arguments": {"n": 1}}</c>
            <c>{"name": "y", "arguments": "{\"n\": 2}"}</c> [{"name": "z", "arguments": "no"}]"#;
        let n = json!({"n": 2}).as_object().cloned();
        assert_eq!(as_texts(text), [None, n, None]);
    }

    #[test]
    fn text_that_speaks_of_calls_of_other_formats_is_text() {
        let format = format("\"literal\":\"<tool_call>\"");
        for text in [
            "Use [TOOL_CALLS] here.",
            "{\"name\": \"x\"}",
            "",
            "{",
            "a <invoke name=\"x\">",
        ] {
            assert_eq!(find(text, &format), None, "{text}");
        }
    }
}
