//! Before evaluation: what the target has in common with what is resident and stored, the plan,
//! and its execution. Law 4: all that a restore needs is read and proven in host memory before
//! sequence 0 is touched; if llama.cpp refuses all the same, the conversation is evaluated anew.

use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;

use super::SlotError;
use super::call::{Cause, Event, Miss, Target};
use super::engine::{Engine, ms};
use super::memory::Bytes;
use super::resident::{Resident, Snapshot};
use crate::kv::{Edge, Found, Node};
use crate::ledger::plan::{From, Plan, Resident as Held, Stored, plan};
use crate::ledger::{Digest, Running, Token, common_prefix};

/// A target, told apart from what is resident: its first `base` tokens are the resident ones.
pub(super) struct Goal {
    base: usize,
    tail: Vec<Token>,
    /// Tokens that the target and sequence 0 have in common.
    pub common: usize,
    /// The resident token where they part, if there is one.
    had: Option<Token>,
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
    /// The target's tokens from `start` on.
    pub rest: Vec<Token>,
    /// Why stored KV was not enough, if it was asked for.
    refused: Option<String>,
    unstored: Option<Option<String>>,
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

/// Proven bytes, ready to be put back.
#[derive(Default)]
struct Ready {
    /// Segments: positions and bytes.
    segments: Vec<(usize, usize, Vec<u8>)>,
    snapshot: Option<(Bytes, Option<Vec<f32>>)>,
}

impl Ready {
    fn bytes(&self) -> u64 {
        let segments: usize = self.segments.iter().map(|s| s.2.len()).sum();
        (segments + self.snapshot.as_ref().map_or(0, |s| s.0.len())) as u64
    }
}

impl Engine {
    /// Compares a target with what is resident; O(tail) for one that continues a known prefix.
    pub fn resolve(&self, target: Target) -> Result<Goal, SlotError> {
        let resident = self.resident.tokens();
        let (base, tail) = match target {
            Target::Whole(tokens) => {
                let base = common_prefix(resident, &tokens);
                (base, tokens[base..].to_vec())
            }
            Target::Tail {
                mark: (len, digest),
                tail,
            } => {
                if len > resident.len() || self.resident.digest(len) != digest {
                    return Err(SlotError::NeedWhole);
                }
                (len, tail)
            }
        };
        let common = base + common_prefix(&resident[base..], &tail);
        Ok(Goal {
            base,
            had: resident.get(common).copied(),
            tail,
            common,
        })
    }

    /// Makes sequence 0 hold a prefix of the target, as long a one as can be had.
    pub fn prepare(
        &mut self,
        goal: &Goal,
        owner: &str,
        decoded: usize,
        sample: bool,
        events: &UnboundedSender<Event>,
    ) -> Started {
        let begun = Instant::now();
        let mut started = Started {
            start: 0,
            kept: 0,
            bytes: 0,
            ms: 0.0,
            rest: Vec::new(),
            refused: None,
            unstored: None,
        };
        let held = self.held(goal, sample);
        let here = plan(
            self.memory.shape(),
            &held,
            &Stored::default(),
            goal.len(),
            sample,
        );
        // The disk is asked only when the slot does not hold what had been decoded, or has nothing.
        // The last token counts where it had been decoded: its logits may be stored.
        let wanted = match sample && decoded == goal.len() {
            true => decoded,
            false => decoded.min(goal.len().saturating_sub(1)),
        };
        let enough = here.start > 0 && here.start >= wanted;
        let found = match enough {
            true => Found::default(),
            false => self.find(goal, owner, &mut started),
        };
        let restored = self.restore(goal, &held, found, sample, events, &mut started);
        if let Err(error) = restored {
            tracing::warn!("a restore failed after it was proven: {error}");
            started.refused = Some(error.to_string());
            started.rest = goal.from(self.resident.tokens(), 0);
            self.memory.clear();
            self.resident.cut(0);
            (started.start, started.kept, started.bytes) = (0, 0, 0);
        }
        started.ms = ms(begun);
        started
    }

    fn held(&self, goal: &Goal, sample: bool) -> Held {
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

    fn find(&self, goal: &Goal, owner: &str, started: &mut Started) -> Found {
        let target = goal.from(self.resident.tokens(), 0);
        let digests = Digests::new(self.store.fingerprint().hard, &target);
        if let Err(error) = self.store.flush() {
            started.refused = Some(error.to_string());
        }
        match self.store.lookup(&target, &|at| digests.at(at)) {
            Ok(found) => {
                if found.edges.is_empty() && found.nodes.is_empty() {
                    started.unstored = Some(self.store.why_nothing(owner));
                }
                found
            }
            Err(error) => {
                started.refused = Some(error.to_string());
                Found::default()
            }
        }
    }

    /// Reads, proves, and only then touches sequence 0. A damaged file is set aside, and the plan
    /// is made again without it.
    fn restore(
        &mut self,
        goal: &Goal,
        held: &Held,
        mut found: Found,
        sample: bool,
        events: &UnboundedSender<Event>,
        started: &mut Started,
    ) -> Result<(), SlotError> {
        let shape = self.memory.shape();
        loop {
            // An edge of another conversation that matches for its first rows is the chain's last.
            let mut chain: Vec<(Edge, usize)> =
                found.edges.iter().map(|e| (e.clone(), e.p1)).collect();
            if let Some((edge, upto)) = &found.partial {
                chain.retain(|(e, _)| e.p1 <= edge.p0);
                chain.push((edge.clone(), *upto));
            }
            // Room for what is read, also for rows that are cut off again.
            let room = self.memory.ctx().cells();
            chain.retain(|(e, _)| e.p1 <= room);
            let stored = Stored {
                edges: chain.iter().map(|(_, end)| *end).collect(),
                nodes: found.nodes.iter().map(|n| (n.at, n.logits)).collect(),
            };
            let plan = plan(shape, held, &stored, goal.len(), sample);
            let ready = match plan.from {
                From::Disk => {
                    let node = found.nodes.iter().find(|n| n.at == plan.start);
                    let _ = events.send(Event::Restoring {
                        tokens: plan.start - plan.keep,
                    });
                    match self.read(goal, &plan, &chain, node.filter(|_| shape.snapshots)) {
                        Ok(ready) => ready,
                        Err(bad) => {
                            started.refused = Some(bad.reason.clone());
                            self.drop_bad(&mut found, bad);
                            continue;
                        }
                    }
                }
                _ => Ready::default(),
            };
            // Asked for last, when all else was proven.
            let row = match self.row_apart(goal, &plan, sample, &found.nodes) {
                Ok(row) => row,
                Err(bad) => {
                    started.refused = Some(bad.reason.clone());
                    self.drop_bad(&mut found, bad);
                    continue;
                }
            };
            started.bytes = ready.bytes();
            let ram = self.resident.snapshot(plan.start).cloned();
            self.apply(&plan, &ready, ram.as_ref())?;
            (started.start, started.kept) = (plan.start, plan.keep);
            started.rest = goal.from(self.resident.tokens(), plan.keep);
            let later = started.rest.split_off(plan.start - plan.keep);
            let back = std::mem::replace(&mut started.rest, later);
            self.now_holds(&plan, &back, ready, ram);
            if row.is_some() {
                self.resident.row = row;
            }
            return Ok(());
        }
    }

    /// The row to sample from, where the memory can be cut and the row is not in it: held in RAM, or
    /// stored without a state.
    fn row_apart(
        &self,
        goal: &Goal,
        plan: &Plan,
        sample: bool,
        nodes: &[Node],
    ) -> Result<Option<Vec<f32>>, Bad> {
        let held = plan.from == From::Stay && self.resident.row.is_some();
        if !sample || held || self.memory.shape().snapshots || plan.start != goal.len() {
            return Ok(None);
        }
        if let Some(row) = self.prompt_row(goal) {
            return Ok(Some(row.clone()));
        }
        let Some(node) = nodes.iter().find(|n| n.at == plan.start && n.logits) else {
            return Ok(None);
        };
        let bad = |reason: String, damage| Bad {
            reason,
            damage,
            what: Box::new(What::Node(node.clone())),
        };
        let stored = self
            .store
            .read_snapshot(node)
            .map_err(|e| bad(e.to_string(), e.is_damage()))?;
        let row = stored.logits.unwrap_or_default();
        match row.len() == self.model.vocab().size() {
            true => Ok(Some(row)),
            false => Err(bad(format!("a row of {} logits", row.len()), true)),
        }
    }

    fn read(
        &self,
        goal: &Goal,
        plan: &Plan,
        chain: &[(Edge, usize)],
        node: Option<&Node>,
    ) -> Result<Ready, Bad> {
        let target = goal.from(self.resident.tokens(), 0);
        let mut ready = Ready::default();
        for (edge, upto) in chain {
            if edge.p0 < plan.keep || edge.p0 >= plan.start {
                continue;
            }
            let bad = |reason: String, damage| Bad {
                reason,
                damage,
                what: Box::new(What::Edge(edge.clone())),
            };
            let segment = self
                .store
                .read_first_rows(edge, *upto, &target)
                .map_err(|e| bad(e.to_string(), e.is_damage()))?;
            self.memory
                .prove_segment(&segment.payload, segment.p0, segment.p1)
                .map_err(|e| bad(e.to_string(), true))?;
            ready
                .segments
                .push((segment.p0, segment.p1, segment.payload));
        }
        if let Some(node) = node {
            let bad = |reason: String, damage| Bad {
                reason,
                damage,
                what: Box::new(What::Node(node.clone())),
            };
            let snapshot = self
                .store
                .read_snapshot(node)
                .map_err(|e| bad(e.to_string(), e.is_damage()))?;
            self.memory
                .prove_snapshot(&snapshot.payload, snapshot.at)
                .map_err(|e| bad(e.to_string(), true))?;
            let row = snapshot
                .logits
                .filter(|r| r.len() == self.model.vocab().size());
            ready.snapshot = Some((Bytes::new(snapshot.payload), row));
        }
        Ok(ready)
    }

    /// Takes what could not be used out of the search, and damaged files out of the store.
    fn drop_bad(&self, found: &mut Found, bad: Bad) {
        match *bad.what {
            What::Edge(edge) => {
                if bad.damage {
                    self.store.quarantine_edge(&edge, &bad.reason);
                }
                match found.edges.iter().position(|e| e.id == edge.id) {
                    Some(i) => found.edges.truncate(i),
                    None => found.partial = None,
                }
                // A chain that was cut short leaves no place for a branch after it.
                let reach = found.edges.last().map_or(0, |e| e.p1);
                if found.partial.as_ref().is_some_and(|(e, _)| e.p0 > reach) {
                    found.partial = None;
                }
            }
            What::Node(node) => {
                if bad.damage {
                    self.store.quarantine_node(&node, &bad.reason);
                }
                found.nodes.retain(|n| n.id != node.id);
            }
        }
    }

    /// Executes a plan whose bytes are all proven. Changes the memory only; see
    /// [`Engine::now_holds`].
    fn apply(
        &mut self,
        plan: &Plan,
        ready: &Ready,
        ram: Option<&Snapshot>,
    ) -> Result<(), SlotError> {
        match plan.from {
            From::Stay => {}
            From::Empty => self.memory.clear(),
            From::Cut => self.memory.cut(plan.start)?,
            From::Ram => {
                let snapshot = ram.ok_or(SlotError::Cut { len: plan.start })?;
                self.memory.cut_before_import(plan.start)?;
                self.memory.import_snapshot(&snapshot.bytes, plan.start)?;
            }
            From::Disk => {
                self.memory.cut_before_import(plan.keep)?;
                let mut end = plan.keep;
                for (p0, p1, bytes) in &ready.segments {
                    self.memory.import_segment(bytes, *p0, *p1)?;
                    end = *p1;
                }
                if end > plan.start {
                    self.memory.cut_before_import(plan.start)?;
                }
                if let Some((bytes, _)) = &ready.snapshot {
                    self.memory.import_snapshot(bytes, plan.start)?;
                }
            }
        }
        self.memory.check(plan.start)
    }

    /// Brings the truth about sequence 0 in line with what a plan did: `back` are the tokens from
    /// `keep` to `start`.
    fn now_holds(&mut self, plan: &Plan, back: &[Token], ready: Ready, ram: Option<Snapshot>) {
        self.canonical = matches!(plan.from, From::Ram | From::Disk).then_some(plan.start);
        match plan.from {
            From::Stay => {}
            From::Empty | From::Cut => self.resident.cut(plan.start),
            From::Ram => {
                self.resident.cut(plan.start);
                self.resident.row = ram.and_then(|s| s.row);
            }
            From::Disk => {
                self.resident.cut(plan.keep);
                self.resident.push(back);
                // A segment that goes on past the start is another conversation's, or was cut: what
                // follows is stored from its beginning, since no chain leads to its middle.
                for (_, p1, _) in &ready.segments {
                    if *p1 <= plan.start {
                        self.resident.saved_to(*p1);
                    }
                }
                if let Some((bytes, row)) = ready.snapshot {
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

/// Something stored that cannot be used.
struct Bad {
    reason: String,
    /// The file itself is to blame.
    damage: bool,
    what: Box<What>,
}

enum What {
    Edge(Edge),
    Node(Node),
}

/// Digests of a target at any position, for a search: checkpoints every so often.
struct Digests<'a> {
    target: &'a [Token],
    checkpoints: Vec<Running>,
}

const CHECKPOINT: usize = 1024;

impl<'a> Digests<'a> {
    fn new(fingerprint: Digest, target: &'a [Token]) -> Digests<'a> {
        let mut running = Running::new(fingerprint);
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
