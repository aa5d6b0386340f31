//! Before evaluation: what the target has in common with what is resident and stored, the plan,
//! and its execution. Law 4: all that a restore needs is read and proven in host memory before
//! sequence 0 is touched; if llama.cpp refuses all the same, the conversation is evaluated anew.

use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;

use super::SlotError;
use super::call::{Cause, Event, Miss, Target};
use super::engine::{Engine, ms};
use super::ready::Ready;
use super::resident::{Resident, Snapshot};
use super::sample::Trust;
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
        let restored = self.restore((goal, owner), &held, found, sample, events, &mut started);
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
        let found = self.look(goal, started);
        if started.refused.is_none() && found.edges.is_empty() && found.nodes.is_empty() {
            started.unstored = Some(self.store.why_nothing(owner));
        }
        found
    }

    fn look(&self, goal: &Goal, started: &mut Started) -> Found {
        let target = goal.from(self.resident.tokens(), 0);
        let digests = Digests::new(self.store.fingerprint().hard, &target);
        if let Err(error) = self.store.flush() {
            started.refused = Some(error.to_string());
        }
        match self.store.lookup(&target, &|at| digests.at(at)) {
            Ok(found) => found,
            Err(error) => {
                started.refused = Some(error.to_string());
                Found::default()
            }
        }
    }

    /// Reads, proves, and only then touches a conversation in sequence 0. A damaged file is set
    /// aside, and the plan is made again without it. Whether another machine's numbers are right is
    /// asked once they are in place: the bytes are proven, and what sequence 0 held is stored.
    fn restore(
        &mut self,
        (goal, owner): (&Goal, &str),
        held: &Held,
        mut found: Found,
        sample_row: bool,
        events: &UnboundedSender<Event>,
        started: &mut Started,
    ) -> Result<(), SlotError> {
        let shape = self.memory.shape();
        let mut looks = 0;
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
            let plan = plan(shape, held, &stored, goal.len(), sample_row);
            let ready = match plan.from {
                From::Disk => {
                    let node = found.nodes.iter().find(|n| n.at == plan.start);
                    let _ = events.send(Event::Restoring {
                        tokens: plan.start - plan.keep,
                    });
                    match self.fetch(goal, &plan, &chain, node.filter(|_| shape.snapshots))? {
                        Ok(ready) => ready,
                        Err(bad) if looks < LOOKS && self.moved(&bad) => {
                            looks += 1;
                            found = self.look(goal, started);
                            continue;
                        }
                        Err(bad) => {
                            started.refused = Some(bad.reason.clone());
                            self.drop_bad(&mut found, bad);
                            continue;
                        }
                    }
                }
                _ => Ready::default(),
            };
            let node = ready.node.as_ref().map(|(_, made)| *made);
            let sample = match self.trust(&ready.made(), node) {
                Trust::Known => None,
                Trust::If(at, sample, words) => Some((at, sample, words)),
                Trust::No(words) => {
                    // What was found wrong before says more.
                    started.refused.get_or_insert_with(|| {
                        format!("{words}, and nothing tells whether its numbers are this run's")
                    });
                    self.drop_untold(&mut found, &ready);
                    if ready.poured {
                        self.memory.clear();
                    }
                    continue;
                }
            };
            // Asked for last, when all else was proven.
            let row = match self.row_apart(goal, &plan, sample_row, &found.nodes) {
                Ok(row) => row,
                Err(bad) => {
                    started.refused = Some(bad.reason.clone());
                    self.drop_bad(&mut found, bad);
                    if ready.poured {
                        self.memory.clear();
                    }
                    continue;
                }
            };
            started.bytes = ready.bytes;
            let ram = self.resident.snapshot(plan.start).cloned();
            let asked = sample.as_ref().map(|(_, sample, _)| &sample[..]);
            let given = self.apply(&plan, &ready, ram.as_ref(), asked)?;
            match (sample, given) {
                (Some((_, _, words)), false) => {
                    let reason = format!("{words}, and its numbers are not this run's");
                    let (edges, node) = ready.foreign(self.store.soft());
                    self.store.refuse(&edges, node, &reason);
                    started.refused = Some(reason);
                    found.edges.retain(|e| !edges.contains(e));
                    found.partial = None;
                    found.nodes.retain(|n| Some(n) != node);
                    return self.restore_anew((goal, owner), found, sample_row, events, started);
                }
                (Some((at, _, _)), true) => self.store.agree(owner, at),
                (None, _) => {}
            }
            (started.start, started.kept) = (plan.start, plan.keep);
            started.rest = goal.from(self.resident.tokens(), plan.keep);
            let later = started.rest.split_off(plan.start - plan.keep);
            let back = std::mem::replace(&mut started.rest, later);
            self.now_holds(&plan, &back, ready, ram);
            if row.is_some() {
                self.resident.row = row;
            }
            for node in found.nodes.iter().filter(|n| n.at <= plan.start) {
                self.resident.stored_at(node.at, node.digest);
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
        let stored = self
            .store
            .read_snapshot(node)
            .map_err(|e| Bad::node(node, e.to_string(), e.is_damage()))?;
        if stored.soft != self.store.soft() {
            // One token tells this machine's own.
            let words = self.store.made_elsewhere(stored.soft);
            return Err(Bad::node(node, words, false));
        }
        let row = stored.logits.unwrap_or_default();
        match row.len() == self.model.vocab().size() {
            true => Ok(Some(row)),
            false => Err(Bad::node(
                node,
                format!("a row of {} logits", row.len()),
                true,
            )),
        }
    }

    /// After a state of another machine was put back and is wrong: nothing in sequence 0 is used any
    /// more, and the plan is made again with what is left on disk.
    fn restore_anew(
        &mut self,
        (goal, owner): (&Goal, &str),
        found: Found,
        sample_row: bool,
        events: &UnboundedSender<Event>,
        started: &mut Started,
    ) -> Result<(), SlotError> {
        let whole = Goal {
            base: 0,
            tail: goal.from(self.resident.tokens(), 0),
            common: 0,
            had: None,
        };
        self.memory.clear();
        self.resident.cut(0);
        let held = self.held(&whole, sample_row);
        self.restore((&whole, owner), &held, found, sample_row, events, started)
    }

    /// Takes out of the search what nothing tells to be right.
    fn drop_untold(&self, found: &mut Found, ready: &Ready) {
        if let Some((node, _)) = &ready.node {
            found.nodes.retain(|n| n.id != node.id);
            return;
        }
        if found.partial.take().is_some() {
            return;
        }
        let told = self.trusted(&ready.made());
        if let Some((edge, _)) = ready.segments.get(told) {
            found.edges.retain(|e| e.p1 <= edge.p0);
        }
    }

    /// True when a segment was merged into a longer one after it was found.
    fn moved(&self, bad: &Bad) -> bool {
        match &*bad.what {
            What::Edge(edge) => !self.store.has_segment(edge.from, edge.to),
            What::Node(_) => false,
        }
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
    /// [`Engine::now_holds`]. False when the state does not give `sample`.
    fn apply(
        &mut self,
        plan: &Plan,
        ready: &Ready,
        ram: Option<&Snapshot>,
        sample: Option<&[f32]>,
    ) -> Result<bool, SlotError> {
        let mut given = true;
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
                if !ready.poured {
                    self.memory.cut_before_import(plan.keep)?;
                    for (_, segment) in &ready.segments {
                        let (p0, p1) = (segment.p0, segment.p1);
                        self.memory.import_segment(&segment.payload, p0, p1)?;
                    }
                }
                let end = ready.segments.last().map_or(plan.keep, |(_, s)| s.p1);
                // Where segments are all there is, the sample is of their end.
                if let (Some(sample), None) = (sample, &ready.snapshot) {
                    given = self.gives(sample, end)?;
                }
                if end > plan.start {
                    self.memory.cut_before_import(plan.start)?;
                }
                if let Some((bytes, _)) = &ready.snapshot {
                    self.memory.import_snapshot(bytes, plan.start)?;
                    if let Some(sample) = sample {
                        given = self.gives(sample, plan.start)?;
                        // The probe of an SWA model took the window's places.
                        self.memory.import_snapshot(bytes, plan.start)?;
                    }
                }
            }
        }
        self.memory.check(plan.start)?;
        Ok(given)
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
                for (edge, _) in &ready.segments {
                    if edge.p1 <= plan.start {
                        self.resident.saved_to(edge.p1);
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

/// How often a search is made again because another process merged what was found.
const LOOKS: usize = 3;

/// Something stored that cannot be used.
pub(super) struct Bad {
    reason: String,
    /// The file itself is to blame.
    damage: bool,
    what: Box<What>,
}

enum What {
    Edge(Edge),
    Node(Node),
}

impl Bad {
    pub fn edge(edge: &Edge, reason: String, damage: bool) -> Bad {
        Bad {
            reason,
            damage,
            what: Box::new(What::Edge(edge.clone())),
        }
    }

    pub fn node(node: &Node, reason: String, damage: bool) -> Bad {
        Bad {
            reason,
            damage,
            what: Box::new(What::Node(node.clone())),
        }
    }
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
