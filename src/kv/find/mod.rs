pub(in crate::kv) mod ahead;
pub(in crate::kv) mod lookup;
pub(in crate::kv) mod read_ahead;
pub(in crate::kv) mod warm;
