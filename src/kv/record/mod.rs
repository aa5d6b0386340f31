//! Records: a record is one file with one segment or one snapshot (or one logits row). This folder
//! has all source files that deal with a single record; docs/kv-format.md has the byte layout.
//!
//! A source file uses only files above it in this list:
//! - [`storage`]: the file operations on record files, as a trait; tests replace it by a disk that fails.
//! - `role`: for which reason a snapshot or a logits row is kept.
//! - `runs`: in which batches the tokens of a segment were evaluated.
//! - `format`: the bytes of a record's header.
//! - `files`: the files of one model folder: their names, how a file is written and replaced, and the
//!   quarantine.
//! - `item`: `Edge` and `Node`, the segment and the snapshot as the index lists them.
//! - `put`: the values that a caller hands over to be stored.
//! - `read`: reading and proving a record.

pub(in crate::kv) mod files;
pub(in crate::kv) mod format;
pub(in crate::kv) mod item;
pub(in crate::kv) mod put;
pub(in crate::kv) mod read;
pub(in crate::kv) mod role;
pub(in crate::kv) mod runs;
pub mod storage;
