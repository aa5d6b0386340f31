pub(in crate::kv) mod fingerprint;
pub(in crate::kv) mod weights;
