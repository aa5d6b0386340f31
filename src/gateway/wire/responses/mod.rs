//! OpenAI's responses: `POST /v1/responses`, with the events that Codex reads.

mod items;
mod reply;
mod request;
mod stream;

pub use reply::{Echo, whole};
pub use request::read;
pub use stream::ResponseStream;
