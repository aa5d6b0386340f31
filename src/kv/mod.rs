//! (under construction)
/// stand-in
#[derive(Debug, thiserror::Error)]
#[error("kv")]
pub struct Error;
