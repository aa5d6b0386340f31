//! One face for the four ways of writing a reply.

use serde_json::Value;

use super::completions::Look;
use super::responses::Echo;
use super::{
    ReplyPart, ResponseHead, Show, SseEvent, WireReply, anthropic, completions, openai, responses,
};

/// What decides how a reply is written, kept from its request.
#[derive(Clone, Debug, PartialEq)]
pub enum Manner {
    /// A chat completion.
    Chat(Show),
    /// A response.
    Responses(Box<Echo>),
    /// A message, for a request that ends at these texts.
    Messages(Vec<String>),
    /// A completion.
    Completions(Box<Look>),
}

impl Manner {
    /// The whole response.
    pub fn whole(&self, head: &ResponseHead, reply: &WireReply) -> Value {
        match self {
            Manner::Chat(_) => openai::whole(head, reply),
            Manner::Responses(echo) => responses::whole(head, echo, reply),
            Manner::Messages(stops) => anthropic::whole(head, reply, stops),
            Manner::Completions(look) => completions::whole(head, look, reply),
        }
    }

    /// A stream of events.
    pub fn stream(self, head: ResponseHead) -> ReplyWriter {
        match self {
            Manner::Chat(show) => ReplyWriter::Chat(openai::ChatStream::new(head, show)),
            Manner::Responses(echo) => {
                ReplyWriter::Responses(Box::new(responses::ResponseStream::new(head, *echo)))
            }
            Manner::Messages(stops) => {
                ReplyWriter::Messages(anthropic::MessageStream::new(head, stops))
            }
            Manner::Completions(look) => {
                ReplyWriter::Completions(completions::Stream::new(head, *look))
            }
        }
    }
}

/// A reply that is written as events.
#[derive(Debug)]
pub enum ReplyWriter {
    /// A chat completion.
    Chat(openai::ChatStream),
    /// A response.
    Responses(Box<responses::ResponseStream>),
    /// A message.
    Messages(anthropic::MessageStream),
    /// A completion.
    Completions(completions::Stream),
}

impl ReplyWriter {
    /// The first events.
    pub fn start(&mut self) -> Vec<SseEvent> {
        match self {
            ReplyWriter::Chat(stream) => stream.start(),
            ReplyWriter::Responses(stream) => stream.start(),
            ReplyWriter::Messages(stream) => stream.start(),
            ReplyWriter::Completions(stream) => stream.start(),
        }
    }

    /// What a client is told of a part; after an end or a failure nothing more comes.
    pub fn part(&mut self, part: &ReplyPart) -> Vec<SseEvent> {
        match self {
            ReplyWriter::Chat(stream) => stream.part(part),
            ReplyWriter::Responses(stream) => stream.part(part),
            ReplyWriter::Messages(stream) => stream.part(part),
            ReplyWriter::Completions(stream) => stream.part(part),
        }
    }

    /// What keeps a connection alive: an event where the API has one for it.
    pub fn ping(&self) -> Option<SseEvent> {
        match self {
            ReplyWriter::Messages(_) => Some(anthropic::MessageStream::ping()),
            _ => None,
        }
    }
}
