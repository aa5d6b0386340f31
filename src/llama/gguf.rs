//! Reading and writing GGUF files through ggml's own functions.
