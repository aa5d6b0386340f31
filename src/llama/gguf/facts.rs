//! The facts by which two models differ, found without loading either.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::error::GgufError;
use super::read::{GgufReader, TensorInfo, Value};

/// Far above what models have: some hundred layers.
const MAX_BLOCKS: u64 = 1 << 12;

/// Bytes read at the start, the middle and the end of each tensor.
const SAMPLE: u64 = 4096;

/// The identity of a model. Where it lies, what it is called and how it is split are not part of
/// the hashes.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelFacts {
    /// `general.architecture`.
    pub architecture: String,
    /// `general.name`, for people only.
    pub name: Option<String>,
    /// All keys of the architecture (`ARCH.rope.*`, `ARCH.attention.*`, …) without that prefix,
    /// sorted, values as text; an array as the hash of its elements.
    pub shape: Vec<(String, String)>,
    /// Hash of model, pre-tokenizer, tokens, types, scores and merges: equal hashes, equal ids.
    /// Which tokens are BOS or EOS and the chat template are not part of it.
    pub tokenizer: blake3::Hash,
    /// Hash of `tokenizer.chat_template`, if there is one.
    pub chat_template: Option<blake3::Hash>,
    /// Hash of names, types, dimensions and samples of all tensors, in order of their names.
    pub tensors: blake3::Hash,
    /// Where the data of all tensors is, in order of their names: in which file, counted from 0, from
    /// which offset, how many bytes.
    pub data: Vec<(usize, u64, u64)>,
    /// Where its bytes are, layer by layer.
    pub parts: TensorBytes,
    /// Number of tensors.
    pub n_tensors: usize,
    /// Number of files.
    pub n_files: usize,
    /// Size of the tensor data in bytes.
    pub bytes: u64,
}

/// Bytes of tensors by what they are of, as their names say (`blk.N.…`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TensorBytes {
    /// Each layer's: all, and those of experts of a mixture.
    pub layers: Vec<(u64, u64)>,
    /// The embedding of input tokens.
    pub input: u64,
    /// All others: the output matrix and norms. Where the embedding is the output matrix too, it
    /// counts here once more.
    pub output: u64,
}

impl TensorBytes {
    fn of(tensors: &[(&TensorInfo, usize)]) -> TensorBytes {
        let mut parts = TensorBytes::default();
        let mut own_output = false;
        for (info, _) in tensors {
            let layer = info.name.strip_prefix("blk.").and_then(|rest| {
                let (number, name) = rest.split_once('.')?;
                let number: usize = number.parse().ok()?;
                ((number as u64) < MAX_BLOCKS).then_some((number, name))
            });
            if let Some((number, name)) = layer {
                if parts.layers.len() <= number {
                    parts.layers.resize(number + 1, (0, 0));
                }
                parts.layers[number].0 += info.bytes;
                if name.contains("_exps") || name.contains("_chexps") {
                    parts.layers[number].1 += info.bytes;
                }
            } else if info.name == "token_embd.weight" {
                parts.input += info.bytes;
            } else {
                own_output |= info.name == "output.weight";
                parts.output += info.bytes;
            }
        }
        if !own_output {
            parts.output += parts.input;
        }
        parts
    }
}

/// Reads the facts of a model: all files of a split one, whichever is named.
///
/// Cost: the headers, and 12 KiB of each tensor.
pub fn facts(path: &Path) -> Result<ModelFacts, GgufError> {
    let readers = open_all(path)?;
    let first = &readers[0];
    let architecture = first
        .text("general.architecture")
        .ok_or_else(|| GgufError::malformed(first.path(), "it names no architecture"))?;

    distinct_tokens(first)?;
    sane_numbers(first, &architecture)?;
    let mut tensors: Vec<(&TensorInfo, usize)> = readers
        .iter()
        .enumerate()
        .flat_map(|(file, reader)| reader.tensors().iter().map(move |info| (info, file)))
        .collect();
    tensors.sort_by(|a, b| a.0.name.cmp(&b.0.name));

    Ok(ModelFacts {
        name: first.text("general.name"),
        shape: shape(first, &architecture),
        tokenizer: tokenizer(first),
        chat_template: first
            .text("tokenizer.chat_template")
            .map(|template| blake3::hash(template.as_bytes())),
        tensors: sample(&readers, &tensors)?,
        data: tensors
            .iter()
            .map(|(info, file)| (*file, info.offset, info.bytes))
            .collect(),
        parts: TensorBytes::of(&tensors),
        n_tensors: tensors.len(),
        n_files: readers.len(),
        bytes: tensors.iter().map(|(info, _)| info.bytes).sum(),
        architecture,
    })
}

/// The files of the model that `path` belongs to, in order: itself, or all N where its name ends
/// in `-0000I-of-0000N.gguf`. Does not look at the disk.
pub fn split_paths(path: &Path) -> Vec<PathBuf> {
    let whole = || vec![path.to_owned()];
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return whole();
    };
    let Some((prefix, _, count)) = split_name(name) else {
        return whole();
    };
    (1..=count)
        .map(|index| path.with_file_name(format!("{prefix}-{index:05}-of-{count:05}.gguf")))
        .collect()
}

/// `PREFIX-0000I-of-0000N.gguf` taken apart, if 1 <= I <= N.
fn split_name(name: &str) -> Option<(&str, u32, u32)> {
    let number = |digits: &str| {
        let good = digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
        good.then(|| digits.parse::<u32>().ok()).flatten()
    };
    let rest = name.strip_suffix(".gguf")?;
    let (rest, count) = rest.rsplit_once("-of-")?;
    let (prefix, index) = rest.rsplit_once('-')?;
    let (index, count) = (number(index)?, number(count)?);
    (1..=count)
        .contains(&index)
        .then_some((prefix, index, count))
}

fn open_all(path: &Path) -> Result<Vec<GgufReader>, GgufError> {
    let paths = split_paths(path);
    // A name alone may claim 99,999 files: the first says whether that is so.
    let first = GgufReader::open(&paths[0])?;
    let mut readers = vec![first];
    let count = readers[0].number("split.count").unwrap_or(1).max(1);
    if count != paths.len() as u64 {
        return Err(GgufError::Split {
            path: paths[0].clone(),
            reason: format!("it has {count} files, its name says {}", paths.len()),
        });
    }
    for (index, path) in paths.iter().enumerate().skip(1) {
        let reader = GgufReader::open(path)?;
        let (no, of) = (reader.number("split.no"), reader.number("split.count"));
        if no != Some(index as u64) || of != Some(count) {
            return Err(GgufError::Split {
                path: path.clone(),
                reason: format!("it should be number {index} of {count}, counted from 0"),
            });
        }
        readers.push(reader);
    }
    Ok(readers)
}

fn shape(reader: &GgufReader, architecture: &str) -> Vec<(String, String)> {
    let mut shape: Vec<(String, String)> = reader
        .entries()
        .filter_map(|(key, value)| {
            let name = key.strip_prefix(architecture)?.strip_prefix('.')?;
            let value = match value {
                Value::Unsigned(number) => number.to_string(),
                Value::Signed(number) => number.to_string(),
                Value::Float(number) => number.to_string(),
                Value::Bool(truth) => truth.to_string(),
                Value::Text(text) => text,
                Value::Array { .. } => {
                    let mut hasher = blake3::Hasher::new();
                    array(&mut hasher, reader, &key);
                    hasher.finalize().to_hex().to_string()
                }
            };
            Some((name.to_owned(), value))
        })
        .collect();
    shape.sort();
    shape
}

/// Numbers that no model has and llama.cpp asserts on, or works for hours by.
fn sane_numbers(reader: &GgufReader, architecture: &str) -> Result<(), GgufError> {
    let refuse = |key: &str, what: String| {
        let reason = format!("{key} is {what}");
        Err(GgufError::malformed(reader.path(), reason))
    };
    for (key, value) in reader.entries() {
        let Some(name) = key.strip_prefix(architecture) else {
            continue;
        };
        match value {
            Value::Float(number) if !number.is_finite() => return refuse(&key, number.to_string()),
            Value::Float(number) if name.ends_with("epsilon") && number < 0.0 => {
                return refuse(&key, number.to_string());
            }
            Value::Unsigned(number) if name == ".block_count" => match number {
                1..=MAX_BLOCKS => {}
                _ => return refuse(&key, number.to_string()),
            },
            _ => {}
        }
    }
    Ok(())
}

/// llama.cpp aborts the process when two tokens have the same text.
fn distinct_tokens(reader: &GgufReader) -> Result<(), GgufError> {
    let Some(tokens) = reader.strings("tokenizer.ggml.tokens") else {
        return Ok(());
    };
    let mut seen = std::collections::HashSet::new();
    for (id, token) in tokens.enumerate() {
        if !token.is_empty() && !seen.insert(token) {
            let text = String::from_utf8_lossy(token);
            return Err(GgufError::malformed(
                reader.path(),
                format!("token {id} has the text {text:?}, which another token has too"),
            ));
        }
    }
    Ok(())
}

fn tokenizer(reader: &GgufReader) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for name in ["model", "pre"] {
        let value = reader.text(&format!("tokenizer.ggml.{name}"));
        framed(&mut hasher, value.unwrap_or_default().as_bytes());
    }
    for name in ["tokens", "token_type", "scores", "merges"] {
        array(&mut hasher, reader, &format!("tokenizer.ggml.{name}"));
    }
    hasher.finalize()
}

/// An array's elements, framed so that no two arrays look alike; nothing where there is none.
fn array(hasher: &mut blake3::Hasher, reader: &GgufReader, key: &str) {
    let Some(Value::Array { of, len }) = reader.get(key) else {
        framed(hasher, b"");
        return;
    };
    framed(hasher, of.as_bytes());
    hasher.update(&(len as u64).to_le_bytes());
    if let Some(strings) = reader.strings(key) {
        strings.for_each(|string| framed(hasher, string));
    } else if let Some(bytes) = reader.array_bytes(key) {
        hasher.update(bytes);
    }
}

fn framed(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

fn sample(
    readers: &[GgufReader],
    tensors: &[(&TensorInfo, usize)],
) -> Result<blake3::Hash, GgufError> {
    let mut files = readers
        .iter()
        .map(|reader| File::open(reader.path()).map_err(GgufError::io(reader.path())))
        .collect::<Result<Vec<_>, _>>()?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = [0; SAMPLE as usize];
    for &(info, file) in tensors {
        framed(&mut hasher, info.name.as_bytes());
        framed(&mut hasher, info.kind.as_bytes());
        for dim in info.dims {
            hasher.update(&dim.to_le_bytes());
        }
        let length = info.bytes.min(SAMPLE);
        let last = info.bytes - length;
        for start in [0, last / 2, last] {
            let part = &mut buffer[..length as usize];
            files[file]
                .seek(SeekFrom::Start(info.offset + start))
                .and_then(|_| files[file].read_exact(part))
                .map_err(GgufError::io(readers[file].path()))?;
            hasher.update(part);
        }
    }
    Ok(hasher.finalize())
}
