//! What may be read without a question. What a refused call tells of a file is read by it too.

use std::path::Path;

use serde_json::json;

use super::{Approvals, CallVerdict};
use crate::tools::{ReadFile, Subject};

impl Approvals {
    /// Whether `read_file` of this path would run without a question.
    pub fn reads_unasked(&self, path: &Path) -> bool {
        let Some(text) = path.to_str() else {
            return false;
        };
        // It must be about this very path also then.
        let same = Subject::Path(path.to_owned());
        self.judge(&ReadFile::default(), &json!({"path": text})) == CallVerdict::Allow(same)
    }
}

#[cfg(test)]
#[path = "reading_tests.rs"]
mod tests;
