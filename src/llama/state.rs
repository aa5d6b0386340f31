//! The layout of llama.cpp's sequence states (state version 4), learned once from this context and
//! checked byte by byte before anything is handed back: llama.cpp accepts flipped bits and trailing
//! bytes, and on a truncated state it loses the destination.
//!
//! ```text
//! state     = magic u32, seq u32, full?, partial?
//! kv block  = n_stream u32 (1), cells u32, [cells x (pos i32, n_seq u32 (1), ext 12?, seq i32)],
//!             v_trans u32, n_layer u32, n_rot_k u32, n_rot_v u32,
//!             [K layers x (type i32, row u64, cells x row)], [V layers x the same]
//! recurrent = cells u32, [cells x (pos i32, n_seq u32 (0))], s_trans u32, n_layer u32,
//!             [rows x (type i32, row u64, cells x row)]
//! ```
//! Read from llama.cpp's `state_write` of `llama_kv_cache` and `llama_memory_recurrent`. A block
//! with no cells ends after its count (kv) or holds rows of nothing (recurrent).

mod join;

use std::borrow::Cow;

/// Bytes before the first block: magic and the sequence it was taken from.
pub const HEADER: usize = 8;

/// `LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY`, a macro that the bindings do not have.
const PARTIAL_ONLY: u32 = 1;

/// Which part of a sequence's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StatePart {
    /// Everything the sequence holds.
    Whole,
    /// What cannot be cut by position: recurrent state, SWA window.
    Partial,
}

impl StatePart {
    pub(super) fn flags(self) -> u32 {
        match self {
            StatePart::Whole => 0,
            StatePart::Partial => PARTIAL_ONLY,
        }
    }
}

/// Why a state was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// It ends too early or too late.
    #[error("the state has {got} bytes where {want} are needed")]
    Length {
        /// By the layout.
        want: usize,
        /// Given.
        got: usize,
    },
    /// A field differs from this context's.
    #[error("the state's {field} is {got} where this context has {want}")]
    Field {
        /// Which field.
        field: &'static str,
        /// This context's.
        want: u64,
        /// The state's.
        got: u64,
    },
    /// Positions are not the expected ones.
    #[error("the state holds position {got} where {want} belongs")]
    Position {
        /// Asked for.
        want: i64,
        /// Found.
        got: i64,
    },
    /// The layout of this model's state is not known.
    #[error("the layout of this model's state is not known")]
    Unknown,
}

/// A state that was checked against this context's layout: the only thing that can be imported.
pub struct Proven<'a> {
    bytes: Cow<'a, [u8]>,
    part: StatePart,
}

impl Proven<'_> {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn part(&self) -> StatePart {
        self.part
    }

    /// Bytes that will be handed over.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(n)?;
        let part = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(part)
    }
    fn u32(&mut self) -> Option<u32> {
        self.take(4)
            .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }
    fn i32(&mut self) -> Option<i32> {
        self.u32().map(|v| v as i32)
    }
    fn u64(&mut self) -> Option<u64> {
        Some(u64::from(self.u32()?) | u64::from(self.u32()?) << 32)
    }
    fn done(&self) -> bool {
        self.at == self.bytes.len()
    }
}

/// Type and bytes of one cell's row in one layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct RowLayout {
    kind: i32,
    bytes: u64,
}

/// Layout of one KV cache's block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KvLayout {
    ext: usize,
    n_layer: u32,
    rot: (u32, u32),
    rows: Vec<RowLayout>,
}

impl KvLayout {
    /// Learns the layout from a block with at least one cell; `None` when it is not of the known
    /// form (transposed V, several streams, several caches).
    fn learn(block: &[u8]) -> Option<KvLayout> {
        [0usize, 12]
            .into_iter()
            .find_map(|ext| Self::learn_with(block, ext))
    }

    fn learn_with(block: &[u8], ext: usize) -> Option<KvLayout> {
        let mut c = Cursor {
            bytes: block,
            at: 0,
        };
        let (streams, cells) = (c.u32()?, c.u32()? as usize);
        if streams != 1 || cells == 0 || cells > block.len() {
            return None;
        }
        for _ in 0..cells {
            let (_pos, n_seq) = (c.i32()?, c.u32()?);
            c.take(ext)?;
            let _seq = c.i32()?;
            if n_seq != 1 {
                return None;
            }
        }
        let (v_trans, n_layer, rot_k, rot_v) = (c.u32()?, c.u32()?, c.u32()?, c.u32()?);
        if v_trans != 0 || n_layer == 0 || n_layer > 4096 {
            return None;
        }
        let mut rows = Vec::new();
        while !c.done() {
            let row = RowLayout {
                kind: c.i32()?,
                bytes: c.u64()?,
            };
            c.take(usize::try_from(row.bytes).ok()?.checked_mul(cells)?)?;
            rows.push(row);
        }
        let k = n_layer as usize;
        ((k..=2 * k).contains(&rows.len())).then_some(KvLayout {
            ext,
            n_layer,
            rot: (rot_k, rot_v),
            rows,
        })
    }

    /// Bytes that one cell takes, metadata included.
    pub fn cell_bytes(&self) -> usize {
        12 + self.ext + self.rows.iter().map(|r| r.bytes as usize).sum::<usize>()
    }

    /// Bytes of a block of `cells` cells.
    fn block_bytes(&self, cells: usize) -> usize {
        match cells {
            0 => 8,
            n => 8 + 16 + self.rows.len() * 12 + n * self.cell_bytes(),
        }
    }

    /// Checks a block of exactly `cells` cells and gives their positions to `position`, in order.
    fn check(
        &self,
        block: &[u8],
        cells: usize,
        mut position: impl FnMut(usize, i64) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        let want = self.block_bytes(cells);
        if block.len() != want {
            return Err(StateError::Length {
                want,
                got: block.len(),
            });
        }
        let mut c = Cursor {
            bytes: block,
            at: 0,
        };
        let short = StateError::Length {
            want,
            got: block.len(),
        };
        field("stream count", 1, c.u32().ok_or(short.clone())?.into())?;
        field(
            "cell count",
            cells as u64,
            c.u32().ok_or(short.clone())?.into(),
        )?;
        if cells == 0 {
            return Ok(());
        }
        for i in 0..cells {
            let pos = c.i32().ok_or(short.clone())?;
            field("sequence count", 1, c.u32().ok_or(short.clone())?.into())?;
            c.take(self.ext + 4).ok_or(short.clone())?;
            position(i, pos.into())?;
        }
        field("V transposition", 0, c.u32().ok_or(short.clone())?.into())?;
        field(
            "layer count",
            self.n_layer.into(),
            c.u32().ok_or(short.clone())?.into(),
        )?;
        field(
            "K rotation",
            self.rot.0.into(),
            c.u32().ok_or(short.clone())?.into(),
        )?;
        field(
            "V rotation",
            self.rot.1.into(),
            c.u32().ok_or(short.clone())?.into(),
        )?;
        for row in &self.rows {
            let kind = c.i32().ok_or(short.clone())?;
            field("cache type", row.kind as u64, kind as u64)?;
            field("row size", row.bytes, c.u64().ok_or(short.clone())?)?;
            c.take(row.bytes as usize * cells).ok_or(short.clone())?;
        }
        Ok(())
    }
}

fn field(field: &'static str, want: u64, got: u64) -> Result<(), StateError> {
    (want == got)
        .then_some(())
        .ok_or(StateError::Field { field, want, got })
}

/// Layout of a recurrent state's block of one cell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecurrentLayout {
    len: usize,
    /// Byte ranges that are the same in every state: counts, types, row sizes.
    fixed: Vec<(usize, Vec<u8>)>,
}

impl RecurrentLayout {
    fn learn(block: &[u8]) -> Option<RecurrentLayout> {
        let mut c = Cursor {
            bytes: block,
            at: 0,
        };
        if c.u32()? != 1 {
            return None;
        }
        let _pos = c.i32()?;
        if c.u32()? != 0 {
            return None;
        }
        let mut fixed = vec![
            (0, block.get(0..4)?.to_vec()),
            (8, block.get(8..20)?.to_vec()),
        ];
        if c.u32()? != 0 {
            return None;
        }
        let _layers = c.u32()?;
        while !c.done() {
            let at = c.at;
            let (_kind, row) = (c.i32()?, c.u64()?);
            fixed.push((at, block.get(at..at + 12)?.to_vec()));
            c.take(usize::try_from(row).ok()?)?;
        }
        Some(RecurrentLayout {
            len: block.len(),
            fixed,
        })
    }

    fn check(&self, block: &[u8], last: usize) -> Result<(), StateError> {
        if block.len() != self.len {
            return Err(StateError::Length {
                want: self.len,
                got: block.len(),
            });
        }
        for (at, want) in &self.fixed {
            let got = &block[*at..*at + want.len()];
            if got != want.as_slice() {
                let number = |b: &[u8]| b.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b));
                return Err(StateError::Field {
                    field: "recurrent layout",
                    want: number(&want[want.len().saturating_sub(8)..]),
                    got: number(&got[got.len().saturating_sub(8)..]),
                });
            }
        }
        let pos = i64::from(i32::from_le_bytes([block[4], block[5], block[6], block[7]]));
        if pos != last as i64 {
            return Err(StateError::Position {
                want: last as i64,
                got: pos,
            });
        }
        Ok(())
    }
}

/// The part of a state that cannot be cut by position.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Uncut {
    /// Dense models have none.
    None,
    /// The cells of a sliding window, at most so many positions back.
    Window { layout: KvLayout, tokens: usize },
    /// Recurrent state.
    Recurrent(RecurrentLayout),
}

/// The layout of this context's states, learned from a few evaluated tokens.
#[derive(Clone, Debug)]
pub struct Layout {
    magic: [u8; 4],
    /// KV of every position; recurrent models have none.
    full: Option<KvLayout>,
    uncut: Uncut,
    /// The partial state of an empty sequence, with its header.
    empty_partial: Vec<u8>,
}

impl Layout {
    /// Learns the layout from the states of a sequence with a few tokens: its whole state, its
    /// partial state, and the partial state of an empty sequence. `None` when the model's memory
    /// is not one of the known forms: then only whole states work.
    pub fn learn(
        whole: &[u8],
        partial: &[u8],
        empty_partial: &[u8],
        window: usize,
        recurrent: bool,
    ) -> Option<Layout> {
        let magic = whole.get(..4)?.try_into().ok()?;
        let body = |state: &'_ [u8]| state.len().checked_sub(HEADER);
        let (whole_len, partial_len) = (body(whole)?, body(partial)?);
        let layout = |full: Option<KvLayout>, uncut| Layout {
            magic,
            full,
            uncut,
            empty_partial: empty_partial.to_vec(),
        };
        if recurrent && whole[HEADER..] == partial[HEADER..] {
            let state = RecurrentLayout::learn(&whole[HEADER..])?;
            return Some(layout(None, Uncut::Recurrent(state)));
        }
        if whole_len == partial_len {
            // Dense: PARTIAL is ignored. A hybrid that ignores it too is not of a known form, and
            // its block does not end where a KV block ends.
            if window > 0 {
                return None;
            }
            let full = KvLayout::learn(&whole[HEADER..])?;
            return Some(layout(Some(full), Uncut::None));
        }
        let cut = HEADER + whole_len.checked_sub(partial_len)?;
        let full = KvLayout::learn(whole.get(HEADER..cut)?)?;
        let rest = whole.get(cut..)?;
        let uncut = match RecurrentLayout::learn(rest) {
            Some(state) if window == 0 => Uncut::Recurrent(state),
            _ if window > 0 => Uncut::Window {
                layout: KvLayout::learn(rest)?,
                tokens: window,
            },
            _ => return None,
        };
        Some(layout(Some(full), uncut))
    }

    /// Bytes of KV per token that are kept for every position.
    pub fn token_bytes(&self) -> usize {
        self.full.as_ref().map_or(0, KvLayout::cell_bytes)
    }

    /// Whether positions have KV of their own that segments can hold.
    pub fn has_segments(&self) -> bool {
        self.full.is_some()
    }

    /// Whether a part of the state cannot be cut by position.
    pub fn has_snapshots(&self) -> bool {
        self.uncut != Uncut::None
    }

    /// Whether that part is a sliding window.
    pub fn is_window(&self) -> bool {
        matches!(self.uncut, Uncut::Window { .. })
    }

    /// The partial state of an empty sequence, to be imported where a recurrent state is dropped.
    pub fn empty(&self) -> Proven<'_> {
        Proven {
            bytes: Cow::Borrowed(&self.empty_partial),
            part: StatePart::Partial,
        }
    }

    /// Turns the whole state of a scratch sequence that holds [p0, p1) into a segment: the header,
    /// the KV of these positions, and an empty partial state. `partial` is the size of the
    /// sequence's own partial state, header included.
    ///
    /// # Errors
    /// When the state is not of this layout.
    pub fn into_segment(
        &self,
        mut state: Vec<u8>,
        partial: usize,
        p0: usize,
        p1: usize,
    ) -> Result<Vec<u8>, StateError> {
        if self.has_snapshots() {
            let own = partial.saturating_sub(HEADER);
            let keep = state.len().checked_sub(own).ok_or(StateError::Unknown)?;
            state.truncate(keep);
            state.extend_from_slice(&self.empty_partial[HEADER..]);
        }
        self.segment(&state, p0, p1)?;
        Ok(state)
    }

    /// Proves a segment of positions [p0, p1): every length, count, type, row size and position.
    ///
    /// # Errors
    /// The first thing that is not as this context has it.
    pub fn segment<'a>(
        &self,
        state: &'a [u8],
        p0: usize,
        p1: usize,
    ) -> Result<Proven<'a>, StateError> {
        let full = self.full.as_ref().ok_or(StateError::Unknown)?;
        let tail = match self.uncut {
            Uncut::None => &[][..],
            _ => &self.empty_partial[HEADER..],
        };
        let cells = p1.checked_sub(p0).ok_or(StateError::Unknown)?;
        let want = HEADER + full.block_bytes(cells) + tail.len();
        if state.len() != want {
            return Err(StateError::Length {
                want,
                got: state.len(),
            });
        }
        self.header(state)?;
        let end = state.len() - tail.len();
        if &state[end..] != tail {
            return Err(StateError::Unknown);
        }
        full.check(&state[HEADER..end], cells, |i, got| {
            let want = (p0 + i) as i64;
            (want == got)
                .then_some(())
                .ok_or(StateError::Position { want, got })
        })?;
        Ok(Proven {
            bytes: Cow::Borrowed(state),
            part: StatePart::Whole,
        })
    }

    /// Proves a snapshot: the partial state after `at` tokens.
    ///
    /// # Errors
    /// The first thing that is not as this context has it.
    pub fn snapshot<'a>(&self, state: &'a [u8], at: usize) -> Result<Proven<'a>, StateError> {
        self.header(state)?;
        let block = &state[HEADER..];
        let last = at.checked_sub(1).ok_or(StateError::Unknown)?;
        match &self.uncut {
            Uncut::None => return Err(StateError::Unknown),
            Uncut::Recurrent(layout) => layout.check(block, last)?,
            Uncut::Window { layout, tokens } => {
                // Every position of the window once, in any order. The oldest is seen by the last
                // token only, and gone where a sequence was cut right after a relay.
                let held = block
                    .get(4..8)
                    .map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize);
                let most = at.min(*tokens);
                let least = at.min(tokens.saturating_sub(1));
                let cells = held.clamp(least, most);
                let first = at - cells;
                let mut seen = vec![false; cells];
                layout.check(block, cells, |_, got| {
                    let place = usize::try_from(got).ok().and_then(|p| p.checked_sub(first));
                    match place.and_then(|i| seen.get_mut(i)) {
                        Some(seen) if !*seen => {
                            *seen = true;
                            Ok(())
                        }
                        _ => Err(StateError::Position {
                            want: last as i64,
                            got,
                        }),
                    }
                })?;
            }
        }
        Ok(Proven {
            bytes: Cow::Borrowed(state),
            part: StatePart::Partial,
        })
    }

    fn header(&self, state: &[u8]) -> Result<(), StateError> {
        if state.len() < HEADER {
            return Err(StateError::Length {
                want: HEADER,
                got: state.len(),
            });
        }
        let number = |b: &[u8]| u64::from(u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        field("magic", number(&self.magic), number(state))
    }
}

/// The whole state of a sequence whose layout is not known. Only what this process took itself and
/// what a checksum vouches for may be given here; the length is all that can be checked.
pub fn opaque(state: &[u8]) -> Proven<'_> {
    Proven {
        bytes: Cow::Borrowed(state),
        part: StatePart::Whole,
    }
}
