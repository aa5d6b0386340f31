//! What a conversation does while nobody waits for it: a compression that is due, reading what one left to
//! be read, a title. It runs on the conversation's own thread with passes of a lower rank, so whoever asks for
//! something stops it between two decode calls. Nothing of it that would take the place of another
//! conversation in the slot is done.
//!
//! In the order in which these files import each other:
//! - `recorder`: receipts of what the slot and the store do by themselves.
//! - `title`: a better title than the user's first words.
//! - `rewrite`: what a template rewrites with the next message.
//! - `work`: what there is to do, and doing it.
//! - `base`: the beginning of the next session.

pub(in crate::agent) mod base;
pub(in crate::agent) mod recorder;
pub(in crate::agent) mod rewrite;
pub(in crate::agent) mod title;
pub(in crate::agent) mod work;
