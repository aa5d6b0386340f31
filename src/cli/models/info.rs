//! `npast models info`: what a model is, what a token costs in it, and how large a context this
//! machine has room for with each cache type. The numbers are llama.cpp's own, counted on a model
//! whose weights are not read.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::agent::{demand, fit_words};
use crate::cli::CliContext;
use crate::cli::error::Failure;
use crate::cli::output::{self, bytes, count, table};
use crate::harmless;
use crate::llama::{CacheType, ContextOptions, LoadError, Model, ModelOptions, gguf};
use crate::slot::fit::{FreeMemory, Machine, Wishes, choose};
use crate::slot::{MemoryNeed, SlotOptions};

/// The cache types that are compared.
const TYPES: [CacheType; 3] = [CacheType::F16, CacheType::Q8_0, CacheType::Q4_0];
/// Those of them that a start chooses from.
const CHOSEN: [CacheType; 2] = [CacheType::F16, CacheType::Q8_0];
/// Keys of the metadata that are shown, where a model has them.
const KEYS: [&str; 5] = [
    "general.name",
    "general.license",
    "general.basename",
    "general.size_label",
    "general.quantized_by",
];

/// What a context with one cache type takes.
struct CacheRow {
    cache: CacheType,
    need: Result<MemoryNeed, String>,
    /// The largest conversation in tokens.
    largest: usize,
}

/// Prints what a model is.
pub fn run(run: &CliContext, path: &Path) -> Result<i32, Failure> {
    let facts = gguf::facts(path)?;
    let failed = |error: LoadError| Failure::failed("model", error.to_string());
    let model = Model::plan(path, &ModelOptions::default()).map_err(failed)?;
    let model = Arc::new(model);
    let machine = Machine::here();
    let cards = !machine.cards.is_empty();
    let trained = model.trained_context();
    let room = |device: Option<&str>| machine.room(device);
    let rows: Vec<CacheRow> = TYPES
        .into_iter()
        .map(|cache| {
            let options = ContextOptions {
                cache,
                ubatch: if cards { 512 } else { 128 },
                ..ContextOptions::default()
            };
            let need = MemoryNeed::count(&model, &options).map_err(|error| error.to_string());
            let largest = need.as_ref().map_or(0, |need| need.largest(trained, room));
            CacheRow {
                cache,
                need,
                largest,
            }
        })
        .collect();
    if run.json {
        return output::json::lines(&[as_json(path, &facts, &model, &rows)]);
    }
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        text += format!("{label:<15}{}", harmless::line(value)).trim_end();
        text.push('\n');
    };
    line("file", &path.to_string_lossy());
    line("description", &model.description());
    for key in KEYS {
        if let Some(value) = model.meta(key) {
            line(key.trim_start_matches("general."), &value);
        }
    }
    line(
        "weights",
        &format!(
            "{} in {} tensors, {}",
            bytes(facts.bytes),
            facts.n_tensors,
            match facts.n_files {
                1 => "one file".to_owned(),
                n => format!("{n} files"),
            }
        ),
    );
    line("parameters", &count(model.parameters() as usize));
    line("memory class", class(&model));
    line("trained for", &format!("{} tokens", count(trained)));
    if facts.chat_template.is_none() {
        line(
            "template",
            "none: messages become plain \"role: text\" lines",
        );
    }
    let mut memory = |name: &str, place: &FreeMemory, rest: u64| {
        let rest = bytes(rest.min(place.free));
        let free = bytes(place.free);
        line(
            "memory",
            &format!("{name}: {free} free, {rest} of it stay free"),
        );
    };
    memory("host", &machine.host, machine.host.host_rest());
    for card in &machine.cards {
        memory(&card.name, &card.place, card.place.card_rest());
    }
    text += "\n";
    text += &table(
        &[
            "cache",
            "bytes a token",
            "every context",
            "full context",
            "largest that fits",
            "",
        ],
        &rows
            .iter()
            .map(|row| cells(row, trained))
            .collect::<Vec<_>>(),
        &[1, 2, 3, 4],
    );
    text += &formula(&rows[0], &facts);
    text += &format!(
        "\nwithout flags: {}\n",
        unasked(&rows, &facts, trained, &machine)
    );
    output::page(&text)
}

/// What a start without flags chooses now, and why.
fn unasked(
    rows: &[CacheRow],
    facts: &gguf::ModelFacts,
    trained: usize,
    machine: &Machine,
) -> String {
    let of = |cache| rows.iter().find(|row| row.cache == cache);
    let rows = CHOSEN.into_iter().filter_map(of);
    let costs = rows.filter_map(|row| Some(row.need.as_ref().ok()?.cost(row.cache)));
    let demand = demand(facts, trained, costs.collect());
    match choose(&demand, machine, &Wishes::default()) {
        Ok(choice) => fit_words(&choice, &demand, machine),
        Err(_) => "it does not fit".to_owned(),
    }
}

/// By what llama.cpp says of the architecture; `doctor` finds it by a probe.
fn class(model: &Model) -> &'static str {
    match (model.is_recurrent(), model.is_hybrid(), model.window()) {
        (true, ..) => "recurrent: only recurrent states",
        (_, true, _) => "hybrid: recurrent layers beside attention",
        (_, _, 1..) => "swa: some layers see a sliding window",
        _ => "dense: KV of every position in every layer",
    }
}

fn cells(row: &CacheRow, trained: usize) -> Vec<String> {
    let name = row.cache.name().to_owned();
    let need = match &row.need {
        Ok(need) => need,
        Err(error) => {
            let none = String::new;
            return vec![
                name,
                none(),
                none(),
                none(),
                none(),
                harmless::line(error).into_owned(),
            ];
        }
    };
    let fixed: u64 = need.shares.iter().map(|share| share.fixed).sum();
    let note = match row.largest {
        0 => "the weights do not fit",
        n if n == trained => "all that it was trained for",
        _ => "",
    };
    vec![
        name,
        count(need.token_bytes() as usize),
        bytes(fixed),
        bytes(need.token_bytes() * SlotOptions::cells(trained) as u64 + fixed),
        format!("{} tokens", count(row.largest)),
        note.to_owned(),
    ]
}

/// How the table comes about, with the numbers of its first row.
fn formula(row: &CacheRow, facts: &gguf::ModelFacts) -> String {
    let Ok(need) = &row.need else {
        return String::new();
    };
    let number = |key: &str| {
        let found = facts.shape.iter().find(|(name, _)| name == key);
        found.and_then(|(_, value)| value.parse::<u64>().ok())
    };
    let mut text = String::from(
        "\nmemory = weights + every context + (bytes a token + work) × cells\n\
         cells = tokens + an eighth of them for side work, at least 2,048\n",
    );
    let work: u64 = need.shares.iter().map(|share| share.work).sum();
    text += &format!(
        "work: {} bytes a cell in the buffers of a decode call\n",
        count(work as usize)
    );
    let heads = number("attention.head_count");
    let head = number("embedding_length")
        .zip(heads)
        .and_then(|(w, h)| w.checked_div(h));
    let key = number("attention.key_length").or(head);
    let value = number("attention.value_length").or(head);
    if let (Some(kv_heads), Some(key), Some(value)) =
        (number("attention.head_count_kv"), key, value)
    {
        let layer = kv_heads
            .saturating_mul(key.saturating_add(value))
            .saturating_mul(2);
        let layers = need.token_bytes().checked_div(layer).unwrap_or(0);
        if layer > 0 && layers.saturating_mul(layer) == need.token_bytes() {
            text += &format!(
                "bytes a token in f16 = {layers} layers that keep every position × {kv_heads} KV \
                 heads × ({key} + {value}) × 2 bytes\n"
            );
        }
    }
    text
}

fn as_json(path: &Path, facts: &gguf::ModelFacts, model: &Model, rows: &[CacheRow]) -> Value {
    let caches: Vec<Value> = rows
        .iter()
        .map(|row| match &row.need {
            Err(error) => json!({"cache": row.cache.name(), "error": error}),
            Ok(need) => json!({
                "cache": row.cache.name(),
                "token_bytes": need.token_bytes(),
                "fixed_bytes": need.shares.iter().map(|s| s.fixed).sum::<u64>(),
                "work_bytes": need.shares.iter().map(|s| s.work).sum::<u64>(),
                "largest": row.largest,
            }),
        })
        .collect();
    let class = class(model)
        .split(':')
        .next()
        .unwrap_or_default()
        .to_owned();
    json!({
        "type": "model", "path": path.to_string_lossy(), "description": model.description(),
        "architecture": facts.architecture, "bytes": facts.bytes, "files": facts.n_files,
        "parameters": model.parameters(), "class": class, "trained": model.trained_context(),
        "template": facts.chat_template.is_some(), "caches": caches,
    })
}
