//! Checking stored records when nothing is restored, for `npast kv verify`.
//!
//! - `inspect`: checks one record alone.
//! - `verify`: checks all record files of one model.
//! - `deep`: chooses segments for `npast kv verify --deep`; the slot evaluates their tokens again and
//!   compares the bytes.

pub(in crate::kv) mod deep;
pub(in crate::kv) mod inspect;
pub(in crate::kv) mod verify;
