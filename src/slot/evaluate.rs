//! Evaluation of what is new. Law 3: a batch ends every n_ubatch tokens counted from the append's
//! start and at snapshot points, and snapshot points are a function of the append's start, the frozen
//! head, what it has in common with others, and the parts that the caller's messages make: never of load,
//! disk, or when a turn was cancelled.

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

/// Where an evaluation ends its batches, besides every n_ubatch tokens counted from its start and from each
/// such place.
#[derive(Clone, Copy, Default)]
pub(super) struct Boundaries<'a> {
    /// The end of what the frozen head has in common with those of other sessions, and its own end; ascending.
    pub heads: [usize; 2],
    /// Where parts of it begin that are read as appends of their own ([`super::Target::in_parts`]). A place
    /// that is not behind the one before it is none.
    pub parts: &'a [usize],
}

/// What is at the end of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// A snapshot point: what is before it is stored, with the state.
    Point,
    /// Another append begins.
    Append,
}

impl Boundaries<'_> {
    /// Those in an evaluation of [start, end), ascending. Where the state can be cut, nothing is gained by
    /// parts. As at the end of a call, what is before a part is stored where that is long.
    fn within(&self, start: usize, end: usize, steps: bool) -> Vec<(usize, Place)> {
        let mut places = Vec::new();
        let (mut from, mut stored) = (start, start);
        let parts = self.parts.iter().copied();
        for part in parts.filter(|part| steps && *part < end).chain([end]) {
            if part <= from {
                continue;
            }
            let points = snapshot_points(from, part, self.heads, steps);
            stored = points.last().copied().unwrap_or(stored);
            places.extend(points.into_iter().map(|at| (at, Place::Point)));
            if part < end && part - stored >= STEP {
                stored = part;
                places.push((part, Place::Point));
            } else if part < end {
                places.push((part, Place::Append));
            }
            from = part;
        }
        places
    }
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
    /// what was decoded stays.
    pub fn evaluate(
        &mut self,
        tokens: &[Token],
        boundaries: Boundaries<'_>,
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
        let places = boundaries.within(start, end, self.memory.shape().snapshots);
        let mut places = places.into_iter().chain([(end, Place::Point)]);
        let mut until = places.next().unwrap_or((end, Place::Point));
        while self.resident.len() < end {
            if cancelled(cancel) {
                return done(self, None);
            }
            let at = self.resident.len();
            let batch = &tokens[at - start..(at + self.ubatch).min(until.0) - start];
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
            let point = until == (at, Place::Point);
            if at < end && !point && at - self.resident.saved() >= self.segment {
                self.save_within(saved);
                if self.resident.len() < at {
                    return done(self, Some(SlotError::Lost));
                }
            }
            if at == until.0 && at < end {
                let role = if boundaries.heads.contains(&at) {
                    SnapshotRole::Head
                } else {
                    SnapshotRole::Step
                };
                let passed = match until.1 {
                    Place::Point => self.point(role, saved),
                    Place::Append => self.begin_append(),
                };
                if let Err(error) = passed {
                    return done(self, Some(error));
                }
                until = places.next().unwrap_or((end, Place::Point));
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

    /// Each part has the points that an append of its own would have.
    #[test]
    fn parts_are_appends_where_the_state_cannot_be_cut() {
        let parts = [10, 60, 60 + STEP, 300 + 2 * STEP];
        let boundaries = Boundaries {
            heads: [0, 40],
            parts: &parts,
        };
        let (point, append) = (Place::Point, Place::Append);
        assert_eq!(
            boundaries.within(10, 300 + 2 * STEP, true),
            [
                (40, point),
                (60, append),
                (60 + STEP, point),
                (60 + 2 * STEP, point)
            ]
        );
        assert_eq!(boundaries.within(10, 300, false), [(40, point)]);
        assert_eq!(
            boundaries.within(70, 61 + STEP, true),
            [(60 + STEP, append)]
        );
        // What is no place behind the one before it is none.
        for parts in [[60, 60], [60, 50], [9, 60]] {
            let parts = &parts;
            let boundaries = Boundaries {
                parts,
                ..boundaries
            };
            assert_eq!(boundaries.within(50, 90, true), [(60, append)], "{parts:?}");
        }
    }
}
