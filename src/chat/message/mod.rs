//! Messages as every other part of npast knows them.

mod canonical;
pub mod plain;
pub mod wish;

pub use canonical::{Message, MessageError, Role, ToolCall};
