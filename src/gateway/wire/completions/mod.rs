//! OpenAI's completions of before there were chats: `POST /v1/completions`. The prompt is what the
//! model reads, as text or as tokens; no chat template is laid over it.

mod reply;
mod request;

pub use reply::{Look, Stream, whole};
pub use request::{Raw, read};
