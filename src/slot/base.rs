//! The beginning of later sessions (system prompt and tools), evaluated on scratch before one of them starts.
//! It is stored as the first tokens of any conversation are: in the bytes that the store has of them
//! already, as far as it has some.

use super::SlotError;
use super::engine::SlotEngine;
use super::memory::MemoryClass;
use crate::kv::{Past, PutSegment, PutSnapshot, SnapshotRole, Store};
use crate::ledger::{Digest, RunningDigest, Token};

fn digest(store: &Store, tokens: &[Token]) -> Digest {
    let mut running = RunningDigest::new(store.fingerprint().hard);
    running.extend(tokens);
    running.digest()
}

/// Whether a conversation that begins with these tokens is restored up to their end. What still waits for
/// the writer counts as not stored.
pub fn is_stored(store: &Store, class: MemoryClass, tokens: &[Token]) -> bool {
    let dense = class == MemoryClass::Dense;
    if !dense && !store.has_snapshot(digest(store, tokens)) {
        return false;
    }
    let mut at = 0;
    while class != MemoryClass::Recurrent && at < tokens.len() {
        match store.ahead(digest(store, &tokens[..at]), at, &tokens[at..]) {
            Some((edge, upto)) if upto == edge.p1 => at = upto,
            // It goes on behind them: a state in its middle is no place to start from.
            Some((_, upto)) => return dense && upto == tokens.len(),
            None => return false,
        }
    }
    true
}

impl SlotEngine {
    /// Stores what scratch holds, these tokens from position 0 on. Scratch is of no use afterwards.
    pub(super) fn store_side(&mut self, tokens: &[Token]) -> Result<(u64, u64), SlotError> {
        if self.store.is_off() || self.memory.class() == MemoryClass::Whole {
            return Ok((0, 0));
        }
        self.store.flush()?;
        let (len, end) = (tokens.len(), digest(&self.store, tokens));
        let (mut from, mut p0) = (digest(&self.store, &[]), 0);
        while p0 < len && self.memory.shape().segments {
            let Some((edge, upto)) = self.store.ahead(from, p0, &tokens[p0..]) else {
                break;
            };
            let ends = upto < edge.p1;
            from = digest(&self.store, &tokens[..upto]);
            p0 = upto;
            if ends {
                // Another conversation goes on from here.
                self.store.split(&edge, upto, from);
                break;
            }
        }
        let (payload, state) = self.memory.scratch_state(p0, len)?;
        let mut bytes = (0, 0);
        // In pieces as of any conversation, so that no record is larger.
        let mut payload = payload.unwrap_or_default();
        bytes.0 = payload.len() as u64;
        let mut at = p0;
        while at < len && !payload.is_empty() {
            let to = match len - at < 2 * self.segment {
                true => len,
                false => at + self.segment,
            };
            let piece = match (at, to) == (p0, len) {
                true => std::mem::take(&mut payload),
                false => self.memory.rows_of(&payload, (p0, len), (at, to))?,
            };
            let upto = digest(&self.store, &tokens[..to]);
            let put = PutSegment {
                from,
                to: upto,
                p0: at,
                p1: to,
                tokens: tokens[at..to].to_vec(),
                payload: piece,
            };
            self.store.put_version(put, Vec::new(), 0);
            (from, at) = (upto, to);
        }
        if let Some(state) = state {
            bytes.1 = state.len() as u64;
            self.store.put_snapshot(PutSnapshot {
                at: len,
                digest: end,
                tail: tokens[len.saturating_sub(64)..].to_vec(),
                payload: state,
                logits: None,
                role: SnapshotRole::Head,
                owner: None,
                past: Past::default(),
            });
        }
        Ok(bytes)
    }
}
