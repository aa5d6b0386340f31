//! Records: one stored segment or snapshot is one file. The layout is in docs/kv-format.md.
//!
//! In the order in which these files import each other:
//! - [`storage`]: the file operations that all of kv/ uses; tests put a failing disk behind them.
//! - `role`: why a snapshot is kept.
//! - `runs`: how the tokens of a segment were evaluated.
//! - `format`: the bytes of a header.
//! - `files`: the files of one fingerprint: names, the commit of one file, quarantine.
//! - `item`: a stored segment or snapshot, as the index names it.
//! - `put`: what callers hand over to be stored.
//! - `read`: reading a record and proving it.

pub(in crate::kv) mod files;
pub(in crate::kv) mod format;
pub(in crate::kv) mod item;
pub(in crate::kv) mod put;
pub(in crate::kv) mod read;
pub(in crate::kv) mod role;
pub(in crate::kv) mod runs;
pub mod storage;
