//! A walk over a GGUF file's header before ggml sees it.
//!
//! ggml compares counts with the file's length only, so a header that claims a billion strings
//! inside a 20 GB file makes it fill 32 GB of memory. The walk reads every length, keeps nothing
//! in memory, and refuses numbers that no real model has.

use std::{
    fs::File,
    io::{BufReader, ErrorKind, Read},
    path::Path,
};

use super::error::GgufError;

/// Far above what models have: 260,000 tokens, 520,000 merges, some thousand tensors, 100 keys.
const MAX_KEYS: u64 = 1 << 16;
const MAX_TENSORS: u64 = 1 << 18;
const MAX_NAME: u64 = 1 << 16;
const MAX_STRING: u64 = 1 << 26;
const MAX_STRINGS: u64 = 1 << 23;
const MAX_ARRAY_BYTES: u64 = 1 << 28;
const MAX_HEADER: u64 = 1 << 30;

const TYPE_STRING: u32 = 8;
const TYPE_ARRAY: u32 = 9;

/// Proves that the header of `path` is complete and of sane size. Returns the file's length.
pub(super) fn check(path: &Path) -> Result<u64, GgufError> {
    let file = File::open(path).map_err(GgufError::io(path))?;
    let metadata = file.metadata().map_err(GgufError::io(path))?;
    if !metadata.is_file() {
        return Err(GgufError::malformed(path, "it is not a regular file"));
    }
    let mut walk = HeaderCheck {
        path,
        file: BufReader::with_capacity(1 << 16, file),
        left: metadata.len().min(MAX_HEADER),
    };
    if walk.bytes::<4>()? != *b"GGUF" {
        return Err(walk.refuse("it does not begin with \"GGUF\""));
    }
    let version = walk.u32()?;
    if !(2..=3).contains(&version) {
        return Err(walk.refuse(format!("version {version} is not supported")));
    }
    let tensors = walk.count("tensors", MAX_TENSORS)?;
    let keys = walk.count("keys", MAX_KEYS)?;
    for _ in 0..keys {
        walk.string("a key", MAX_NAME)?;
        let kind = walk.u32()?;
        walk.value(kind)?;
    }
    for _ in 0..tensors {
        walk.string("a tensor name", MAX_NAME)?;
        let dims = walk.u32()?;
        if !(1..=4).contains(&dims) {
            return Err(walk.refuse(format!("a tensor has {dims} dimensions")));
        }
        // The dimensions, the type, the offset.
        walk.skip(u64::from(dims) * 8 + 4 + 8)?;
    }
    Ok(metadata.len())
}

struct HeaderCheck<'a> {
    path: &'a Path,
    file: BufReader<File>,
    /// Bytes of the file, or of the longest header allowed, that were not read yet.
    left: u64,
}

impl HeaderCheck<'_> {
    fn value(&mut self, kind: u32) -> Result<(), GgufError> {
        match (kind, scalar_size(kind)) {
            (TYPE_STRING, _) => self.string("a value", MAX_STRING),
            (TYPE_ARRAY, _) => {
                let element = self.u32()?;
                match (element, scalar_size(element)) {
                    (TYPE_STRING, _) => {
                        let count = self.count("strings in one array", MAX_STRINGS)?;
                        (0..count).try_for_each(|_| self.string("a value", MAX_STRING))
                    }
                    (_, Some(size)) => {
                        let count = self.count("elements in one array", MAX_ARRAY_BYTES / size)?;
                        self.skip(count * size)
                    }
                    _ => Err(self.refuse(format!("type {element} is unknown as an element"))),
                }
            }
            (_, Some(size)) => self.skip(size),
            _ => Err(self.refuse(format!("type {kind} is unknown"))),
        }
    }

    fn count(&mut self, what: &str, most: u64) -> Result<u64, GgufError> {
        let count = self.u64()?;
        // Nothing counted takes less than a byte.
        if count > most.min(self.left) {
            return Err(self.refuse(format!("it claims to hold {count} {what}")));
        }
        Ok(count)
    }

    fn string(&mut self, what: &str, most: u64) -> Result<(), GgufError> {
        let length = self.u64()?;
        if length > most {
            return Err(self.refuse(format!("{what} claims to be {length} bytes long")));
        }
        self.skip(length)
    }

    fn u32(&mut self) -> Result<u32, GgufError> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, GgufError> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        self.take(N as u64)?;
        let mut bytes = [0; N];
        match self.file.read_exact(&mut bytes) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(self.ends()),
            Err(error) => Err(GgufError::io(self.path)(error)),
        }
    }

    fn skip(&mut self, bytes: u64) -> Result<(), GgufError> {
        self.take(bytes)?;
        // `left` is at most a gigabyte.
        self.file
            .seek_relative(bytes as i64)
            .map_err(GgufError::io(self.path))
    }

    fn take(&mut self, bytes: u64) -> Result<(), GgufError> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(self.ends()),
        }
    }

    fn ends(&self) -> GgufError {
        self.refuse("its header is cut short or longer than a gigabyte")
    }

    fn refuse(&self, reason: impl Into<String>) -> GgufError {
        GgufError::malformed(self.path, reason)
    }
}

/// Bytes of a value of this GGUF type, if its size is fixed.
fn scalar_size(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}
