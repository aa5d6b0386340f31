//! The canonical message: the one form in which every room holds a conversation, whatever a client
//! sent and whatever a template makes of it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

/// Whose message it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// Instructions.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
}

impl Role {
    /// The name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        }
    }

    /// The inverse of [`Role::as_str`]; `developer` is a newer name of `system`.
    pub fn parse(name: &str) -> Option<Role> {
        match name {
            "system" | "developer" => Some(Role::System),
            "user" => Some(Role::User),
            "assistant" => Some(Role::Assistant),
            "tool" => Some(Role::Tool),
            _ => None,
        }
    }
}

/// A call that the model made.
#[derive(Clone, PartialEq, Debug)]
pub struct ToolCall {
    /// What a result refers to; empty when the model and the client gave none.
    pub id: String,
    /// The tool.
    pub name: String,
    /// A JSON object; its keys keep the order in which they were written.
    pub arguments: Value,
}

/// One message of a conversation.
#[derive(Clone, PartialEq, Debug)]
pub struct Message {
    /// Whose message it is.
    pub role: Role,
    /// The text; empty where there are only calls.
    pub text: String,
    /// What the model thought before it spoke.
    pub reasoning: Option<String>,
    /// The calls of an assistant message, in the order they were made.
    pub calls: Vec<ToolCall>,
    /// The last call is what could be read of one that lacks the template's form: it is never run.
    pub unread: bool,
    /// A note from npast to the model beside the client's messages (see [`super::pins`]): no client knows of
    /// it or sends it back.
    pub note: bool,
    /// For a tool result: the id of its call.
    pub call_id: Option<String>,
    /// For a tool result: the name of the tool.
    pub name: Option<String>,
}

/// Why a JSON value is not a message.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MessageError {
    /// Not an object.
    #[error("a message must be a JSON object, this is {0}")]
    NotAnObject(&'static str),
    /// No role, or none that is known.
    #[error("a message needs a role: system, user, assistant or tool; this one has {0}")]
    Role(String),
    /// Content of another kind.
    #[error("the content of a message must be a string, null or a list of text parts, not {0}")]
    Content(&'static str),
    /// A part that is no text.
    #[error(r#"part {at} of the content is {found}; only {{"type":"text","text":…}} can be read"#)]
    Part {
        /// Counted from 0.
        at: usize,
        /// Its type.
        found: String,
    },
    /// A field that must be a string.
    #[error("the field {field} of a message must be a string, not {found}")]
    NotAString {
        /// The field.
        field: &'static str,
        /// What stands there.
        found: &'static str,
    },
    /// `tool_calls` is no list.
    #[error("tool_calls must be a list, not {0}")]
    Calls(&'static str),
    /// Calls in a message of another role.
    #[error("only an assistant message can have tool_calls, not a {0} message")]
    Caller(&'static str),
    /// A call without a function name.
    #[error("tool call {at} has no function name")]
    CallName {
        /// Counted from 0.
        at: usize,
    },
    /// Arguments that are no JSON object.
    #[error("the arguments of tool call {at} ({name}) must be a JSON object: {reason}")]
    Arguments {
        /// Counted from 0.
        at: usize,
        /// The tool.
        name: String,
        /// What they are.
        reason: String,
    },
}

impl Message {
    fn new(role: Role, text: impl Into<String>) -> Message {
        Message {
            role,
            text: text.into(),
            reasoning: None,
            calls: Vec::new(),
            unread: false,
            note: false,
            call_id: None,
            name: None,
        }
    }

    /// A system message.
    pub fn system(text: impl Into<String>) -> Message {
        Message::new(Role::System, text)
    }

    /// A user message.
    pub fn user(text: impl Into<String>) -> Message {
        Message::new(Role::User, text)
    }

    /// An assistant message that is only text.
    pub fn assistant(text: impl Into<String>) -> Message {
        Message::new(Role::Assistant, text)
    }

    /// The result of the call `call_id` of the tool `name`.
    pub fn tool_result(
        call_id: impl Into<String>,
        name: impl Into<String>,
        text: impl Into<String>,
    ) -> Message {
        Message {
            call_id: Some(call_id.into()),
            name: Some(name.into()),
            ..Message::new(Role::Tool, text)
        }
    }

    /// The OpenAI form: `role`, `content`, and where there is something to say `reasoning_content`,
    /// `tool_calls` (arguments as a JSON string), `tool_call_id`, `name`; of ours, `unread` and `note`.
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("role".into(), self.role.as_str().into());
        object.insert("content".into(), self.text.as_str().into());
        if let Some(reasoning) = &self.reasoning {
            object.insert("reasoning_content".into(), reasoning.as_str().into());
        }
        if !self.calls.is_empty() {
            let calls = self.calls.iter().map(|call| {
                json!({
                    "id": call.id,
                    "type": "function",
                    "function": { "name": call.name, "arguments": call.arguments.to_string() },
                })
            });
            object.insert("tool_calls".into(), calls.collect());
        }
        if self.unread {
            object.insert("unread".into(), true.into());
        }
        if self.note {
            object.insert("note".into(), true.into());
        }
        if let Some(id) = &self.call_id {
            object.insert("tool_call_id".into(), id.as_str().into());
        }
        if let Some(name) = &self.name {
            object.insert("name".into(), name.as_str().into());
        }
        Value::Object(object)
    }

    /// Reads the OpenAI form. Content may be a string, null, absent, or a list of text parts, which
    /// are joined by newlines; arguments may be an object or a JSON string; `reasoning` is read
    /// like `reasoning_content`; unknown fields are ignored.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn from_json(value: &Value) -> Result<Message, MessageError> {
        let Value::Object(object) = value else {
            return Err(MessageError::NotAnObject(kind(value)));
        };
        let role = match object.get("role") {
            Some(Value::String(name)) => {
                Role::parse(name).ok_or_else(|| MessageError::Role(format!("{name:?}")))?
            }
            Some(other) => return Err(MessageError::Role(kind(other).into())),
            None => return Err(MessageError::Role("none".into())),
        };
        let calls = match object.get("tool_calls") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(list)) => list
                .iter()
                .enumerate()
                .map(|(at, value)| call(at, value))
                .collect::<Result<_, _>>()?,
            Some(other) => return Err(MessageError::Calls(kind(other))),
        };
        if !calls.is_empty() && role != Role::Assistant {
            return Err(MessageError::Caller(role.as_str()));
        }
        let reasoning = match string(object, "reasoning_content")? {
            Some(text) => Some(text),
            None => string(object, "reasoning")?,
        };
        Ok(Message {
            role,
            text: text(object.get("content"))?,
            reasoning,
            unread: !calls.is_empty() && object.get("unread") == Some(&Value::Bool(true)),
            calls,
            note: object.get("note") == Some(&Value::Bool(true)),
            call_id: string(object, "tool_call_id")?,
            name: string(object, "name")?,
        })
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Message, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Message::from_json(&value).map_err(serde::de::Error::custom)
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn string(
    object: &Map<String, Value>,
    field: &'static str,
) -> Result<Option<String>, MessageError> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(MessageError::NotAString {
            field,
            found: kind(other),
        }),
    }
}

fn text(content: Option<&Value>) -> Result<String, MessageError> {
    let parts = match content {
        None | Some(Value::Null) => return Ok(String::new()),
        Some(Value::String(text)) => return Ok(text.clone()),
        Some(Value::Array(parts)) => parts,
        Some(other) => return Err(MessageError::Content(kind(other))),
    };
    let mut texts = Vec::with_capacity(parts.len());
    for (at, part) in parts.iter().enumerate() {
        let found = match (part, part.get("type"), part.get("text")) {
            (Value::Object(_), Some(Value::String(kind)), Some(Value::String(text)))
                if kind == "text" =>
            {
                texts.push(text.as_str());
                continue;
            }
            (Value::Object(_), Some(Value::String(kind)), _) if kind != "text" => {
                format!("of type {kind:?}")
            }
            (Value::Object(_), ..) => "an object without type and text".into(),
            _ => kind(part).into(),
        };
        return Err(MessageError::Part { at, found });
    }
    Ok(texts.join("\n"))
}

fn call(at: usize, value: &Value) -> Result<ToolCall, MessageError> {
    let function = value.get("function");
    let name = function
        .and_then(|f| f.get("name"))
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty())
        .ok_or(MessageError::CallName { at })?;
    let refuse = |reason: String| MessageError::Arguments {
        at,
        name: name.into(),
        reason,
    };
    let arguments = match function.and_then(|f| f.get("arguments")) {
        None | Some(Value::Null) => Value::Object(Map::new()),
        // Some clients write "" for a call without arguments.
        Some(Value::String(text)) if text.trim().is_empty() => Value::Object(Map::new()),
        Some(Value::String(text)) => {
            serde_json::from_str(text).map_err(|error| refuse(error.to_string()))?
        }
        Some(other) => other.clone(),
    };
    if !arguments.is_object() {
        return Err(refuse(format!("this is {}", kind(&arguments))));
    }
    let id = value.get("id").and_then(Value::as_str).unwrap_or_default();
    Ok(ToolCall {
        id: id.into(),
        name: name.into(),
        arguments,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Message, MessageError> {
        Message::from_json(&serde_json::from_str(text).expect("a test's JSON"))
    }

    #[test]
    fn every_kind_of_message_survives_json() {
        let mut calling = Message::assistant("I look.");
        calling.reasoning = Some("Where? ".into());
        calling.calls = vec![ToolCall {
            id: "c1".into(),
            name: "find".into(),
            arguments: json!({"z": 1, "a": [true, null, "é\n"]}),
        }];
        for message in [
            Message::system("Be brief."),
            Message::user(" hello\n"),
            Message::assistant(""),
            calling.clone(),
            Message::tool_result("c1", "find", "nothing"),
        ] {
            assert_eq!(Message::from_json(&message.to_json()), Ok(message));
        }
        let written = calling.to_json().to_string();
        assert!(written.contains(r#""arguments":"{\"z\":1,\"a\":[true,null,\"é\\n\"]}""#));
    }

    #[test]
    fn the_forms_of_other_clients_are_read() {
        let parts = r#"{"role":"user","id":7,"content":[{"type":"text","text":"a","cache":1},{"type":"text","text":"b"}]}"#;
        assert_eq!(read(parts), Ok(Message::user("a\nb")));
        let called = read(
            r#"{"role":"assistant","content":null,"reasoning":"r","tool_calls":[
                {"function":{"name":"f","arguments":{"x":1}}},
                {"id":"i","function":{"name":"g","arguments":""}}]}"#,
        )
        .expect("a message");
        assert_eq!(called.reasoning.as_deref(), Some("r"));
        assert_eq!(called.calls[0].arguments, json!({"x":1}));
        assert_eq!(called.calls[1].arguments, json!({}));
        assert_eq!(
            read(r#"{"role":"developer","content":"d"}"#),
            Ok(Message::system("d"))
        );
    }

    #[test]
    fn what_is_no_message_is_refused_in_a_sentence() {
        let table = [
            ("[]", "a message must be a JSON object, this is a list"),
            (
                r#"{"content":"x"}"#,
                "a message needs a role: system, user, assistant or tool; this one has none",
            ),
            (
                r#"{"role":"god"}"#,
                r#"a message needs a role: system, user, assistant or tool; this one has "god""#,
            ),
            (
                r#"{"role":"user","content":3}"#,
                "the content of a message must be a string, null or a list of text parts, not a number",
            ),
            (
                r#"{"role":"user","content":[{"type":"image_url"}]}"#,
                r#"part 0 of the content is of type "image_url"; only {"type":"text","text":…} can be read"#,
            ),
            (
                r#"{"role":"tool","tool_call_id":1}"#,
                "the field tool_call_id of a message must be a string, not a number",
            ),
            (
                r#"{"role":"assistant","tool_calls":{}}"#,
                "tool_calls must be a list, not an object",
            ),
            (
                r#"{"role":"user","tool_calls":[{"function":{"name":"f"}}]}"#,
                "only an assistant message can have tool_calls, not a user message",
            ),
            (
                r#"{"role":"assistant","tool_calls":[{"id":"x"}]}"#,
                "tool call 0 has no function name",
            ),
            (
                r#"{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"[1]"}}]}"#,
                "the arguments of tool call 0 (f) must be a JSON object: this is a list",
            ),
        ];
        for (json, sentence) in table {
            assert_eq!(
                read(json).map_err(|e| e.to_string()),
                Err(sentence.to_string())
            );
        }
        let broken = r#"{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{\"a\":"}}]}"#;
        assert!(matches!(read(broken), Err(MessageError::Arguments { .. })));
    }
}
