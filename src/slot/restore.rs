//! From disk to sequence 0: what a plan needs is read and proven before anything is touched (law 4);
//! what cannot be used is taken out of the search, and the plan is made again without it. If llama.cpp
//! refuses a state all the same, so is that one, and the conversation is evaluated from the last state
//! before it.

use tokio::sync::mpsc::UnboundedSender;

use super::SlotError;
use super::broken::{Bad, Broken, StoredFile};
use super::call::SlotEvent;
use super::engine::SlotEngine;
use super::prepare::{Goal, Started};
use super::ready::Ready;
use super::sample::Trust;
use crate::kv::{Edge, Node, StoredPrefix};
use crate::ledger::plan::{Plan, ResidentPrefix as Held, StartState, StoredPrefixes, plan};

impl SlotEngine {
    /// Reads, proves, and only then touches a conversation in sequence 0. A damaged file goes
    /// to quarantine, and the plan is made again without it. Whether another machine's numbers are right
    /// is checked once they are in place: the bytes are proven, and what sequence 0 held is stored.
    pub fn restore(
        &mut self,
        (goal, owner): (&Goal, &str),
        held: &Held,
        mut found: StoredPrefix,
        sample_row: bool,
        events: &UnboundedSender<SlotEvent>,
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
            let stored = StoredPrefixes {
                edges: chain.iter().map(|(_, end)| *end).collect(),
                nodes: found.nodes.iter().map(|n| (n.at, n.logits)).collect(),
            };
            let plan = plan(shape, held, &stored, goal.len(), sample_row);
            let mut ready = match plan.from {
                StartState::Disk => {
                    let node = found.nodes.iter().find(|n| n.at == plan.start);
                    let _ = events.send(SlotEvent::Restoring {
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
                        format!(
                            "{words}, and no stored sample shows that its numbers are right here"
                        )
                    });
                    self.drop_unproven(&mut found, &ready);
                    if ready.poured {
                        self.memory.clear();
                    }
                    continue;
                }
            };
            // Read last, when all else is proven.
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
            let given = match self.apply(&plan, &mut ready, ram.as_ref(), asked) {
                Ok(given) => given,
                Err(broken) => {
                    tracing::warn!("a restore failed after it was proven: {}", broken.reason());
                    started.refused = Some(broken.reason());
                    let left = self.left_after(broken, &plan, found, goal, started)?;
                    return self.restore_anew((goal, owner), left, sample_row, events, started);
                }
            };
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
            started.aside = plan.aside && row.is_none();
            started.rest = goal.from(self.resident.tokens(), plan.keep);
            let later = started.rest.split_off(plan.start - plan.keep);
            let back = std::mem::replace(&mut started.rest, later);
            let ram_state = plan.from == StartState::Ram;
            let whole = ram_state.then(|| goal.from(self.resident.tokens(), 0));
            self.now_holds(&plan, &back, ready, ram);
            let held = self.resident.snapshot(plan.start).cloned();
            if let (Some(whole), Some(held)) = (whole, held) {
                // Meanwhile another conversation may have stored a state there.
                let digest = self.resident.digest(plan.start);
                self.take_state(plan.start, digest, &held.bytes, held.row.as_ref());
                if self.resident.len() < plan.start {
                    started.rest = whole;
                    return Err(SlotError::Lost);
                }
            }
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
        let held = plan.from == StartState::Stay && self.resident.row.is_some();
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
            // One evaluated token gives this machine's own row.
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

    /// What may still be used from disk after a plan could not be executed: not the file that was
    /// refused; nothing where no file is to blame and the plan had come from there.
    fn left_after(
        &self,
        broken: Broken,
        plan: &Plan,
        mut found: StoredPrefix,
        goal: &Goal,
        started: &mut Started,
    ) -> Result<StoredPrefix, SlotError> {
        match (broken, plan.from) {
            (Broken::Stored(bad), _) if self.moved(&bad) => Ok(self.look(goal, started)),
            (Broken::Stored(bad), _) => {
                self.drop_bad(&mut found, bad);
                Ok(found)
            }
            (Broken::Memory(error), StartState::Empty) => Err(error),
            (Broken::Memory(_), StartState::Disk) => Ok(StoredPrefix::default()),
            (Broken::Memory(_), StartState::Stay | StartState::Cut | StartState::Ram) => {
                Ok(self.look(goal, started))
            }
        }
    }

    /// After a state was put back and is wrong, or was refused on the way: nothing in sequence 0 is
    /// used any more, and the plan is made again with what is left on disk.
    fn restore_anew(
        &mut self,
        (goal, owner): (&Goal, &str),
        found: StoredPrefix,
        sample_row: bool,
        events: &UnboundedSender<SlotEvent>,
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
            .inspect_err(|_| started.rest = whole.tail)
    }

    /// Takes out of the search what no sample proves right.
    fn drop_unproven(&self, found: &mut StoredPrefix, ready: &Ready) {
        if let Some((node, _)) = &ready.node {
            found.nodes.retain(|n| n.id != node.id);
            return;
        }
        if found.partial.take().is_some() {
            return;
        }
        let trusted = self.trusted(&ready.made());
        if let Some((edge, _)) = ready.segments.get(trusted) {
            found.edges.retain(|e| e.p1 <= edge.p0);
        }
    }

    /// True when a segment was merged into a longer one after it was found.
    fn moved(&self, bad: &Bad) -> bool {
        match &*bad.what {
            StoredFile::Edge(edge) => !self.store.has_segment(edge.from, edge.to),
            StoredFile::Node(_) => false,
        }
    }

    /// Takes what could not be used out of the search, and damaged files out of the store.
    fn drop_bad(&self, found: &mut StoredPrefix, bad: Bad) {
        match *bad.what {
            StoredFile::Edge(edge) => {
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
            StoredFile::Node(node) => {
                if bad.damage {
                    self.store.quarantine_node(&node, &bad.reason);
                }
                found.nodes.retain(|n| n.id != node.id);
            }
        }
    }
}

/// How often a search is made again because another process merged what was found.
const LOOKS: usize = 3;
