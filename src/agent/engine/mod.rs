//! One process's model, slot and stores.
//!
//! In the order in which these files import each other:
//! - `pass`: the right to use the slot for one model call.
//! - `model_files`: names of a model: for people, and for what is remembered of its files.
//! - `fingerprint`: what must be equal before stored KV is used again.
//! - `memory`: refuses a context that does not fit into memory, before it is made.
//! - `template`: the chat template in force, and its examination.
//! - `load`: loading weights, and the sizes that a slot is started with.
//! - `fit_records`: what was counted of models before, in the data folder.
//! - `fit_words`: a choice of context and placement, in a sentence.
//! - `fit`: what a model is loaded with where the user gives no flag.
//! - `probe`: an unknown model is loaded in a process of its own first.
//! - `shared`: what all conversations of a process use.
//! - `completed`: which tokens the last completions read and wrote.
//! - `handle`: [`handle::Engine`]: opening all of it.

pub(in crate::agent) mod completed;
pub(in crate::agent) mod fingerprint;
pub(in crate::agent) mod fit;
pub(in crate::agent) mod fit_records;
pub(in crate::agent) mod fit_words;
pub(in crate::agent) mod handle;
pub(in crate::agent) mod load;
pub(in crate::agent) mod memory;
pub(in crate::agent) mod model_files;
pub(in crate::agent) mod pass;
pub mod probe;
pub(in crate::agent) mod shared;
pub(in crate::agent) mod template;
