//! Tiny random-weight models, one per memory class, so that every law is tested on a real decode.
//!
//! A model is about a megabyte and is made in milliseconds. The same class and options always give
//! the same bytes. Included with `#[path]` by the tests and by the `tiny-model` example.
#![allow(dead_code, unused_imports)] // Each including target uses its own part.

#[path = "model/classes.rs"]
mod classes;
#[path = "model/vocab.rs"]
mod vocab;
#[path = "model/weights.rs"]
mod weights;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use npast::llama::gguf::{GgufError, GgufWriter};

pub use classes::SWA_WINDOW;
pub use vocab::{Kind, tokens};

/// What a context remembers, hence what a state is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// qwen3: attention over everything.
    Dense,
    /// gemma3: three layers with a window of [`SWA_WINDOW`] positions, one without.
    Swa,
    /// qwen35: two recurrent layers, two with attention.
    Hybrid,
    /// mamba2: recurrent layers only.
    Recurrent,
}

impl Class {
    /// All of them.
    pub const ALL: [Class; 4] = [Class::Dense, Class::Swa, Class::Hybrid, Class::Recurrent];

    /// The name used on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Dense => "dense",
            Class::Swa => "swa",
            Class::Hybrid => "hybrid",
            Class::Recurrent => "recurrent",
        }
    }

    /// The inverse of [`Class::as_str`].
    pub fn parse(name: &str) -> Option<Class> {
        Class::ALL.into_iter().find(|class| class.as_str() == name)
    }
}

/// A plain ChatML template with tools, for tests that need some template and not a certain one.
pub const CHATML: &str = include_str!("model/chatml.jinja");

/// ChatML with tools and thinking: the generation prompt opens it, and history drops it before the
/// last user message.
pub const THINKER: &str = include_str!("model/thinker.jinja");

/// What may differ between two tiny models of a class.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// `tokenizer.chat_template`. [`CHATML`] by default.
    pub chat_template: Option<&'a str>,
    /// Other seed, other weights; same vocabulary.
    pub seed: u64,
    /// `context_length`, in tokens.
    pub n_ctx_train: u32,
    /// The end-of-sequence token. llama.cpp ends a reply at other tokens too, by their names:
    /// `<|im_end|> <|endoftext|> <|return|> <|call|> <end_of_turn> <eos> <turn|> <|tool_response>`.
    pub eos: &'a str,
    /// The end-of-turn token, where it is another one.
    pub eot: Option<&'a str>,
    /// The beginning-of-sequence token.
    pub bos: &'a str,
    /// Whether the vocabulary asks for a BOS before every text.
    pub add_bos: bool,
    /// Further control tokens, for templates with marks of their own.
    pub control: &'a [&'a str],
    /// Special tokens that this vocabulary lacks. llama.cpp takes `<|end|>` for no end where
    /// `<|return|>` and `<|call|>` are, and `</s>` for none where `<|tool_response>` is.
    pub without: &'a [&'a str],
    /// How likely control and user-defined tokens are sampled, beside ordinary ones: 0 makes
    /// their logits exactly 0, which greedy sampling never picks (replies end by length), 1 makes
    /// them as likely as others.
    pub control_gain: f32,
    /// `rope.freq_base`, for tests of the fingerprint.
    pub rope_freq_base: f32,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            chat_template: Some(CHATML),
            seed: 1,
            n_ctx_train: 131_072,
            eos: "<|im_end|>",
            eot: None,
            bos: "<|endoftext|>",
            add_bos: false,
            control: &[],
            without: &[],
            control_gain: 0.0,
            rope_freq_base: 10_000.0,
        }
    }
}

/// Makes a tiny model in the temporary folder, named by its content, and returns its path.
///
/// # Panics
/// When the file cannot be written or a token of the options is not in the vocabulary.
pub fn tiny_model(class: Class, options: &Options) -> PathBuf {
    cached(class.as_str(), |path| {
        write_tiny_model(class, options, path)
    })
}

/// Makes a tiny model at `path`.
pub fn write_tiny_model(class: Class, options: &Options, path: &Path) -> Result<(), GgufError> {
    let mut writer = GgufWriter::new(class.architecture())?;
    vocab::write(&mut writer, options)?;
    classes::write(&mut writer, class, options)?;
    writer.write(path)
}

/// Makes the benchmark model in the temporary folder: dense qwen3, 51 million parameters in q8_0,
/// 14 layers, head size 128, 8 heads on 2 KV heads, the tiny models' vocabulary.
///
/// # Panics
/// As [`tiny_model`].
pub fn bench_model() -> PathBuf {
    cached("bench", |path| write_bench_model(&Options::default(), path))
}

/// Makes a dense model whose KV rows are those of a large one (4 layers, 8 KV heads of 128: 16 KiB a
/// token in f16) in the temporary folder.
///
/// # Panics
/// As [`tiny_model`].
pub fn rows_model() -> PathBuf {
    cached("rows", |path| {
        write_dense(&Options::default(), &classes::ROWS, path)
    })
}

/// Makes the benchmark model at `path`.
pub fn write_bench_model(options: &Options, path: &Path) -> Result<(), GgufError> {
    write_dense(options, &classes::BENCH, path)
}

fn write_dense(options: &Options, sizes: &classes::Dense, path: &Path) -> Result<(), GgufError> {
    let mut writer = GgufWriter::new(Class::Dense.architecture())?;
    vocab::write(&mut writer, options)?;
    classes::write_dense(&mut writer, options, sizes)?;
    writer.write(path)
}

/// The id of a control, user-defined or ordinary token.
///
/// # Panics
/// When there is none of that text.
pub fn token_id(text: &str) -> i32 {
    vocab::id(text).unwrap_or_else(|| panic!("{text:?} is not in the vocabulary")) as i32
}

/// Writes aside, then renames to the hash of the content: two processes that make the same model
/// at once get the same file, and a change of this generator never finds an old one.
fn cached(name: &str, write: impl FnOnce(&Path) -> Result<(), GgufError>) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let folder = std::env::temp_dir().join("npast-tiny-models");
    fs::create_dir_all(&folder).expect("the temporary folder is writable");
    let aside = folder.join(format!(
        "{}-{}.part",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    ));
    write(&aside).expect("a model of fixed shape is written");
    let mut hasher = blake3::Hasher::new();
    let file = fs::File::open(&aside).expect("the file was just written");
    hasher.update_reader(file).expect("the file is readable");
    let hash = hasher.finalize().to_hex();
    let path = folder.join(format!("{name}-{}.gguf", &hash[..16]));
    fs::rename(&aside, &path).expect("both names are in one folder");
    path
}
