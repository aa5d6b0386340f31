//! The APIs as JSON: a request becomes one [`Ask`], and the parts of a reply become a response or a
//! stream of events. Pure; what is read is bounded by the body that holds it.
//!
//! - `fields`, `content`: reading values; `refusal`: what is not answered, in each API's words.
//! - `reply`: what a reply is made of.
//! - [`openai`]: chat completions; [`responses`]; [`anthropic`]: messages; [`completions`].
//! - `writer`: one face for the four ways of writing a reply.

pub mod anthropic;
pub mod completions;
mod content;
mod fields;
pub mod openai;
mod refusal;
mod reply;
pub mod responses;
#[cfg(test)]
mod tests;
mod writer;

pub use super::ask::{Ask, Format, SamplingAsk, SessionKeys, Show};
pub use crate::chat::wish::Calls;
pub use refusal::{RefusalKind, RequestRefusal};
pub use reply::{
    NEVER, PrefillProgress, ReplyPart, ResponseHead, SseEvent, WireCall, WireEnd, WireReply,
    WireUsage,
};
pub use writer::{Manner, ReplyWriter};

/// Whose shapes a path has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Api {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/responses`.
    Responses,
    /// `/v1/messages`.
    Messages,
    /// `/v1/completions`.
    Completions,
    /// Everything else: npast's own paths, and those of llama.cpp's server.
    Own,
}

impl Api {
    /// The API of a path.
    pub fn of(path: &str) -> Api {
        let path = path.strip_prefix("/v1").unwrap_or(path);
        match path {
            "/chat/completions" => Api::Chat,
            "/completions" => Api::Completions,
            _ if path.starts_with("/responses") => Api::Responses,
            _ if path.starts_with("/messages") => Api::Messages,
            _ => Api::Own,
        }
    }
}
