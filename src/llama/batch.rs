//! The tokens of one decode call, in npast's own buffers: llama.cpp's batch helper checks no length and
//! can write past its buffers.

use llama_cpp_sys_2 as sys;

use crate::ledger::Token;

/// Buffers for at most `room` tokens of one sequence.
pub(super) struct Batch {
    tokens: Vec<i32>,
    positions: Vec<i32>,
    counts: Vec<i32>,
    // One id per token, pointed to by `id_rows`.
    ids: Vec<i32>,
    id_rows: Vec<*mut i32>,
    outputs: Vec<i8>,
}

impl Batch {
    pub(super) fn new(room: usize) -> Batch {
        let mut ids = vec![0; room];
        let id_rows = ids.iter_mut().map(|id| id as *mut i32).collect();
        Batch {
            tokens: vec![0; room],
            positions: vec![0; room],
            counts: vec![1; room],
            ids,
            id_rows,
            outputs: vec![0; room],
        }
    }

    pub(super) fn room(&self) -> usize {
        self.tokens.len()
    }

    /// Fills the batch with `tokens` at positions from `pos`; only the last one gives logits, when
    /// `output` is set. The result points into `self` and is valid until the next fill.
    ///
    /// The caller has checked that the tokens fit.
    pub(super) fn fill(
        &mut self,
        seq: i32,
        pos: usize,
        tokens: &[Token],
        output: bool,
    ) -> sys::llama_batch {
        assert!(tokens.len() <= self.room());
        for (i, token) in tokens.iter().enumerate() {
            self.tokens[i] = token.0;
            self.positions[i] = (pos + i) as i32;
            self.ids[i] = seq;
            self.outputs[i] = 0;
        }
        if let Some(last) = tokens.len().checked_sub(1) {
            self.outputs[last] = i8::from(output);
        }
        sys::llama_batch {
            n_tokens: tokens.len() as i32,
            token: self.tokens.as_mut_ptr(),
            embd: std::ptr::null_mut(),
            pos: self.positions.as_mut_ptr(),
            n_seq_id: self.counts.as_mut_ptr(),
            seq_id: self.id_rows.as_mut_ptr(),
            logits: self.outputs.as_mut_ptr(),
        }
    }
}
