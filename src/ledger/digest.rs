//! D(p): the running hash of (fingerprint, tokens[0..p)). Equal digests mean equal prefixes under
//! the same model, whatever conversation they came from, so digests name the nodes of the KV graph.

use std::fmt;

use super::Token;

/// A blake3 hash, 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Lower-case hexadecimal, 64 characters.
    pub fn hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }

    /// The inverse of [`Digest::hex`].
    pub fn from_hex(hex: &str) -> Option<Digest> {
        blake3::Hash::from_hex(hex)
            .ok()
            .map(|h| Digest(*h.as_bytes()))
    }

    /// The hash of some bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(*blake3::hash(bytes).as_bytes())
    }

    /// [`Digest::of`] the bytes of the first `end` tokens, for each of some ends in any order; `None`
    /// past the last token. Costs O(tokens) in all.
    pub fn of_prefixes(tokens: &[Token], ends: &[usize]) -> Vec<Option<Digest>> {
        let mut order: Vec<usize> = (0..ends.len()).collect();
        order.sort_by_key(|i| ends[*i]);
        let mut hasher = blake3::Hasher::new();
        let mut digests = vec![None; ends.len()];
        let mut at = 0;
        for i in order {
            let Some(more) = tokens.get(at..ends[i]) else {
                break;
            };
            hasher.update(&Token::to_bytes(more));
            at = ends[i];
            digests[i] = Some(Digest(*hasher.clone().finalize().as_bytes()));
        }
        digests
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex()[..12])
    }
}

/// A digest that can be extended: cost is O(tokens added), never O(prefix).
#[derive(Clone)]
pub struct RunningDigest {
    hasher: blake3::Hasher,
    len: usize,
}

impl RunningDigest {
    /// D(0): the empty prefix under a model's (hard) fingerprint.
    pub fn new(fingerprint: Digest) -> RunningDigest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&fingerprint.0);
        RunningDigest { hasher, len: 0 }
    }

    /// Adds tokens at the end.
    pub fn extend(&mut self, tokens: &[Token]) {
        let mut bytes = [0u8; 4096];
        for chunk in tokens.chunks(1024) {
            for (slot, token) in bytes.chunks_exact_mut(4).zip(chunk) {
                slot.copy_from_slice(&token.0.to_le_bytes());
            }
            self.hasher.update(&bytes[..chunk.len() * 4]);
        }
        self.len += tokens.len();
    }

    /// How many tokens went in.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// D(len).
    pub fn digest(&self) -> Digest {
        Digest(*self.hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_depends_on_tokens_and_fingerprint_but_not_on_how_it_was_extended() {
        let tokens: Vec<Token> = (0..5000).map(Token).collect();
        let model = Digest::of(b"model");
        let mut whole = RunningDigest::new(model);
        whole.extend(&tokens);
        let mut parts = RunningDigest::new(model);
        for part in tokens.chunks(777) {
            parts.extend(part);
        }
        assert_eq!(whole.digest(), parts.digest());
        assert_eq!(parts.len(), 5000);
        let mut other = RunningDigest::new(Digest::of(b"another model"));
        other.extend(&tokens);
        assert_ne!(whole.digest(), other.digest());
        assert_eq!(
            Digest::from_hex(&whole.digest().hex()),
            Some(whole.digest())
        );
    }
}
