//! Segments of neighbouring positions made into one, and a part of one made into a segment, in host
//! memory: cells after cells, and in each layer rows after rows.

use super::{HEADER, Layout, StateError, Uncut};

impl Layout {
    /// The segment of all positions of `parts`, (p0, p1, state) each, which follow each other: byte
    /// for byte what an export of the whole range gives.
    ///
    /// # Errors
    /// The first thing that is not as this context has it, in a part or in their order.
    pub fn join(&self, parts: &[(usize, usize, &[u8])]) -> Result<Vec<u8>, StateError> {
        let full = self.full.as_ref().ok_or(StateError::Unknown)?;
        let (first, last) = match parts {
            [first, .., last] => (first, last),
            [only] => (only, only),
            [] => return Err(StateError::Unknown),
        };
        let mut next = first.0;
        for (p0, p1, state) in parts {
            if *p0 != next || p1 <= p0 {
                return Err(StateError::Position {
                    want: next as i64,
                    got: *p0 as i64,
                });
            }
            self.segment(state, *p0, *p1)?;
            next = *p1;
        }
        // Every length was proven above: what follows cannot be out of range.
        let cells = |(p0, p1, _): &(usize, usize, &[u8])| p1 - p0;
        let total = last.1 - first.0;
        let tail = match self.uncut {
            Uncut::None => &[][..],
            _ => &self.empty_partial[HEADER..],
        };
        let mut joined = Vec::with_capacity(HEADER + full.block_bytes(total) + tail.len());
        let count = u32::try_from(total).map_err(|_| StateError::Unknown)?;
        joined.extend_from_slice(&first.2[..HEADER + 4]);
        joined.extend_from_slice(&count.to_le_bytes());
        let cell = 12 + full.ext;
        let begins = HEADER + 8;
        for part in parts {
            joined.extend_from_slice(&part.2[begins..begins + cells(part) * cell]);
        }
        let shape = begins + cells(first) * cell;
        joined.extend_from_slice(&first.2[shape..shape + 16]);
        // Where the next layer begins in each part.
        let mut at: Vec<usize> = parts
            .iter()
            .map(|part| begins + cells(part) * cell + 16)
            .collect();
        for row in &full.rows {
            joined.extend_from_slice(&first.2[at[0]..at[0] + 12]);
            for (part, at) in parts.iter().zip(&mut at) {
                let bytes = row.bytes as usize * cells(part);
                joined.extend_from_slice(&part.2[*at + 12..*at + 12 + bytes]);
                *at += 12 + bytes;
            }
        }
        joined.extend_from_slice(tail);
        self.segment(&joined, first.0, last.1)?;
        Ok(joined)
    }

    /// The segment of positions [a, b) of one that holds [p0, p1), where p0 <= a < b <= p1: byte for
    /// byte what an export of [a, b) gives.
    ///
    /// # Errors
    /// The first thing that is not as this context has it, or a range that is not inside.
    pub fn part(
        &self,
        state: &[u8],
        (p0, p1): (usize, usize),
        (a, b): (usize, usize),
    ) -> Result<Vec<u8>, StateError> {
        let full = self.full.as_ref().ok_or(StateError::Unknown)?;
        self.segment(state, p0, p1)?;
        if a < p0 || a >= b || b > p1 {
            return Err(StateError::Position {
                want: p0 as i64,
                got: a as i64,
            });
        }
        // Every length was proven above: what follows cannot be out of range.
        let (all, skip, cells) = (p1 - p0, a - p0, b - a);
        let tail = match self.uncut {
            Uncut::None => &[][..],
            _ => &self.empty_partial[HEADER..],
        };
        let count = u32::try_from(cells).map_err(|_| StateError::Unknown)?;
        let mut part = Vec::with_capacity(HEADER + full.block_bytes(cells) + tail.len());
        part.extend_from_slice(&state[..HEADER + 4]);
        part.extend_from_slice(&count.to_le_bytes());
        let (cell, begins) = (12 + full.ext, HEADER + 8);
        part.extend_from_slice(&state[begins + skip * cell..begins + (skip + cells) * cell]);
        let mut at = begins + all * cell;
        part.extend_from_slice(&state[at..at + 16]);
        at += 16;
        for row in &full.rows {
            let bytes = row.bytes as usize;
            part.extend_from_slice(&state[at..at + 12]);
            let rows = at + 12;
            part.extend_from_slice(&state[rows + skip * bytes..rows + (skip + cells) * bytes]);
            at = rows + all * bytes;
        }
        part.extend_from_slice(tail);
        self.segment(&part, a, b)?;
        Ok(part)
    }
}
