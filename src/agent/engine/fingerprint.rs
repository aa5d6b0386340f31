//! What must be equal before stored KV is used again, gathered from the model file and the
//! context's settings. Never: path, name, chat template, sampling, GPU layers.

use serde_json::{Map, Value, json};

use crate::agent::values::options::Options;
use crate::kv::Fingerprint;
use crate::llama;
use crate::llama::gguf::ModelFacts;
use crate::slot::{SlotFacts, SlotOptions};

/// The fingerprint of a model in a slot; `weights` names the bytes of its tensors, as far as they are
/// known (`kv::Weights`). What computes (the build of llama.cpp, its compiler flags and instructions, backends, devices,
/// threads, batch size) is soft: a stored sample of logits decides whether it gives the same numbers.
pub(in crate::agent) fn fingerprint(
    model: &ModelFacts,
    weights: Option<&str>,
    slot: &SlotFacts,
    options: &Options,
) -> Fingerprint {
    let mut facts = Map::new();
    facts.insert("architecture".into(), json!(model.architecture));
    facts.insert("tensors".into(), json!(model.tensors.to_hex().as_str()));
    if let Some(weights) = weights {
        facts.insert("weights".into(), json!(weights));
    }
    for (key, value) in &model.shape {
        facts.insert(format!("model {key}"), json!(value));
    }
    let context = &options.context;
    let cache = context.cache.name();
    facts.insert("cache type".into(), json!(cache));
    facts.insert("memory class".into(), json!(slot.class.as_str()));
    let mut given = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            facts.insert(name.to_owned(), value);
        }
    };
    given(
        "rope scaling",
        context.rope_scaling.as_ref().map(|v| json!(v)),
    );
    given("rope base", context.rope_freq_base.map(|v| json!(v)));
    given("rope scale", context.rope_freq_scale.map(|v| json!(v)));
    given(
        "yarn extrapolation",
        context.yarn_ext_factor.map(|v| json!(v)),
    );
    given("yarn magnitude", context.yarn_attn_factor.map(|v| json!(v)));
    given("yarn fast", context.yarn_beta_fast.map(|v| json!(v)));
    given("yarn slow", context.yarn_beta_slow.map(|v| json!(v)));
    given("yarn context", context.yarn_orig_ctx.map(|v| json!(v)));
    given("rope factors", rope_factors(model, slot.limit));
    given(
        "state version",
        option_env!("NPAST_STATE_VERSION").map(|v| json!(v)),
    );
    let offloads = options.weights.gpu_layers != Some(0);
    let devices: Vec<String> = llama::devices()
        .into_iter()
        .filter(|device| offloads || !device.gpu)
        .map(|device| device.description)
        .collect();
    let soft = json!({
        "llama.cpp": option_env!("NPAST_LLAMA_VERSION"),
        "backends": llama::backends().join("+"),
        "devices": devices.join("+"),
        "threads": context.threads,
        "threads_batch": context.threads_batch,
        "ubatch": slot.ubatch,
        // A hash, since a notice has the value of what differs.
        "compiler flags and processor instructions": compiled(),
    });
    Fingerprint::new(Value::Object(facts), soft)
}

/// The hash of what decides how llama.cpp computes, beside its version: the flags by which it was compiled,
/// and the instructions that it uses. Where it has a library for each kind of processor, these are the
/// instructions of the one that it loaded.
fn compiled() -> String {
    let facts = [
        option_env!("NPAST_TARGET_FEATURES").unwrap_or_default(),
        option_env!("NPAST_LLAMA_FLAGS").unwrap_or_default(),
        llama::system_info(),
    ];
    blake3::hash(facts.join("\n").as_bytes())
        .to_hex()
        .to_string()
}

/// LongRoPE picks its factors by the context's size; only there is the size a part of the KV.
fn rope_factors(model: &ModelFacts, limit: usize) -> Option<Value> {
    let find = |name: &str| {
        model
            .shape
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, v)| v)
    };
    let scaling = find("rope.scaling.type")?;
    if scaling != "longrope" {
        return None;
    }
    let original: usize = find("rope.scaling.original_context_length")?.parse().ok()?;
    Some(json!(if SlotOptions::cells(limit) > original {
        "long"
    } else {
        "short"
    }))
}
