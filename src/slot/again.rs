//! Evaluating stored KV again, as it was evaluated the first time, for `verify --deep`: from the same
//! state, in the same batches, the same bytes must come out.

use std::sync::atomic::AtomicBool;

use tokio::sync::mpsc::unbounded_channel;

use super::SlotError;
use super::call::Target;
use super::engine::SlotEngine;
use super::evaluate::Boundaries;
use super::saved::Saved;
use crate::kv::SampledSegment;
use crate::ledger::Token;

/// Tokens before a segment that are evaluated again when no state is stored at its start.
const REPLAY: usize = 16_384;

/// What came of comparing a stored segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Compared {
    /// The same bytes.
    Same,
    /// Other bytes: how many, and of how many.
    Differs {
        /// Bytes that differ.
        bytes: usize,
        /// Bytes of the segment.
        of: usize,
    },
    /// The segment was not compared: the reason, a sentence without a full stop.
    Not(String),
}

impl SlotEngine {
    /// Evaluates a segment again and compares. Sequence 0 holds something else afterwards; nothing is
    /// stored.
    ///
    /// # Errors
    /// When the stored segment cannot be read or decoding fails.
    pub fn compare(&mut self, sampled: &SampledSegment) -> Result<Compared, SlotError> {
        let reading = self.store.reading();
        let writing = std::mem::replace(&mut self.store, reading);
        let compared = self.compare_reading(sampled);
        self.store = writing;
        self.unsampled = false;
        compared
    }

    fn compare_reading(&mut self, sampled: &SampledSegment) -> Result<Compared, SlotError> {
        let edge = &sampled.edge;
        let not = |why: String| Ok(Compared::Not(why));
        if sampled.soft != self.store.soft() {
            return not(self.store.made_elsewhere(sampled.soft));
        }
        let Some(own) = sampled.runs.iter().rposition(|r| r.start <= edge.p0) else {
            return not("how it was evaluated was not kept".to_owned());
        };
        let other = sampled.runs[own..].iter().find(|r| r.batch != self.ubatch);
        if let Some(run) = other {
            return not(format!(
                "evaluated in batches of {}, this run has {}",
                run.batch, self.ubatch
            ));
        }
        self.give_way();
        let begin = self.state_before(&sampled.tokens[..sampled.runs[own].start])?;
        // What is between that state and the segment is evaluated again as well.
        let first = sampled.runs[..=own].iter().position(|r| r.start == begin);
        let runs = match first {
            Some(first) if edge.p0 - begin <= REPLAY => &sampled.runs[first..],
            _ => return not(format!("the last state before it is at token {begin}")),
        };
        for (i, run) in runs.iter().enumerate() {
            if i > 0 && self.memory.shape().segments {
                // As at the end of each call: what is evaluated next reads the store's rows.
                self.share(run.start, true);
            }
            self.run_again(&sampled.tokens[run.start..run.end], run.prompt - run.start)?;
        }
        let again = self.memory.segment(edge.p0, edge.p1)?;
        let stored = self.store.read_segment(edge, &sampled.tokens)?.payload;
        let common = again.iter().zip(&stored);
        let bytes = common.filter(|(a, b)| a != b).count() + again.len().abs_diff(stored.len());
        Ok(match bytes {
            0 => Compared::Same,
            bytes => Compared::Differs {
                bytes,
                of: stored.len(),
            },
        })
    }

    /// Restores as much of these tokens as is stored; how many.
    fn state_before(&mut self, tokens: &[Token]) -> Result<usize, SlotError> {
        if tokens.is_empty() {
            return Ok(0);
        }
        let goal = self.resolve(&Target::whole(tokens.to_vec()));
        let (events, _inbox) = unbounded_channel();
        let started = self.prepare(&goal, "", tokens.len(), false, &events);
        Ok(started.start)
    }

    /// The first `batched` tokens as a prompt, the others as its reply.
    fn run_again(&mut self, tokens: &[Token], batched: usize) -> Result<(), SlotError> {
        let (prompt, reply) = tokens.split_at(batched);
        let (events, _inbox) = unbounded_channel();
        let never = AtomicBool::new(false);
        match prompt {
            [] => self.begin_append()?,
            _ => {
                let anywhere = Boundaries::default();
                let done = self.evaluate(prompt, anywhere, &never, &events, &mut Saved::default());
                if let Some(error) = done.error {
                    return Err(error);
                }
            }
        }
        for token in reply {
            self.decode(&[*token], true)?;
        }
        Ok(())
    }

    /// Sequence 0 holds nothing any more; what it held is stored, or is evaluated again.
    fn give_way(&mut self) {
        self.memory.clear();
        self.resident.cut(0);
        self.canonical = None;
    }
}
