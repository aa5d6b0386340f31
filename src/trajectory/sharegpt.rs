//! A message as `from` and `value`. Thinking and calls stand in the value as most data sets have them:
//! `<think>…</think>` before the text, `<tool_call>…</tool_call>` behind it. Where that does not say all of
//! a message (ids of calls, white space, tags that are part of a text), the message itself stands beside
//! it.

use serde_json::{Map, Value, json};

use crate::chat::Message;
use crate::chat::message::{Role, ToolCall};

const THINK: (&str, &str) = ("<think>", "</think>");
const CALL: (&str, &str) = ("<tool_call>", "</tool_call>");
const RESULT: (&str, &str) = ("<tool_response>", "</tool_response>");

/// Writes a stored message.
pub(super) fn write(body: &Value) -> Value {
    let Ok(message) = Message::from_json(body) else {
        // npast stores none such; its text is all that can be said.
        return json!({"from": "human", "value": body["content"].as_str().unwrap_or_default()});
    };
    let from = match message.role {
        Role::System => "system",
        Role::User => "human",
        Role::Assistant => "gpt",
        Role::Tool => "tool",
    };
    let value = value_of(&message);
    let mut entry = Map::new();
    entry.insert("from".into(), from.into());
    entry.insert("value".into(), value.as_str().into());
    if plain(message.role, &value).to_json() != *body {
        entry.insert("message".into(), body.clone());
    }
    Value::Object(entry)
}

/// Reads an entry as a stored message.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn read(entry: &Value) -> Result<Value, String> {
    let Value::Object(fields) = entry else {
        return Err("is no object".into());
    };
    let word = |name: &str| match fields.get(name) {
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(_) => Err(format!("has a {name} that is no string")),
        None => Err(format!("has no {name}")),
    };
    let (from, value) = (word("from")?, word("value")?);
    if let Some(body) = fields.get("message") {
        let message = Message::from_json(body).map_err(|error| error.to_string())?;
        // A value that somebody changed since counts more.
        if value_of(&message) == value {
            return Ok(body.clone());
        }
    }
    let role = match from {
        "system" => Role::System,
        "human" | "user" => Role::User,
        "gpt" | "assistant" | "model" | "chatgpt" => Role::Assistant,
        "tool" | "observation" | "function_response" => Role::Tool,
        "function_call" => {
            let call = call(value).ok_or("is a function_call whose value is no call")?;
            let mut message = Message::assistant("");
            message.calls.push(call);
            return Ok(message.to_json());
        }
        other => {
            let shown: String = other.chars().take(40).collect();
            return Err(format!(
                "is from {shown:?}, and system, human, gpt and tool are known"
            ));
        }
    };
    Ok(plain(role, value).to_json())
}

/// What a value alone says.
fn plain(role: Role, value: &str) -> Message {
    match role {
        Role::System => Message::system(value),
        Role::User => Message::user(value),
        Role::Tool => Message {
            call_id: None,
            name: None,
            ..Message::tool_result("", "", unwrapped(value, RESULT).unwrap_or(value))
        },
        Role::Assistant => reply(value),
    }
}

fn value_of(message: &Message) -> String {
    let mut value = String::new();
    if message.role != Role::Assistant {
        return message.text.clone();
    }
    if let Some(reasoning) = &message.reasoning {
        value.push_str(&format!("{}\n{reasoning}\n{}\n\n", THINK.0, THINK.1));
    }
    value.push_str(&message.text);
    for call in &message.calls {
        if !value.is_empty() && !value.ends_with('\n') {
            value.push('\n');
        }
        let call = json!({"name": call.name, "arguments": call.arguments});
        value.push_str(&format!("{}\n{call}\n{}", CALL.0, CALL.1));
    }
    value
}

/// A reply with its thinking and its calls. Tags that are not whole, or not where they belong, are text.
fn reply(value: &str) -> Message {
    let mut rest = value;
    let mut reasoning = None;
    if let Some(inner) = value.trim_start().strip_prefix(THINK.0)
        && let Some((thought, after)) = inner.split_once(THINK.1)
    {
        let thought = thought.strip_prefix('\n').unwrap_or(thought);
        reasoning = Some(thought.strip_suffix('\n').unwrap_or(thought).to_owned());
        rest = after.trim_start_matches('\n');
    }
    let mut message = Message::assistant(rest);
    if let Some((text, calls)) = calls(rest) {
        message.text = text.to_owned();
        message.calls = calls;
    }
    message.reasoning = reasoning;
    message
}

/// The text before calls, and the calls, where nothing but whole calls stands at the end.
fn calls(text: &str) -> Option<(&str, Vec<ToolCall>)> {
    let at = text.find(CALL.0)?;
    let (before, mut rest) = text.split_at(at);
    let mut calls = Vec::new();
    while !rest.is_empty() {
        let (inner, after) = rest.strip_prefix(CALL.0)?.split_once(CALL.1)?;
        calls.push(call(inner)?);
        rest = after.trim_start();
    }
    Some((before.trim_end(), calls))
}

/// A call as JSON: a name and arguments, an object or its text.
fn call(text: &str) -> Option<ToolCall> {
    let value: Value = serde_json::from_str(text).ok()?;
    let name = value
        .get("name")?
        .as_str()
        .filter(|name| !name.is_empty())?;
    let arguments = match value.get("arguments") {
        None | Some(Value::Null) => json!({}),
        Some(Value::String(text)) => serde_json::from_str(text).ok()?,
        Some(other) => other.clone(),
    };
    arguments.is_object().then(|| ToolCall {
        id: String::new(),
        name: name.to_owned(),
        arguments,
    })
}

/// What stands between two tags that are all there is.
fn unwrapped<'a>(value: &'a str, (open, close): (&str, &str)) -> Option<&'a str> {
    let inner = value.trim().strip_prefix(open)?.strip_suffix(close)?;
    let inner = inner.strip_prefix('\n').unwrap_or(inner);
    Some(inner.strip_suffix('\n').unwrap_or(inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(from: &str, value: &str) -> Value {
        read(&json!({"from": from, "value": value})).expect("an entry")
    }

    #[test]
    fn calls_and_thinking_stand_where_data_sets_have_them() {
        let mut reply = Message::assistant("I look.");
        reply.reasoning = Some("Where?".into());
        reply.calls = vec![
            ToolCall {
                id: String::new(),
                name: "find".into(),
                arguments: json!({"x": 1}),
            },
            ToolCall {
                id: String::new(),
                name: "list".into(),
                arguments: json!({}),
            },
        ];
        let value = "<think>\nWhere?\n</think>\n\nI look.\n<tool_call>\n{\"name\":\"find\",\"arguments\":\
                     {\"x\":1}}\n</tool_call>\n<tool_call>\n{\"name\":\"list\",\"arguments\":{}}\n</tool_call>";
        let entry = write(&reply.to_json());
        assert_eq!(entry, json!({"from": "gpt", "value": value}));
        assert_eq!(read(&entry), Ok(reply.to_json()));
        // What others write differently.
        for text in [
            "{\"name\":\"f\",\"arguments\":\"{\\\"x\\\":1}\"}",
            "{\"name\":\"f\",\"arguments\":{\"x\":1}}",
        ] {
            let body = said("function_call", text);
            assert_eq!(body["tool_calls"][0]["function"]["name"], "f");
        }
        assert_eq!(
            said("observation", "<tool_response>\nyes\n</tool_response>")["content"],
            "yes"
        );
    }

    #[test]
    fn what_the_value_cannot_say_stands_beside_it() {
        let table = [
            json!({"role": "assistant", "content": "", "tool_calls":
                [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}),
            json!({"role": "assistant", "content": "the tag <tool_call>\n{\"name\":\"f\"}\n</tool_call>"}),
            json!({"role": "assistant", "content": "<think>\nno\n</think>\n\nx"}),
            json!({"role": "tool", "content": "x", "tool_call_id": "1", "name": "f"}),
            json!({"role": "user", "content": "x", "handover": {"read": []}}),
        ];
        for body in table {
            let entry = write(&body);
            assert_eq!(entry["message"], body, "{entry}");
            assert_eq!(read(&entry), Ok(body));
        }
        // Changed by hand: the value counts.
        let mut entry = write(&json!({"role": "user", "content": "x", "handover": {}}));
        entry["value"] = json!("y");
        assert_eq!(read(&entry), Ok(json!({"role": "user", "content": "y"})));
    }

    #[test]
    fn half_a_tag_is_text_and_what_is_no_entry_is_said() {
        for text in [
            "<tool_call>{}",
            "<tool_call>\n{\"name\":1}\n</tool_call>",
            "<think>open",
        ] {
            assert_eq!(said("gpt", text)["content"], text);
        }
        let table = [
            (json!([]), "is no object"),
            (json!({"value": "x"}), "has no from"),
            (json!({"from": "gpt"}), "has no value"),
            (
                json!({"from": "gpt", "value": 1}),
                "has a value that is no string",
            ),
            (
                json!({"from": "god", "value": ""}),
                "is from \"god\", and system, human, gpt and tool are known",
            ),
            (
                json!({"from": "function_call", "value": "x"}),
                "is a function_call whose value is no call",
            ),
        ];
        for (entry, what) in table {
            assert_eq!(read(&entry), Err(what.to_owned()));
        }
    }
}
