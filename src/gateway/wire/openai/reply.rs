//! Writing a chat completion: whole, or as chunks.

use serde_json::{Map, Value, json};

use super::super::{
    Api, NEVER, ReplyPart, ResponseHead, Show, SseEvent, WireCall, WireEnd, WireReply, WireUsage,
};
use crate::agent::{Likely, Weighed};
use crate::ledger::Finish;

/// `finish_reason`.
pub fn finish(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopString | Finish::Interrupted => "stop",
        Finish::Length | Finish::Context | Finish::Repeats => "length",
        Finish::ToolCalls => "tool_calls",
    }
}

fn id(head: &ResponseHead) -> String {
    format!("chatcmpl-{}", head.id)
}

fn call(call: &WireCall) -> Value {
    json!({
        "id": call.id,
        "type": "function",
        "function": { "name": call.name, "arguments": call.arguments.to_string() },
    })
}

/// The whole response.
pub fn whole(head: &ResponseHead, reply: &WireReply) -> Value {
    let text = match (reply.text.is_empty(), reply.calls.is_empty()) {
        (true, false) => Value::Null,
        _ => reply.text.as_str().into(),
    };
    let mut message = Map::new();
    message.insert("role".into(), "assistant".into());
    message.insert("content".into(), text);
    if !reply.reasoning.is_empty() {
        message.insert("reasoning_content".into(), reply.reasoning.as_str().into());
    }
    if !reply.calls.is_empty() {
        message.insert("tool_calls".into(), reply.calls.iter().map(call).collect());
    }
    let end = reply.finish();
    let mut whole = json!({
        "id": id(head),
        "object": "chat.completion",
        "created": head.created,
        "model": head.model,
        "choices": [{
            "index": 0,
            "message": message,
            "logprobs": logprobs(&reply.odds),
            "finish_reason": finish(end),
        }],
        "usage": reply.usage().openai(),
        "timings": reply.usage().timings(),
    });
    reply.note(&mut whole);
    whole
}

/// How likely tokens were; null without any.
fn logprobs(tokens: &[Weighed]) -> Value {
    if tokens.is_empty() {
        return Value::Null;
    }
    let one = |likely: &Likely| {
        json!({
            "token": String::from_utf8_lossy(&likely.bytes),
            "logprob": likely.logprob.unwrap_or(NEVER),
            "bytes": likely.bytes,
        })
    };
    let token = |weighed: &Weighed| {
        let mut value = one(&weighed.chosen);
        value["top_logprobs"] = weighed.top.iter().map(one).collect();
        value
    };
    let content: Vec<Value> = tokens.iter().map(token).collect();
    json!({ "content": content, "refusal": null })
}

/// A completion as chunks.
#[derive(Debug)]
pub struct ChatStream {
    head: ResponseHead,
    show: Show,
    calls: usize,
    /// How likely the tokens of the next chunk's text were.
    odds: Vec<Weighed>,
}

impl ChatStream {
    /// A stream that nothing was sent of yet.
    pub fn new(head: ResponseHead, show: Show) -> ChatStream {
        ChatStream {
            head,
            show,
            calls: 0,
            odds: Vec::new(),
        }
    }

    /// The first chunk: whose message it is.
    pub fn start(&mut self) -> Vec<SseEvent> {
        vec![self.delta(json!({ "role": "assistant", "content": "" }))]
    }

    /// What a client is told of a part.
    pub fn part(&mut self, part: &ReplyPart) -> Vec<SseEvent> {
        match part {
            ReplyPart::Prefill(at) if self.show.progress => {
                let mut chunk = self.chunk(json!([]));
                chunk["prompt_progress"] = at.openai();
                vec![SseEvent::data(&chunk)]
            }
            ReplyPart::Prefill(_) => Vec::new(),
            ReplyPart::Reasoning(more) => vec![self.delta(json!({ "reasoning_content": more }))],
            ReplyPart::Odds(tokens) => {
                self.odds.extend_from_slice(tokens);
                Vec::new()
            }
            ReplyPart::Text(more) => {
                let odds = logprobs(&std::mem::take(&mut self.odds));
                let delta = json!({ "content": more });
                vec![SseEvent::data(&self.chunk(json!([
                    { "index": 0, "delta": delta, "logprobs": odds, "finish_reason": null },
                ])))]
            }
            ReplyPart::Call(whole) => {
                let mut value = call(whole);
                value["index"] = self.calls.into();
                self.calls += 1;
                vec![self.delta(json!({ "tool_calls": [value] }))]
            }
            ReplyPart::End(end) => self.end(end),
            ReplyPart::Failed(refusal) => vec![SseEvent::data(&refusal.body(Api::Chat))],
        }
    }

    fn end(&self, end: &WireEnd) -> Vec<SseEvent> {
        let mut last = self.chunk(json!([
            { "index": 0, "delta": {}, "logprobs": null, "finish_reason": finish(end.finish) },
        ]));
        last["timings"] = end.usage.timings();
        if let Some(note) = &end.npast {
            last["npast"] = note.clone();
        }
        let mut frames = vec![SseEvent::data(&last)];
        if self.show.usage {
            frames.push(self.usage(&end.usage));
        }
        frames.push(SseEvent::done());
        frames
    }

    fn usage(&self, usage: &WireUsage) -> SseEvent {
        let mut chunk = self.chunk(json!([]));
        chunk["usage"] = usage.openai();
        SseEvent::data(&chunk)
    }

    fn delta(&self, delta: Value) -> SseEvent {
        SseEvent::data(&self.chunk(json!([
            { "index": 0, "delta": delta, "logprobs": null, "finish_reason": null },
        ])))
    }

    fn chunk(&self, choices: Value) -> Value {
        let mut chunk = json!({
            "id": id(&self.head),
            "object": "chat.completion.chunk",
            "created": self.head.created,
            "model": self.head.model,
            "choices": choices,
        });
        if self.show.usage {
            // Null in every chunk but the one that has it, as OpenAI's API sends it.
            chunk["usage"] = Value::Null;
        }
        chunk
    }
}
