//! A conversation is started, opened, mended and closed; and every operation on it runs here.

pub(in crate::agent) mod kept;
pub(in crate::agent) mod operation;
