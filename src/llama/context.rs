//! The one llama.cpp context of a process: sequence 0 is the conversation, sequence 1 is scratch.
//! It is moved to the engine thread and used there alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use llama_cpp_sys_2 as sys;
use serde::{Deserialize, Serialize};

use super::batch::Batch;
use super::state::{Proven, StatePart};
use super::{Model, log};
use crate::ledger::Token;

/// A sequence of the context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seq {
    /// Sequence 0: the conversation.
    Main,
    /// Sequence 1: one tenant at a time, never decoded on after a failed import.
    Scratch,
}

impl Seq {
    fn id(self) -> i32 {
        match self {
            Seq::Main => 0,
            Seq::Scratch => 1,
        }
    }
}

/// Element type of the KV cache (keys and values alike).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum CacheType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    #[default]
    F16,
    /// bfloat16.
    Bf16,
    /// 8 bits in blocks.
    Q8_0,
    /// 5 bits in blocks, with offset.
    Q5_1,
    /// 5 bits in blocks.
    Q5_0,
    /// 4 bits in blocks, with offset.
    Q4_1,
    /// 4 bits in blocks.
    Q4_0,
    /// 4 bits, non-linear.
    Iq4Nl,
}

impl CacheType {
    /// Every type with its name.
    pub const NAMES: [(CacheType, &'static str); 9] = [
        (CacheType::F32, "f32"),
        (CacheType::F16, "f16"),
        (CacheType::Bf16, "bf16"),
        (CacheType::Q8_0, "q8_0"),
        (CacheType::Q5_1, "q5_1"),
        (CacheType::Q5_0, "q5_0"),
        (CacheType::Q4_1, "q4_1"),
        (CacheType::Q4_0, "q4_0"),
        (CacheType::Iq4Nl, "iq4_nl"),
    ];

    /// llama.cpp's name for it.
    pub fn name(self) -> &'static str {
        let row = Self::NAMES.iter().find(|(t, _)| *t == self);
        row.map_or("f16", |(_, name)| name)
    }

    /// The inverse of [`CacheType::name`].
    pub fn parse(name: &str) -> Option<CacheType> {
        Self::NAMES
            .iter()
            .find(|(_, n)| *n == name)
            .map(|(t, _)| *t)
    }

    fn raw(self) -> sys::ggml_type {
        match self {
            CacheType::F32 => sys::GGML_TYPE_F32,
            CacheType::F16 => sys::GGML_TYPE_F16,
            CacheType::Bf16 => sys::GGML_TYPE_BF16,
            CacheType::Q8_0 => sys::GGML_TYPE_Q8_0,
            CacheType::Q5_1 => sys::GGML_TYPE_Q5_1,
            CacheType::Q5_0 => sys::GGML_TYPE_Q5_0,
            CacheType::Q4_1 => sys::GGML_TYPE_Q4_1,
            CacheType::Q4_0 => sys::GGML_TYPE_Q4_0,
            CacheType::Iq4Nl => sys::GGML_TYPE_IQ4_NL,
        }
    }
}

/// What a context is made with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContextOptions {
    /// Cells: the conversation's limit plus the reserve for scratch.
    pub cells: usize,
    /// Tokens of one decode call (`n_batch = n_ubatch`).
    pub ubatch: usize,
    /// Type of the cache.
    pub cache: CacheType,
    /// Threads for single decodes.
    pub threads: usize,
    /// Threads for prefill.
    pub threads_batch: usize,
    /// RoPE scaling: `none`, `linear`, `yarn`; `None` leaves it to the model.
    pub rope_scaling: Option<String>,
    /// RoPE base frequency.
    pub rope_freq_base: Option<f32>,
    /// RoPE frequency scale.
    pub rope_freq_scale: Option<f32>,
    /// YaRN extrapolation mix.
    pub yarn_ext_factor: Option<f32>,
    /// YaRN magnitude scale.
    pub yarn_attn_factor: Option<f32>,
    /// YaRN low correction dimension.
    pub yarn_beta_fast: Option<f32>,
    /// YaRN high correction dimension.
    pub yarn_beta_slow: Option<f32>,
    /// YaRN original context, in tokens.
    pub yarn_orig_ctx: Option<u32>,
    /// Keep the cache in the CPU's memory though layers are on a GPU.
    pub no_kv_offload: bool,
}

impl Default for ContextOptions {
    fn default() -> Self {
        ContextOptions {
            cells: 4096,
            ubatch: 128,
            cache: CacheType::F16,
            threads: 1,
            threads_batch: 1,
            rope_scaling: None,
            rope_freq_base: None,
            rope_freq_scale: None,
            yarn_ext_factor: None,
            yarn_attn_factor: None,
            yarn_beta_fast: None,
            yarn_beta_slow: None,
            yarn_orig_ctx: None,
            no_kv_offload: false,
        }
    }
}

/// Why a context was not made, or a state call failed.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// llama.cpp refused to make it.
    #[error("no context of {cells} cells was made: {reason}")]
    Refused {
        /// Asked for.
        cells: usize,
        /// llama.cpp's last error line.
        reason: String,
    },
    /// A value out of range.
    #[error("{0}")]
    Options(String),
    /// A state was not read out in full.
    #[error("llama.cpp gave {got} bytes of a state of {want}")]
    Export {
        /// Bytes the state has.
        want: usize,
        /// Bytes given.
        got: usize,
    },
    /// A proven state was refused all the same.
    #[error("llama.cpp refused a state of {bytes} bytes: {reason}")]
    Import {
        /// Its size.
        bytes: usize,
        /// llama.cpp's last error line.
        reason: String,
    },
}

/// Why a decode call failed, and what it left behind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The call's arguments are wrong; nothing was changed.
    #[error("a decode call was refused before it ran: {0}")]
    Invalid(String),
    /// No free cells; nothing was changed.
    #[error("the context has no room for {0} more tokens")]
    NoCells(usize),
    /// The decode failed half way; on hybrid and recurrent models the sequence is lost.
    #[error("decoding failed ({code}): {reason}")]
    Broken {
        /// llama.cpp's return code.
        code: i32,
        /// llama.cpp's last error line.
        reason: String,
    },
}

/// A llama.cpp context with two sequences.
pub struct Context {
    ptr: *mut sys::llama_context,
    mem: sys::llama_memory_t,
    batch: Batch,
    cells: usize,
    vocab_size: usize,
    cache: CacheType,
    /// RoPE turns keys and leaves their length as it is.
    turns_alone: bool,
    // The last decode call gave a logits row.
    has_logits: bool,
    /// Decode calls that began.
    decodes: Arc<AtomicU64>,
    // So many more states are taken, then one is not.
    refuse: Option<usize>,
    model: Arc<Model>,
}

// SAFETY: a context may be used from any one thread at a time; `&mut self` guards every call that
// changes it, and the type is not Sync.
unsafe impl Send for Context {}

/// Whether RoPE scales no key: its scaling is none or linear, and nobody set a factor.
fn turns_alone(model: &Model, options: &ContextOptions) -> bool {
    let arch = model.architecture();
    let stored = |key: &str| model.meta(&format!("{arch}.rope.scaling.{key}"));
    let kind = options.rope_scaling.clone().or_else(|| stored("type"));
    let attention = stored("attn_factor").and_then(|factor| factor.parse::<f32>().ok());
    kind.is_none_or(|kind| matches!(&*kind, "none" | "linear"))
        && options.yarn_ext_factor.is_none_or(|factor| factor <= 0.0)
        && options
            .yarn_attn_factor
            .or(attention)
            .is_none_or(|factor| factor == 1.0)
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by us, freed once, before the model it keeps alive.
        unsafe { sys::llama_free(self.ptr) }
    }
}

impl Context {
    pub(super) fn raw(&self) -> *const sys::llama_context {
        self.ptr
    }

    /// Makes a context with the settings that the rest of the program relies on: two sequences in
    /// one unified cache, no full-size SWA cache, flash attention, no recurrent rollback.
    ///
    /// # Errors
    /// When a value is out of range or llama.cpp refuses, usually for want of memory.
    pub fn new(model: &Arc<Model>, options: &ContextOptions) -> Result<Context, ContextError> {
        let cells = u32::try_from(options.cells)
            .ok()
            .filter(|n| *n > 0 && *n <= i32::MAX as u32)
            .ok_or_else(|| {
                ContextError::Options(format!("a context cannot have {} cells", options.cells))
            })?;
        let ubatch = u32::try_from(options.ubatch)
            .ok()
            .filter(|n| *n > 0 && *n <= 65_536)
            .ok_or_else(|| {
                ContextError::Options(format!("a batch cannot have {} tokens", options.ubatch))
            })?;
        // SAFETY: returns a plain struct.
        let mut params = unsafe { sys::llama_context_default_params() };
        params.n_ctx = cells;
        // Room for one row of each sequence, else llama.cpp aborts at its first decode.
        params.n_batch = ubatch.max(2);
        params.n_ubatch = ubatch;
        params.n_seq_max = 2;
        params.n_rs_seq = 0;
        params.kv_unified = true;
        params.swa_full = false;
        params.flash_attn_type = sys::LLAMA_FLASH_ATTN_TYPE_ENABLED;
        params.type_k = options.cache.raw();
        params.type_v = options.cache.raw();
        params.n_threads = options.threads.clamp(1, 512) as i32;
        params.n_threads_batch = options.threads_batch.clamp(1, 512) as i32;
        params.offload_kqv = !options.no_kv_offload;
        params.no_perf = true;
        if let Some(kind) = &options.rope_scaling {
            params.rope_scaling_type = match kind.as_str() {
                "none" => sys::LLAMA_ROPE_SCALING_TYPE_NONE,
                "linear" => sys::LLAMA_ROPE_SCALING_TYPE_LINEAR,
                "yarn" => sys::LLAMA_ROPE_SCALING_TYPE_YARN,
                "longrope" => sys::LLAMA_ROPE_SCALING_TYPE_LONGROPE,
                other => {
                    return Err(ContextError::Options(format!(
                        "rope scaling is none, linear, yarn or longrope, not {other}"
                    )));
                }
            };
        }
        set(&mut params.rope_freq_base, options.rope_freq_base);
        set(&mut params.rope_freq_scale, options.rope_freq_scale);
        set(&mut params.yarn_ext_factor, options.yarn_ext_factor);
        set(&mut params.yarn_attn_factor, options.yarn_attn_factor);
        set(&mut params.yarn_beta_fast, options.yarn_beta_fast);
        set(&mut params.yarn_beta_slow, options.yarn_beta_slow);
        set(&mut params.yarn_orig_ctx, options.yarn_orig_ctx);

        log::start_capture();
        // SAFETY: the model is loaded and kept alive by `model` below.
        let ptr = unsafe { sys::llama_init_from_model(model.handle.0, params) };
        let refused = || ContextError::Refused {
            cells: options.cells,
            reason: log::captured_error().unwrap_or_else(|| "llama.cpp gave no reason".to_owned()),
        };
        if ptr.is_null() {
            return Err(refused());
        }
        // SAFETY: the context was just made; queries only.
        let (mem, cells) = unsafe { (sys::llama_get_memory(ptr), sys::llama_n_ctx(ptr)) };
        if mem.is_null() {
            // SAFETY: made above, not yet owned by anything.
            unsafe { sys::llama_free(ptr) };
            return Err(refused());
        }
        Ok(Context {
            ptr,
            mem,
            batch: Batch::new(options.ubatch),
            cells: cells as usize,
            vocab_size: model.vocab().size(),
            cache: options.cache,
            turns_alone: turns_alone(model, options),
            has_logits: false,
            decodes: Arc::default(),
            refuse: None,
            model: model.clone(),
        })
    }

    /// The model it belongs to.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Cells in all, as llama.cpp rounded them.
    pub fn cells(&self) -> usize {
        self.cells
    }

    /// Most tokens of one decode call.
    pub fn ubatch(&self) -> usize {
        self.batch.room()
    }

    /// Counts the decode calls that began, for any thread.
    pub fn decodes(&self) -> Arc<AtomicU64> {
        self.decodes.clone()
    }

    /// Evaluates `tokens` of `seq` at positions from `pos`, in one ubatch. With `output`, the last
    /// token's logits can be read until the next call.
    ///
    /// # Errors
    /// Wrong arguments and a lack of cells change nothing; see [`DecodeError::Broken`] for the rest.
    pub fn decode(
        &mut self,
        seq: Seq,
        pos: usize,
        tokens: &[Token],
        output: bool,
    ) -> Result<(), DecodeError> {
        let invalid = |why: String| Err(DecodeError::Invalid(why));
        if tokens.is_empty() || tokens.len() > self.batch.room() {
            return invalid(format!(
                "{} tokens, where 1 to {} are possible",
                tokens.len(),
                self.batch.room()
            ));
        }
        if let Some(bad) = tokens
            .iter()
            .find(|t| t.0 < 0 || t.0 as usize >= self.vocab_size)
        {
            return invalid(format!("token {} is not in the vocabulary", bad.0));
        }
        let next = self.pos_max(seq).map_or(0, |p| p + 1);
        if pos != next {
            return invalid(format!("position {pos}, where {next} comes next"));
        }
        if pos + tokens.len() > self.cells {
            return Err(DecodeError::NoCells(tokens.len()));
        }
        self.has_logits = false;
        self.decodes.fetch_add(1, Ordering::SeqCst);
        let batch = self.batch.fill(seq.id(), pos, tokens, output);
        log::start_capture();
        // SAFETY: every id, position and count in the batch was checked above.
        match unsafe { sys::llama_decode(self.ptr, batch) } {
            0 => {
                self.has_logits = output;
                Ok(())
            }
            1 => Err(DecodeError::NoCells(tokens.len())),
            code => Err(DecodeError::Broken {
                code,
                reason: log::captured_error()
                    .unwrap_or_else(|| "llama.cpp gave no reason".to_owned()),
            }),
        }
    }

    /// The logits of the last token of the last decode call that asked for output: one f32 per
    /// token of the vocabulary. Waits for the device.
    pub fn logits(&mut self) -> Option<&[f32]> {
        if !self.has_logits {
            return None;
        }
        // SAFETY: the last decode had exactly one output row of n_vocab floats.
        unsafe {
            let row = sys::llama_get_logits_ith(self.ptr, -1);
            (!row.is_null()).then(|| std::slice::from_raw_parts(row, self.vocab_size))
        }
    }

    /// Waits until the device has done all of its work.
    pub fn synchronize(&mut self) {
        // SAFETY: plain call.
        unsafe { sys::llama_synchronize(self.ptr) }
    }

    /// First position of a sequence that is in memory; on SWA layers later than 0.
    pub fn pos_min(&self, seq: Seq) -> Option<usize> {
        // SAFETY: sequence ids are 0 and 1 of two (here and below).
        usize::try_from(unsafe { sys::llama_memory_seq_pos_min(self.mem, seq.id()) }).ok()
    }

    /// Last position of a sequence.
    pub fn pos_max(&self, seq: Seq) -> Option<usize> {
        usize::try_from(unsafe { sys::llama_memory_seq_pos_max(self.mem, seq.id()) }).ok()
    }

    /// Removes positions from `from` on. False when the memory cannot be cut there; nothing was
    /// changed then.
    #[must_use]
    pub fn cut(&mut self, seq: Seq, from: usize) -> bool {
        self.has_logits = false;
        unsafe { sys::llama_memory_seq_rm(self.mem, seq.id(), from as i32, -1) }
    }

    /// Empties a sequence; never fails.
    pub fn clear(&mut self, seq: Seq) {
        self.has_logits = false;
        unsafe { sys::llama_memory_seq_rm(self.mem, seq.id(), -1, -1) };
    }

    /// Makes positions [`from`, `to`) of `source` belong to `target` as well; metadata only. The
    /// target must not hold them.
    pub fn share(&mut self, source: Seq, target: Seq, from: usize, to: usize) {
        unsafe {
            sys::llama_memory_seq_cp(self.mem, source.id(), target.id(), from as i32, to as i32)
        }
    }

    /// Whether positions of a sequence can be moved ([`Context::move_back`]): llama.cpp can turn the keys of
    /// this model and of this type of the cache. It cannot turn bf16 on the CPU, and in a quantized cache
    /// it needs a rotation that not every model has; without it, it crashes. It turns all keys of the cache,
    /// those that do not move by 0. Where RoPE also scales the keys (YaRN, LongRoPE), it would scale these
    /// once more, and they would no longer be exact.
    pub fn can_move(&self) -> bool {
        let turns = self.turns_alone && matches!(self.cache, CacheType::F32 | CacheType::F16);
        turns && unsafe { sys::llama_memory_can_shift(self.mem) }
    }

    /// Moves positions [`from`, `to`) of a sequence `by` positions nearer to the start; no other sequence
    /// may hold them. Their keys are turned at the next decode call, so a state must not be taken before.
    /// False where that is not possible; nothing was changed then.
    #[must_use]
    pub fn move_back(&mut self, seq: Seq, from: usize, to: usize, by: usize) -> bool {
        let end = i32::try_from(to).ok();
        let (Some(end), true) = (end, self.can_move() && by <= from && from < to) else {
            return false;
        };
        self.has_logits = false;
        // SAFETY: the memory can shift, all positions stay at or above 0, and all numbers are at most `end`.
        unsafe {
            sys::llama_memory_seq_add(self.mem, seq.id(), from as i32, end, -(by as i32));
        }
        true
    }

    /// Bytes that [`Context::export`] would give.
    pub fn export_size(&mut self, seq: Seq, part: StatePart) -> usize {
        unsafe { sys::llama_state_seq_get_size_ext(self.ptr, seq.id(), part.flags()) }
    }

    /// A copy of a sequence's state, in llama.cpp's layout (see [`super::state`]). Waits for the
    /// device.
    ///
    /// # Errors
    /// When llama.cpp gives fewer bytes than it announced.
    pub fn export(&mut self, seq: Seq, part: StatePart) -> Result<Vec<u8>, ContextError> {
        let want = self.export_size(seq, part);
        let mut bytes = Vec::with_capacity(want);
        // SAFETY: the buffer has room for `want` bytes, and llama.cpp says how many it wrote.
        let got = unsafe {
            let got = sys::llama_state_seq_get_data_ext(
                self.ptr,
                bytes.as_mut_ptr(),
                want,
                seq.id(),
                part.flags(),
            );
            bytes.set_len(got.min(want));
            got
        };
        if got != want {
            return Err(ContextError::Export { want, got });
        }
        Ok(bytes)
    }

    /// Has llama.cpp refuse a state that was proven, after it took `after` others: its last byte is
    /// not handed over. For verification.
    pub fn refuse_after(&mut self, after: usize) {
        self.refuse = Some(after);
    }

    /// Whether a refusal that was ordered is still to come. For verification.
    pub fn will_refuse(&self) -> bool {
        self.refuse.is_some()
    }

    /// Replaces a sequence's state (or its partial part) by a proven one.
    ///
    /// # Errors
    /// When llama.cpp refuses; the sequence is empty or garbage then.
    pub fn import(&mut self, seq: Seq, state: &Proven<'_>) -> Result<(), ContextError> {
        self.has_logits = false;
        let whole = state.bytes().len();
        let short = self.refuse.take_if(|left| *left == 0).is_some();
        self.refuse = self.refuse.map(|left| left - 1);
        let bytes = &state.bytes()[..whole - usize::from(short)];
        log::start_capture();
        // SAFETY: the bytes were checked against this context's layout (see `Proven`).
        let read = unsafe {
            sys::llama_state_seq_set_data_ext(
                self.ptr,
                bytes.as_ptr(),
                bytes.len(),
                seq.id(),
                state.part().flags(),
            )
        };
        if read != whole {
            return Err(ContextError::Import {
                bytes: whole,
                reason: log::captured_error().unwrap_or_else(|| format!("it read {read} bytes")),
            });
        }
        Ok(())
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}
