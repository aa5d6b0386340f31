pub(in crate::kv) mod handle;
pub(in crate::kv) mod share;
