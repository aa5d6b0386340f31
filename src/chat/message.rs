//! Canonical messages: what a conversation says, apart from how a template writes it.

use serde_json::{Map, Value, json};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Instructions.
    System,
    /// The user.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
}

impl Role {
    /// The role's name in the OpenAI form.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        }
    }
}

/// A tool call of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolCall {
    /// Names the call within its conversation.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments, in the order in which they were written.
    pub arguments: Map<String, Value>,
}

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// The text.
    pub text: String,
    /// The reasoning before the text (assistant).
    pub reasoning: Option<String>,
    /// The tool calls beside the text (assistant).
    pub calls: Vec<ToolCall>,
    /// The call that this answers (tool).
    pub call_id: Option<String>,
    /// The tool that answers (tool).
    pub name: Option<String>,
}

impl Message {
    /// A message with a text and nothing else.
    pub fn new(role: Role, text: impl Into<String>) -> Message {
        Message {
            role,
            text: text.into(),
            reasoning: None,
            calls: Vec::new(),
            call_id: None,
            name: None,
        }
    }

    /// The OpenAI form; arguments are JSON text in it.
    pub fn to_json(&self) -> Value {
        let mut out = json!({"role": self.role.as_str(), "content": self.text});
        if let Some(reasoning) = &self.reasoning {
            out["reasoning_content"] = json!(reasoning);
        }
        if !self.calls.is_empty() {
            let calls = self.calls.iter().map(|call| {
                json!({"id": call.id, "type": "function", "function": {
                    "name": call.name,
                    "arguments": Value::Object(call.arguments.clone()).to_string(),
                }})
            });
            out["tool_calls"] = calls.collect();
        }
        if let Some(id) = &self.call_id {
            out["tool_call_id"] = json!(id);
        }
        if let Some(name) = &self.name {
            out["name"] = json!(name);
        }
        out
    }
}
