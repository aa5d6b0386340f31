//! Chooses what the user did not: context, cache type, layers on cards, experts in the host's memory.
//! `slot::fit::choose` makes the choice; this file gets the numbers for it, and holds the choice against
//! what llama.cpp counts.
//!
//! The numbers are llama.cpp's own, counted on a model whose weights are not read. That takes as long
//! as reading the vocabulary, so `fit_records` keeps them in the data folder.

use std::sync::Arc;

use crate::agent::values::error::AgentError;
use crate::agent::values::notice::Notice;
use crate::agent::values::options::Options;
use crate::llama::{CacheType, ContextOptions, Model, ModelOptions, gguf};
use crate::slot::MemoryNeed;
use crate::slot::fit::{
    Bound, ContextCost, Demand, FitChoice, LayerBytes, Machine, Wishes, choose,
};

use super::fit_records::{FitRecord, Records};
use super::fit_words::{refused, words};
use super::model_files::files_identity;

/// The limit where a model does not say what it was trained for, in tokens.
const UNTRAINED: usize = 32_768;
/// Cache types that are chosen from, the better one first.
const TYPES: [CacheType; 2] = [CacheType::F16, CacheType::Q8_0];
/// How often a placement is made smaller after llama.cpp counted it.
const ROUNDS: u64 = 4;

/// Options with a choice made, and that choice in words.
pub(in crate::agent) struct Fitted {
    pub options: Options,
    /// Said to the user: something had to give.
    pub notice: Option<Notice>,
    /// For `doctor`.
    pub words: String,
}

/// Fills in the settings that the user did not name.
///
/// # Errors
/// Nothing fits, in numbers; or llama.cpp refuses the model.
pub(in crate::agent) fn fitted(
    options: &Options,
    file: &gguf::ModelFacts,
) -> Result<Fitted, AgentError> {
    let mut machine = Machine::here();
    let weights = &options.weights;
    if weights.gpu_layers == Some(0) {
        machine.cards.clear();
    }
    // A user who names a part of the placement decides all of it.
    let placed = weights.gpu_layers.is_some()
        || weights.cpu_moe_layers > 0
        || !weights.override_tensor.is_empty()
        || !weights.tensor_split.is_empty();
    if options.limit.is_some() && (placed || machine.cards.is_empty()) {
        return Ok(Fitted {
            options: options.clone(),
            notice: None,
            words: "as asked".to_owned(),
        });
    }
    let records = Records::read(&options.home);
    let name = record_name(options, &machine);
    let known = name.as_deref().and_then(|name| records.find(name)).cloned();
    let (mut all, last) = match known {
        Some(record) => (record.demand, record.cache),
        None => (counted(options, file, &machine)?, None),
    };
    let kept = all.clone();
    if !options.leeway.cache {
        all.costs.retain(|cost| cost.cache == options.context.cache);
        if all.costs.is_empty() {
            all.costs = vec![cost(options, &machine, options.context.cache)?];
        }
    }
    let wishes = Wishes {
        limit: options.limit,
        card_layers: placed.then(|| weights.gpu_layers.map_or(usize::MAX, |n| n as usize)),
        host_experts: placed.then_some(weights.cpu_moe_layers as usize),
        kv_on_host: options.context.no_kv_offload,
        last,
        session: options.leeway.session,
    };
    let choice = proven(options, &all, &machine, &wishes)?;
    let mut fitted = options.clone();
    fitted.limit = Some(choice.limit);
    fitted.context.cache = choice.cache;
    if !placed && !machine.cards.is_empty() {
        let whole = choice.card_layers > all.layers.len();
        fitted.weights.gpu_layers = (!whole).then_some(choice.card_layers as u32);
        fitted.weights.cpu_moe_layers = choice.host_experts as u32;
    }
    if let Some(name) = name
        && options.store_kv
    {
        let cache = if options.leeway.cache {
            Some(choice.cache)
        } else {
            last
        };
        let record = FitRecord {
            name,
            demand: kept,
            cache,
        };
        if let Err(error) = records.keep(&options.home, record) {
            tracing::warn!(%error, "what the model takes will be counted again at the next start");
        }
    }
    let words = words(&choice, &all, &machine);
    let gave = choice.limit < all.trained && choice.bound != Bound::Wished
        || choice.cache != all.costs[0].cache
        || !placed
            && !machine.cards.is_empty()
            && (choice.card_layers <= all.layers.len() || choice.host_experts > 0);
    Ok(Fitted {
        options: fitted,
        notice: gave.then(|| {
            let hint = "--ctx, --cache-type and --gpu-layers choose otherwise; `npast models info` \
                        says what fits";
            (words.clone(), Some(hint.to_owned()))
        }),
        words,
    })
}

/// A choice that llama.cpp's own count of it agrees with: with several cards, or with layers on both
/// sides, what lies where is known only then.
fn proven(
    options: &Options,
    demand: &Demand,
    machine: &Machine,
    wishes: &Wishes,
) -> Result<FitChoice, AgentError> {
    let refused = |refusal| refused(options, machine, &refusal);
    let mut choice = choose(demand, machine, wishes).map_err(refused)?;
    if machine.cards.is_empty() {
        return Ok(choice);
    }
    let mut demand = demand.clone();
    for _ in 0..ROUNDS {
        let weights = ModelOptions {
            gpu_layers: Some(choice.card_layers as u32),
            cpu_moe_layers: choice.host_experts as u32,
            ..options.weights.clone()
        };
        let (need, room) = (
            need(options, &weights, machine, choice.cache)?,
            |device: Option<&str>| machine.room(device),
        );
        let fits = need.largest(choice.limit, room);
        if fits == choice.limit {
            return Ok(choice);
        }
        let goal = choice.limit.min(crate::slot::fit::GOAL.max(wishes.session));
        if wishes.limit.is_none() && fits >= goal {
            choice.limit = fits;
            choice.bound = Bound::Cards;
            return Ok(choice);
        }
        // What is too much is asked for from the beginning.
        let over: u64 = need
            .shares
            .iter()
            .map(|share| {
                let cells = crate::slot::SlotOptions::cells(choice.limit);
                share
                    .bytes(cells)
                    .saturating_sub(room(share.device.as_deref()))
            })
            .sum();
        for cost in &mut demand.costs {
            cost.fixed += over;
        }
        choice = choose(&demand, machine, wishes).map_err(refused)?;
    }
    Ok(choice)
}

/// How much memory a model needs: bytes of its weights as its file says, and what contexts take.
pub fn demand(file: &gguf::ModelFacts, trained: usize, costs: Vec<ContextCost>) -> Demand {
    let layers = file.parts.layers.iter();
    Demand {
        trained: match trained {
            0 => UNTRAINED,
            trained => trained,
        },
        layers: layers
            .map(|(weights, experts)| LayerBytes {
                weights: *weights,
                experts: *experts,
            })
            .collect(),
        input: file.parts.input,
        output: file.parts.output,
        costs,
    }
}

fn counted(
    options: &Options,
    file: &gguf::ModelFacts,
    machine: &Machine,
) -> Result<Demand, AgentError> {
    let model = Arc::new(Model::plan(&options.model, &ModelOptions::default())?);
    let costs = TYPES.iter().map(|cache| {
        let context = ContextOptions {
            cache: *cache,
            ..context(options, machine)
        };
        Ok(MemoryNeed::count(&model, &context)?.cost(*cache))
    });
    let costs = costs.collect::<Result<Vec<ContextCost>, AgentError>>()?;
    Ok(demand(file, model.trained_context(), costs))
}

fn cost(options: &Options, machine: &Machine, cache: CacheType) -> Result<ContextCost, AgentError> {
    let need = need(options, &options.weights, machine, cache)?;
    Ok(need.cost(cache))
}

fn need(
    options: &Options,
    weights: &ModelOptions,
    machine: &Machine,
    cache: CacheType,
) -> Result<MemoryNeed, AgentError> {
    let model = Arc::new(Model::plan(&options.model, weights)?);
    let context = ContextOptions {
        cache,
        ..context(options, machine)
    };
    Ok(MemoryNeed::count(&model, &context)?)
}

fn context(options: &Options, machine: &Machine) -> ContextOptions {
    ContextOptions {
        ubatch: options.ubatch.unwrap_or(match machine.cards.is_empty() {
            true => 128,
            false => 512,
        }),
        ..options.context.clone()
    }
}

/// The model's files and all of this run that its numbers depend on.
fn record_name(options: &Options, machine: &Machine) -> Option<String> {
    let files = files_identity(options, false)?;
    let context = ContextOptions {
        cache: CacheType::F16,
        threads: 1,
        threads_batch: 1,
        ..context(options, machine)
    };
    let context = serde_json::to_string(&context).ok()?;
    let cards: Vec<&str> = machine
        .cards
        .iter()
        .map(|card| card.name.as_str())
        .collect();
    let mut hasher = blake3::Hasher::new();
    for part in [&files, &context, &cards.join("+")] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    Some(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
#[path = "fit_tests.rs"]
mod tests;
