//! The notes: MEMORY.md (what the agent learned) and USER.md (who the user is) in the data folder.

pub(in crate::agent) mod edit;
pub(in crate::agent) mod file;
pub(in crate::agent) mod suspicion;
