//! What a model is loaded with where nobody says: context, cache type, layers on cards, experts in
//! the host's memory. `slot::fit::choose` chooses; here its numbers are had, and its choice is said.
//!
//! The numbers are llama.cpp's own, counted on a model whose weights are not read. That takes as long
//! as reading the vocabulary, so they are kept in the data folder, by what the system says of the
//! model's files. With them the cache type is kept: states on disk are of one type, and another
//! would read every session again.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::agent::values::error::{AgentError, ErrorKind};
use crate::agent::values::options::Options;
use crate::durable::{self, Attributes, Links};
use crate::llama::{CacheType, ContextOptions, Model, ModelOptions, gguf};
use crate::slot::Need;
use crate::slot::fit::{
    Bound, Choice, Cost, Demand, Layer, Machine, Place, Refusal, Wishes, choose,
};

use super::handle::{Notice, file_name};
use super::probe;

/// The limit where a model does not say what it was trained for, in tokens.
const UNTRAINED: usize = 32_768;
/// Cache types that are chosen from, the better one first.
const TYPES: [CacheType; 2] = [CacheType::F16, CacheType::Q8_0];
/// Where the numbers are kept, how many models' and how many bytes.
const LIST: &str = "fits.json";
const MOST: usize = 64;
const MOST_BYTES: u64 = 8 << 20;
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

/// What is kept of a model.
#[derive(Clone, Serialize, Deserialize)]
struct Record {
    name: String,
    demand: Demand,
    /// The cache type of its last start.
    cache: Option<CacheType>,
}

#[derive(Default, Serialize, Deserialize)]
struct Records {
    models: Vec<Record>,
}

impl Records {
    /// What cannot be read is an empty list: it is counted again.
    fn read(home: &Path) -> Records {
        let file = fs::File::open(home.join(LIST));
        let text = file.and_then(|f| io::read_to_string(f.take(MOST_BYTES)));
        serde_json::from_str(&text.unwrap_or_default()).unwrap_or_default()
    }

    fn find(&self, name: &str) -> Option<&Record> {
        self.models.iter().find(|record| record.name == name)
    }

    /// Keeps a record, if it says something new.
    fn keep(mut self, home: &Path, record: Record) -> io::Result<()> {
        let old = self.find(&record.name);
        if old.is_some_and(|old| old.cache == record.cache && old.demand == record.demand) {
            return Ok(());
        }
        self.models.retain(|old| old.name != record.name);
        self.models.push(record);
        let surplus = self.models.len().saturating_sub(MOST);
        self.models.drain(..surplus);
        let text = serde_json::to_vec(&self)?;
        durable::private::folder(home)?;
        durable::replace(&home.join(LIST), &text, Attributes::Private, Links::Refuse)
            .map_err(|e| io::Error::other(e.to_string()))
    }
}

/// Fills in what nobody asked for.
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
    // Who says anything of the placement has said all of it.
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
        let record = Record {
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
) -> Result<Choice, AgentError> {
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

/// What a model asks of memory: bytes of its weights as its file says, and what contexts take.
pub fn demand(file: &gguf::ModelFacts, trained: usize, costs: Vec<Cost>) -> Demand {
    let layers = file.parts.layers.iter();
    Demand {
        trained: match trained {
            0 => UNTRAINED,
            trained => trained,
        },
        layers: layers
            .map(|(weights, experts)| Layer {
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
        Ok(Need::count(&model, &context)?.cost(*cache))
    });
    let costs = costs.collect::<Result<Vec<Cost>, AgentError>>()?;
    Ok(demand(file, model.trained_context(), costs))
}

fn cost(options: &Options, machine: &Machine, cache: CacheType) -> Result<Cost, AgentError> {
    let need = need(options, &options.weights, machine, cache)?;
    Ok(need.cost(cache))
}

fn need(
    options: &Options,
    weights: &ModelOptions,
    machine: &Machine,
    cache: CacheType,
) -> Result<Need, AgentError> {
    let model = Arc::new(Model::plan(&options.model, weights)?);
    let context = ContextOptions {
        cache,
        ..context(options, machine)
    };
    Ok(Need::count(&model, &context)?)
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
    let files = probe::name(options, false)?;
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

/// A choice and its reason, in one sentence.
pub fn words(choice: &Choice, demand: &Demand, machine: &Machine) -> String {
    let mut text = match choice.limit < demand.trained {
        true => format!(
            "context {} of {} tokens",
            thousands(choice.limit),
            thousands(demand.trained)
        ),
        false => format!("context {} tokens", thousands(choice.limit)),
    };
    if choice.kv > 0 {
        text += &format!(", KV {} in {}", size(choice.kv), choice.cache.name());
    }
    let all = demand.layers.len() + 1;
    if !machine.cards.is_empty() {
        text += &match (choice.card_layers, choice.host_experts) {
            (0, _) => ", no layer on a card".to_owned(),
            (n, 0) if n >= all => ", all layers on the card".to_owned(),
            (n, e) if n >= all => format!(
                ", all layers on the card, but the experts of {e} of {} are in the host's memory",
                demand.layers.len()
            ),
            (n, _) => format!(", {n} of {all} layers on the card"),
        };
    }
    let left = |place: &Place, rest: u64, of: &str, whom: &str| {
        format!(
            "{of} has {} free, and {} of it stay for {whom}",
            size(place.free),
            size(rest.min(place.free))
        )
    };
    text + ": "
        + &match choice.bound {
            Bound::Trained => "all that the model was trained for".to_owned(),
            Bound::Wished => "as asked".to_owned(),
            Bound::Host => left(
                &machine.host,
                machine.host.host_rest(),
                "the host",
                "other programs",
            ),
            Bound::Cards => {
                let cards = machine.cards.iter();
                let each = cards.map(|card| {
                    left(
                        &card.place,
                        card.place.card_rest(),
                        &card.name,
                        "the driver and the screen",
                    )
                });
                each.collect::<Vec<_>>().join("; ")
            }
            Bound::Start => {
                "a larger one makes every start slow, as all of it is filled with zeros \
                             first"
                    .to_owned()
            }
        }
}

fn refused(options: &Options, machine: &Machine, refusal: &Refusal) -> AgentError {
    let name = file_name(&options.model);
    let cards = match refusal.cards {
        0 => String::new(),
        cards => format!(" and {} on the cards", size(cards)),
    };
    AgentError::new(
        ErrorKind::Memory,
        format!(
            "{name} does not fit: its weights take {}, a context of {} tokens {}, and npast may fill \
             {} of the host's memory{cards} ({} are free, {} stay for other programs)",
            size(refusal.weights),
            thousands(refusal.tokens),
            size(refusal.context),
            size(refusal.host),
            size(machine.host.free),
            size(machine.host.host_rest().min(machine.host.free)),
        ),
    )
    .hinted(match options.limit {
        Some(_) => {
            "take a smaller --ctx, or give --gpu-layers too to have it loaded whatever is free"
        }
        None if machine.cards.is_empty() => {
            "close other programs, take a smaller model or quantization (`npast models recommend`), \
             or give a --ctx to have it loaded whatever is free"
        }
        None => {
            "close other programs, take a smaller model or quantization (`npast models recommend`), \
             or give --ctx and --gpu-layers to have it loaded whatever is free"
        }
    })
}

fn size(bytes: u64) -> String {
    match bytes >> 30 {
        0 => format!("{} MiB", bytes >> 20),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let head = digits.len() % 3;
    let (first, rest) = digits.split_at(head);
    let groups = rest
        .as_bytes()
        .chunks(3)
        .map(|c| String::from_utf8_lossy(c));
    let first = (!first.is_empty()).then(|| first.into());
    first
        .into_iter()
        .chain(groups)
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
#[path = "fit_tests.rs"]
mod tests;
