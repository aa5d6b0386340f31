//! From messages to the text of a template and from replies to messages.

pub mod adapt;
pub mod battery;
pub mod delta;
pub mod message;
pub mod pieces;
pub mod plain;
pub mod reply;
pub mod script;
pub mod template;
