//! The four architectures: the keys and tensors that llama.cpp requires of each, at toy size.

use npast::llama::gguf::{GgufError, GgufWriter};

use super::{
    Class, Options,
    vocab::{self, Kind},
    weights::Weights,
};

/// Sliding window of the SWA class, in positions.
pub const SWA_WINDOW: u32 = 32;

const WIDTH: usize = 64;
const LAYERS: usize = 4;
const HEAD: usize = 32;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const FEED: usize = 128;
/// Deviation of the logits of ordinary tokens.
const LOGITS: f32 = 3.0;

/// Recurrent layers: size of a head's state, heads, groups, inner width, convolution.
const STATE: usize = 32;
const STATE_HEADS: usize = 4;
const GROUPS: usize = 2;
const INNER: usize = STATE * STATE_HEADS;
const KERNEL: usize = 4;

impl Class {
    /// `general.architecture`.
    pub fn architecture(self) -> &'static str {
        match self {
            Class::Dense => "qwen3",
            Class::Swa => "gemma3",
            Class::Hybrid => "qwen35",
            Class::Recurrent => "mamba2",
        }
    }
}

/// Keys and tensors of a tiny model.
pub fn write(writer: &mut GgufWriter, class: Class, options: &Options) -> Result<(), GgufError> {
    let arch = class.architecture();
    let key = |name: &str| format!("{arch}.{name}");
    writer.set_str("general.name", &format!("tiny {}", class.as_str()))?;
    writer.set_u32(&key("context_length"), options.n_ctx_train)?;
    writer.set_u32(&key("embedding_length"), WIDTH as u32)?;
    writer.set_u32(&key("block_count"), LAYERS as u32)?;
    writer.set_f32(&key("attention.layer_norm_rms_epsilon"), 1e-6)?;
    if class != Class::Recurrent {
        writer.set_u32(&key("feed_forward_length"), FEED as u32)?;
        attention_keys(writer, arch, HEADS, KV_HEADS, HEAD, options.rope_freq_base)?;
    }
    match class {
        Class::Dense => {}
        Class::Swa => {
            writer.set_u32(&key("attention.sliding_window"), SWA_WINDOW)?;
            // One layer in four sees everything (the default of this architecture is one in six).
            writer.set_u32(&key("attention.sliding_window_pattern"), LAYERS as u32)?;
        }
        Class::Hybrid => {
            writer.set_arr_i32(&key("rope.dimension_sections"), &[6, 5, 5, 0])?;
            writer.set_u32(&key("full_attention_interval"), 2)?;
            state_keys(writer, arch)?;
        }
        Class::Recurrent => state_keys(writer, arch)?,
    }

    let mut weights = Weights {
        writer,
        seed: options.seed,
    };
    outer(&mut weights, class, options)?;
    for layer in 0..LAYERS {
        let name = |part: &str| format!("blk.{layer}.{part}");
        norm(&mut weights, &name("attn_norm.weight"), WIDTH)?;
        match class {
            Class::Dense => {
                attention(&mut weights, &name, HEADS * HEAD)?;
                norm(&mut weights, &name("ffn_norm.weight"), WIDTH)?;
                feed_forward(&mut weights, &name)?;
            }
            Class::Swa => {
                attention(&mut weights, &name, HEADS * HEAD)?;
                norm(&mut weights, &name("post_attention_norm.weight"), WIDTH)?;
                norm(&mut weights, &name("ffn_norm.weight"), WIDTH)?;
                feed_forward(&mut weights, &name)?;
                norm(&mut weights, &name("post_ffw_norm.weight"), WIDTH)?;
            }
            Class::Hybrid => {
                if layer % 2 == 1 {
                    // Query and gate in one projection.
                    attention(&mut weights, &name, 2 * HEADS * HEAD)?;
                } else {
                    delta_net(&mut weights, &name)?;
                }
                norm(&mut weights, &name("post_attention_norm.weight"), WIDTH)?;
                feed_forward(&mut weights, &name)?;
            }
            Class::Recurrent => mamba2(&mut weights, &name)?,
        }
    }
    Ok(())
}

fn attention_keys(
    writer: &mut GgufWriter,
    arch: &str,
    heads: usize,
    kv_heads: usize,
    head: usize,
    freq_base: f32,
) -> Result<(), GgufError> {
    let key = |name: &str| format!("{arch}.{name}");
    writer.set_u32(&key("attention.head_count"), heads as u32)?;
    writer.set_u32(&key("attention.head_count_kv"), kv_heads as u32)?;
    writer.set_u32(&key("attention.key_length"), head as u32)?;
    writer.set_u32(&key("attention.value_length"), head as u32)?;
    writer.set_u32(&key("rope.dimension_count"), head as u32)?;
    writer.set_f32(&key("rope.freq_base"), freq_base)
}

fn state_keys(writer: &mut GgufWriter, arch: &str) -> Result<(), GgufError> {
    let key = |name: &str| format!("{arch}.ssm.{name}");
    writer.set_u32(&key("conv_kernel"), KERNEL as u32)?;
    writer.set_u32(&key("inner_size"), INNER as u32)?;
    writer.set_u32(&key("state_size"), STATE as u32)?;
    writer.set_u32(&key("time_step_rank"), STATE_HEADS as u32)?;
    writer.set_u32(&key("group_count"), GROUPS as u32)
}

/// How likely a token is sampled: printable ASCII and merged tokens most, other bytes hardly
/// (they would make replies of broken UTF-8), the rest as the options say.
fn gain(options: &Options) -> impl Fn(usize) -> f32 {
    let gains: Vec<f32> = vocab::tokens_of(options)
        .iter()
        .map(|(bytes, kind)| match kind {
            Kind::Normal if bytes.iter().all(|b| matches!(b, b'\n' | b' '..=b'~')) => 1.0,
            Kind::Normal => 0.1,
            Kind::Control | Kind::UserDefined => options.control_gain,
        })
        .collect();
    move |token| gains[token]
}

fn outer(weights: &mut Weights, class: Class, options: &Options) -> Result<(), GgufError> {
    let vocabulary = vocab::tokens_of(options).len();
    // Embeddings of size 1; gemma3 multiplies them by sqrt(width) itself.
    let scale = match class {
        Class::Swa => 1.0,
        _ => (WIDTH as f32).sqrt(),
    };
    weights.matrix("token_embd.weight", &[WIDTH, vocabulary], scale)?;
    // Not tied to the embeddings: a tied random model repeats its last token.
    weights.rows("output.weight", [WIDTH, vocabulary], LOGITS, gain(options))?;
    norm(weights, "output_norm.weight", WIDTH)
}

fn norm(weights: &mut Weights, name: &str, width: usize) -> Result<(), GgufError> {
    weights.uniform(name, &[width], 0.8, 1.2)
}

/// `queries`: rows of the query projection.
fn attention(
    weights: &mut Weights,
    name: &impl Fn(&str) -> String,
    queries: usize,
) -> Result<(), GgufError> {
    let kv = KV_HEADS * HEAD;
    weights.matrix(&name("attn_q.weight"), &[WIDTH, queries], 1.0)?;
    weights.matrix(&name("attn_k.weight"), &[WIDTH, kv], 1.0)?;
    weights.matrix(&name("attn_v.weight"), &[WIDTH, kv], 1.0)?;
    weights.matrix(&name("attn_output.weight"), &[HEADS * HEAD, WIDTH], 2.0)?;
    // Scores of deviation 2 to 3: attention that picks tokens instead of averaging all of them.
    weights.uniform(&name("attn_q_norm.weight"), &[HEAD], 1.4, 1.8)?;
    weights.uniform(&name("attn_k_norm.weight"), &[HEAD], 1.4, 1.8)
}

fn feed_forward(weights: &mut Weights, name: &impl Fn(&str) -> String) -> Result<(), GgufError> {
    weights.matrix(&name("ffn_gate.weight"), &[WIDTH, FEED], 1.0)?;
    weights.matrix(&name("ffn_up.weight"), &[WIDTH, FEED], 1.0)?;
    weights.matrix(&name("ffn_down.weight"), &[FEED, WIDTH], 1.0)
}

fn delta_net(weights: &mut Weights, name: &impl Fn(&str) -> String) -> Result<(), GgufError> {
    let conv = INNER + 2 * GROUPS * STATE;
    weights.matrix(&name("attn_qkv.weight"), &[WIDTH, conv], 1.0)?;
    weights.matrix(&name("attn_gate.weight"), &[WIDTH, INNER], 1.0)?;
    weights.matrix(&name("ssm_conv1d.weight"), &[KERNEL, conv], 1.5)?;
    weights.uniform(&name("ssm_dt.bias"), &[STATE_HEADS], -1.0, 1.0)?;
    // Negative: the state decays. From a few tokens to some hundred of memory.
    weights.uniform(&name("ssm_a"), &[STATE_HEADS], -0.2, -0.01)?;
    weights.matrix(&name("ssm_beta.weight"), &[WIDTH, STATE_HEADS], 1.0)?;
    weights.matrix(&name("ssm_alpha.weight"), &[WIDTH, STATE_HEADS], 1.0)?;
    norm(weights, &name("ssm_norm.weight"), STATE)?;
    weights.matrix(&name("ssm_out.weight"), &[INNER, WIDTH], 1.5)
}

fn mamba2(weights: &mut Weights, name: &impl Fn(&str) -> String) -> Result<(), GgufError> {
    let conv = INNER + 2 * GROUPS * STATE;
    weights.matrix(
        &name("ssm_in.weight"),
        &[WIDTH, INNER + conv + STATE_HEADS],
        1.0,
    )?;
    weights.matrix(&name("ssm_conv1d.weight"), &[KERNEL, conv], 1.5)?;
    weights.uniform(&name("ssm_conv1d.bias"), &[conv], -0.1, 0.1)?;
    weights.uniform(&name("ssm_dt.bias"), &[STATE_HEADS], -2.0, 0.0)?;
    weights.uniform(&name("ssm_a"), &[1, STATE_HEADS], -0.2, -0.01)?;
    weights.uniform(&name("ssm_d"), &[1, STATE_HEADS], 0.5, 1.0)?;
    norm2(weights, &name("ssm_norm.weight"))?;
    weights.matrix(&name("ssm_out.weight"), &[INNER, WIDTH], 1.5)
}

fn norm2(weights: &mut Weights, name: &str) -> Result<(), GgufError> {
    weights.uniform(name, &[INNER / GROUPS, GROUPS], 0.8, 1.2)
}

/// Sizes of a dense model that measures something besides its class.
pub struct Dense {
    pub name: &'static str,
    pub width: usize,
    pub layers: usize,
    pub head: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub feed: usize,
}

/// 51 million parameters.
pub const BENCH: Dense = Dense {
    name: "bench dense",
    width: 512,
    layers: 14,
    head: 128,
    heads: 8,
    kv_heads: 2,
    feed: 1536,
};

/// KV rows as large models have them, 16 KiB a token in f16, and little else: a long state is soon
/// there.
pub const ROWS: Dense = Dense {
    name: "bench rows",
    width: 64,
    layers: 4,
    head: 128,
    heads: 8,
    kv_heads: 8,
    feed: 64,
};

/// Keys and tensors of a benchmark model.
pub fn write_dense(
    writer: &mut GgufWriter,
    options: &Options,
    sizes: &Dense,
) -> Result<(), GgufError> {
    let Dense {
        name,
        width,
        layers,
        head,
        heads,
        kv_heads,
        feed,
    } = *sizes;
    let vocabulary = vocab::tokens_of(options).len();

    writer.set_str("general.name", name)?;
    writer.set_u32("qwen3.context_length", options.n_ctx_train)?;
    writer.set_u32("qwen3.embedding_length", width as u32)?;
    writer.set_u32("qwen3.block_count", layers as u32)?;
    writer.set_u32("qwen3.feed_forward_length", feed as u32)?;
    writer.set_f32("qwen3.attention.layer_norm_rms_epsilon", 1e-6)?;
    attention_keys(
        writer,
        "qwen3",
        heads,
        kv_heads,
        head,
        options.rope_freq_base,
    )?;

    let mut weights = Weights {
        writer,
        seed: options.seed,
    };
    let scale = (width as f32).sqrt();
    weights.matrix("token_embd.weight", &[width, vocabulary], scale)?;
    weights.rows("output.weight", [width, vocabulary], LOGITS, gain(options))?;
    norm(&mut weights, "output_norm.weight", width)?;
    for layer in 0..layers {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        norm(&mut weights, &name("attn_norm"), width)?;
        weights.quantized(&name("attn_q"), [width, heads * head])?;
        weights.quantized(&name("attn_k"), [width, kv_heads * head])?;
        weights.quantized(&name("attn_v"), [width, kv_heads * head])?;
        weights.quantized(&name("attn_output"), [heads * head, width])?;
        weights.uniform(&name("attn_q_norm"), &[head], 1.4, 1.8)?;
        weights.uniform(&name("attn_k_norm"), &[head], 1.4, 1.8)?;
        norm(&mut weights, &name("ffn_norm"), width)?;
        weights.quantized(&name("ffn_gate"), [width, feed])?;
        weights.quantized(&name("ffn_up"), [width, feed])?;
        weights.quantized(&name("ffn_down"), [feed, width])?;
    }
    Ok(())
}
