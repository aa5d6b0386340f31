//! The role of a node: the reason why its snapshot or logits row is kept. The role is one byte in the
//! record and one number in its index row. The slot gives it with a put, and the rules for removing
//! snapshots use it. Invariant: the numbers never change, because stored records have them.

/// The reason why a snapshot or a logits row is kept. A smaller number is a stronger role, one for which
/// the snapshot is kept longer. If a snapshot is put twice with different roles, it keeps the stronger
/// one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum SnapshotRole {
    /// The snapshot stands at the end of a frozen head (the tokens of system prompt and tools). All
    /// conversations that begin with this head share it.
    Head = 1,
    /// The snapshot stands at the end of a conversation's turn. After later turns of the owner,
    /// `index::retain` decides whether it is kept.
    Turn = 2,
    /// The snapshot stands inside a long prompt or a long turn, or at the point where a model call was
    /// interrupted. If it has an owner, it is removed when the owner's next `Step` or `Turn` is stored.
    Step = 3,
    /// A logits row at the end of a prompt, with an empty payload. It is for models whose KV can be cut at
    /// any position, which need no snapshot. The owner's next logits row replaces it.
    Row = 4,
}

impl SnapshotRole {
    /// The role with this number; `None` for a number that this build does not know.
    pub(in crate::kv) fn from_u8(byte: u8) -> Option<SnapshotRole> {
        use SnapshotRole::*;
        [Head, Turn, Step, Row]
            .into_iter()
            .find(|r| *r as u8 == byte)
    }
}
