//! Flags that say how the next token is chosen, when a reply ends, and what becomes of a conversation
//! that fills the context.

use clap::Args;

use crate::config::ConfigLayer;

#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// Temperature; 0 takes the most likely token [default: 0.8]
    #[arg(
        long,
        alias = "temperature",
        value_name = "X",
        allow_negative_numbers = true
    )]
    temp: Option<f32>,

    /// Keep the N most likely tokens; 0 keeps all [default: 40]
    #[arg(long, value_name = "N")]
    top_k: Option<u32>,

    /// Keep the most likely tokens that together reach this probability; 1 keeps all [default: 0.95]
    #[arg(long, value_name = "X")]
    top_p: Option<f32>,

    /// Keep tokens at least this likely, relative to the most likely; 0 keeps all [default: 0.05]
    #[arg(long, value_name = "X")]
    min_p: Option<f32>,

    /// Make tokens of the last 64 less likely; 1 is off [default: 1]
    #[arg(long, value_name = "X")]
    repeat_penalty: Option<f32>,

    /// Most tokens of one reply
    ///
    /// A reply that ends there can be gone on with: --continue, or /continue in a chat.
    #[arg(short = 'n', long, visible_aliases = ["predict", "n-predict"], value_name = "TOKENS")]
    max_tokens: Option<usize>,

    /// End a reply before this text; repeatable
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    stop: Option<Vec<String>>,

    /// What happens when a reply repeats itself: stop ends it and says so, off lets it go on [default: stop]
    #[arg(long, value_name = "WHAT")]
    repeats: Option<String>,

    /// What becomes of a conversation near the context's end: auto puts a summary in the place of its
    /// middle, off lets the reply end there [default: auto]
    #[arg(long, value_name = "WHEN", help_heading = "Long conversations")]
    compress: Option<String>,

    /// Compress at this part of the context, in percent [default: 75, and 85 below 16,384 tokens]
    #[arg(long, value_name = "PERCENT", help_heading = "Long conversations")]
    compress_at: Option<usize>,

    /// Keep at most so many tokens of the last turns word for word [default: a fifth of the context]
    #[arg(long, value_name = "TOKENS", help_heading = "Long conversations")]
    compress_tail: Option<usize>,

    /// Old long results of tools: auto replaces them by a line each before a summary is needed, where
    /// that pays; off never does [default: auto]
    #[arg(long, value_name = "WHEN", help_heading = "Long conversations")]
    prune: Option<String>,

    /// Before a summary: auto has the model store with its memory tool what later sessions should know,
    /// off does not [default: auto]
    #[arg(long, value_name = "WHEN", help_heading = "Long conversations")]
    flush_memory: Option<String>,
}

impl SamplingArgs {
    /// Writes what was typed into a layer.
    pub fn lay(&self, layer: &mut ConfigLayer) {
        layer.temp = self.temp;
        layer.top_k = self.top_k;
        layer.top_p = self.top_p;
        layer.min_p = self.min_p;
        layer.repeat_penalty = self.repeat_penalty;
        layer.max_tokens = self.max_tokens;
        layer.stop = self.stop.clone();
        layer.repeats = self.repeats.clone();
        layer.compress = self.compress.clone();
        layer.compress_at = self.compress_at;
        layer.compress_tail = self.compress_tail;
        layer.prune = self.prune.clone();
        layer.flush_memory = self.flush_memory.clone();
    }
}
