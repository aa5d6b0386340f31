//! Writing a completion: whole, or as chunks.

use serde_json::{Map, Value, json};

use super::super::{
    Api, NEVER, ReplyPart, ResponseHead, Show, SseEvent, WireEnd, WireReply, WireUsage,
};
use crate::agent::{Likely, Weighed};
use crate::ledger::Finish;

fn id(head: &ResponseHead) -> String {
    format!("cmpl-{}", head.id)
}

fn finish(finish: Finish) -> &'static str {
    match finish {
        Finish::Length | Finish::Context | Finish::Repeats => "length",
        _ => "stop",
    }
}

/// How a completion is written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    /// How it is sent.
    pub show: Show,
    /// The prompt, where it is given back before the answer.
    pub echo: String,
    /// With `logprobs`.
    pub logprobs: bool,
    /// With `tokens`, the ids, as llama.cpp's server has it.
    pub tokens: bool,
}

impl Look {
    /// The only choice of a response or a chunk. `before` is how many characters of the text were
    /// sent already.
    fn choice(&self, text: &str, odds: &[Weighed], before: usize, finish: Option<&str>) -> Value {
        let mut choice = json!({
            "index": 0,
            "text": text,
            "logprobs": match self.logprobs && !odds.is_empty() {
                true => logprobs(odds, before),
                false => Value::Null,
            },
            "finish_reason": finish,
        });
        if self.tokens {
            choice["tokens"] = odds.iter().map(|w| json!(w.chosen.token.0)).collect();
        }
        choice
    }
}

/// How likely tokens were, each with the place of its first character in the text.
fn logprobs(odds: &[Weighed], before: usize) -> Value {
    let text = |likely: &Likely| String::from_utf8_lossy(&likely.bytes).into_owned();
    let logprob = |likely: &Likely| likely.logprob.unwrap_or(NEVER);
    let mut offset = before;
    let mut offsets = Vec::with_capacity(odds.len());
    let mut top = Vec::with_capacity(odds.len());
    for weighed in odds {
        offsets.push(offset);
        offset += text(&weighed.chosen).chars().count();
        let mut likely: Map<String, Value> = Map::new();
        for one in weighed.top.iter().chain([&weighed.chosen]) {
            // Two tokens may have the same text; the likelier one is told.
            likely
                .entry(text(one))
                .or_insert_with(|| json!(logprob(one)));
        }
        top.push(Value::Object(likely));
    }
    json!({
        "tokens": odds.iter().map(|w| text(&w.chosen)).collect::<Vec<_>>(),
        "token_logprobs": odds.iter().map(|w| logprob(&w.chosen)).collect::<Vec<_>>(),
        "top_logprobs": top,
        "text_offset": offsets,
    })
}

/// The whole response.
pub fn whole(head: &ResponseHead, look: &Look, reply: &WireReply) -> Value {
    let end = reply.finish();
    let text = format!("{}{}", look.echo, reply.text);
    let before = look.echo.chars().count();
    let mut whole = json!({
        "id": id(head),
        "object": "text_completion",
        "created": head.created,
        "model": head.model,
        "choices": [look.choice(&text, &reply.odds, before, Some(finish(end)))],
        "usage": reply.usage().openai(),
        "timings": reply.usage().timings(),
    });
    reply.note(&mut whole);
    whole
}

/// A completion as chunks.
#[derive(Debug)]
pub struct Stream {
    head: ResponseHead,
    look: Look,
    /// How likely the tokens of the next chunk's text were.
    odds: Vec<Weighed>,
    /// Characters of the text that were sent.
    sent: usize,
}

impl Stream {
    /// A stream that nothing was sent of yet.
    pub fn new(head: ResponseHead, look: Look) -> Stream {
        Stream {
            head,
            look,
            odds: Vec::new(),
            sent: 0,
        }
    }

    /// The first chunk: the prompt, where it is given back.
    pub fn start(&mut self) -> Vec<SseEvent> {
        match std::mem::take(&mut self.look.echo) {
            echo if echo.is_empty() => Vec::new(),
            echo => vec![self.text(&echo)],
        }
    }

    /// What a client is told of a part.
    pub fn part(&mut self, part: &ReplyPart) -> Vec<SseEvent> {
        match part {
            ReplyPart::Prefill(at) if self.look.show.progress => {
                let mut chunk = self.chunk(json!([]));
                chunk["prompt_progress"] = at.openai();
                vec![SseEvent::data(&chunk)]
            }
            ReplyPart::Odds(tokens) => {
                self.odds.extend_from_slice(tokens);
                Vec::new()
            }
            ReplyPart::Text(more) => vec![self.text(more)],
            ReplyPart::End(end) => self.end(end),
            ReplyPart::Failed(refusal) => vec![SseEvent::data(&refusal.body(Api::Completions))],
            ReplyPart::Prefill(_) | ReplyPart::Reasoning(_) | ReplyPart::Call(_) => Vec::new(),
        }
    }

    fn text(&mut self, more: &str) -> SseEvent {
        let odds = std::mem::take(&mut self.odds);
        let choice = self.look.choice(more, &odds, self.sent, None);
        self.sent += more.chars().count();
        SseEvent::data(&self.chunk(json!([choice])))
    }

    fn end(&self, end: &WireEnd) -> Vec<SseEvent> {
        let reason = Some(finish(end.finish));
        let choice = self.look.choice("", &[], self.sent, reason);
        let mut last = self.chunk(json!([choice]));
        last["timings"] = end.usage.timings();
        if let Some(note) = &end.npast {
            last["npast"] = note.clone();
        }
        let mut frames = vec![SseEvent::data(&last)];
        if self.look.show.usage {
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

    fn chunk(&self, choices: Value) -> Value {
        json!({
            "id": id(&self.head),
            "object": "text_completion",
            "created": self.head.created,
            "model": self.head.model,
            "choices": choices,
        })
    }
}
