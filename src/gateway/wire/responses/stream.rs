//! Writing a response as events, numbered from 0.

use serde_json::{Value, json};

use super::super::{ReplyPart, ResponseHead, SseEvent, WireCall, WireReply};
use super::reply::{self, Echo, ResponseState};

/// The item that is being sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum OpenItem {
    Reasoning,
    Message,
}

/// A response as events.
#[derive(Debug)]
pub struct ResponseStream {
    head: ResponseHead,
    echo: Echo,
    /// What was sent: the last events repeat it.
    sent: WireReply,
    /// Where in `sent` the open item begins: there may have been one of its kind before.
    from: usize,
    open: Option<OpenItem>,
    /// Items that were begun.
    items: usize,
    /// Items that ended, as they are.
    ended: Vec<Value>,
    sequence: u64,
}

impl ResponseStream {
    /// A stream that nothing was sent of yet.
    pub fn new(head: ResponseHead, echo: Echo) -> ResponseStream {
        ResponseStream {
            head,
            echo,
            sent: WireReply::default(),
            from: 0,
            open: None,
            items: 0,
            ended: Vec::new(),
            sequence: 0,
        }
    }

    /// The first events.
    pub fn start(&mut self) -> Vec<SseEvent> {
        ["response.created", "response.in_progress"]
            .map(|name| {
                let object = reply::object(&self.head, &self.echo, &ResponseState::Begun);
                self.event(name, json!({ "response": object }))
            })
            .into()
    }

    /// What a client is told of a part.
    pub fn part(&mut self, part: &ReplyPart) -> Vec<SseEvent> {
        let mut frames = Vec::new();
        match part {
            // How likely tokens were is not given in this API, and a request that asks is refused.
            ReplyPart::Prefill(_) | ReplyPart::Odds(_) => {}
            ReplyPart::Reasoning(more) => {
                self.within(OpenItem::Reasoning, &mut frames);
                self.sent.reasoning.push_str(more);
                let delta = self.about(json!({ "content_index": 0, "delta": more }));
                frames.push(self.event("response.reasoning_text.delta", delta));
            }
            ReplyPart::Text(more) => {
                self.within(OpenItem::Message, &mut frames);
                self.sent.text.push_str(more);
                let delta =
                    self.about(json!({ "content_index": 0, "delta": more, "logprobs": [] }));
                frames.push(self.event("response.output_text.delta", delta));
            }
            ReplyPart::Call(call) => self.call(call, &mut frames),
            ReplyPart::End(end) => {
                self.close(&mut frames);
                self.sent.end = Some(end.clone());
                let mut object =
                    reply::object(&self.head, &self.echo, &ResponseState::Ended(&self.sent));
                object["output"] = std::mem::take(&mut self.ended).into();
                let name = match object["status"] == "completed" {
                    true => "response.completed",
                    false => "response.incomplete",
                };
                frames.push(self.event(name, json!({ "response": object })));
            }
            ReplyPart::Failed(refusal) => {
                self.close(&mut frames);
                let object = reply::object(&self.head, &self.echo, &ResponseState::Failed(refusal));
                frames.push(self.event("response.failed", json!({ "response": object })));
            }
        }
        frames
    }

    fn call(&mut self, call: &WireCall, frames: &mut Vec<SseEvent>) {
        self.close(frames);
        let at = self.sent.calls.len();
        let begun = reply::call(&self.head, at, call, false);
        let whole = reply::call(&self.head, at, call, true);
        let id = whole["id"].clone();
        let arguments = whole["arguments"].clone();
        self.begin(begun, frames);
        let index = self.index();
        frames.push(self.event(
            "response.function_call_arguments.delta",
            json!({ "item_id": id, "output_index": index, "delta": arguments }),
        ));
        frames.push(self.event(
            "response.function_call_arguments.done",
            json!({
                "item_id": id, "output_index": index, "name": call.name, "arguments": arguments,
            }),
        ));
        self.finish(whole, frames);
        self.sent.calls.push(call.clone());
    }

    /// Sees to it that an item of this kind is open.
    fn within(&mut self, open: OpenItem, frames: &mut Vec<SseEvent>) {
        if self.open == Some(open) {
            return;
        }
        self.close(frames);
        self.open = Some(open);
        match open {
            OpenItem::Reasoning => {
                self.from = self.sent.reasoning.len();
                self.begin(reply::reasoning(&self.head, &self.echo, None), frames);
            }
            OpenItem::Message => {
                self.from = self.sent.text.len();
                self.begin(reply::message(&self.head, None), frames);
                let part = reply::part("");
                let added = self.about(json!({ "content_index": 0, "part": part }));
                frames.push(self.event("response.content_part.added", added));
            }
        }
    }

    /// Ends the open item, if there is one.
    fn close(&mut self, frames: &mut Vec<SseEvent>) {
        let Some(open) = self.open else {
            return;
        };
        let whole = match open {
            OpenItem::Reasoning => {
                let text = self.sent.reasoning[self.from..].to_owned();
                let done = self.about(json!({ "content_index": 0, "text": text }));
                frames.push(self.event("response.reasoning_text.done", done));
                reply::reasoning(&self.head, &self.echo, Some(&text))
            }
            OpenItem::Message => {
                let text = self.sent.text[self.from..].to_owned();
                let done = self.about(json!({ "content_index": 0, "text": text, "logprobs": [] }));
                frames.push(self.event("response.output_text.done", done));
                let done = self.about(json!({ "content_index": 0, "part": reply::part(&text) }));
                frames.push(self.event("response.content_part.done", done));
                reply::message(&self.head, Some(&text))
            }
        };
        self.open = None;
        self.finish(whole, frames);
    }

    fn begin(&mut self, item: Value, frames: &mut Vec<SseEvent>) {
        self.items += 1;
        let index = self.index();
        let added = json!({ "output_index": index, "item": item });
        frames.push(self.event("response.output_item.added", added));
    }

    fn finish(&mut self, item: Value, frames: &mut Vec<SseEvent>) {
        let index = self.index();
        let done = json!({ "output_index": index, "item": item });
        frames.push(self.event("response.output_item.done", done));
        self.ended.push(item);
    }

    fn index(&self) -> usize {
        self.items.saturating_sub(1)
    }

    /// `fields` with the item they are about.
    fn about(&self, mut fields: Value) -> Value {
        let id = match self.open {
            Some(OpenItem::Reasoning) => format!("rs_{}", self.head.id),
            _ => format!("msg_{}", self.head.id),
        };
        fields["item_id"] = id.into();
        fields["output_index"] = self.index().into();
        fields
    }

    fn event(&mut self, name: &'static str, fields: Value) -> SseEvent {
        let mut event = json!({ "type": name, "sequence_number": self.sequence });
        self.sequence += 1;
        if let (Value::Object(event), Value::Object(fields)) = (&mut event, fields) {
            event.extend(fields);
        }
        SseEvent::named(name, &event)
    }
}
