//! The notes: MEMORY.md (what the agent learned) and USER.md (who the user is) in the data folder.
//!
//! In the order in which these files import each other:
//! - `file`: a notes file on disk: locked, read, replaced whole.
//! - `suspicion`: which entries must not become part of a prompt.
//! - `edit`: the entries: their form, their limits, changing them.

pub(in crate::agent) mod edit;
pub(in crate::agent) mod file;
pub(in crate::agent) mod suspicion;
