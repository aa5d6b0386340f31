//! Writing a message: whole, or as events.

use serde_json::{Value, json};

use super::super::{
    Api, ReplyPart, ResponseHead, SseEvent, WireCall, WireEnd, WireReply, WireUsage,
};
use crate::ledger::Finish;

/// `stop_reason`.
fn reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::Interrupted => "end_turn",
        Finish::StopString => "stop_sequence",
        Finish::Length | Finish::Repeats => "max_tokens",
        Finish::Context => "model_context_window_exceeded",
        Finish::ToolCalls => "tool_use",
    }
}

/// Which of the request's texts ended the reply: known where there is one only.
fn sequence(finish: Finish, stops: &[String]) -> Option<&str> {
    match (finish, stops) {
        (Finish::StopString, [one]) => Some(one),
        _ => None,
    }
}

/// `usage`: what was found stored is not among the input tokens.
fn usage(usage: &WireUsage) -> Value {
    json!({
        "input_tokens": usage.prompt.saturating_sub(usage.cached),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.generated,
    })
}

fn message(head: &ResponseHead, content: Vec<Value>, figures: &WireUsage) -> Value {
    json!({
        "id": format!("msg_{}", head.id),
        "type": "message",
        "role": "assistant",
        "model": head.model,
        "content": content,
        "stop_reason": null,
        "stop_sequence": null,
        "usage": usage(figures),
    })
}

/// The whole response to a request that ends at `stops`.
pub fn whole(head: &ResponseHead, reply: &WireReply, stops: &[String]) -> Value {
    let mut content = Vec::new();
    if !reply.reasoning.is_empty() {
        content.push(json!({
            "type": "thinking",
            "thinking": reply.reasoning,
            "signature": head.stamp,
        }));
    }
    if !reply.text.is_empty() {
        content.push(json!({ "type": "text", "text": reply.text }));
    }
    for call in &reply.calls {
        content.push(json!({
            "type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments,
        }));
    }
    let end = reply.finish();
    let mut whole = message(head, content, &reply.usage());
    whole["stop_reason"] = reason(end).into();
    whole["stop_sequence"] = sequence(end, stops).into();
    reply.note(&mut whole);
    whole
}

/// The block that is being sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Block {
    Thinking,
    Text,
}

/// A message as events.
#[derive(Debug)]
pub struct MessageStream {
    head: ResponseHead,
    stops: Vec<String>,
    /// Blocks that were begun.
    blocks: usize,
    open: Option<Block>,
}

impl MessageStream {
    /// A stream that nothing was sent of yet, for a request that ends at `stops`.
    pub fn new(head: ResponseHead, stops: Vec<String>) -> MessageStream {
        MessageStream {
            head,
            stops,
            blocks: 0,
            open: None,
        }
    }

    /// What keeps a connection alive.
    pub fn ping() -> SseEvent {
        SseEvent::named("ping", &json!({ "type": "ping" }))
    }

    /// The first events.
    pub fn start(&mut self) -> Vec<SseEvent> {
        let message = message(&self.head, Vec::new(), &WireUsage::default());
        let start = json!({ "type": "message_start", "message": message });
        vec![
            SseEvent::named("message_start", &start),
            MessageStream::ping(),
        ]
    }

    /// What a client is told of a part.
    pub fn part(&mut self, part: &ReplyPart) -> Vec<SseEvent> {
        let mut frames = Vec::new();
        match part {
            // This API has no room for how likely tokens were; nobody asks for it there.
            ReplyPart::Prefill(_) | ReplyPart::Odds(_) => {}
            ReplyPart::Reasoning(more) => {
                self.within(Block::Thinking, &mut frames);
                frames.push(self.delta(json!({ "type": "thinking_delta", "thinking": more })));
            }
            ReplyPart::Text(more) => {
                self.within(Block::Text, &mut frames);
                frames.push(self.delta(json!({ "type": "text_delta", "text": more })));
            }
            ReplyPart::Call(call) => self.call(call, &mut frames),
            ReplyPart::End(end) => {
                self.close(&mut frames);
                frames.extend(self.end(end));
            }
            ReplyPart::Failed(refusal) => {
                frames.push(SseEvent::named("error", &refusal.body(Api::Messages)));
            }
        }
        frames
    }

    fn call(&mut self, call: &WireCall, frames: &mut Vec<SseEvent>) {
        self.close(frames);
        frames.push(self.begin(json!({
            "type": "tool_use", "id": call.id, "name": call.name, "input": {},
        })));
        let arguments = call.arguments.to_string();
        frames.push(self.delta(json!({ "type": "input_json_delta", "partial_json": arguments })));
        frames.push(self.stop());
    }

    fn end(&self, end: &WireEnd) -> Vec<SseEvent> {
        let mut delta = json!({
            "type": "message_delta",
            "delta": {
                "stop_reason": reason(end.finish),
                "stop_sequence": sequence(end.finish, &self.stops),
            },
            "usage": usage(&end.usage),
        });
        if let Some(note) = &end.npast {
            delta["npast"] = note.clone();
        }
        vec![
            SseEvent::named("message_delta", &delta),
            SseEvent::named("message_stop", &json!({ "type": "message_stop" })),
        ]
    }

    /// Sees to it that a block of this kind is open.
    fn within(&mut self, block: Block, frames: &mut Vec<SseEvent>) {
        if self.open == Some(block) {
            return;
        }
        self.close(frames);
        frames.push(self.begin(match block {
            Block::Thinking => json!({ "type": "thinking", "thinking": "", "signature": "" }),
            Block::Text => json!({ "type": "text", "text": "" }),
        }));
        self.open = Some(block);
    }

    /// Ends the open block, if there is one. Thinking ends in its signature.
    fn close(&mut self, frames: &mut Vec<SseEvent>) {
        let Some(block) = self.open.take() else {
            return;
        };
        if block == Block::Thinking {
            let stamp = &self.head.stamp;
            frames.push(self.delta(json!({ "type": "signature_delta", "signature": stamp })));
        }
        frames.push(self.stop());
    }

    fn begin(&mut self, block: Value) -> SseEvent {
        let index = self.blocks;
        self.blocks += 1;
        let start = json!({
            "type": "content_block_start", "index": index, "content_block": block,
        });
        SseEvent::named("content_block_start", &start)
    }

    fn delta(&self, delta: Value) -> SseEvent {
        let index = self.blocks.saturating_sub(1);
        let delta = json!({ "type": "content_block_delta", "index": index, "delta": delta });
        SseEvent::named("content_block_delta", &delta)
    }

    fn stop(&self) -> SseEvent {
        let index = self.blocks.saturating_sub(1);
        let stop = json!({ "type": "content_block_stop", "index": index });
        SseEvent::named("content_block_stop", &stop)
    }
}
