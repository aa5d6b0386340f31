//! Layers become the settings of a run, and every value is checked.

use std::path::PathBuf;

use super::{ConfigError, ConfigLayer, Tables};
use crate::agent::{Budget, CompressOptions, Policy};
use crate::llama::{CacheType, ContextOptions, ModelOptions, Sampling};
use crate::slot::fit;
use crate::tools::ServerConfig;

pub use crate::approve::Approve;

/// What a run is set to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// As given by flag or variable: a path or a name.
    pub model: Option<PathBuf>,
    /// The configuration file's model: a session's own comes before it.
    pub default_model: Option<PathBuf>,
    /// Where weights go.
    pub weights: ModelOptions,
    /// Cache, threads, RoPE.
    pub context: ContextOptions,
    /// Whether the user named the cache type.
    pub cache_given: bool,
    /// The conversation's limit in tokens.
    pub limit: Option<usize>,
    /// Tokens of one decode call.
    pub ubatch: Option<usize>,
    /// History policy of sessions that start now, if the user named one.
    pub policy: Option<Policy>,
    /// Whether compressions of sessions that start now move the last turns in memory, if the user decided it.
    pub shift: Option<bool>,
    /// Whether KV is kept on disk.
    pub store_kv: bool,
    /// Most bytes of KV on disk, of all models; `None` is 20 GiB or a tenth of the disk.
    pub kv_quota: Option<u64>,
    /// The file of a chat template that replaces the model's own.
    pub chat_template: Option<PathBuf>,
    /// Whether a template with a thinking switch is rendered with thinking on, if the user decided it.
    pub thinking: Option<bool>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Seed of sessions that start now.
    pub seed: Option<u64>,
    /// Most tokens of one reply.
    pub max_tokens: Option<usize>,
    /// Texts that end a reply.
    pub stop: Vec<String>,
    /// Whether a reply that repeats itself is stopped.
    pub stop_repeats: bool,
    /// When conversations are compressed by themselves; `None`: never.
    pub compress: Option<CompressOptions>,
    /// Whether something is done while nobody waits.
    pub idle: bool,
    /// Text, or `@FILE`.
    pub system: Option<String>,
    /// Policy for tools of this run.
    pub approve: Approve,
    /// Start sessions without tools.
    pub no_tools: bool,
    /// Names of tools that a new session gets besides the usual ones.
    pub with_tools: Vec<String>,
    /// Names of tools that a new session does not get.
    pub without_tools: Vec<String>,
    /// What one turn with tools may take.
    pub budget: Budget,
    /// MCP servers of sessions that start now, in order of their names.
    pub servers: Vec<ServerConfig>,
    /// Whether the user wants programs to run without the sandbox.
    pub sandbox_off: bool,
    /// What only the configuration file can say.
    pub tables: Tables,
    /// What flags and variables said.
    pub asked: ConfigLayer,
    /// The same, and where they say nothing, the file; without its model.
    pub laid: ConfigLayer,
}

const MAX_THREADS: usize = 512;

impl Settings {
    /// Checks a layer and fills in the defaults.
    ///
    /// # Errors
    /// [`ConfigError::Range`] names the key, what it may be and what it is.
    pub fn new(layer: ConfigLayer) -> Result<Settings, ConfigError> {
        let threads = within("threads", layer.threads, 1, MAX_THREADS)?;
        let threads = threads.unwrap_or_else(|| fit::threads().min(MAX_THREADS));
        let threads_batch = within("threads-batch", layer.threads_batch, 1, MAX_THREADS)?;
        let sampling = Sampling::default();
        Ok(Settings {
            asked: ConfigLayer::default(),
            laid: layer.clone(),
            cache_given: layer.cache_type.is_some(),
            limit: within("ctx", layer.ctx, 64, 1 << 24)?,
            ubatch: within("ubatch", layer.ubatch, 1, 8192)?,
            policy: word("policy", layer.policy, &["exact", "template"])?
                .and_then(|w| Policy::parse(&w)),
            shift: layer.shift,
            store_kv: !layer.no_store.unwrap_or(false),
            kv_quota: size("kv-quota", layer.kv_quota)?,
            thinking: layer.no_thinking.map(|no| !no),
            context: ContextOptions {
                cache: cache(layer.cache_type)?,
                threads,
                threads_batch: threads_batch.unwrap_or(threads),
                rope_scaling: word(
                    "rope-scaling",
                    layer.rope_scaling,
                    &["none", "linear", "yarn"],
                )?,
                rope_freq_base: real("rope-freq-base", layer.rope_freq_base, 0.0, f32::MAX)?,
                rope_freq_scale: real("rope-freq-scale", layer.rope_freq_scale, 0.0, f32::MAX)?,
                yarn_ext_factor: real("yarn-ext-factor", layer.yarn_ext_factor, -1.0, f32::MAX)?,
                yarn_attn_factor: real("yarn-attn-factor", layer.yarn_attn_factor, 0.0, f32::MAX)?,
                yarn_beta_fast: real("yarn-beta-fast", layer.yarn_beta_fast, 0.0, f32::MAX)?,
                yarn_beta_slow: real("yarn-beta-slow", layer.yarn_beta_slow, 0.0, f32::MAX)?,
                yarn_orig_ctx: layer.yarn_orig_ctx,
                no_kv_offload: layer.no_kv_offload.unwrap_or(false),
                ..ContextOptions::default()
            },
            weights: ModelOptions {
                gpu_layers: within("gpu-layers", layer.gpu_layers, 0, 100_000)?,
                main_gpu: within("main-gpu", layer.main_gpu, 0, 255)?.unwrap_or(0),
                tensor_split: split(layer.tensor_split.unwrap_or_default())?,
                override_tensor: overrides(layer.override_tensor.unwrap_or_default())?,
                cpu_moe_layers: within("n-cpu-moe", layer.n_cpu_moe, 0, 4096)?.unwrap_or(0),
                no_mmap: layer.no_mmap.unwrap_or(false),
                vocab_only: false,
            },
            sampling: Sampling {
                temperature: real("temp", layer.temp, 0.0, 100.0)?.unwrap_or(sampling.temperature),
                top_k: within("top-k", layer.top_k, 0, 1 << 24)?.unwrap_or(sampling.top_k),
                top_p: real("top-p", layer.top_p, 0.0, 1.0)?.unwrap_or(sampling.top_p),
                min_p: real("min-p", layer.min_p, 0.0, 1.0)?.unwrap_or(sampling.min_p),
                repeat_penalty: real("repeat-penalty", layer.repeat_penalty, 0.01, 100.0)?
                    .unwrap_or(sampling.repeat_penalty),
                ..sampling
            },
            seed: layer.seed,
            max_tokens: within("max-tokens", layer.max_tokens, 1, 1 << 24)?,
            stop_repeats: word("repeats", layer.repeats, &["stop", "off"])?.as_deref()
                != Some("off"),
            compress: compress(
                layer.compress,
                layer.compress_at,
                layer.compress_tail,
                layer.prune,
                layer.flush_memory,
            )?,
            idle: !layer.no_idle.unwrap_or(false),
            stop: stops(layer.stop.unwrap_or_default())?,
            approve: word("approve", layer.approve, &["ask", "edits", "auto", "deny"])?
                .and_then(|word| Approve::parse(&word))
                .unwrap_or_default(),
            no_tools: layer.no_tools.unwrap_or(false),
            with_tools: layer.with_tools.unwrap_or_default(),
            without_tools: layer.without_tools.unwrap_or_default(),
            budget: Budget {
                steps: within("max-steps", layer.max_steps, 1, 100_000)?
                    .unwrap_or(Budget::default().steps),
                tokens: within("max-turn-tokens", layer.max_turn_tokens, 1, 1 << 30)?
                    .unwrap_or(Budget::default().tokens),
            },
            sandbox_off: word("sandbox", layer.sandbox, &["on", "off"])?.as_deref() == Some("off"),
            tables: Tables::default(),
            model: layer.model,
            default_model: None,
            servers: Vec::new(),
            chat_template: layer.chat_template,
            system: layer.system,
        })
    }
}

fn within<T: PartialOrd + std::fmt::Display + Copy>(
    key: &'static str,
    value: Option<T>,
    low: T,
    high: T,
) -> Result<Option<T>, ConfigError> {
    match value {
        Some(v) if !(low <= v && v <= high) => Err(ConfigError::Range {
            key,
            want: format!("between {low} and {high}"),
            got: v.to_string(),
        }),
        value => Ok(value),
    }
}

/// Like [`within`]; NaN is outside of everything.
fn real(
    key: &'static str,
    value: Option<f32>,
    low: f32,
    high: f32,
) -> Result<Option<f32>, ConfigError> {
    if high < f32::MAX {
        return within(key, value, low, high);
    }
    match value {
        Some(v) if !(v.is_finite() && low <= v) => Err(ConfigError::Range {
            key,
            want: format!("a number of at least {low}"),
            got: v.to_string(),
        }),
        value => Ok(value),
    }
}

/// Bytes: a number, and a unit of 1,000 (`GB`) or of 1,024 (`GiB`).
fn size(key: &'static str, value: Option<String>) -> Result<Option<u64>, ConfigError> {
    let Some(text) = value else {
        return Ok(None);
    };
    let begins = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(begins.unwrap_or(text.len()));
    let factor: Option<f64> = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => Some(1.0),
        "kb" => Some(1e3),
        "mb" => Some(1e6),
        "gb" => Some(1e9),
        "tb" => Some(1e12),
        "kib" => Some(1024.0),
        "mib" => Some(1024f64.powi(2)),
        "gib" => Some(1024f64.powi(3)),
        "tib" => Some(1024f64.powi(4)),
        _ => None,
    };
    let bytes = number.parse::<f64>().ok().zip(factor).map(|(n, f)| n * f);
    // Above it a number of bytes is not exact any more, and no disk that large.
    match bytes.filter(|b| *b <= 1024f64.powi(5)) {
        Some(bytes) => Ok(Some(bytes as u64)),
        None => Err(ConfigError::Range {
            key,
            want: "a size such as 20GiB or 500MB, at most 1024TiB".into(),
            got: format!("{text:?}"),
        }),
    }
}

fn word(
    key: &'static str,
    value: Option<String>,
    known: &[&str],
) -> Result<Option<String>, ConfigError> {
    match value {
        Some(v) if !known.contains(&v.as_str()) => Err(ConfigError::Range {
            key,
            want: format!("one of {}", known.join(", ")),
            got: format!("{v:?}"),
        }),
        value => Ok(value),
    }
}

fn cache(name: Option<String>) -> Result<CacheType, ConfigError> {
    let names = CacheType::NAMES.map(|(_, name)| name);
    let name = word("cache-type", name, &names)?;
    Ok(name.and_then(|n| CacheType::parse(&n)).unwrap_or_default())
}

fn split(shares: Vec<f32>) -> Result<Vec<f32>, ConfigError> {
    let good = shares.iter().all(|s| s.is_finite() && *s >= 0.0);
    if shares.is_empty() || (good && shares.iter().any(|s| *s > 0.0)) {
        return Ok(shares);
    }
    Err(ConfigError::Range {
        key: "tensor-split",
        want: "shares such as 3,1, none below 0 and one above it".into(),
        got: format!("{shares:?}"),
    })
}

fn overrides(given: Vec<String>) -> Result<Vec<(String, String)>, ConfigError> {
    let pair = |text: String| match text.rsplit_once('=') {
        Some((pattern, buffer)) if !pattern.is_empty() && !buffer.is_empty() => {
            Ok((pattern.to_owned(), buffer.to_owned()))
        }
        _ => Err(ConfigError::Range {
            key: "override-tensor",
            want: "PATTERN=BUFFER, such as exps=CPU".into(),
            got: format!("{text:?}"),
        }),
    };
    given.into_iter().map(pair).collect()
}

fn stops(given: Vec<String>) -> Result<Vec<String>, ConfigError> {
    if given.iter().any(String::is_empty) {
        return Err(ConfigError::Range {
            key: "stop",
            want: "a text of at least one character".into(),
            got: "empty".into(),
        });
    }
    Ok(given)
}

fn compress(
    word_of: Option<String>,
    at: Option<usize>,
    tail: Option<usize>,
    prune: Option<String>,
    flush: Option<String>,
) -> Result<Option<CompressOptions>, ConfigError> {
    let options = CompressOptions {
        at: within("compress-at", at, 10, 100)?,
        tail: within("compress-tail", tail, 0, 1 << 24)?,
        prune: word("prune", prune, &["auto", "off"])?.as_deref() != Some("off"),
        flush_memory: word("flush-memory", flush, &["auto", "off"])?.as_deref() != Some("off"),
    };
    let off = word("compress", word_of, &["auto", "off"])?.as_deref() == Some("off");
    Ok((!off).then_some(options))
}
