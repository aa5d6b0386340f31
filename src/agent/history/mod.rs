//! A client that sends all of its conversation with each request.
//!
//! In the order in which these files import each other:
//! - `sent`: a history as it is compared.
//! - `matching`: what of a history is stored.
//! - `whose`: the session that a history belongs to.
//! - `renew`: another head: the conversation goes on as another session.
//! - `foreign`: replies that this session never sampled.
//! - `follow`: makes the conversation what the history says, and answers its last message.
//! - `goes_on`: the same from a place in the session that the client names.
//! - `beside`: requests beside the conversations, which have no session.

pub(in crate::agent) mod beside;
pub(in crate::agent) mod follow;
pub(in crate::agent) mod foreign;
pub(in crate::agent) mod goes_on;
pub(in crate::agent) mod matching;
pub(in crate::agent) mod renew;
pub(in crate::agent) mod sent;
pub(in crate::agent) mod whose;
