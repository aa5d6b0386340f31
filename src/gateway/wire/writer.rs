//! One face for the four ways of writing a reply.

use serde_json::Value;

use super::completions::Look;
use super::responses::Echo;
use super::{Frame, Head, Part, Reply, Show, anthropic, completions, openai, responses};

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
    pub fn whole(&self, head: &Head, reply: &Reply) -> Value {
        match self {
            Manner::Chat(_) => openai::whole(head, reply),
            Manner::Responses(echo) => responses::whole(head, echo, reply),
            Manner::Messages(stops) => anthropic::whole(head, reply, stops),
            Manner::Completions(look) => completions::whole(head, look, reply),
        }
    }

    /// A stream of events.
    pub fn stream(self, head: Head) -> Writer {
        match self {
            Manner::Chat(show) => Writer::Chat(openai::Stream::new(head, show)),
            Manner::Responses(echo) => {
                Writer::Responses(Box::new(responses::Stream::new(head, *echo)))
            }
            Manner::Messages(stops) => Writer::Messages(anthropic::Stream::new(head, stops)),
            Manner::Completions(look) => Writer::Completions(completions::Stream::new(head, *look)),
        }
    }
}

/// A reply that is written as events.
#[derive(Debug)]
pub enum Writer {
    /// A chat completion.
    Chat(openai::Stream),
    /// A response.
    Responses(Box<responses::Stream>),
    /// A message.
    Messages(anthropic::Stream),
    /// A completion.
    Completions(completions::Stream),
}

impl Writer {
    /// The first events.
    pub fn start(&mut self) -> Vec<Frame> {
        match self {
            Writer::Chat(stream) => stream.start(),
            Writer::Responses(stream) => stream.start(),
            Writer::Messages(stream) => stream.start(),
            Writer::Completions(stream) => stream.start(),
        }
    }

    /// What a client is told of a part; after an end or a failure nothing more comes.
    pub fn part(&mut self, part: &Part) -> Vec<Frame> {
        match self {
            Writer::Chat(stream) => stream.part(part),
            Writer::Responses(stream) => stream.part(part),
            Writer::Messages(stream) => stream.part(part),
            Writer::Completions(stream) => stream.part(part),
        }
    }

    /// What keeps a connection alive: an event where the API has one for it.
    pub fn ping(&self) -> Option<Frame> {
        match self {
            Writer::Messages(_) => Some(anthropic::Stream::ping()),
            _ => None,
        }
    }
}
