//! The plain tool format: for templates that describe no tools, or whose calls llama.cpp cannot
//! parse. The tools stand in the system text, a call is one JSON object, its result a user message.
//!
//! A call is asked for as a reply that is `{"tool_call": {"name": "…", "arguments": {…}}}` and nothing else.
//! `chat/reply/found.rs` reads what models write instead of that.

use serde_json::{Map, Value};

use super::canonical::{Message, Role, ToolCall};

/// How a call is written, for the model.
pub const FORM: &str = "{\"tool_call\": {\"name\": \"<tool>\", \"arguments\": {<arguments>}}}";

/// The part of the system text that describes the tools (OpenAI form).
pub fn describe(tools: &Value) -> String {
    let mut text = format!(
        "# Tools\n\nYou can call the tools below, one call per reply. To call one, reply with one JSON object and nothing else:\n\
         {FORM}\n\
         The result arrives in the next message. To answer without a tool, write plain text.\n",
    );
    for tool in tools.as_array().into_iter().flatten() {
        let function = tool.get("function").unwrap_or(tool);
        text.push('\n');
        text.push_str(&function.to_string());
    }
    text
}

/// How a call stands in the history.
pub fn call_text(call: &ToolCall) -> String {
    let mut inner = Map::new();
    inner.insert("name".into(), Value::String(call.name.clone()));
    inner.insert("arguments".into(), call.arguments.clone());
    let mut outer = Map::new();
    outer.insert("tool_call".into(), Value::Object(inner));
    Value::Object(outer).to_string()
}

/// How a result stands in the history.
pub fn result_text(result: &Message) -> String {
    let name = result.name.as_deref().unwrap_or("the tool");
    format!("Result of {name}:\n{}", result.text)
}

/// Messages with calls and results written as ordinary text.
pub fn flatten(message: &Message) -> Message {
    match message.role {
        Role::Tool => Message::user(result_text(message)),
        Role::Assistant if !message.calls.is_empty() => {
            let mut parts = vec![message.text.clone()];
            parts.extend(message.calls.iter().map(call_text));
            parts.retain(|part| !part.is_empty());
            Message {
                text: parts.join("\n"),
                calls: Vec::new(),
                ..message.clone()
            }
        }
        _ => message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_tool_is_described_in_one_line() {
        let tools = json!([{"type": "function", "function": {"name": "a"}}, {"type": "function", "function": {"name": "b"}}]);
        let text = describe(&tools);
        assert!(
            text.ends_with("\n{\"name\":\"a\"}\n{\"name\":\"b\"}"),
            "{text}"
        );
    }
}
