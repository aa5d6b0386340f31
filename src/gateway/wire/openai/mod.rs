//! OpenAI's chat completions: `POST /v1/chat/completions`, with the fields that llama.cpp's server
//! has besides (`reasoning_content`, `timings`, `prompt_progress`).

mod reply;
mod request;

pub use reply::{ChatStream, whole};
pub use request::{read, sampling};
