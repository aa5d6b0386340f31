//! The short names: chat models of known quality in sizes that fit common machines. Sizes are the
//! bytes of a download, rounded; the pull itself gets them from the server. Shapes are those of each model's
//! `config.json`, so that what it takes in memory is known before it is fetched.

use crate::llama::CacheType;
use crate::slot::fit::{ContextCost, Demand, LayerBytes};

/// Bytes of an element of the embedding and the output matrix: between q4_K and q8_0.
const OUTER: f64 = 0.7;
/// Tokens of one decode call with layers on a card.
const UBATCH: u64 = 512;
/// Bytes that a decode call's buffers take for each of its tokens and each cell: the mask.
const MASK: u64 = 6;

/// What a model's memory is made of; from its `config.json`, in that file's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ModelShape {
    /// `num_hidden_layers`.
    pub layers: u64,
    /// Those of them that keep every position; the others have a window.
    pub full: u64,
    /// `num_key_value_heads`.
    pub kv_heads: u64,
    /// `head_dim`, of keys and of values.
    pub head: u64,
    /// `sliding_window`, in tokens; 0 without one.
    pub window: u64,
    /// `vocab_size`.
    pub vocab: u64,
    /// `hidden_size`.
    pub width: u64,
    /// `tie_word_embeddings`: the embedding is the output matrix too.
    pub tied: bool,
    /// `max_position_embeddings`, in tokens.
    pub trained: usize,
    /// Megabytes of all experts; 0 where it is no mixture.
    pub experts: u64,
}

impl ModelShape {
    /// Bytes of KV of one token in one layer, in f16.
    pub fn layer_token(&self) -> u64 {
        self.kv_heads * (self.head + self.head) * 2
    }

    /// Bytes of KV of one token in the layers that keep every position, in f16.
    pub fn token(&self) -> u64 {
        self.full * self.layer_token()
    }
}

/// A model that can be pulled by a short name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Short {
    /// What is typed.
    pub name: &'static str,
    /// `OWNER/REPO:QUANT`.
    pub source: &'static str,
    /// About this many megabytes.
    pub megabytes: u64,
    /// The licence, as the repository names it.
    pub licence: &'static str,
    /// What it takes in memory.
    pub shape: ModelShape,
}

impl Short {
    /// About how much memory it needs with layers on a card; of a model that is here, llama.cpp counts
    /// it.
    pub fn demand(&self) -> Demand {
        let shape = self.shape;
        let outer = ((shape.vocab * shape.width) as f64 * OUTER) as u64;
        let ends = if shape.tied { outer } else { 2 * outer };
        let layer = LayerBytes {
            weights: (self.megabytes * 1_000_000).saturating_sub(ends) / shape.layers,
            experts: shape.experts * 1_000_000 / shape.layers,
        };
        // Both sequences have a window, and a decode call is added to it.
        let cells = match shape.window {
            0 => 0,
            window => (2 * window + UBATCH).next_multiple_of(256),
        };
        let windows = (shape.layers - shape.full) * cells * shape.layer_token();
        // q8_0 has 34 bytes for 32 elements, which are 64 bytes in f16.
        let cost = |cache, of: u64, to: u64| ContextCost {
            cache,
            token: shape.token() * of / to,
            fixed: windows * of / to + UBATCH * shape.vocab * 4,
            work: UBATCH * MASK,
        };
        Demand {
            trained: shape.trained,
            layers: vec![layer; shape.layers as usize],
            input: outer,
            output: outer,
            costs: vec![cost(CacheType::F16, 1, 1), cost(CacheType::Q8_0, 17, 32)],
        }
    }

    /// The best model for a machine with so many bytes of memory: on a card, or beside the CPU. A
    /// model needs a quarter more than its file, and a gigabyte for its context; without a card one
    /// that is larger than 3 GB answers too slowly to begin with.
    pub fn fitting(memory: u64, card: bool) -> Option<&'static Short> {
        let fits = |s: &&Short| {
            let need = s.megabytes * 1_250_000 + (1 << 30);
            need <= memory && (card || s.is_quick_without_a_card())
        };
        SHORT.iter().rev().find(fits)
    }

    /// Whether it answers soon enough on a CPU.
    pub fn is_quick_without_a_card(&self) -> bool {
        self.megabytes <= 3_000
    }
}

const fn short(
    name: &'static str,
    source: &'static str,
    megabytes: u64,
    licence: &'static str,
    shape: ModelShape,
) -> Short {
    Short {
        name,
        source,
        megabytes,
        licence,
        shape,
    }
}

/// Qwen 3 differs in depth and width alone.
const fn qwen3(layers: u64, width: u64, tied: bool) -> ModelShape {
    ModelShape {
        layers,
        full: layers,
        kv_heads: 8,
        head: 128,
        window: 0,
        vocab: 151_936,
        width,
        tied,
        trained: 40_960,
        experts: 0,
    }
}

/// One layer of six keeps every position.
const GEMMA_3_4B: ModelShape = ModelShape {
    layers: 34,
    full: 5,
    kv_heads: 4,
    head: 256,
    window: 1024,
    vocab: 262_208,
    width: 2560,
    tied: true,
    trained: 131_072,
    experts: 0,
};

/// Every second layer keeps every position. Of an expert's weights 4.25 bits are stored.
const GPT_OSS_20B: ModelShape = ModelShape {
    layers: 24,
    full: 12,
    kv_heads: 8,
    head: 64,
    window: 128,
    vocab: 201_088,
    width: 2880,
    tied: false,
    trained: 131_072,
    experts: 10_150,
};

/// From small to large.
#[rustfmt::skip]
pub const SHORT: &[Short] = &[
    short("qwen3-0.6b", "Qwen/Qwen3-0.6B-GGUF:Q8_0", 640, "apache-2.0", qwen3(28, 1024, true)),
    short("qwen3-1.7b", "Qwen/Qwen3-1.7B-GGUF:Q8_0", 1_830, "apache-2.0", qwen3(28, 2048, true)),
    short("gemma-3-4b", "ggml-org/gemma-3-4b-it-GGUF:Q4_K_M", 2_490, "gemma", GEMMA_3_4B),
    short("qwen3-4b", "Qwen/Qwen3-4B-GGUF:Q4_K_M", 2_500, "apache-2.0", qwen3(36, 2560, true)),
    short("qwen3-8b", "Qwen/Qwen3-8B-GGUF:Q4_K_M", 5_030, "apache-2.0", qwen3(36, 4096, false)),
    short("qwen3-14b", "Qwen/Qwen3-14B-GGUF:Q4_K_M", 9_000, "apache-2.0", qwen3(40, 5120, false)),
    short("gpt-oss-20b", "ggml-org/gpt-oss-20b-GGUF", 12_110, "apache-2.0", GPT_OSS_20B),
    short("qwen3-32b", "Qwen/Qwen3-32B-GGUF:Q4_K_M", 19_760, "apache-2.0", qwen3(64, 5120, false)),
];

/// The model of that name, upper and lower case alike.
pub fn find(name: &str) -> Option<&'static Short> {
    SHORT.iter().find(|s| s.name.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::PullSource;

    #[test]
    fn the_best_model_that_fits_is_offered_and_a_cpu_gets_one_that_answers_soon() {
        let gb = 1_000_000_000;
        let table = [
            (1, true, None),
            (2, false, Some("qwen3-0.6b")),
            (8, true, Some("qwen3-8b")),
            (16, true, Some("qwen3-14b")),
            (64, false, Some("qwen3-4b")),
            (32, true, Some("qwen3-32b")),
        ];
        for (memory, card, want) in table {
            let got = Short::fitting(memory * gb, card).map(|s| s.name);
            assert_eq!(got, want, "{memory} GB, card: {card}");
        }
    }

    #[test]
    fn every_short_name_can_be_pulled_and_they_are_sorted_by_size() {
        assert!(SHORT.is_sorted_by_key(|s| s.megabytes));
        for short in SHORT {
            assert!(
                PullSource::parse(short.name, "https://hub.test").is_ok(),
                "{short:?}"
            );
        }
    }
}
