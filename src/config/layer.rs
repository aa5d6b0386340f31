//! One source of settings: every key optional. A key has one name everywhere: `top-k` in the file,
//! `--top-k` as a flag, `NPAST_TOP_K` in the environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::tables::at_home;
use super::{ConfigError, Env, Tables, mcp};
use crate::tools::ServerConfig;

/// A value that can be written as one word, as environment variables are.
trait OneWord: Sized {
    fn read(word: &str) -> Result<Self, String>;
}

macro_rules! words {
    ($($kind:ty),*) => {$(
        impl OneWord for $kind {
            fn read(word: &str) -> Result<Self, String> {
                word.trim().parse().map_err(|e| format!("{word:?}: {e}"))
            }
        }
    )*};
}
words!(u32, u64, usize, f32);

impl OneWord for String {
    fn read(word: &str) -> Result<Self, String> {
        Ok(word.to_owned())
    }
}

impl OneWord for PathBuf {
    fn read(word: &str) -> Result<Self, String> {
        Ok(word.into())
    }
}

impl OneWord for bool {
    fn read(word: &str) -> Result<Self, String> {
        match word.trim().to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Ok(true),
            "0" | "false" | "no" | "off" => Ok(false),
            _ => Err(format!("{word:?} is neither true nor false")),
        }
    }
}

impl<T: OneWord> OneWord for Vec<T> {
    fn read(word: &str) -> Result<Self, String> {
        word.split(',').map(T::read).collect()
    }
}

macro_rules! keys {
    ($($(#[doc = $doc:literal])+ $name:ident: $kind:ty = $key:literal, $env:literal;)*) => {
        /// What one source says; `None` where it says nothing.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct ConfigLayer {
            $($(#[doc = $doc])+ pub $name: Option<$kind>,)*
        }

        impl ConfigLayer {
            /// Every key, as in the configuration file.
            pub const KEYS: &[&str] = &[$($key),*];

            /// Those that count when a model is loaded or a context made, and not later.
            pub const LOADED: &[&str] = &[
                "ctx", "cache-type", "threads", "threads-batch", "ubatch", "policy", "shift",
                "gpu-layers",
                "main-gpu", "tensor-split", "override-tensor", "n-cpu-moe", "no-mmap",
                "no-kv-offload", "rope-scaling", "rope-freq-base", "rope-freq-scale",
                "yarn-ext-factor", "yarn-attn-factor", "yarn-beta-fast", "yarn-beta-slow",
                "yarn-orig-ctx", "no-store", "kv-quota", "chat-template", "no-thinking",
            ];

            /// This source where it speaks, else the lower one.
            pub fn over(self, lower: ConfigLayer) -> ConfigLayer {
                ConfigLayer { $($name: self.$name.or(lower.$name),)* }
            }

            /// Every key that is said, with its value.
            pub fn said(&self) -> BTreeMap<String, Value> {
                let mut said = BTreeMap::new();
                $(
                    if let Some(value) = &self.$name {
                        said.insert($key.to_owned(), json!(value));
                    }
                )*
                said
            }

            /// `None` when there is no such key.
            fn set(&mut self, key: &str, value: toml::Value) -> Option<Result<(), String>> {
                match key {
                    $($key => Some(value.try_into().map(|v| self.$name = Some(v)).map_err(said)),)*
                    _ => None,
                }
            }

            /// Reads `NPAST_<KEY>` for every key; an empty variable says nothing.
            ///
            /// # Errors
            /// [`ConfigError::Value`] names the variable.
            pub fn from_env(env: Env<'_>) -> Result<ConfigLayer, ConfigError> {
                let mut layer = ConfigLayer::default();
                $(
                    if let Some(value) = env($env).filter(|v| !v.is_empty()) {
                        let read = match value.to_str() {
                            Some(word) => OneWord::read(word),
                            None => Err("it is not UTF-8".to_owned()),
                        };
                        layer.$name = Some(read.map_err(|reason| ConfigError::Value {
                            place: concat!("the variable ", $env).to_owned(),
                            reason,
                        })?);
                    }
                )*
                Ok(layer)
            }
        }
    };
}

keys! {
    /// A path, or the name of a file in the models folder.
    model: PathBuf = "model", "NPAST_MODEL";
    /// The conversation's limit in tokens.
    ctx: usize = "ctx", "NPAST_CTX";
    /// Element type of the KV cache.
    cache_type: String = "cache-type", "NPAST_CACHE_TYPE";
    /// Threads for single decodes.
    threads: usize = "threads", "NPAST_THREADS";
    /// Threads for prefill.
    threads_batch: usize = "threads-batch", "NPAST_THREADS_BATCH";
    /// Tokens of one decode call.
    ubatch: usize = "ubatch", "NPAST_UBATCH";
    /// History policy: `exact` or `template`.
    policy: String = "policy", "NPAST_POLICY";
    /// Compressions move the last turns in memory instead of having them read again.
    shift: bool = "shift", "NPAST_SHIFT";
    /// Layers on GPUs.
    gpu_layers: u32 = "gpu-layers", "NPAST_GPU_LAYERS";
    /// The GPU of a model that is not split.
    main_gpu: u32 = "main-gpu", "NPAST_MAIN_GPU";
    /// Share of the model for each GPU.
    tensor_split: Vec<f32> = "tensor-split", "NPAST_TENSOR_SPLIT";
    /// `PATTERN=BUFFER` each.
    override_tensor: Vec<String> = "override-tensor", "NPAST_OVERRIDE_TENSOR";
    /// Layers whose experts stay in the CPU's memory.
    n_cpu_moe: u32 = "n-cpu-moe", "NPAST_N_CPU_MOE";
    /// Read the file instead of mapping it.
    no_mmap: bool = "no-mmap", "NPAST_NO_MMAP";
    /// Keep the KV cache in the CPU's memory.
    no_kv_offload: bool = "no-kv-offload", "NPAST_NO_KV_OFFLOAD";
    /// `none`, `linear` or `yarn`.
    rope_scaling: String = "rope-scaling", "NPAST_ROPE_SCALING";
    /// Base frequency.
    rope_freq_base: f32 = "rope-freq-base", "NPAST_ROPE_FREQ_BASE";
    /// Frequency scale.
    rope_freq_scale: f32 = "rope-freq-scale", "NPAST_ROPE_FREQ_SCALE";
    /// Extrapolation mix.
    yarn_ext_factor: f32 = "yarn-ext-factor", "NPAST_YARN_EXT_FACTOR";
    /// Magnitude scale.
    yarn_attn_factor: f32 = "yarn-attn-factor", "NPAST_YARN_ATTN_FACTOR";
    /// Low correction dimension.
    yarn_beta_fast: f32 = "yarn-beta-fast", "NPAST_YARN_BETA_FAST";
    /// High correction dimension.
    yarn_beta_slow: f32 = "yarn-beta-slow", "NPAST_YARN_BETA_SLOW";
    /// Original context in tokens.
    yarn_orig_ctx: u32 = "yarn-orig-ctx", "NPAST_YARN_ORIG_CTX";
    /// Keep no KV on disk.
    no_store: bool = "no-store", "NPAST_NO_STORE";
    /// Most bytes of KV on disk, such as `20GiB`.
    kv_quota: String = "kv-quota", "NPAST_KV_QUOTA";
    /// The file of a chat template that replaces the model's own.
    chat_template: PathBuf = "chat-template", "NPAST_CHAT_TEMPLATE";
    /// Ask the template not to think.
    no_thinking: bool = "no-thinking", "NPAST_NO_THINKING";
    /// Temperature.
    temp: f32 = "temp", "NPAST_TEMP";
    /// Keep the k most likely.
    top_k: u32 = "top-k", "NPAST_TOP_K";
    /// Keep the most likely that reach this probability.
    top_p: f32 = "top-p", "NPAST_TOP_P";
    /// Keep those at least this likely, relative to the most likely.
    min_p: f32 = "min-p", "NPAST_MIN_P";
    /// Seed of sessions that start now.
    seed: u64 = "seed", "NPAST_SEED";
    /// Repeat penalty.
    repeat_penalty: f32 = "repeat-penalty", "NPAST_REPEAT_PENALTY";
    /// Most tokens of one reply.
    max_tokens: usize = "max-tokens", "NPAST_MAX_TOKENS";
    /// Texts that end a reply.
    stop: Vec<String> = "stop", "NPAST_STOP";
    /// `stop`: a reply that repeats itself is stopped; `off`: it goes on.
    repeats: String = "repeats", "NPAST_REPEATS";
    /// `auto`: conversations near the context's end are compressed; `off`: never by themselves.
    compress: String = "compress", "NPAST_COMPRESS";
    /// The part of the context, in percent, at which a conversation is compressed.
    compress_at: usize = "compress-at", "NPAST_COMPRESS_AT";
    /// Most tokens of the last turns that a compression keeps word for word.
    compress_tail: usize = "compress-tail", "NPAST_COMPRESS_TAIL";
    /// `auto`: old long results of tools become lines before a summary is needed; `off`: never.
    prune: String = "prune", "NPAST_PRUNE";
    /// `auto`: before a summary the model stores what later sessions should know; `off`: never.
    flush_memory: String = "flush-memory", "NPAST_FLUSH_MEMORY";
    /// Do nothing while nobody waits.
    no_idle: bool = "no-idle", "NPAST_NO_IDLE";
    /// System prompt of sessions that start now: text, or `@FILE`.
    system: String = "system", "NPAST_SYSTEM";
    /// Start sessions without tools.
    no_tools: bool = "no-tools", "NPAST_NO_TOOLS";
    /// Tools of sessions that start now, besides the usual ones.
    with_tools: Vec<String> = "with-tools", "NPAST_WITH_TOOLS";
    /// Tools that sessions which start now do not get.
    without_tools: Vec<String> = "without-tools", "NPAST_WITHOUT_TOOLS";
    /// Most replies of one turn whose calls are run.
    max_steps: usize = "max-steps", "NPAST_MAX_STEPS";
    /// Most tokens of the replies of one turn.
    max_turn_tokens: usize = "max-turn-tokens", "NPAST_MAX_TURN_TOKENS";
    /// Policy for tools: `ask`, `auto`, `deny`.
    approve: String = "approve", "NPAST_APPROVE";
    /// The sandbox of programs: `on` or `off`.
    sandbox: String = "sandbox", "NPAST_SANDBOX";
}

impl ConfigLayer {
    /// The MCP servers of a configuration file's text.
    ///
    /// # Errors
    /// As [`ConfigLayer::from_toml`].
    pub fn servers(text: &str, path: &Path) -> Result<Vec<ServerConfig>, ConfigError> {
        match parse(text, path)?.get(mcp::KEY) {
            Some(value) => mcp::servers(value, path),
            None => Ok(Vec::new()),
        }
    }

    /// Reads a configuration file's text, but for its MCP servers. Relative paths in it start at the file's folder.
    ///
    /// # Errors
    /// [`ConfigError::Syntax`], [`ConfigError::UnknownKey`] and [`ConfigError::Value`], each
    /// with the file's name.
    pub fn from_toml(text: &str, path: &Path) -> Result<(ConfigLayer, Tables), ConfigError> {
        let mut table = parse(text, path)?;
        let tables = Tables::take(&mut table, path)?;
        let mut layer = ConfigLayer::default();
        for (key, value) in table {
            if key == mcp::KEY {
                continue;
            }
            match layer.set(&key, value) {
                Some(Ok(())) => {}
                Some(Err(reason)) => {
                    return Err(ConfigError::Value {
                        place: format!("the key \"{key}\" in {}", path.display()),
                        reason,
                    });
                }
                None => {
                    return Err(ConfigError::UnknownKey {
                        like: like(&key),
                        known: ConfigLayer::KEYS,
                        key,
                        path: path.to_owned(),
                    });
                }
            }
        }
        layer.go_home(&|key| format!("the key \"{key}\" in {}", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        layer.model = layer.model.map(|model| {
            // A bare name is looked up in the models folder.
            if model.components().count() > 1 {
                folder.join(model)
            } else {
                model
            }
        });
        layer.chat_template = layer.chat_template.map(|file| folder.join(file));
        layer.system = layer.system.map(|text| match text.strip_prefix('@') {
            Some(file) if !file.starts_with('@') => format!("@{}", folder.join(file).display()),
            _ => text,
        });
        Ok((layer, tables))
    }
}

impl ConfigLayer {
    /// Puts the home folder in the place of a `~` that a path begins with. `place` names the value of a key.
    ///
    /// # Errors
    /// [`ConfigError::Value`]: the path is in the home folder of another user.
    pub(super) fn go_home(&mut self, place: &dyn Fn(&str) -> String) -> Result<(), ConfigError> {
        let home = |key: &str, named: &Path| {
            at_home(named).map_err(|reason| ConfigError::Value {
                place: place(key),
                reason,
            })
        };
        for (key, path) in [
            ("model", &mut self.model),
            ("chat-template", &mut self.chat_template),
        ] {
            if let Some(path) = path {
                *path = home(key, path)?;
            }
        }
        if let Some(system) = &mut self.system
            && let Some(file) = system.strip_prefix('@')
            && !file.starts_with('@')
        {
            *system = format!("@{}", home("system", Path::new(file))?.display());
        }
        Ok(())
    }
}

fn parse(text: &str, path: &Path) -> Result<toml::Table, ConfigError> {
    text.parse().map_err(|e: toml::de::Error| {
        let line = e.span().map_or(1, |s| {
            text.bytes().take(s.start).filter(|b| *b == b'\n').count() + 1
        });
        ConfigError::Syntax {
            path: path.to_owned(),
            reason: format!("line {line}: {}", e.message().replace('\n', ", ")),
        }
    })
}

fn said(error: toml::de::Error) -> String {
    error.message().replace('\n', ", ")
}

/// The known key that a mistyped one was probably meant to be.
fn like(key: &str) -> Option<&'static str> {
    let plain = key.replace('_', "-").to_lowercase();
    let near = |known: &&&str| {
        plain == **known || plain.starts_with(**known) || known.starts_with(plain.as_str())
    };
    ConfigLayer::KEYS
        .iter()
        .filter(|known| plain.len() > 2 && known.len() > 2 && near(known))
        .copied()
        .next()
}
