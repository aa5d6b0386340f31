//! What merging and splitting need of the slot: payloads are opaque bytes in kv/, and the slot knows
//! their layout.

/// Joins and cuts payloads.
pub trait Join: Send + Sync {
    /// The payload of all positions of `parts`, which follow each other: byte for byte what an
    /// export of the whole range gives. `None` when they are not of its layout.
    fn join(&self, parts: &[PayloadPart<'_>]) -> Option<Vec<u8>>;

    /// The payload of positions [a, b) of one that has more: byte for byte what an export of them
    /// gives. `None` when it is not of this layout, or has not all of them.
    fn cut(&self, whole: &PayloadPart<'_>, a: usize, b: usize) -> Option<Vec<u8>>;
}

/// The payload of positions [p0, p1).
#[derive(Clone, Copy, Debug)]
pub struct PayloadPart<'a> {
    /// First position.
    pub p0: usize,
    /// One past the last position.
    pub p1: usize,
    /// As it was put.
    pub payload: &'a [u8],
}
