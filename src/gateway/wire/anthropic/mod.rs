//! Anthropic's messages: `POST /v1/messages` and `POST /v1/messages/count_tokens`.

mod reply;
mod request;

pub use reply::{MessageStream, whole};
pub use request::{read, read_to_count};
