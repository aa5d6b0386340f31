pub(in crate::kv) mod handle;
pub(in crate::kv) mod quarantine;
pub(in crate::kv) mod query;
