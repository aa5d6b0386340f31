//! Why a snapshot is kept: the byte in its record, and in its row of the index.

/// Why a snapshot is kept. The order is by strength: a digest put twice keeps the stronger role.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum SnapshotRole {
    /// The end of a frozen head; shared by every conversation that starts with it.
    Head = 1,
    /// The end of a conversation's turn. Later turns of its owner make it unnecessary.
    Turn = 2,
    /// A point inside a long prefix, or where a call was cut. With an owner it is removed at the
    /// owner's next such point and at the end of the turn.
    Step = 3,
    /// A logits row at the end of a prompt, for models whose memory can be cut and which need no
    /// state: the payload is empty. Each turn of its owner replaces it.
    Row = 4,
}

impl SnapshotRole {
    pub(in crate::kv) fn from_u8(byte: u8) -> Option<SnapshotRole> {
        use SnapshotRole::*;
        [Head, Turn, Step, Row]
            .into_iter()
            .find(|r| *r as u8 == byte)
    }
}
