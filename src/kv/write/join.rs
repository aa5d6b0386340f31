//! [`JoinPayloads`]: how payloads are joined by a merge and cut by a split. Payloads are opaque bytes in this
//! module, so the slot implements the trait. Invariant: the result is byte for byte what the slot would
//! export for the same positions.

/// Joins and cuts payloads.
pub trait JoinPayloads: Send + Sync {
    /// Joins the payloads of `parts`, which follow each other without a gap. The result is byte for byte
    /// what the slot would export for the whole range. `None` if the payloads do not have the layout of
    /// this context's KV.
    fn join(&self, parts: &[PayloadPart<'_>]) -> Option<Vec<u8>>;

    /// Cuts the payload of positions [a, b) out of a larger one. The result is byte for byte what the
    /// slot would export for [a, b). `None` if the payload does not have the layout of this context's KV,
    /// or does not have all of these positions.
    fn cut(&self, whole: &PayloadPart<'_>, a: usize, b: usize) -> Option<Vec<u8>>;
}

/// The payload of positions [p0, p1).
#[derive(Clone, Copy, Debug)]
pub struct PayloadPart<'a> {
    /// First position.
    pub p0: usize,
    /// One past the last position.
    pub p1: usize,
    /// The payload as it was put.
    pub payload: &'a [u8],
}
