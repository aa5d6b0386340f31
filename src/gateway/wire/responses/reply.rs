//! Writing a response: the object and its items.

use serde_json::{Value, json};

use super::super::{RequestRefusal, ResponseHead, WireCall, WireReply, WireUsage};
use crate::ledger::Finish;

/// What a response repeats of its request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Echo {
    /// `instructions`.
    pub instructions: Option<String>,
    /// `previous_response_id`.
    pub previous: Option<String>,
    /// `store`.
    pub store: bool,
    /// `metadata`.
    pub metadata: Option<Value>,
    /// `reasoning`.
    pub reasoning: Option<Value>,
    /// `text`.
    pub text: Option<Value>,
    /// `tools`.
    pub tools: Option<Value>,
    /// `tool_choice`.
    pub tool_choice: Option<Value>,
    /// `parallel_tool_calls`.
    pub parallel: bool,
    /// `temperature`.
    pub temperature: Option<f32>,
    /// `top_p`.
    pub top_p: Option<f32>,
    /// `max_output_tokens`.
    pub max_output_tokens: Option<usize>,
    /// Whether reasoning is to have `encrypted_content`.
    pub encrypted: bool,
}

/// The id of a response.
pub(super) fn id(head: &ResponseHead) -> String {
    format!("resp_{}", head.id)
}

/// The item of the model's thinking.
pub(super) fn reasoning(head: &ResponseHead, echo: &Echo, text: Option<&str>) -> Value {
    let content: Vec<Value> = text
        .iter()
        .map(|text| json!({ "type": "reasoning_text", "text": text }))
        .collect();
    let mut item = json!({
        "type": "reasoning",
        "id": format!("rs_{}", head.id),
        "summary": [],
        "content": content,
        "status": status(text.is_some()),
    });
    if echo.encrypted {
        item["encrypted_content"] = head.stamp.as_str().into();
    }
    item
}

/// The item of the model's answer; without a text, as it begins.
pub(super) fn message(head: &ResponseHead, text: Option<&str>) -> Value {
    let content: Vec<Value> = text.iter().map(|text| part(text)).collect();
    json!({
        "type": "message",
        "id": format!("msg_{}", head.id),
        "role": "assistant",
        "status": status(text.is_some()),
        "content": content,
    })
}

/// The part of an answer.
pub(super) fn part(text: &str) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
}

/// The item of a call, which is the reply's call number `at`; with its arguments once it is whole.
pub(super) fn call(head: &ResponseHead, at: usize, call: &WireCall, whole: bool) -> Value {
    let arguments = match whole {
        true => call.arguments.to_string(),
        false => String::new(),
    };
    json!({
        "type": "function_call",
        "id": format!("fc_{}_{at}", head.id),
        "call_id": call.id,
        "name": call.name,
        "arguments": arguments,
        "status": status(whole),
    })
}

fn status(whole: bool) -> &'static str {
    match whole {
        true => "completed",
        false => "in_progress",
    }
}

/// All items of a reply.
pub(super) fn output(head: &ResponseHead, echo: &Echo, reply: &WireReply) -> Vec<Value> {
    let mut items = Vec::new();
    if !reply.reasoning.is_empty() {
        items.push(reasoning(head, echo, Some(&reply.reasoning)));
    }
    if !reply.text.is_empty() {
        items.push(message(head, Some(&reply.text)));
    }
    for (at, each) in reply.calls.iter().enumerate() {
        items.push(call(head, at, each, true));
    }
    items
}

fn usage(usage: &WireUsage) -> Value {
    json!({
        "input_tokens": usage.prompt,
        "input_tokens_details": { "cached_tokens": usage.cached },
        "output_tokens": usage.generated,
        "output_tokens_details": { "reasoning_tokens": 0 },
        "total_tokens": usage.prompt + usage.generated,
    })
}

/// How a response stands.
pub(super) enum ResponseState<'a> {
    /// It is being made.
    Begun,
    /// It ended.
    Ended(&'a WireReply),
    /// It did not come to its end.
    Failed(&'a RequestRefusal),
}

/// The response object.
pub(super) fn object(head: &ResponseHead, echo: &Echo, state: &ResponseState<'_>) -> Value {
    let mut object = json!({
        "id": id(head),
        "object": "response",
        "created_at": head.created,
        "status": "in_progress",
        "background": false,
        "error": null,
        "incomplete_details": null,
        "instructions": echo.instructions,
        "max_output_tokens": echo.max_output_tokens,
        "metadata": echo.metadata.clone().unwrap_or_else(|| json!({})),
        "model": head.model,
        "output": [],
        "parallel_tool_calls": echo.parallel,
        "previous_response_id": echo.previous,
        "reasoning": echo.reasoning.clone().unwrap_or_else(|| json!({ "effort": null, "summary": null })),
        "service_tier": "default",
        "store": echo.store,
        "temperature": echo.temperature,
        "text": echo.text.clone().unwrap_or_else(|| json!({ "format": { "type": "text" } })),
        "tool_choice": echo.tool_choice.clone().unwrap_or_else(|| "auto".into()),
        "tools": echo.tools.clone().unwrap_or_else(|| json!([])),
        "top_p": echo.top_p,
        "truncation": "disabled",
        "usage": null,
        "user": null,
    });
    match state {
        ResponseState::Begun => {}
        ResponseState::Ended(reply) => {
            let why = match reply.finish() {
                Finish::Length | Finish::Context | Finish::Repeats => Some("max_output_tokens"),
                Finish::Interrupted => Some("interrupted"),
                _ => None,
            };
            object["status"] = match why {
                Some(_) => "incomplete".into(),
                None => "completed".into(),
            };
            if let Some(why) = why {
                object["incomplete_details"] = json!({ "reason": why });
            }
            object["output"] = output(head, echo, reply).into();
            object["usage"] = usage(&reply.usage());
            reply.note(&mut object);
        }
        ResponseState::Failed(refusal) => {
            object["status"] = "failed".into();
            object["error"] = json!({
                "code": refusal.response_code(),
                "message": refusal.message,
            });
        }
    }
    object
}

/// The whole response.
pub fn whole(head: &ResponseHead, echo: &Echo, reply: &WireReply) -> Value {
    object(head, echo, &ResponseState::Ended(reply))
}
