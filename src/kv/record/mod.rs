pub(in crate::kv) mod files;
pub(in crate::kv) mod format;
pub(in crate::kv) mod put;
pub(in crate::kv) mod read;
pub(in crate::kv) mod runs;
pub mod storage;
