//! KV of long conversations without evaluating them: rows that were evaluated once are written out
//! again under other positions, in llama.cpp's own form of a state (src/llama/state.rs), and go
//! through the store's and the slot's proofs like any others. What they cost to write, read and put
//! back does not depend on their values.

use npast::kv::{PutSegment, Store};
use npast::ledger::{Digest, RunningDigest, Token};

/// Bytes before the first cell: magic, sequence, stream count, cell count.
const HEAD: usize = 16;
/// Bytes of a cell: position, sequence count, sequence.
const CELL: usize = 12;
/// Bytes behind the cells: V transposition, layer count, two rotations.
const MIDDLE: usize = 16;
/// Bytes before the rows of a layer: type, row size.
const LAYER: usize = 12;

/// A segment's rows, to be taken again and again.
pub struct Rows {
    state: Vec<u8>,
    cells: usize,
}

impl Rows {
    /// Rows of a segment of [0, `cells`).
    ///
    /// # Panics
    /// When the state is not of the form above.
    pub fn of(state: Vec<u8>, cells: usize) -> Rows {
        assert_eq!(u32_at(&state, 12) as usize, cells, "cells of the state");
        let last = HEAD + (cells - 1) * CELL;
        assert_eq!(
            u32_at(&state, last) as usize,
            cells - 1,
            "the last position"
        );
        Rows { state, cells }
    }

    /// The same rows as a segment of [p0, p1), as often as it needs them.
    pub fn at(&self, p0: usize, p1: usize) -> Vec<u8> {
        let count = p1 - p0;
        let mut out = Vec::with_capacity(self.state.len() / self.cells * count + 4096);
        out.extend_from_slice(&self.state[..12]);
        out.extend_from_slice(&(count as u32).to_le_bytes());
        for p in p0..p1 {
            out.extend_from_slice(&(p as u32).to_le_bytes());
            out.extend_from_slice(&self.state[HEAD + 4..HEAD + CELL]);
        }
        let mut at = HEAD + self.cells * CELL;
        out.extend_from_slice(&self.state[at..at + MIDDLE]);
        at += MIDDLE;
        while at < self.state.len() {
            let row = u64_at(&self.state, at + 4) as usize;
            out.extend_from_slice(&self.state[at..at + LAYER]);
            at += LAYER;
            let rows = &self.state[at..at + self.cells * row];
            let mut left = count;
            while left > 0 {
                let part = left.min(self.cells);
                out.extend_from_slice(&rows[..part * row]);
                left -= part;
            }
            at += rows.len();
        }
        out
    }

    /// Stores `target` from `start` on in segments of at most `each` tokens, and pins its end.
    pub fn fill(&self, store: &Store, owner: &str, target: &[Token], start: usize, each: usize) {
        let mut running = RunningDigest::new(store.fingerprint().hard);
        running.extend(&target[..start]);
        let mut p0 = start;
        while p0 < target.len() {
            let p1 = (p0 + each).min(target.len());
            let from = running.digest();
            running.extend(&target[p0..p1]);
            store.put_segment(PutSegment {
                from,
                to: running.digest(),
                p0,
                p1,
                tokens: target[p0..p1].to_vec(),
                payload: self.at(p0, p1),
            });
            p0 = p1;
        }
        store.pin(owner, running.digest());
        store.flush().expect("a flush");
    }
}

/// D(at) of a target, for a search that asks for few positions.
pub fn digest(store: &Store, target: &[Token], at: usize) -> Digest {
    let mut running = RunningDigest::new(store.fingerprint().hard);
    running.extend(&target[..at]);
    running.digest()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
