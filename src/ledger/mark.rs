//! A prefix by name: how long it is and which tokens it has. A caller that has a mark can name the prefix
//! without sending it.

use super::Digest;

/// A token prefix: its length in tokens and its digest. Two marks are equal when their prefixes are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Mark {
    len: usize,
    digest: Digest,
}

impl Mark {
    /// The mark of a prefix of `len` tokens that has this digest.
    pub fn new(len: usize, digest: Digest) -> Mark {
        Mark { len, digest }
    }

    /// In tokens.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(self) -> usize {
        self.len
    }

    /// Of all its tokens.
    pub fn digest(self) -> Digest {
        self.digest
    }
}
