//! Model calls that are no reply of the conversation. Its tokens and its next logits stay what they were
//! (law 8).
//!
//! In the order in which these files import each other:
//! - `read_ahead`: the slot reads tokens of the conversation before they are needed.
//! - `beside`: a message that is answered on a fork of the conversation.
//! - `aside`: a user's question beside the conversation.

pub(in crate::agent) mod aside;
pub(in crate::agent) mod beside;
pub(in crate::agent) mod read_ahead;
