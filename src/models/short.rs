//! The short names: chat models of known quality in sizes that fit common machines. Sizes are what
//! a download takes, rounded; the pull itself asks the server.

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
}

impl Short {
    /// The best model for a machine with so many bytes of memory: on a card, or beside the CPU. A
    /// model needs a quarter more than its file, and a gigabyte for its context; without a card one
    /// that is larger than 3 GB answers too slowly to begin with.
    pub fn fitting(memory: u64, card: bool) -> Option<&'static Short> {
        let fits = |s: &&Short| {
            let need = s.megabytes * 1_250_000 + (1 << 30);
            need <= memory && (card || s.megabytes <= 3_000)
        };
        SHORT.iter().rev().find(fits)
    }
}

const fn short(
    name: &'static str,
    source: &'static str,
    megabytes: u64,
    licence: &'static str,
) -> Short {
    Short {
        name,
        source,
        megabytes,
        licence,
    }
}

/// From small to large.
pub const SHORT: &[Short] = &[
    short("qwen3-0.6b", "Qwen/Qwen3-0.6B-GGUF:Q8_0", 640, "apache-2.0"),
    short(
        "qwen3-1.7b",
        "Qwen/Qwen3-1.7B-GGUF:Q8_0",
        1_830,
        "apache-2.0",
    ),
    short(
        "gemma-3-4b",
        "ggml-org/gemma-3-4b-it-GGUF:Q4_K_M",
        2_490,
        "gemma",
    ),
    short("qwen3-4b", "Qwen/Qwen3-4B-GGUF:Q4_K_M", 2_500, "apache-2.0"),
    short("qwen3-8b", "Qwen/Qwen3-8B-GGUF:Q4_K_M", 5_030, "apache-2.0"),
    short(
        "qwen3-14b",
        "Qwen/Qwen3-14B-GGUF:Q4_K_M",
        9_000,
        "apache-2.0",
    ),
    short(
        "gpt-oss-20b",
        "ggml-org/gpt-oss-20b-GGUF",
        12_110,
        "apache-2.0",
    ),
    short(
        "qwen3-32b",
        "Qwen/Qwen3-32B-GGUF:Q4_K_M",
        19_760,
        "apache-2.0",
    ),
];

/// The model of that name, upper and lower case alike.
pub fn find(name: &str) -> Option<&'static Short> {
    SHORT.iter().find(|s| s.name.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Source;

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
                Source::parse(short.name, "https://hub.test").is_ok(),
                "{short:?}"
            );
        }
    }
}
