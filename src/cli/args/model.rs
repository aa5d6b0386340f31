//! Flags that say which model is loaded, where its weights go, and how its memory is made.

use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;

use crate::config::ConfigLayer;

#[derive(Args, Debug, Default)]
pub struct ModelArgs {
    /// A GGUF file, or the name of one in the models folder
    ///
    /// Of a split model the first file. Names are looked up in $NPAST_HOME/models, with or
    /// without .gguf. Without this flag: the model that the session was used with last, wherever
    /// its file is now; for a new session the configuration file's, else the default one, else the
    /// only one of the folder.
    #[arg(short, long, value_name = "MODEL", help_heading = "Model")]
    model: Option<PathBuf>,

    /// Layers to put on GPUs
    ///
    /// By default as many as there is room for beside a context of 16,384 tokens; 0 keeps the model
    /// in the CPU's memory.
    #[arg(long, visible_aliases = ["ngl", "n-gpu-layers"], value_name = "N", help_heading = "Model")]
    gpu_layers: Option<u32>,

    /// The GPU used when the model is not split, counted from 0
    #[arg(long, value_name = "N", help_heading = "Model")]
    main_gpu: Option<u32>,

    /// Share of the model for each GPU, such as 3,1
    #[arg(
        long,
        value_name = "A,B",
        value_delimiter = ',',
        help_heading = "Model"
    )]
    tensor_split: Option<Vec<f32>>,

    /// Put tensors whose name matches into a buffer type, such as exps=CPU; repeatable
    ///
    /// PATTERN is a regular expression over tensor names. An unknown buffer type is refused with
    /// the list of known ones.
    #[arg(long, value_name = "PATTERN=BUFFER", help_heading = "Model")]
    override_tensor: Option<Vec<String>>,

    /// Keep the experts of the first N layers in the CPU's memory
    ///
    /// For mixture-of-experts models that do not fit a card: attention stays on the GPU. By default
    /// as few as the card has no room for.
    #[arg(long, value_name = "N", help_heading = "Model")]
    n_cpu_moe: Option<u32>,

    /// Read the model instead of mapping it
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = BoolishValueParser::new(), value_name = "BOOL", help_heading = "Model")]
    no_mmap: Option<bool>,

    /// A chat template that replaces the model's own
    #[arg(long, value_name = "@FILE", help_heading = "Model")]
    chat_template: Option<PathBuf>,

    /// Ask the template not to think, if it has a switch
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = BoolishValueParser::new(), value_name = "BOOL", help_heading = "Model")]
    no_thinking: Option<bool>,

    /// Most tokens of the conversation
    ///
    /// By default what the model was trained for, as far as memory goes; `npast models info` says
    /// how far that is, and what a token costs.
    #[arg(
        long,
        visible_alias = "ctx-size",
        value_name = "TOKENS",
        help_heading = "Memory"
    )]
    ctx: Option<usize>,

    /// Element type of the KV cache: f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0, iq4_nl
    ///
    /// By default f16, or q8_0 where memory holds no 16,384 tokens of it. A model's type stays as it
    /// was at its last start, since states on disk are of one type.
    #[arg(long, value_name = "TYPE", help_heading = "Memory")]
    cache_type: Option<String>,

    /// Keep the KV cache in the CPU's memory though layers are on a GPU
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = BoolishValueParser::new(), value_name = "BOOL", help_heading = "Memory")]
    no_kv_offload: Option<bool>,

    /// Keep no KV on disk: the next process reads everything again
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = BoolishValueParser::new(), value_name = "BOOL", help_heading = "Memory")]
    no_store: Option<bool>,

    /// Do nothing while nobody waits: no titles, no merging of stored KV, no samples of logits;
    /// conversations are compressed before a turn ends
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = BoolishValueParser::new(), value_name = "BOOL", help_heading = "Memory")]
    no_idle: Option<bool>,

    /// Most KV on disk, of all models, such as 20GiB or 500MB
    ///
    /// By default 20 GiB or a tenth of the disk, whichever is less. What is above it goes, the
    /// least useful first; a conversation that is in use is kept whatever the quota says.
    #[arg(long, value_name = "SIZE", help_heading = "Memory")]
    kv_quota: Option<String>,

    /// How history is kept where the template would write it differently: exact or template
    ///
    /// exact keeps thinking where it was generated and never reads a token twice. template
    /// rewrites history as the template wants it, which costs what is read again.
    #[arg(long, value_name = "POLICY", help_heading = "Memory")]
    policy: Option<String>,

    /// A compression moves the last turns in memory instead of having them read again
    ///
    /// For dense models. It is faster, and the state is approximate from then on: the last turns still have
    /// in them what stood before them. Receipts say so. Such a state is not stored, so the next process
    /// reads the turns again. Fixed when a session starts.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = BoolishValueParser::new(), value_name = "BOOL", help_heading = "Memory")]
    shift: Option<bool>,

    /// Threads for single tokens (default: the cores this process may use)
    #[arg(short, long, value_name = "N", help_heading = "Memory")]
    threads: Option<usize>,

    /// Threads for reading (default: as --threads)
    #[arg(long, value_name = "N", help_heading = "Memory")]
    threads_batch: Option<usize>,

    /// Tokens of one decode call
    ///
    /// 512 with layers on a GPU and 128 without. Sums run in another order with another number,
    /// so it is kept for a session's life where results must repeat bit by bit.
    #[arg(
        long,
        alias = "ubatch-size",
        value_name = "TOKENS",
        help_heading = "Memory"
    )]
    ubatch: Option<usize>,

    /// RoPE scaling: none, linear, yarn (default: the model's)
    #[arg(long, value_name = "KIND", help_heading = "Memory")]
    rope_scaling: Option<String>,

    /// RoPE base frequency
    #[arg(long, value_name = "X", help_heading = "Memory")]
    rope_freq_base: Option<f32>,

    /// RoPE frequency scale
    #[arg(long, value_name = "X", help_heading = "Memory")]
    rope_freq_scale: Option<f32>,

    /// YaRN extrapolation mix
    #[arg(
        long,
        value_name = "X",
        allow_negative_numbers = true,
        help_heading = "Memory"
    )]
    yarn_ext_factor: Option<f32>,

    /// YaRN magnitude scale
    #[arg(long, value_name = "X", help_heading = "Memory")]
    yarn_attn_factor: Option<f32>,

    /// YaRN low correction dimension
    #[arg(long, value_name = "X", help_heading = "Memory")]
    yarn_beta_fast: Option<f32>,

    /// YaRN high correction dimension
    #[arg(long, value_name = "X", help_heading = "Memory")]
    yarn_beta_slow: Option<f32>,

    /// YaRN original context
    #[arg(long, value_name = "TOKENS", help_heading = "Memory")]
    yarn_orig_ctx: Option<u32>,
}

impl ModelArgs {
    /// Writes what was typed into a layer.
    pub fn lay(&self, layer: &mut ConfigLayer) {
        macro_rules! take {
            ($($field:ident)*) => { $(layer.$field = self.$field.clone();)* };
        }
        take!(model gpu_layers main_gpu tensor_split override_tensor n_cpu_moe no_mmap
              no_thinking ctx cache_type no_kv_offload no_store no_idle kv_quota policy shift threads threads_batch
              ubatch rope_scaling rope_freq_base rope_freq_scale yarn_ext_factor
              yarn_attn_factor yarn_beta_fast yarn_beta_slow yarn_orig_ctx);
        // `@FILE` as for the other flags that take a file; a plain path is as clear.
        layer.chat_template = self.chat_template.as_ref().map(|given| {
            let text = given.to_str().and_then(|t| t.strip_prefix('@'));
            text.map_or_else(|| given.clone(), PathBuf::from)
        });
    }
}
