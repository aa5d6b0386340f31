//! How much memory a context would need, before it is made: on a machine that overcommits, an allocation
//! that cannot be filled ends in a kill and not in an error.

use crate::agent::values::error::{AgentError, ErrorKind};
use crate::llama::{CacheType, Model};
use crate::slot::fit::Machine;

/// Refuses a context whose KV surely does not fit into the memory that is available. Only for KV
/// in the CPU's memory; devices say themselves when they are full.
///
/// # Errors
/// Names the need, what is free, and the flags.
pub(in crate::agent) fn check(
    model: &Model,
    cache: CacheType,
    cells: usize,
) -> Result<(), AgentError> {
    let free = Machine::here().host.free;
    let need = least_kv_bytes(model, cache, cells);
    if need <= free {
        return Ok(());
    }
    Err(AgentError::new(
        ErrorKind::Memory,
        format!(
            "a context of {cells} cells needs {} MiB of memory for its KV cache, and {} MiB are \
             available",
            need >> 20,
            free >> 20
        ),
    )
    .hinted("take a smaller --ctx, or a smaller --cache-type such as q8_0"))
}

/// Bytes of KV that a context takes at the least. Exact on dense models; where some layers keep a
/// window or a recurrent state, at least an eighth of the layers keep every position.
fn least_kv_bytes(model: &Model, cache: CacheType, cells: usize) -> u64 {
    if model.is_recurrent() {
        return 0;
    }
    let architecture = model.architecture();
    let number = |key: &str| {
        model
            .meta(&format!("{architecture}.{key}"))?
            .parse::<u64>()
            .ok()
    };
    let (heads, width) = (number("attention.head_count"), number("embedding_length"));
    let head = match (heads, width) {
        (Some(heads), Some(width)) if heads > 0 => width / heads,
        _ => return 0,
    };
    // Arrays, a count for each layer, are not read here; then nothing is claimed.
    let Some(kv_heads) = number("attention.head_count_kv") else {
        return 0;
    };
    let key = number("attention.key_length").unwrap_or(head);
    let value = number("attention.value_length").unwrap_or(head);
    let mla = number("attention.kv_lora_rank").is_some();
    let layers = model.layers() as u64;
    let full = match model.is_hybrid() || model.window() > 0 || mla {
        true => layers / 8,
        false => layers,
    };
    let elements = full.saturating_mul(kv_heads).saturating_mul(key + value);
    let bits = match cache {
        CacheType::F32 => 32,
        CacheType::F16 | CacheType::Bf16 => 16,
        CacheType::Q8_0 => 8,
        CacheType::Q5_0 | CacheType::Q5_1 => 5,
        CacheType::Q4_0 | CacheType::Q4_1 | CacheType::Iq4Nl => 4,
    };
    elements.saturating_mul(bits).saturating_mul(cells as u64) / 8
}
