//! What an open conversation is: messages, ledger and frozen head, mirrored in memory. Npast.db is written
//! first, then the mirror, so that a turn costs O(new).

pub(in crate::agent) mod decoded;
pub(in crate::agent) mod handle;
