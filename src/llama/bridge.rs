//! llama.cpp's template engine, grammars and reply parsers, through `vendor/chat-bridge`.
//!
//! JSON goes in and comes out; what it means in messages and tokens is the chat room's business.
//! Templates and replies are untrusted bytes: sizes are bounded here, depth and clock in the
//! bridge, and everything that goes wrong there arrives as a [`BridgeError`]. What one step of a
//! template may take of time, memory and stack is bounded by the process that runs it: `remote` is a
//! child of npast that holds one template; `raw` is the engine in this process.

mod answer;
mod parser;
mod raw;
mod remote;
mod template;
#[cfg(test)]
mod tests;

pub use answer::{
    Applied, BridgeError, MAX_REPLY_BYTES, MAX_REQUEST_BYTES, MAX_TEMPLATE_BYTES, ParsedCall,
    ParsedReply, Trigger,
};
pub use parser::ReplyParser;
pub use remote::{TASK, serve};
pub use template::Template;
