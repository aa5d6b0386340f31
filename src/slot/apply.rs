//! The execution of a plan whose bytes are all proven: the only place where a restore changes sequence 0
//! and the record of what sequence 0 holds.

use super::SlotError;
use super::broken::{Bad, Broken};
use super::engine::SlotEngine;
use super::ready::Ready;
use super::resident::Snapshot;
use crate::ledger::Token;
use crate::ledger::plan::{Plan, StartState};

impl SlotEngine {
    /// Executes a plan whose bytes are all proven. Changes the memory only; see
    /// [`SlotEngine::now_holds`]. False when the state does not give `sample`.
    pub fn apply(
        &mut self,
        plan: &Plan,
        ready: &mut Ready,
        ram: Option<&Snapshot>,
        sample: Option<&[f32]>,
    ) -> Result<bool, Broken> {
        let mut given = true;
        match plan.from {
            StartState::Stay => {}
            StartState::Empty => self.memory.clear(),
            StartState::Cut => self.memory.cut(plan.start)?,
            StartState::Ram => {
                let snapshot = ram.ok_or(SlotError::Cut { len: plan.start })?;
                self.memory.cut_before_import(plan.start)?;
                self.memory.import_snapshot(&snapshot.bytes, plan.start)?;
            }
            StartState::Disk => {
                if !ready.poured {
                    self.memory.cut_before_import(plan.keep)?;
                    self.pour(ready)?;
                }
                let end = ready.segments.last().map_or(plan.keep, |(_, s)| s.p1);
                // Where segments are all there is, the sample is of their end.
                if let (Some(sample), None) = (sample, &ready.snapshot) {
                    given = self.gives(sample, end)?;
                }
                if end > plan.start {
                    self.memory.cut_before_import(plan.start)?;
                }
                if let (Some((bytes, _)), Some((node, _))) = (&ready.snapshot, &ready.node) {
                    self.memory
                        .import_snapshot(bytes, plan.start)
                        .map_err(|e| Bad::node(node, e.to_string(), true))?;
                    if let Some(sample) = sample {
                        given = self.gives(sample, plan.start)?;
                    }
                }
            }
        }
        self.memory.check(plan.start)?;
        Ok(given)
    }

    /// Brings the truth about sequence 0 in line with what a plan did: `back` are the tokens from
    /// `keep` to `start`.
    pub fn now_holds(&mut self, plan: &Plan, back: &[Token], ready: Ready, ram: Option<Snapshot>) {
        self.canonical =
            matches!(plan.from, StartState::Ram | StartState::Disk).then_some(plan.start);
        match plan.from {
            StartState::Stay => {}
            StartState::Empty | StartState::Cut => self.resident.cut(plan.start),
            StartState::Ram => {
                self.resident.cut(plan.start);
                self.resident.row = ram.and_then(|s| s.row);
            }
            StartState::Disk => {
                self.resident.cut(plan.keep);
                self.resident.push(back);
                self.resident.is_given(plan.start);
                // A segment that goes on past the start is another conversation's, or was cut: what
                // follows is stored from its beginning, since no chain leads to its middle.
                for (edge, _) in &ready.segments {
                    if edge.p1 <= plan.start {
                        self.resident.saved_to(edge.p1);
                    }
                }
                if let Some((bytes, row)) = ready.snapshot {
                    self.resident.given_state = Some(plan.start);
                    self.resident.row.clone_from(&row);
                    self.resident.keep(Snapshot {
                        at: plan.start,
                        bytes,
                        row,
                    });
                }
            }
        }
    }
}
