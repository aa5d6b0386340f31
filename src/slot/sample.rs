//! A few logits that a state gives: sampled when the state is stored, and compared before a state that
//! another build, device or thread count wrote is used. On scratch: sequence 0 stays as it is.
//!
//! The sample at P is what a fixed text of a few tokens after [0, P) gives. Two machines never give
//! the same numbers, and what is small depends on the model, so the difference is compared with what
//! the whole context changes in them: the distance to what the same text gives after nothing. Numbers
//! of other weights, another RoPE or other tokens are about as far away as nothing is.

use super::SlotError;
use super::engine::SlotEngine;
use super::memory::{MemoryClass, SlotMemory};
use super::picked::picked;
use crate::ledger::Digest;
use crate::llama::Seq;

/// The largest difference that is taken, as a part of what the context changes.
///
/// Measured on tiny models of all four classes (464 tokens, f16 and q8_0 caches): other batch sizes
/// and thread counts differ by at most 0.002, a RoPE base that is a tenth larger by 0.22 at the least,
/// other weights by 0.82. Backends differ by more than threads do, so the bound is nearer to the
/// second. On real weights (`scripts/real`, docs/models.md has the table) threads and batch sizes
/// differ by less than 0.00001, and numbers of another precision, which is more than another backend
/// changes, by 0.04 (SmolLM2) and 0.07 (Gemma 3) with a q8_0 cache and by 0.14 and 0.39 with q4_0; a
/// RoPE base that is a tenth larger by 0.26 and 0.06. So the bound says little about RoPE on real weights:
/// the hard fingerprint does that.
const TOLERANCE: f32 = 0.1;

/// The root of the mean square of the differences.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    let sum: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    (sum / a.len().max(1) as f64).sqrt() as f32
}

/// How far `seen` is from a stored sample, as a part of what the context changes; infinite where
/// they cannot be compared.
fn difference(stored: &[f32], seen: &[f32], nothing: &[f32]) -> f32 {
    if stored.is_empty() || stored.len() != seen.len() || nothing.len() != seen.len() {
        return f32::INFINITY;
    }
    let part = apart(stored, seen) / apart(stored, nothing);
    match part.is_finite() {
        true => part,
        false => f32::INFINITY,
    }
}

impl SlotMemory {
    /// The sample of the first `at` tokens of sequence 0, which may hold more where KV alone is
    /// shared. Scratch must be free, and is again afterwards.
    ///
    /// # Errors
    /// When the probe cannot be decoded; scratch is free all the same.
    fn sample(&mut self, at: usize) -> Result<Vec<f32>, SlotError> {
        let probe = self.probe_tokens().to_vec();
        self.ctx().share(Seq::Main, Seq::Scratch, 0, at);
        let mut decoded = Ok(());
        let mut end = at;
        for batch in probe.chunks(self.ctx().ubatch()) {
            let last = end + batch.len() == at + probe.len();
            decoded = self.ctx().decode(Seq::Scratch, end, batch, last);
            end += batch.len();
            if decoded.is_err() {
                break;
            }
        }
        let row = self.ctx().logits().map(picked);
        self.ctx().clear(Seq::Scratch);
        decoded?;
        row.ok_or(SlotError::Empty)
    }
}

/// Something that was read, by the digest at its end and the soft fingerprint it was written under.
#[derive(Clone, Copy)]
pub(super) struct Provenance {
    pub to: Digest,
    pub soft: Digest,
}

/// What is to be done about numbers of another machine.
pub(super) enum Trust {
    /// All that was read is of this machine, or was found right before.
    Known,
    /// The state is right if the state at this digest gives this sample; what is foreign about it, in
    /// words.
    If(Digest, Vec<f32>, String),
    /// No sample decides. In words: what is foreign about it.
    No(String),
}

impl SlotEngine {
    /// Whether what was read may be used: segments that follow each other, and the snapshot after
    /// them. The store is not queried when all of it was written on this machine.
    pub fn trust(&self, segments: &[Provenance], node: Option<Provenance>) -> Trust {
        let own = self.store.soft();
        let foreign = |made: &Provenance| made.soft != own;
        let Some(first) = segments.iter().chain(&node).find(|m| foreign(m)) else {
            return Trust::Known;
        };
        // What leads to a state that was found right is right.
        let known = |made: &Provenance| self.store.agrees(made.to);
        let after = segments.iter().rposition(known).map_or(0, |last| last + 1);
        let node_known = node.as_ref().is_some_and(known);
        let strange = segments[after..].iter().chain(&node).any(foreign) && !node_known;
        if !strange {
            return Trust::Known;
        }
        let words = self.store.made_elsewhere(first.soft);
        let last = node.or(segments.last().copied()).map(|m| m.to);
        let sample = last.and_then(|at| Some((at, self.store.sample(at)?)));
        match sample {
            Some((at, sample)) => Trust::If(at, sample, words),
            None => Trust::No(words),
        }
    }

    /// How many of some segments that follow each other are proven right.
    pub fn trusted(&self, segments: &[Provenance]) -> usize {
        let told = |n: &usize| !matches!(self.trust(&segments[..*n], None), Trust::No(_));
        (1..=segments.len()).rev().find(told).unwrap_or(0)
    }

    /// Compares what the first `at` tokens of sequence 0 give with a stored sample.
    ///
    /// # Errors
    /// When the probe cannot be decoded.
    pub fn gives(&mut self, sample: &[f32], at: usize) -> Result<bool, SlotError> {
        let seen = self.memory.sample(at)?;
        let part = difference(sample, &seen, self.memory.nothing());
        tracing::info!(part, at, "a state of another machine was compared");
        Ok(part <= TOLERANCE)
    }

    /// Stores a sample of the present state, if its turn has none yet: idle work, for the time when
    /// another machine opens this session. Then the number of tokens that were evaluated for it, in one
    /// decode call or two.
    pub fn sample_turn(&mut self) -> Option<usize> {
        let at = self.resident.len();
        let room = self.memory.ctx().cells() >= at + self.memory.probe_tokens().len();
        let due = std::mem::take(&mut self.unsampled);
        if !due || at == 0 || !room || self.memory.class() == MemoryClass::Whole {
            return None;
        }
        let known = self.resident.snapshot(at).map(|s| s.bytes.clone());
        // On SWA masked cells of sequence 0 would become shared, see `SlotMemory::fork`. In the layout
        // that this makes the probe finds free places after the window, and leaves them free again.
        let sample = match self.memory.relay(known) {
            Ok(_) => self.memory.sample(at),
            Err(error) => Err(error),
        };
        if let Err(error) = self.memory.check(at) {
            tracing::warn!("a sample was not made: {error}");
            self.give_up();
            return None;
        }
        self.canonical = Some(at);
        match sample {
            Ok(sample) => {
                let digest = self.resident.digest(at);
                self.store.put_sample(&self.resident.owner, digest, sample);
                Some(self.memory.probe_tokens().len())
            }
            Err(error) => {
                tracing::warn!("a sample was not made: {error}");
                None
            }
        }
    }
}
