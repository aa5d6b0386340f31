//! The FFI boundary: small safe types over llama.cpp. Every `unsafe` line of the program is in
//! this room, and every call that can abort or scribble is guarded by a check that returns an error.
#![allow(unsafe_code)]

pub mod bridge;
pub mod gguf;
