//! Before evaluation: what the target has in common with what is resident and stored, and the plan
//! that follows from it, which `restore` executes.

use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;

use super::call::{Cause, Miss, SlotEvent, Target};
use super::engine::{SlotEngine, ms};
use super::resident::Resident;
use crate::kv::StoredPrefix;
use crate::ledger::plan::{ResidentPrefix as Held, StoredPrefixes, plan};
use crate::ledger::{Digest, Mark, RunningDigest, Token, common_prefix};

/// A target, divided by what is resident: its first `base` tokens are the resident ones.
pub(super) struct Goal {
    pub base: usize,
    pub tail: Vec<Token>,
    /// Tokens that the target and sequence 0 have in common.
    pub common: usize,
    /// The resident token where they part, if there is one.
    pub had: Option<Token>,
}

impl Goal {
    pub fn len(&self) -> usize {
        self.base + self.tail.len()
    }

    /// The target's tokens from `start` on; `resident` is still what it was.
    pub fn from(&self, resident: &[Token], start: usize) -> Vec<Token> {
        match start.checked_sub(self.base) {
            Some(skip) => self.tail[skip..].to_vec(),
            None => [&resident[start..self.base], &self.tail].concat(),
        }
    }

    /// D of all of it; `resident` is still what it was. Costs O(tail).
    pub fn digest(&self, resident: &Resident) -> Digest {
        let mut running = resident.running(self.base);
        running.extend(&self.tail);
        running.digest()
    }

    fn token(&self, at: usize) -> Option<Token> {
        self.tail.get(at.checked_sub(self.base)?).copied()
    }
}

/// Where evaluation starts, and what it took to get there.
pub(super) struct Started {
    pub start: usize,
    pub kept: usize,
    pub bytes: u64,
    pub ms: f64,
    /// The target's tokens from `start` on; none where the last one is evaluated aside.
    pub rest: Vec<Token>,
    /// Sequence 0 holds all of the target, and its last token is evaluated beside it for its logits:
    /// it counts as evaluated, `start` is the position before it.
    pub aside: bool,
    /// Why stored KV was not enough, if the store was queried.
    pub refused: Option<String>,
    unstored: Option<Option<String>>,
    /// The disk has something of so many of the target's first tokens, a state for fewer perhaps.
    reach: usize,
}

impl Started {
    /// Why tokens before `decoded` are evaluated again.
    pub fn miss(&self, goal: &Goal, lost: bool) -> Miss {
        let cause = if let Some(reason) = &self.refused {
            Cause::Refused(reason.clone())
        } else if lost {
            Cause::Lost
        } else if self.start + 1 == goal.len() {
            Cause::Row
        } else if let (Some(had), Some(got)) = (goal.had, goal.token(goal.common)) {
            match self.start < goal.common {
                true => Cause::NoState {
                    nearest: self.start,
                    had,
                    got,
                },
                false => Cause::Differs { had, got },
            }
        } else if self.start < self.reach {
            Cause::Between {
                nearest: self.start,
            }
        } else {
            Cause::NotStored(self.unstored.clone().flatten())
        };
        let at = match cause {
            Cause::NoState { .. } => goal.common,
            _ => self.start,
        };
        Miss { at, cause }
    }
}

impl SlotEngine {
    /// Compares a target with what is resident; O(tail) for one that continues a known prefix.
    pub fn resolve(&self, target: &Target) -> Goal {
        let resident = self.resident.tokens();
        let known =
            |mark: &Mark| mark.len() <= target.tokens.len() && self.resident.begins_with(*mark);
        let base = match target.after.filter(known) {
            Some(mark) => mark.len(),
            None => common_prefix(resident, &target.tokens),
        };
        let tail = target.tokens[base..].to_vec();
        let common = base + common_prefix(&resident[base..], &tail);
        Goal {
            base,
            had: resident.get(common).copied(),
            tail,
            common,
        }
    }

    /// Makes sequence 0 hold a prefix of the target, as long a one as can be had.
    pub fn prepare(
        &mut self,
        goal: &Goal,
        owner: &str,
        decoded: usize,
        sample: bool,
        events: &UnboundedSender<SlotEvent>,
    ) -> Started {
        let begun = Instant::now();
        let mut started = Started {
            start: 0,
            kept: 0,
            bytes: 0,
            ms: 0.0,
            rest: Vec::new(),
            aside: false,
            refused: None,
            unstored: None,
            reach: 0,
        };
        let held = self.held(goal, sample);
        let here = plan(
            self.memory.shape(),
            &held,
            &StoredPrefixes::default(),
            goal.len(),
            sample,
        );
        // The store is queried only when the slot does not hold what had been decoded, or has nothing, or
        // for a conversation that is new to it and of which more than a little is missing: its frozen
        // head may be stored.
        // The last token counts where it had been decoded: its logits may be stored.
        let wanted = match sample && decoded == goal.len() {
            true => decoded,
            false => decoded.min(goal.len().saturating_sub(1)),
        };
        let little = self.resident.owner == owner || goal.len() - here.start <= LITTLE;
        let enough = here.start > 0 && here.start >= wanted && little && !here.aside;
        let found = match enough {
            true => StoredPrefix::default(),
            false => self.find(goal, owner, &mut started),
        };
        let restored = self.restore((goal, owner), &held, found, sample, events, &mut started);
        if let Err(error) = restored {
            tracing::warn!("a restore failed after it was proven: {error}");
            started.refused = Some(error.to_string());
            // Else the resident tokens went in the attempt, which left the target's here.
            if goal.base <= self.resident.len() {
                started.rest = goal.from(self.resident.tokens(), 0);
            }
            self.memory.clear();
            self.resident.cut(0);
            (started.start, started.kept, started.bytes) = (0, 0, 0);
            started.aside = false;
        }
        if started.aside {
            started.start -= 1;
            started.kept = started.kept.min(started.start);
        }
        started.ms = ms(begun);
        started
    }

    pub fn held(&self, goal: &Goal, sample: bool) -> Held {
        Held {
            len: self.resident.len(),
            common: goal.common,
            floor: self.memory.floor(),
            row: self.resident.row.is_some(),
            prompt: sample && self.prompt_row(goal).is_some(),
            snapshots: self
                .resident
                .snapshots()
                .map(|s| (s.at, s.row.is_some()))
                .collect(),
        }
    }

    fn find(&self, goal: &Goal, owner: &str, started: &mut Started) -> StoredPrefix {
        let found = self.look(goal, started);
        if started.refused.is_none() {
            started.unstored = Some(self.store.why_nothing(owner));
        }
        found
    }

    pub fn look(&self, goal: &Goal, started: &mut Started) -> StoredPrefix {
        let target = goal.from(self.resident.tokens(), 0);
        let digests = Digests::new(self.store.fingerprint().hard, &target);
        if let Err(error) = self.store.flush() {
            started.refused = Some(error.to_string());
        }
        match self.store.lookup(&target, &|at| digests.at(at)) {
            Ok(found) => {
                let shape = self.memory.shape();
                let edges = found.edges.last().map_or(0, |edge| edge.p1);
                started.reach = match (shape.segments, shape.snapshots) {
                    (true, true) => found.partial.as_ref().map_or(edges, |(_, upto)| *upto),
                    // Without KV by position: somewhere after the last state.
                    (false, true) if !found.nodes.is_empty() => target.len(),
                    _ => 0,
                };
                found
            }
            Err(error) => {
                started.refused = Some(error.to_string());
                StoredPrefix::default()
            }
        }
    }
}

/// Tokens whose evaluation takes about as long as a query of the store.
const LITTLE: usize = 256;

/// Digests of a target at any position, for a search: checkpoints every so often.
struct Digests<'a> {
    target: &'a [Token],
    checkpoints: Vec<RunningDigest>,
}

const CHECKPOINT: usize = 1024;

impl<'a> Digests<'a> {
    fn new(fingerprint: Digest, target: &'a [Token]) -> Digests<'a> {
        let mut running = RunningDigest::new(fingerprint);
        let mut checkpoints = vec![running.clone()];
        for chunk in target.chunks_exact(CHECKPOINT) {
            running.extend(chunk);
            checkpoints.push(running.clone());
        }
        Digests {
            target,
            checkpoints,
        }
    }

    fn at(&self, at: usize) -> Digest {
        let at = at.min(self.target.len());
        let mut running = self.checkpoints[at / CHECKPOINT].clone();
        running.extend(&self.target[running.len()..at]);
        running.digest()
    }
}
