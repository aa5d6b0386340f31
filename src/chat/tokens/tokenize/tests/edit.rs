//! Vocabulary files for tests with other tokens than they came with.

/// A copy of a vocabulary file (a GGUF file without tensors): other names, other tokens.
pub(super) struct Edit<'a> {
    pub name: Option<&'a str>,
    pub pre: Option<&'a str>,
    /// `(id, text, type)`
    pub tokens: &'a [(usize, &'a str, i32)],
}

impl Edit<'_> {
    pub fn apply(&self, file: &[u8]) -> Vec<u8> {
        let mut walk = Walk {
            from: file,
            at: 24,
            to: file[..24].to_vec(),
        };
        let pairs = u64::from_le_bytes(file[16..24].try_into().expect("eight bytes"));
        for _ in 0..pairs {
            let key = walk.string(None);
            let kind = walk.u32();
            match (key.as_str(), kind) {
                ("general.name", 8) => drop(walk.string(self.name)),
                ("tokenizer.ggml.pre", 8) => drop(walk.string(self.pre)),
                (_, 8) => drop(walk.string(None)),
                (key, 9) => {
                    let (item, count) = (walk.u32(), walk.u64());
                    for i in 0..count as usize {
                        let edit = self.tokens.iter().find(|(id, ..)| *id == i);
                        match (key, item, edit) {
                            ("tokenizer.ggml.tokens", 8, Some((_, text, _))) => {
                                walk.string(Some(text));
                            }
                            ("tokenizer.ggml.token_type", 5, Some((_, _, kind))) => {
                                walk.copy(4);
                                let end = walk.to.len();
                                walk.to[end - 4..].copy_from_slice(&kind.to_le_bytes());
                            }
                            (_, 8, _) => drop(walk.string(None)),
                            _ => walk.copy(width(item)),
                        }
                    }
                }
                _ => walk.copy(width(kind)),
            }
        }
        walk.to
    }
}

fn width(kind: u32) -> usize {
    match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        10..=12 => 8,
        _ => panic!("value type {kind}"),
    }
}

struct Walk<'a> {
    from: &'a [u8],
    at: usize,
    to: Vec<u8>,
}

impl Walk<'_> {
    fn copy(&mut self, n: usize) {
        self.to.extend_from_slice(&self.from[self.at..self.at + n]);
        self.at += n;
    }

    fn u32(&mut self) -> u32 {
        self.copy(4);
        u32::from_le_bytes(self.from[self.at - 4..self.at].try_into().expect("four"))
    }

    fn u64(&mut self) -> u64 {
        self.copy(8);
        u64::from_le_bytes(self.from[self.at - 8..self.at].try_into().expect("eight"))
    }

    fn string(&mut self, instead: Option<&str>) -> String {
        let len = self.u64() as usize;
        let old = String::from_utf8_lossy(&self.from[self.at..self.at + len]).into_owned();
        if let Some(text) = instead {
            let end = self.to.len();
            self.to[end - 8..].copy_from_slice(&(text.len() as u64).to_le_bytes());
            self.to.extend_from_slice(text.as_bytes());
            self.at += len;
        } else {
            self.copy(len);
        }
        old
    }
}
