//! The seed of a model call: a function of the session's seed, the position, and how often a reply of the
//! session was sampled anew.

use crate::agent::conversation::handle::Conversation;

impl Conversation {
    /// The seed of a call whose reply begins at `position`. A reply that is sampled again has another.
    pub(in crate::agent) fn seed_at(&self, position: usize) -> u64 {
        match self.row.tries {
            0 => mixed(self.row.seed, position),
            tries => mixed(!mixed(self.row.seed, tries as usize), position),
        }
    }
}

/// A seed for one call: the session's, mixed with the position (splitmix64's finalizer).
pub(in crate::agent) fn mixed(seed: u64, position: usize) -> u64 {
    let mut z = seed.wrapping_add((position as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
