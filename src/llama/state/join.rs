//! Segments of neighbouring positions made into one, in host memory: cells after cells, and in each
//! layer rows after rows.

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
}
