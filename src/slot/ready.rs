//! What was read for a restore, and reading it: proven in host memory, with who made it.

use super::SlotError;
use super::engine::Engine;
use super::memory::Bytes;
use super::prepare::{Bad, Goal};
use super::sample::Made;
use crate::kv::{self, Edge, Node, Segment};
use crate::ledger::Digest;
use crate::ledger::plan::Plan;

/// Proven bytes, ready to be put back.
#[derive(Default)]
pub(super) struct Ready {
    pub segments: Vec<(Edge, Segment)>,
    pub snapshot: Option<(Bytes, Option<Vec<f32>>)>,
    /// The snapshot's place and who made it.
    pub node: Option<(Node, Made)>,
    /// The segments are in sequence 0 already and their bytes are dropped.
    pub poured: bool,
    /// Bytes of all of it.
    pub bytes: u64,
}

impl Ready {
    /// Who made the segments.
    pub fn made(&self) -> Vec<Made> {
        let made = |(edge, segment): &(Edge, Segment)| Made {
            to: edge.to,
            soft: segment.soft,
        };
        self.segments.iter().map(made).collect()
    }

    /// What another machine made.
    pub fn foreign(&self, own: Digest) -> (Vec<Edge>, Option<&Node>) {
        let foreign = self.segments.iter().filter(|(_, s)| s.soft != own);
        let node = self.node.as_ref().filter(|(_, made)| made.soft != own);
        (
            foreign.map(|(edge, _)| edge.clone()).collect(),
            node.map(|(node, _)| node),
        )
    }
}

impl Engine {
    /// Reads what a plan needs and proves it. The inner error names what cannot be used; the outer
    /// one is llama.cpp's.
    pub fn fetch(
        &mut self,
        goal: &Goal,
        plan: &Plan,
        chain: &[(Edge, usize)],
        node: Option<&Node>,
    ) -> Result<Result<Ready, Bad>, SlotError> {
        let wanted: Vec<(Edge, usize)> = chain
            .iter()
            .filter(|(edge, _)| edge.p0 >= plan.keep && edge.p0 < plan.start)
            .cloned()
            .collect();
        let mut ready = Ready::default();
        if let Some(node) = node
            && let Err(bad) = self.fetch_node(node, &mut ready)
        {
            return Ok(Err(bad));
        }
        if wanted.is_empty() {
            return Ok(Ok(ready));
        }
        let target = goal.from(self.resident.tokens(), 0);
        let mut reading = self.store.read_chain(wanted.clone(), target.into())?;
        // Law 4 is about what sequence 0 holds. Where it holds nothing, a bad file further on can cost
        // nothing: each segment goes in as soon as it is proven, while the next ones are read and
        // proven beside, and few are in memory at a time however long the conversation. A bad one
        // empties the sequence again, and the plan is made anew without it. Where it holds something,
        // all is proven first.
        ready.poured = self.resident.len() == 0;
        if ready.poured {
            self.memory.clear();
        }
        for (edge, _) in &wanted {
            let read = reading.next().unwrap_or(Err(kv::Error::Stopped));
            let mut segment = match self.proven(edge, read) {
                Ok(segment) => segment,
                Err(bad) => {
                    if ready.poured {
                        self.memory.clear();
                    }
                    return Ok(Err(bad));
                }
            };
            ready.bytes += segment.payload.len() as u64;
            if ready.poured {
                let payload = std::mem::take(&mut segment.payload);
                self.memory
                    .import_segment(&payload, segment.p0, segment.p1)?;
                reading.give_back(payload);
            }
            ready.segments.push((edge.clone(), segment));
        }
        Ok(Ok(ready))
    }

    /// A segment whose bytes fit this context.
    fn proven(&self, edge: &Edge, read: Result<Segment, kv::Error>) -> Result<Segment, Bad> {
        let segment = read.map_err(|e| Bad::edge(edge, e.to_string(), e.is_damage()))?;
        self.memory
            .prove_segment(&segment.payload, segment.p0, segment.p1)
            .map_err(|e| Bad::edge(edge, e.to_string(), true))?;
        Ok(segment)
    }

    fn fetch_node(&self, node: &Node, ready: &mut Ready) -> Result<(), Bad> {
        let snapshot = self
            .store
            .read_snapshot(node)
            .map_err(|e| Bad::node(node, e.to_string(), e.is_damage()))?;
        self.memory
            .prove_snapshot(&snapshot.payload, snapshot.at)
            .map_err(|e| Bad::node(node, e.to_string(), true))?;
        let row = snapshot
            .logits
            .filter(|r| r.len() == self.model.vocab().size());
        let made = Made {
            to: node.digest,
            soft: snapshot.soft,
        };
        ready.bytes += snapshot.payload.len() as u64;
        ready.snapshot = Some((Bytes::new(snapshot.payload), row));
        ready.node = Some((node.clone(), made));
        Ok(())
    }
}
