pub(in crate::kv) mod repair;
