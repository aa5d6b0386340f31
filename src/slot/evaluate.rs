//! Evaluation of what is new. Law 3: a batch ends every n_ubatch tokens counted from the append's
//! start and at snapshot points, and snapshot points are a function of the append's start, the frozen
//! head and what it has in common with others alone: never of load, disk, or when a turn was cancelled.

use std::sync::atomic::AtomicBool;

use tokio::sync::mpsc::UnboundedSender;

use super::SlotError;
use super::call::SlotEvent;
use super::engine::{SlotEngine, cancelled};
use super::memory::MemoryClass;
use super::options::STEP;
use super::resident::Snapshot;
use super::saved::Saved;
use crate::kv::SnapshotRole;
use crate::ledger::Token;
use crate::llama::{ContextError, DecodeError, Seq};

/// How far an evaluation came.
pub(super) struct Evaluated {
    pub tokens: usize,
    pub error: Option<SlotError>,
}

/// Where the batches of an append of [start, end) must end, besides every n_ubatch tokens counted
/// from the last such point. Ascending; without `end` itself.
fn snapshot_points(start: usize, end: usize, heads: [usize; 2], steps: bool) -> Vec<usize> {
    let mut points = Vec::new();
    for head in heads {
        if start < head && head < end && !points.contains(&head) {
            points.push(head);
        }
    }
    if steps {
        let from = points.last().copied().unwrap_or(start);
        points.extend((from + STEP..end).step_by(STEP));
    }
    points
}

impl SlotEngine {
    /// Evaluates tokens after those that sequence 0 holds. Stops between decode calls when the call is cancelled;
    /// what was decoded stays. `heads`: the end of what the frozen head has in common with those of other
    /// sessions, and its own end; ascending.
    pub fn evaluate(
        &mut self,
        tokens: &[Token],
        heads: [usize; 2],
        cancel: &AtomicBool,
        events: &UnboundedSender<SlotEvent>,
        saved: &mut Saved,
    ) -> Evaluated {
        let start = self.resident.len();
        let end = start + tokens.len();
        let done = |engine: &SlotEngine, error| Evaluated {
            // A failed decode may have taken more away than this call had added.
            tokens: engine.resident.len().saturating_sub(start),
            error,
        };
        if tokens.is_empty() {
            return done(self, None);
        }
        if let Err(error) = self.begin_append() {
            return done(self, Some(error));
        }
        let points = snapshot_points(start, end, heads, self.memory.shape().snapshots);
        let mut points = points.into_iter().chain([end]);
        let mut until = points.next().unwrap_or(end);
        while self.resident.len() < end {
            if cancelled(cancel) {
                return done(self, None);
            }
            let at = self.resident.len();
            let batch = &tokens[at - start..(at + self.ubatch).min(until) - start];
            let last = at + batch.len() == end;
            if let Err(error) = self.decode(batch, last) {
                return done(self, Some(error));
            }
            let at = self.resident.len();
            if last {
                self.resident.row = self.memory.ctx().logits().map(<[f32]>::to_vec);
            }
            let _ = events.send(SlotEvent::Prefill {
                done: at - start,
                total: end - start,
            });
            if at == until && at < end {
                until = points.next().unwrap_or(end);
                let role = if heads.contains(&at) {
                    SnapshotRole::Head
                } else {
                    SnapshotRole::Step
                };
                if let Err(error) = self.point(role, saved) {
                    return done(self, Some(error));
                }
            } else if at < end && at - self.resident.saved() >= self.segment {
                self.save_within(saved);
                if self.resident.len() < at {
                    return done(self, Some(SlotError::Lost));
                }
            }
        }
        done(self, None)
    }

    /// Evaluates the last token that sequence 0 holds once more, on scratch, for its logits row. In
    /// sequence 0 it stays what the store has.
    pub fn evaluate_aside(&mut self, events: &UnboundedSender<SlotEvent>) -> Evaluated {
        let last = self.resident.tokens().last().copied();
        let row = last.ok_or(SlotError::Empty);
        match row.and_then(|last| self.memory.row_aside(last)) {
            Ok(row) => {
                self.resident.row = Some(row);
                let _ = events.send(SlotEvent::Prefill { done: 1, total: 1 });
                Evaluated {
                    tokens: 1,
                    error: None,
                }
            }
            Err(error) => Evaluated {
                tokens: 0,
                error: Some(error),
            },
        }
    }

    /// Decodes one batch on sequence 0 and takes note of it. After a failure sequence 0 is what it
    /// was, or what the last snapshot says, or empty.
    pub fn decode(&mut self, batch: &[Token], output: bool) -> Result<(), SlotError> {
        let at = self.resident.len();
        match self.memory.ctx().decode(Seq::Main, at, batch, output) {
            Ok(()) => {
                self.resident.decoded(batch, self.ubatch);
                Ok(())
            }
            Err(error) => {
                if matches!(error, DecodeError::Broken { .. }) {
                    self.recover(at);
                }
                Err(error.into())
            }
        }
    }

    /// After a decode that broke: dense and SWA memories are cut to what they held before; where a
    /// recurrent state may be half new, the last snapshot is put back, and `pos_max` is not trusted.
    fn recover(&mut self, before: usize) {
        let cuttable = matches!(self.memory.class(), MemoryClass::Dense | MemoryClass::Swa);
        if cuttable && self.memory.cut(before).is_ok() {
            return;
        }
        let last = self.resident.snapshots().rfind(|s| s.at <= before).cloned();
        if let Some(snapshot) = last {
            let back = self
                .memory
                .cut_before_import(snapshot.at)
                .and_then(|()| self.memory.import_snapshot(&snapshot.bytes, snapshot.at))
                .and_then(|()| self.memory.check(snapshot.at));
            if back.is_ok() {
                self.resident.cut(snapshot.at);
                return;
            }
        }
        self.give_up();
    }

    /// Empties a memory that cannot be trusted any more; the next call says so.
    pub fn give_up(&mut self) {
        tracing::warn!("the slot's memory is given up after a failure");
        self.memory.clear();
        self.resident.cut(0);
        self.resident.lost = true;
    }

    /// The start of an append, or of a reply that follows none: an SWA window is laid out
    /// canonically, and where the state cannot be cut a snapshot is kept in RAM, so that a message
    /// that is withdrawn costs nothing.
    pub fn begin_append(&mut self) -> Result<(), SlotError> {
        self.resident.begin_run();
        self.lay_out().inspect_err(|error| {
            // llama.cpp empties what it was importing into.
            if matches!(error, SlotError::Context(ContextError::Import { .. })) {
                self.give_up();
            }
        })
    }

    fn lay_out(&mut self) -> Result<(), SlotError> {
        let at = self.resident.len();
        if at == 0 || !self.memory.shape().snapshots {
            return Ok(());
        }
        self.resident.mark();
        let known = self.resident.snapshot(at).cloned();
        let row = self.resident.row.take();
        let bytes = if self.canonical == Some(at) && known.is_some() {
            known.map(|s| s.bytes)
        } else {
            self.memory.relay(known.map(|s| s.bytes))?
        };
        let bytes = match bytes {
            Some(bytes) => bytes,
            None => self.memory.snapshot()?,
        };
        self.canonical = None;
        self.resident.keep(Snapshot {
            at,
            bytes,
            row: row.clone(),
        });
        self.resident.row = row;
        Ok(())
    }

    /// A snapshot point inside an append: the segment before it and the state at it are stored.
    fn point(&mut self, role: SnapshotRole, saved: &mut Saved) -> Result<(), SlotError> {
        let at = self.resident.mark().len();
        self.save_segment(saved);
        if self.resident.len() < at {
            return Err(SlotError::Lost);
        }
        self.resident.begin_run();
        if !self.memory.shape().snapshots {
            return Ok(());
        }
        let bytes = self.memory.snapshot()?;
        self.memory.relay(Some(bytes.clone()))?;
        self.resident.keep(Snapshot {
            at,
            bytes: bytes.clone(),
            row: None,
        });
        // A frozen head is everybody's.
        let owner = (role != SnapshotRole::Head).then(|| self.resident.owner.clone());
        self.save_snapshot(at, bytes, None, role, owner.as_deref(), saved);
        match self.resident.len() < at {
            true => Err(SlotError::Lost),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_points_depend_on_the_start_and_the_head_alone() {
        assert_eq!(snapshot_points(0, 100, [0, 40], true), [40]);
        assert_eq!(snapshot_points(40, 100, [0, 40], true), [0; 0]);
        assert_eq!(snapshot_points(0, 40, [0, 40], true), [0; 0]);
        let long = snapshot_points(0, 3 * STEP, [0, 40], true);
        assert_eq!(long, [40, 40 + STEP, 40 + 2 * STEP]);
        // An append that was cancelled on the grid goes on over the same points.
        assert_eq!(
            snapshot_points(40 + STEP, 3 * STEP, [0, 40], true),
            [40 + 2 * STEP]
        );
        assert_eq!(snapshot_points(0, 3 * STEP, [0, 40], false), [40]);
        // What it has in common with other heads is a point of its own.
        assert_eq!(snapshot_points(0, 100, [30, 40], true), [30, 40]);
        assert_eq!(snapshot_points(30, 100, [30, 40], true), [40]);
        assert_eq!(snapshot_points(0, 100, [40, 40], true), [40]);
    }
}
