//! What an open conversation is: messages, ledger and frozen head, mirrored in memory. Npast.db is written
//! first, then the mirror, so that a turn costs O(new).
//!
//! In the order in which these files import each other:
//! - `names`: the names by which other rooms and clients know a session.
//! - `stored`: what the body of a stored message says.
//! - `decoded`: how much of the ledger this session decoded before.
//! - `formats`: the formats of replies, as far as they were made.
//! - `held_ledger`: the ledger in memory: its tokens, what was decoded, what the slot named.
//! - `next_receipt`: what the next receipt has to say.
//! - `handle`: [`handle::Conversation`]: its parts, and what it asks of the slot.
//! - `messages`: what the messages say of where the conversation stands.
//! - `trails`: the digests by which a client's history is compared.
//! - `read_reply`: how replies are read: formats, and a message from a reply's tokens.
//! - `reload`: the mirror follows a change of npast.db, or is read again from it.

pub(in crate::agent) mod decoded;
pub(in crate::agent) mod formats;
pub(in crate::agent) mod handle;
pub(in crate::agent) mod held_ledger;
pub(in crate::agent) mod messages;
pub(in crate::agent) mod names;
pub(in crate::agent) mod next_receipt;
pub(in crate::agent) mod read_reply;
pub(in crate::agent) mod reload;
pub(in crate::agent) mod stored;
pub(in crate::agent) mod trails;
