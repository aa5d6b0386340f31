//! Why a restore failed: a stored file that cannot be used, or the context itself.

use super::SlotError;
use crate::kv::{Edge, Node};

/// Something stored that cannot be used.
pub(super) struct Bad {
    pub reason: String,
    /// The file itself is to blame.
    pub damage: bool,
    pub what: Box<StoredFile>,
}

/// A stored file.
pub(super) enum StoredFile {
    Edge(Edge),
    Node(Node),
}

impl Bad {
    pub fn edge(edge: &Edge, reason: String, damage: bool) -> Bad {
        Bad {
            reason,
            damage,
            what: Box::new(StoredFile::Edge(edge.clone())),
        }
    }

    pub fn node(node: &Node, reason: String, damage: bool) -> Bad {
        Bad {
            reason,
            damage,
            what: Box::new(StoredFile::Node(node.clone())),
        }
    }
}

/// Why a plan could not be executed. Sequence 0 holds nothing of use then.
pub(super) enum Broken {
    /// A file, refused by llama.cpp or changed since it was proven.
    Stored(Bad),
    /// The memory.
    Memory(SlotError),
}

impl Broken {
    pub fn reason(&self) -> String {
        match self {
            Broken::Stored(bad) => bad.reason.clone(),
            Broken::Memory(error) => error.to_string(),
        }
    }
}

impl std::convert::From<Bad> for Broken {
    fn from(bad: Bad) -> Broken {
        Broken::Stored(bad)
    }
}

impl std::convert::From<SlotError> for Broken {
    fn from(error: SlotError) -> Broken {
        Broken::Memory(error)
    }
}
