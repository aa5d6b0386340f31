//! What one reply must be, besides what its session allows: with a call or without, one call at most,
//! JSON of some form. Only the grammar of the reply depends on it, no token of the prompt does.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Whether a reply calls tools.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Calls {
    /// As the model likes.
    #[default]
    Auto,
    /// No call: what looks like one is text.
    None,
    /// At least one.
    Required,
    /// A call of this tool.
    Only(String),
}

/// What one reply must be. The default restricts nothing.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplyWish {
    /// Whether it calls tools.
    pub calls: Calls,
    /// One call at most.
    pub single: bool,
    /// A JSON schema that its text follows.
    pub schema: Option<Value>,
}

impl ReplyWish {
    /// Whether it restricts nothing.
    pub fn is_none(&self) -> bool {
        *self == ReplyWish::default()
    }

    /// Whether a reply cannot be what it must be without a grammar.
    pub fn needs_grammar(&self) -> bool {
        self.schema.is_some() || matches!(self.calls, Calls::Required | Calls::Only(_))
    }

    /// Those of a session's tools that the reply may call.
    pub fn tools(&self, all: Option<&Value>) -> Option<Value> {
        let Calls::Only(name) = &self.calls else {
            return all.cloned();
        };
        let one = all?.as_array()?.iter();
        let mut one = one.filter(|tool| tool["function"]["name"] == **name);
        one.next().map(|tool| Value::Array(vec![tool.clone()]))
    }

    /// Writes it into a request to the template engine.
    pub(in crate::chat) fn lay(&self, request: &mut Value) {
        match &self.calls {
            Calls::Auto => {}
            Calls::None => request["tool_choice"] = "none".into(),
            Calls::Required | Calls::Only(_) => request["tool_choice"] = "required".into(),
        }
        if self.single {
            request["parallel_tool_calls"] = false.into();
        }
        if let Some(schema) = &self.schema {
            request["json_schema"] = schema.clone();
        }
    }
}
