//! Prepared replies (stand-in until the merge).

use std::path::Path;

/// Prepared replies, one line per call.
#[derive(Debug)]
pub struct Script;

/// Why a script was not read.
#[derive(Debug, thiserror::Error)]
#[error("no script")]
pub struct ScriptError;

impl Script {
    /// Reads a file of prepared replies.
    pub fn load(_path: &Path) -> Result<Script, ScriptError> {
        todo!()
    }
}
