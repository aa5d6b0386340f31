//! What a restore needs, read and proven in host memory (law 4), and poured into sequence 0, segment
//! by segment, while the next ones are read.

use std::sync::Arc;

use super::SlotError;
use super::broken::Bad;
use super::engine::SlotEngine;
use super::memory::Bytes;
use super::prepare::Goal;
use super::sample::Provenance;
use crate::kv::{self, Chain, Edge, Node, ProvenSegment};
use crate::ledger::plan::Plan;
use crate::ledger::{Digest, Token};

/// Proven bytes, ready to be put back.
#[derive(Default)]
pub(super) struct Ready {
    /// In their order. Those after the first `held` were let go after their proof, and are read and
    /// proven again when their turn comes: a restore takes no more memory however long it is.
    pub segments: Vec<(Edge, ProvenSegment)>,
    held: usize,
    /// The segments with the position up to which each is wanted, and the tokens they hold.
    wanted: Vec<(Edge, usize)>,
    target: Arc<[Token]>,
    pub snapshot: Option<(Bytes, Option<Vec<f32>>)>,
    /// The snapshot's place and who made it.
    pub node: Option<(Node, Provenance)>,
    /// The segments are in sequence 0 already and their bytes are dropped.
    pub poured: bool,
    /// Bytes of all of it.
    pub bytes: u64,
}

impl Ready {
    /// Who made the segments.
    pub fn made(&self) -> Vec<Provenance> {
        let made = |(edge, segment): &(Edge, ProvenSegment)| Provenance {
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

    fn took(&mut self, edge: &Edge, segment: ProvenSegment, bytes: usize) {
        self.bytes += bytes as u64;
        self.segments.push((edge.clone(), segment));
    }
}

impl SlotEngine {
    /// Reads what a plan needs and proves it. The inner error names what cannot be used; the outer
    /// one is this process's own.
    ///
    /// Law 4 is about what sequence 0 holds. Where it holds nothing, a bad file further on can cost
    /// nothing: each segment goes in as soon as it is proven, and a bad one empties the sequence
    /// again. Where it holds something, all is proven first.
    pub fn fetch(
        &mut self,
        goal: &Goal,
        plan: &Plan,
        chain: &[(Edge, usize)],
        node: Option<&Node>,
    ) -> Result<Result<Ready, Bad>, SlotError> {
        let wanted = chain.iter();
        let wanted = wanted.filter(|(edge, _)| edge.p0 >= plan.keep && edge.p0 < plan.start);
        let mut ready = Ready {
            wanted: wanted.cloned().collect(),
            ..Ready::default()
        };
        let mut reading = None;
        if !ready.wanted.is_empty() {
            ready.target = goal.from(self.resident.tokens(), 0).into();
            reading = Some(self.read(&ready, 0)?);
        }
        // Segments are read meanwhile.
        if let Some(node) = node
            && let Err(bad) = self.fetch_node(node, &mut ready)
        {
            return Ok(Err(bad));
        }
        let Some(mut reading) = reading else {
            return Ok(Ok(ready));
        };
        let read = match self.resident.len() == 0 {
            true => {
                ready.poured = true;
                self.memory.clear();
                self.pour_as_read(&mut ready, &mut reading)
                    .inspect_err(|_| self.memory.clear())
            }
            false => self.prove(&mut ready, &mut reading),
        };
        Ok(read.map(|()| ready))
    }

    /// Puts proven segments into sequence 0, which was cut to where they begin.
    ///
    /// # Errors
    /// What llama.cpp refuses, or what is not as it was when it was proven: sequence 0 holds a part
    /// of it then.
    pub fn pour(&mut self, ready: &mut Ready) -> Result<(), Bad> {
        let mut reading = None;
        for i in 0..ready.segments.len() {
            let (edge, segment) = &mut ready.segments[i];
            if i < ready.held {
                let payload = std::mem::take(&mut segment.payload);
                self.import(edge, &payload)?;
                continue;
            }
            let edge = edge.clone();
            if reading.is_none() {
                let again = self.read(ready, i);
                reading = Some(again.map_err(|e| Bad::edge(&edge, e.to_string(), false))?);
            }
            if let Some(reading) = &mut reading {
                let again = self.proven(&edge, reading.next())?;
                self.import(&edge, &again.payload)?;
                reading.give_back(again.payload);
            }
        }
        Ok(())
    }

    fn pour_as_read(&mut self, ready: &mut Ready, reading: &mut Chain) -> Result<(), Bad> {
        for i in 0..ready.wanted.len() {
            let edge = ready.wanted[i].0.clone();
            let mut segment = self.proven(&edge, reading.next())?;
            let payload = std::mem::take(&mut segment.payload);
            self.import(&edge, &payload)?;
            ready.took(&edge, segment, payload.len());
            reading.give_back(payload);
        }
        Ok(())
    }

    fn prove(&self, ready: &mut Ready, reading: &mut Chain) -> Result<(), Bad> {
        let mut bytes = 0;
        for i in 0..ready.wanted.len() {
            let edge = ready.wanted[i].0.clone();
            let mut segment = self.proven(&edge, reading.next())?;
            let len = segment.payload.len();
            bytes += len;
            match bytes <= self.restore_budget {
                true => ready.held = i + 1,
                false => reading.give_back(std::mem::take(&mut segment.payload)),
            }
            ready.took(&edge, segment, len);
        }
        Ok(())
    }

    /// Begins to read the wanted segments from one of them on.
    fn read(&self, ready: &Ready, from: usize) -> Result<Chain, SlotError> {
        let wanted = ready.wanted[from..].to_vec();
        Ok(self.store.read_chain(wanted, ready.target.clone())?)
    }

    /// A segment whose bytes fit this context.
    fn proven(
        &self,
        edge: &Edge,
        read: Option<Result<ProvenSegment, kv::Error>>,
    ) -> Result<ProvenSegment, Bad> {
        let segment = read
            .unwrap_or(Err(kv::Error::Stopped))
            .map_err(|e| Bad::edge(edge, e.to_string(), e.is_damage()))?;
        self.memory
            .prove_segment(&segment.payload, segment.p0, segment.p1)
            .map_err(|e| Bad::edge(edge, e.to_string(), true))?;
        Ok(segment)
    }

    /// A file that llama.cpp refuses although all of it was proven goes to quarantine like a damaged one:
    /// otherwise each restart would fail on it again.
    fn import(&mut self, edge: &Edge, payload: &[u8]) -> Result<(), Bad> {
        self.memory
            .import_segment(payload, edge.p0, edge.p1)
            .map_err(|e| Bad::edge(edge, e.to_string(), true))
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
        let made = Provenance {
            to: node.digest,
            soft: snapshot.soft,
        };
        ready.bytes += snapshot.payload.len() as u64;
        ready.snapshot = Some((Bytes::new(snapshot.payload), row));
        ready.node = Some((node.clone(), made));
        Ok(())
    }
}
