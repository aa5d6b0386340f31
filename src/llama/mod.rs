//! The FFI boundary: small safe types over llama.cpp. Every `unsafe` line of the program is in
//! this room, and every call that can abort or write out of bounds is guarded by a check that returns an error.
#![allow(unsafe_code)]

pub mod apart;
mod backend;
mod batch;
pub mod bridge;
mod context;
pub mod gguf;
mod handle;
mod log;
mod model;
mod sampler;
pub mod state;
mod takes;
mod text;
mod vocab;

pub use apart::Apart;
pub use backend::{Device, backends, backends_missing, cpu_lacks, devices, system_info};
pub use context::{CacheType, Context, ContextError, ContextOptions, DecodeError, Seq};
pub use log::on_abort;
pub use model::{LoadError, Model, ModelOptions};
pub use sampler::{Grammar, Sampler, SamplerError, Sampling};
pub use state::StatePart;
pub use takes::Takes;
pub use vocab::{Vocab, VocabError};
