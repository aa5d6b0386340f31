//! Loading the weights, and the sizes that a slot is started with. The probe of an unknown model uses the
//! same two functions as a start, so that it finds what a start would find.

use std::sync::Arc;

use crate::agent::values::error::{AgentError, ErrorKind};
use crate::agent::values::event::Stage;
use crate::agent::values::notice::Notice;
use crate::agent::values::options::Options;
use crate::llama::{self, Model};
use crate::slot::SlotOptions;

use super::memory;

/// Bytes of snapshots that are kept in RAM.
const SNAPSHOT_BUDGET: usize = 1 << 30;
/// Bytes of segments that a switch holds in RAM between their proof and their use. Memory that a
/// process did not have before costs more time than reading what is in the page cache again.
const RESTORE_BUDGET: usize = 32 << 20;

/// What the slot is started with, if its KV cache fits into memory.
pub(in crate::agent) fn sizes(options: &Options, model: &Model) -> Result<SlotOptions, AgentError> {
    let limit = options.limit.unwrap_or_else(|| model.trained_context());
    let offloaded = options.weights.gpu_layers != Some(0) && llama::devices().iter().any(|d| d.gpu);
    let mut context = options.context.clone();
    context.ubatch = options.ubatch.unwrap_or(if offloaded { 512 } else { 128 });
    if !offloaded || context.no_kv_offload {
        memory::check(model, context.cache, SlotOptions::cells(limit))?;
    }
    Ok(SlotOptions {
        limit,
        context,
        snapshot_budget: SNAPSHOT_BUDGET,
        restore_budget: RESTORE_BUDGET,
    })
}

/// Warns of a context that is longer than the model was trained for, where nothing stretches it.
pub(in crate::agent) fn beyond_training(
    asked: Option<usize>,
    trained: usize,
    stretched: bool,
) -> Option<Notice> {
    let asked = asked.filter(|asked| trained > 0 && *asked > trained && !stretched)?;
    Some((
        format!(
            "--ctx {asked} is more than the {trained} tokens that the model was trained for: replies \
             may get worse behind them"
        ),
        Some(format!("take --ctx {trained}, or less")),
    ))
}

pub(in crate::agent) fn load(
    options: &Options,
    progress: &mut dyn FnMut(Stage) -> bool,
) -> Result<Arc<Model>, AgentError> {
    let mut weights = options.weights.clone();
    weights.vocab_only = false;
    let mut watch = |done| progress(Stage::Model(done));
    let model = Model::load(&options.model, &weights, &mut watch)?;
    if !model.generates() {
        return Err(AgentError::new(
            ErrorKind::Model,
            format!(
                "{} is not a model that writes text",
                options.model.display()
            ),
        )
        .hinted("take a decoder model, such as an instruct or chat GGUF"));
    }
    Ok(Arc::new(model))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_beyond_what_a_model_was_trained_for_is_warned_of() {
        let said = beyond_training(Some(40_000), 32_768, false).expect("a notice");
        assert!(
            said.0
                .starts_with("--ctx 40000 is more than the 32768 tokens")
        );
        assert_eq!(said.1.as_deref(), Some("take --ctx 32768, or less"));
        assert_eq!(beyond_training(Some(32_768), 32_768, false), None);
        assert_eq!(beyond_training(None, 32_768, false), None);
        assert_eq!(beyond_training(Some(9), 0, false), None, "nobody knows");
        assert_eq!(beyond_training(Some(40_000), 32_768, true), None);
    }
}
