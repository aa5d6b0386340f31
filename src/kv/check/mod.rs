pub(in crate::kv) mod deep;
pub(in crate::kv) mod inspect;
