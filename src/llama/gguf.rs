//! Reading and writing GGUF files through ggml's own functions.
//!
//! The reader exists so that a model can be recognised (its [`facts`]) without loading it; the
//! writer so that tests and demos can make small models of every memory class. ggml trusts counts
//! it finds in a file with its memory and asserts on bad arguments, so both are checked here first.

mod check;
mod error;
mod facts;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use error::GgufError;
pub use facts::{ModelFacts, TensorBytes, facts, split_paths};
pub use read::{GgufReader, TensorInfo, Value};
pub use write::{GgufWriter, Type};
