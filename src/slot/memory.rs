//! The recipes over one llama.cpp context: which memory class it has, and how its state is cut,
//! copied out, put back and forked so that the next logits are bit-equal to those of a context
//! that was never touched. Each recipe was tried on dense, SWA, hybrid and recurrent models.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::SlotError;
use super::picked::picked;
use crate::kv::{self, JoinPayloads};
use crate::ledger::Token;
use crate::ledger::plan::MemoryShape;
use crate::llama::state::{self, Layout, Proven};
use crate::llama::{Context, Seq, StatePart};

/// What kind of memory a model has; found by a probe at load, not from a list of names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemoryClass {
    /// KV of every position in every layer.
    Dense,
    /// Some layers see only a sliding window.
    Swa,
    /// Some layers are recurrent.
    Hybrid,
    /// All layers are recurrent.
    Recurrent,
    /// The layout of its state is not known: only whole states work.
    Whole,
}

impl MemoryClass {
    /// The word in events and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            MemoryClass::Dense => "dense",
            MemoryClass::Swa => "swa",
            MemoryClass::Hybrid => "hybrid",
            MemoryClass::Recurrent => "recurrent",
            MemoryClass::Whole => "whole",
        }
    }
}

/// A state that cannot be cut: the bytes llama.cpp gave, shared with the writer.
pub type Bytes = Arc<Vec<u8>>;

/// Joins segments for the store, which does not know what is in them.
struct Joiner(Layout);

impl JoinPayloads for Joiner {
    fn join(&self, parts: &[kv::PayloadPart<'_>]) -> Option<Vec<u8>> {
        let parts: Vec<_> = parts.iter().map(|p| (p.p0, p.p1, p.payload)).collect();
        let joined = self.0.join(&parts);
        joined
            .inspect_err(|error| tracing::warn!("segments were not joined: {error}"))
            .ok()
    }

    fn cut(&self, whole: &kv::PayloadPart<'_>, a: usize, b: usize) -> Option<Vec<u8>> {
        let part = self.0.part(whole.payload, (whole.p0, whole.p1), (a, b));
        part.inspect_err(|error| tracing::warn!("a segment was not cut: {error}"))
            .ok()
    }
}

/// The context, its class and the layout of its states.
pub struct SlotMemory {
    ctx: Context,
    class: MemoryClass,
    layout: Option<Layout>,
    window: usize,
    probed_snapshot: usize,
    /// The tokens of the probe, and the logits sample they give after nothing.
    probe: (Vec<Token>, Vec<f32>),
}

impl SlotMemory {
    /// Probes the context with a few tokens and leaves it empty.
    ///
    /// # Errors
    /// When the model cannot evaluate a few tokens.
    pub fn probe(mut ctx: Context) -> Result<SlotMemory, SlotError> {
        let model = ctx.model().clone();
        let window = model.window();
        let vocab = model.vocab();
        let tokens: Vec<Token> = vocab
            .tokens()
            .filter(|t| !vocab.is_control(*t))
            .take(4)
            .collect();
        let empty_partial = ctx.export(Seq::Main, StatePart::Partial)?;
        let mut at = 0;
        for batch in tokens.chunks(ctx.ubatch()) {
            ctx.decode(Seq::Main, at, batch, true)?;
            at += batch.len();
        }
        let nothing = ctx.logits().map(picked).unwrap_or_default();
        let whole = ctx.export(Seq::Main, StatePart::Whole)?;
        let partial = ctx.export(Seq::Main, StatePart::Partial)?;
        let layout = Layout::learn(
            &whole,
            &partial,
            &empty_partial,
            window,
            model.is_recurrent(),
        );
        let class = match &layout {
            None => MemoryClass::Whole,
            Some(l) if !l.has_segments() => MemoryClass::Recurrent,
            Some(l) if l.is_window() => MemoryClass::Swa,
            Some(l) if l.has_snapshots() => MemoryClass::Hybrid,
            // A hybrid model that is taken for another class would be cut where it cannot be cut.
            Some(_) if model.is_hybrid() => MemoryClass::Whole,
            Some(_) => MemoryClass::Dense,
        };
        let layout = layout.filter(|_| class != MemoryClass::Whole);
        let mut memory = SlotMemory {
            ctx,
            class,
            layout,
            window,
            probed_snapshot: partial.len(),
            probe: (tokens, nothing),
        };
        let tokens = memory.probe.0.len();
        if memory.class != MemoryClass::Whole && memory.round_trip(tokens).is_err() {
            tracing::info!("states of this model do not come back as they were: whole states only");
            memory.class = MemoryClass::Whole;
            memory.layout = None;
        }
        memory.ctx.clear(Seq::Scratch);
        memory.ctx.clear(Seq::Main);
        Ok(memory)
    }

    /// Takes the probe's tokens out, puts them back and compares.
    fn round_trip(&mut self, len: usize) -> Result<(), SlotError> {
        let before = self.ctx.export(Seq::Main, StatePart::Whole)?;
        let segment = self
            .shape()
            .segments
            .then(|| self.segment(0, len))
            .transpose()?;
        let snapshot = self
            .shape()
            .snapshots
            .then(|| self.snapshot())
            .transpose()?;
        self.ctx.clear(Seq::Main);
        if let Some(segment) = &segment {
            self.import_segment(segment, 0, len)?;
        }
        if let Some(snapshot) = &snapshot {
            self.import_snapshot(snapshot, len)?;
        }
        if self.len() != len || self.ctx.export(Seq::Main, StatePart::Whole)? != before {
            return Err(SlotError::Layout("a round trip of a few tokens".to_owned()));
        }
        Ok(())
    }

    /// The memory class.
    pub fn class(&self) -> MemoryClass {
        self.class
    }

    /// What segments and snapshots hold of this class.
    pub fn shape(&self) -> MemoryShape {
        match &self.layout {
            Some(layout) => MemoryShape {
                segments: layout.has_segments(),
                snapshots: layout.has_snapshots(),
            },
            None => MemoryShape {
                segments: false,
                snapshots: true,
            },
        }
    }

    /// Bytes of KV per token that segments hold.
    pub fn token_bytes(&self) -> usize {
        self.layout.as_ref().map_or(0, Layout::token_bytes)
    }

    /// Bytes of a snapshot of the probe's few tokens; 0 where none is needed.
    pub fn probed_snapshot(&self) -> usize {
        match self.shape().snapshots {
            true => self.probed_snapshot,
            false => 0,
        }
    }

    /// A text of a few tokens, the same for a vocabulary.
    pub fn probe_tokens(&self) -> &[Token] {
        &self.probe.0
    }

    /// The logits sample of the probe after nothing.
    pub(super) fn nothing(&self) -> &[f32] {
        &self.probe.1
    }

    /// The context, for decoding.
    pub fn ctx(&mut self) -> &mut Context {
        &mut self.ctx
    }

    /// Tokens in sequence 0, as llama.cpp counts them.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.ctx.pos_max(Seq::Main).map_or(0, |p| p + 1)
    }

    /// Smallest length to which sequence 0 can be cut by itself, see
    /// [`crate::ledger::plan::ResidentPrefix::floor`].
    pub fn floor(&self) -> usize {
        match self.class {
            MemoryClass::Dense => 0,
            // Decoding at p reads positions from p - window + 1 on.
            MemoryClass::Swa => match self.ctx.pos_min(Seq::Main) {
                None | Some(0) => 0,
                Some(first) => (first + self.window - 1).min(self.len()),
            },
            MemoryClass::Hybrid | MemoryClass::Recurrent | MemoryClass::Whole => self.len(),
        }
    }

    /// Empties both sequences.
    pub fn clear(&mut self) {
        self.ctx.clear(Seq::Scratch);
        self.ctx.clear(Seq::Main);
    }

    /// Cuts sequence 0 to `len` tokens; `len` is at least the [`SlotMemory::floor`].
    ///
    /// # Errors
    /// When llama.cpp will not cut there, or the window before it is gone.
    pub fn cut(&mut self, len: usize) -> Result<(), SlotError> {
        if len < self.floor() {
            return Err(SlotError::Cut { len });
        }
        if len == 0 {
            self.clear();
            return Ok(());
        }
        if !self.ctx.cut(Seq::Main, len) || self.len() != len {
            return Err(SlotError::Cut { len });
        }
        Ok(())
    }

    /// Cuts sequence 0 to `len` tokens whatever its class; what cannot be cut is dropped, and a
    /// snapshot must be imported before anything is decoded.
    ///
    /// # Errors
    /// When llama.cpp will not cut there.
    pub fn cut_before_import(&mut self, len: usize) -> Result<(), SlotError> {
        if len == 0 || !self.shape().segments {
            self.clear();
            return Ok(());
        }
        if len >= self.len() {
            return Ok(());
        }
        if self.class == MemoryClass::Hybrid {
            // Without its recurrent state the sequence can be cut anywhere.
            let layout = self.layout.as_ref().ok_or(SlotError::Cut { len })?;
            self.ctx.import(Seq::Main, &layout.empty())?;
        }
        if !self.ctx.cut(Seq::Main, len) {
            return Err(SlotError::Cut { len });
        }
        Ok(())
    }

    /// A copy of the KV of positions [p0, p1) of sequence 0, ready to be imported. Scratch must be
    /// free.
    ///
    /// # Errors
    /// When llama.cpp gives a state of another layout.
    pub fn segment(&mut self, p0: usize, p1: usize) -> Result<Vec<u8>, SlotError> {
        let layout = self
            .layout
            .as_ref()
            .ok_or_else(|| SlotError::Layout("segment".to_owned()))?;
        self.ctx.share(Seq::Main, Seq::Scratch, p0, p1);
        if self.class == MemoryClass::Hybrid {
            // Else the recurrent state would be copied out with every segment.
            self.ctx.import(Seq::Scratch, &layout.empty())?;
        }
        let partial = match layout.has_snapshots() {
            true => self.ctx.export_size(Seq::Scratch, StatePart::Partial),
            false => 0,
        };
        let state = self.ctx.export(Seq::Scratch, StatePart::Whole);
        self.ctx.clear(Seq::Scratch);
        let state = layout.into_segment(state?, partial, p0, p1)?;
        Ok(state)
    }

    /// The rows of [from, to) of a segment of [p0, p1) from outside, as a segment of their own.
    ///
    /// # Errors
    /// When it is not of this layout.
    pub fn rows_of(
        &self,
        state: &[u8],
        (p0, p1): (usize, usize),
        (from, to): (usize, usize),
    ) -> Result<Vec<u8>, SlotError> {
        let layout = self
            .layout
            .as_ref()
            .ok_or_else(|| SlotError::Layout("segment".to_owned()))?;
        Ok(layout.part(state, (p0, p1), (from, to))?)
    }

    /// The logits row of the last token that sequence 0 holds, which is evaluated again on scratch:
    /// what sequence 0 holds stays as it is. For memories that can be cut anywhere. Scratch must be
    /// free, and is again afterwards.
    ///
    /// # Errors
    /// When the token cannot be decoded.
    pub fn row_aside(&mut self, last: Token) -> Result<Vec<f32>, SlotError> {
        let at = self.len().checked_sub(1).ok_or(SlotError::Empty)?;
        if at > 0 {
            self.ctx.share(Seq::Main, Seq::Scratch, 0, at);
        }
        let decoded = self.ctx.decode(Seq::Scratch, at, &[last], true);
        let row = self.ctx.logits().map(<[f32]>::to_vec);
        self.ctx.clear(Seq::Scratch);
        decoded?;
        row.ok_or(SlotError::Empty)
    }

    /// How segments of this memory are joined; `None` where there are none.
    pub fn join(&self) -> Option<Arc<dyn JoinPayloads>> {
        let layout = self.layout.clone().filter(Layout::has_segments)?;
        Some(Arc::new(Joiner(layout)))
    }

    /// A copy of what cannot be cut of sequence 0.
    ///
    /// # Errors
    /// When llama.cpp gives a state of another layout.
    pub fn snapshot(&mut self) -> Result<Bytes, SlotError> {
        let part = if self.class == MemoryClass::Whole {
            StatePart::Whole
        } else {
            StatePart::Partial
        };
        let state = self.ctx.export(Seq::Main, part)?;
        self.prove_snapshot(&state, self.len())?;
        Ok(Arc::new(state))
    }

    /// Proves a segment from outside against this context; nothing is touched.
    ///
    /// # Errors
    /// What differs.
    pub fn prove_segment<'a>(
        &self,
        state: &'a [u8],
        p0: usize,
        p1: usize,
    ) -> Result<Proven<'a>, SlotError> {
        let layout = self
            .layout
            .as_ref()
            .ok_or_else(|| SlotError::Layout("segment".to_owned()))?;
        Ok(layout.segment(state, p0, p1)?)
    }

    /// Proves a snapshot from outside against this context; nothing is touched.
    ///
    /// # Errors
    /// What differs.
    pub fn prove_snapshot<'a>(&self, state: &'a [u8], at: usize) -> Result<Proven<'a>, SlotError> {
        match &self.layout {
            Some(layout) => Ok(layout.snapshot(state, at)?),
            None if state.len() > state::HEADER => Ok(state::opaque(state)),
            None => Err(SlotError::Layout("snapshot".to_owned())),
        }
    }

    /// Puts a segment after the positions sequence 0 holds.
    ///
    /// # Errors
    /// When it is not of this layout (nothing was touched) or llama.cpp refuses it.
    pub fn import_segment(&mut self, state: &[u8], p0: usize, p1: usize) -> Result<(), SlotError> {
        let proven = self.prove_segment(state, p0, p1)?;
        let done = self.ctx.import(Seq::Scratch, &proven);
        if done.is_ok() {
            self.ctx.share(Seq::Scratch, Seq::Main, p0, p1);
        }
        self.ctx.clear(Seq::Scratch);
        Ok(done?)
    }

    /// Puts back what cannot be cut; sequence 0 holds (or will be cut to) `at` tokens.
    ///
    /// # Errors
    /// When it is not of this layout (nothing was touched) or llama.cpp refuses it.
    pub fn import_snapshot(&mut self, state: &[u8], at: usize) -> Result<(), SlotError> {
        let proven = self.prove_snapshot(state, at)?;
        Ok(self.ctx.import(Seq::Main, &proven)?)
    }

    /// Brings an SWA window into canonical layout: the ring of a running context and the packed
    /// window of a restored one sum in another order. Returns the window's bytes, which are a
    /// snapshot of this point. Nothing to do on other classes.
    ///
    /// # Errors
    /// When llama.cpp refuses its own state; sequence 0 is lost then.
    pub fn relay(&mut self, known: Option<Bytes>) -> Result<Option<Bytes>, SlotError> {
        if self.class != MemoryClass::Swa || self.len() == 0 {
            return Ok(known);
        }
        let len = self.len();
        let window = match known {
            Some(window) => window,
            None => self.snapshot()?,
        };
        self.import_snapshot(&window, len)?;
        Ok(Some(window))
    }

    /// Checks that sequence 0 really holds `len` tokens and that decoding may go on after them.
    ///
    /// # Errors
    /// When it does not.
    pub fn check(&self, len: usize) -> Result<(), SlotError> {
        let window_start = match self.class {
            MemoryClass::Swa => (len + 1).saturating_sub(self.window),
            _ => 0,
        };
        let begins = match (self.class, self.ctx.pos_min(Seq::Main)) {
            // A recurrent memory says only where it stands.
            (MemoryClass::Hybrid | MemoryClass::Recurrent | MemoryClass::Whole, _) => true,
            (_, first) => first.unwrap_or(0) <= window_start,
        };
        if self.len() == len && begins {
            Ok(())
        } else {
            Err(SlotError::Layout(format!(
                "{len} tokens; it holds {}",
                self.len()
            )))
        }
    }

    /// Makes scratch a fork of sequence 0's first `len` tokens, which the memory can be cut to: metadata
    /// only, but for the window's relay.
    ///
    /// # Errors
    /// When the relay fails.
    pub fn fork_at(&mut self, len: usize) -> Result<(), SlotError> {
        // Else masked cells of sequence 0 become shared and cannot be used again.
        self.relay(None)?;
        if len > 0 {
            self.ctx.share(Seq::Main, Seq::Scratch, 0, len);
        }
        Ok(())
    }

    /// Why the end of sequence 0 cannot be moved to other positions; nothing where it can.
    pub fn cannot_move(&self) -> Option<&'static str> {
        match self.class {
            MemoryClass::Dense if self.ctx.can_move() => None,
            MemoryClass::Dense => Some("llama.cpp cannot move the KV of this model or cache type"),
            _ => Some("only a dense model's KV can be moved"),
        }
    }

    /// Takes positions [from, to) of sequence 0 to scratch, `by` positions nearer to the start, and cuts
    /// sequence 0 to `len` tokens, 0 < `len` < `from` - `by`. Scratch must be free.
    ///
    /// # Errors
    /// When llama.cpp refuses; scratch is free then, and sequence 0 may be cut.
    pub fn lift(
        &mut self,
        (from, to): (usize, usize),
        by: usize,
        len: usize,
    ) -> Result<(), SlotError> {
        self.ctx.share(Seq::Main, Seq::Scratch, from, to);
        let cut = self.cut(len);
        let moved = cut.is_ok() && self.ctx.move_back(Seq::Scratch, from, to, by);
        let there = self.ctx.pos_min(Seq::Scratch) == Some(from - by);
        if moved && there {
            return Ok(());
        }
        self.ctx.clear(Seq::Scratch);
        cut?;
        Err(SlotError::Cut { len: from })
    }

    /// Puts what scratch holds of [from, to) behind the `from` tokens of sequence 0, and frees scratch.
    ///
    /// # Errors
    /// When sequence 0 does not hold `to` tokens then.
    pub fn put_down(&mut self, from: usize, to: usize) -> Result<(), SlotError> {
        self.ctx.share(Seq::Scratch, Seq::Main, from, to);
        self.ctx.clear(Seq::Scratch);
        self.check(to)
    }

    /// Frees scratch.
    pub fn free_scratch(&mut self) {
        self.ctx.clear(Seq::Scratch);
    }

    /// What scratch holds, all of it evaluated there from position 0 on: the KV of positions [from, to), where
    /// the class has KV by position, and what cannot be cut, where there is such a part. Scratch is of no
    /// use afterwards, and is to be freed.
    ///
    /// # Errors
    /// When llama.cpp gives a state of another layout.
    pub fn scratch_state(
        &mut self,
        from: usize,
        to: usize,
    ) -> Result<(Option<Vec<u8>>, Option<Bytes>), SlotError> {
        let layout = self
            .layout
            .as_ref()
            .ok_or_else(|| SlotError::Layout("head".to_owned()))?;
        let snapshot = match layout.has_snapshots() {
            true => {
                let mut state = self.ctx.export(Seq::Scratch, StatePart::Partial)?;
                // As it would be of sequence 0.
                state[4..state::HEADER].fill(0);
                layout.snapshot(&state, to)?;
                Some(Arc::new(state))
            }
            false => None,
        };
        if !layout.has_segments() || from >= to {
            return Ok((None, snapshot));
        }
        if self.class == MemoryClass::Hybrid {
            // Else the recurrent state would be copied out with the KV.
            self.ctx.import(Seq::Scratch, &layout.empty())?;
        }
        let partial = match layout.has_snapshots() {
            true => self.ctx.export_size(Seq::Scratch, StatePart::Partial),
            false => 0,
        };
        let state = self.ctx.export(Seq::Scratch, StatePart::Whole)?;
        let all = layout.into_segment(state, partial, 0, to)?;
        let part = match from {
            0 => all,
            _ => layout.part(&all, (0, to), (from, to))?,
        };
        Ok((Some(part), snapshot))
    }

    /// Ends a fork, leaving sequence 0 as it was.
    ///
    /// # Errors
    /// When the relay fails.
    pub fn end_fork(&mut self) -> Result<(), SlotError> {
        self.ctx.clear(Seq::Scratch);
        self.relay(None)?;
        Ok(())
    }
}
