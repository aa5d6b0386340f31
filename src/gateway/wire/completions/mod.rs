//! OpenAI's completions of before there were chats: `POST /v1/completions`. The prompt is what the
//! model reads, as text or as tokens; no chat template is laid over it.

use serde_json::{Value, json};

use super::fields::{RequestFields, kind};
use super::{
    Api, Ask, ReplyPart, RequestRefusal, ResponseHead, Show, SseEvent, WireEnd, WireReply,
    WireUsage,
};
use crate::ledger::Finish;

/// What a completion goes on from.
#[derive(Clone, Debug, PartialEq)]
pub enum CompletionPrompt {
    /// A text, which becomes tokens.
    Text(String),
    /// Token ids.
    Tokens(Vec<i32>),
}

/// Reads the body of a request.
///
/// # Errors
/// A sentence with the field that is wrong, or that this server cannot do.
pub fn read(body: &Value) -> Result<(Ask, CompletionPrompt), RequestRefusal> {
    let fields = RequestFields::of("the request", body)?;
    let mut ask = Ask {
        model: fields.text("model")?.map(str::to_owned),
        stop: fields.stops("stop")?,
        // As OpenAI has it.
        max_tokens: match fields.max_tokens(&["max_tokens", "n_predict"])? {
            None if fields.get("max_tokens").is_none() && fields.get("n_predict").is_none() => {
                Some(16)
            }
            most => most,
        },
        show: Show {
            stream: fields.flag("stream")?,
            usage: match fields.object("stream_options")? {
                Some(options) => options.flag("include_usage")?,
                None => false,
            },
            progress: fields.flag("return_progress")?,
        },
        ..Ask::default()
    };
    ask.sampling = super::openai::sampling(fields, &mut ask)?;
    for name in ["n", "best_of"] {
        if fields.whole(name, 1, 1_000)?.is_some_and(|n| n > 1) {
            return Err(RequestRefusal::field(
                name,
                format!("{name} must be 1: this server gives one reply to a request"),
            ));
        }
    }
    let text = |name: &str| fields.text(name).map(|t| t.is_some_and(|t| !t.is_empty()));
    if text("suffix")? {
        return Err(RequestRefusal::field(
            "suffix",
            "suffix is not read by this server: write the model's fill-in-the-middle tokens into prompt",
        ));
    }
    if fields.flag("echo")? {
        return Err(RequestRefusal::field(
            "echo",
            "echo is not done by this server: the client has the prompt",
        ));
    }
    if fields
        .get("logprobs")
        .is_some_and(|v| *v != json!(0) && *v != json!(false))
    {
        return Err(RequestRefusal::field(
            "logprobs",
            "logprobs are not given by this server; leave the field out",
        ));
    }
    let prompt = prompt(fields.get("prompt"))?;
    Ok((ask, prompt))
}

fn prompt(value: Option<&Value>) -> Result<CompletionPrompt, RequestRefusal> {
    let refuse = |found: String| {
        RequestRefusal::field(
            "prompt",
            format!("prompt must be one text or one list of token ids, not {found}"),
        )
    };
    let list = match value {
        None => return Err(refuse("nothing".to_owned())),
        Some(Value::String(text)) => return Ok(CompletionPrompt::Text(text.clone())),
        Some(Value::Array(list)) => list,
        Some(other) => return Err(refuse(kind(other).to_owned())),
    };
    match list.as_slice() {
        [] => Err(refuse("an empty list".to_owned())),
        [Value::String(text)] => Ok(CompletionPrompt::Text(text.clone())),
        [one @ Value::Array(_)] => prompt(Some(one)),
        [Value::String(_) | Value::Array(_), ..] => Err(refuse(format!("{} of them", list.len()))),
        ids => {
            let ids: Option<Vec<i32>> = ids
                .iter()
                .map(|id| id.as_i64().and_then(|id| i32::try_from(id).ok()))
                .collect();
            let ids = ids.filter(|ids| ids.iter().all(|id| *id >= 0));
            ids.map(CompletionPrompt::Tokens)
                .ok_or_else(|| refuse("a list that holds something else".to_owned()))
        }
    }
}

fn id(head: &ResponseHead) -> String {
    format!("cmpl-{}", head.id)
}

fn finish(finish: Finish) -> &'static str {
    match finish {
        Finish::Length | Finish::Context => "length",
        _ => "stop",
    }
}

/// The whole response.
pub fn whole(head: &ResponseHead, reply: &WireReply) -> Value {
    let end = reply.finish();
    let mut whole = json!({
        "id": id(head),
        "object": "text_completion",
        "created": head.created,
        "model": head.model,
        "choices": [{
            "index": 0, "text": reply.text, "logprobs": null, "finish_reason": finish(end),
        }],
        "usage": reply.usage().openai(),
        "timings": reply.usage().timings(),
    });
    reply.note(&mut whole);
    whole
}

/// A completion as chunks.
#[derive(Debug)]
pub struct CompletionStream {
    head: ResponseHead,
    show: Show,
}

impl CompletionStream {
    /// A stream that nothing was sent of yet.
    pub fn new(head: ResponseHead, show: Show) -> CompletionStream {
        CompletionStream { head, show }
    }

    /// What a client is told of a part.
    pub fn part(&mut self, part: &ReplyPart) -> Vec<SseEvent> {
        match part {
            ReplyPart::Text(more) => vec![SseEvent::data(&self.chunk(more, None))],
            ReplyPart::End(end) => self.end(end),
            ReplyPart::Failed(refusal) => vec![SseEvent::data(&refusal.body(Api::Completions))],
            ReplyPart::Prefill(_) | ReplyPart::Reasoning(_) | ReplyPart::Call(_) => Vec::new(),
        }
    }

    fn end(&self, end: &WireEnd) -> Vec<SseEvent> {
        let mut last = self.chunk("", Some(finish(end.finish)));
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
        let mut chunk = self.chunk("", None);
        chunk["choices"] = json!([]);
        chunk["usage"] = usage.openai();
        SseEvent::data(&chunk)
    }

    fn chunk(&self, text: &str, finish: Option<&str>) -> Value {
        json!({
            "id": id(&self.head),
            "object": "text_completion",
            "created": self.head.created,
            "model": self.head.model,
            "choices": [{
                "index": 0, "text": text, "logprobs": null, "finish_reason": finish,
            }],
        })
    }
}
