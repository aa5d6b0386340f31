//! The fingerprint: the facts of a model and its context. Its hard part must be equal before stored KV is
//! used; its soft part may differ, and then a sample of logits decides (`index::samples`).
//! `agent/fingerprint.rs` collects the facts before the store is opened. All facts are kept in readable
//! form, so that npast can tell the user which fact differs when it does not use stored KV. Invariant:
//! equal facts give equal digests, whatever order the facts were added in.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::ledger::Digest;

/// The facts of a model and its context. The hard facts must be equal; the digest of the soft facts is
/// written into every record, and the caller decides whether other soft facts are acceptable.
#[derive(Clone, Debug)]
pub struct Fingerprint {
    /// The digest of the hard facts. It gives the model folder its name, and every D(p) begins with it:
    /// `Running::new(hard)` in `crate::ledger` is the hash of 0 tokens.
    pub hard: Digest,
    /// The hard facts: a JSON object with one value for each fact.
    pub facts: Value,
    /// The soft facts: build of llama.cpp, backend, device, number of threads, n_ubatch.
    pub soft: Value,
}

impl Fingerprint {
    /// `facts` are the hard facts. Their digest is the blake3 hash of their canonical JSON (sorted keys,
    /// no spaces).
    pub fn new(facts: Value, soft: Value) -> Fingerprint {
        Fingerprint {
            hard: Digest::of(canonical(&facts).as_bytes()),
            facts,
            soft,
        }
    }

    /// The digest of the soft facts, as records have it in their header.
    pub fn soft_digest(&self) -> Digest {
        Digest::of(canonical(&self.soft).as_bytes())
    }

    /// In words, the first hard fact (by its name) that is different in `other`, the hard facts of stored
    /// KV: "made with cache type q8_0, this run has f16". `None` if all facts are equal.
    pub fn differs(&self, other: &Value) -> Option<String> {
        differs(&self.facts, other)
    }
}

/// In words, the first fact (by its name) that is different in `run` and `other`.
pub(in crate::kv) fn differs(run: &Value, other: &Value) -> Option<String> {
    let names: BTreeSet<&String> = [run, other]
        .into_iter()
        .filter_map(Value::as_object)
        .flat_map(|facts| facts.keys())
        .collect();
    let name = names
        .into_iter()
        .find(|name| run.get(name.as_str()) != other.get(name.as_str()))?;
    let spoken = name.replace('_', " ");
    Some(match (other.get(name.as_str()), run.get(name.as_str())) {
        (Some(made), Some(run)) if !is_hash(made) && !is_hash(run) => {
            format!(
                "made with {spoken} {}, this run has {}",
                word(made),
                word(run)
            )
        }
        (Some(made), None) if !is_hash(made) => {
            format!("made with {spoken} {}, this run has none", word(made))
        }
        (None, Some(run)) if !is_hash(run) => {
            format!("made without {spoken}, this run has {}", word(run))
        }
        _ => format!("made with other {spoken} than this run has"),
    })
}

/// True for a hash in hexadecimal. A text for the user does not show it: the name of the fact says
/// enough.
fn is_hash(value: &Value) -> bool {
    value
        .as_str()
        .is_some_and(|s| s.len() >= 32 && s.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// A value as a short text for the user, cut after 40 characters.
fn word(value: &Value) -> String {
    let whole = match value {
        Value::String(s) => s.clone(),
        other => other.to_string(),
    };
    match whole.char_indices().nth(40) {
        Some((cut, _)) => format!("{}…", &whole[..cut]),
        None => whole,
    }
}

/// JSON with sorted keys and without spaces: the same value always gives the same text.
pub(in crate::kv) fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut names: Vec<&String> = map.keys().collect();
            names.sort();
            out.push('{');
            for (i, name) in names.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                write(&map[name.as_str()], out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_order_of_facts_does_not_matter_and_their_values_do() {
        let a = Fingerprint::new(json!({"a": 1, "b": {"x": 1, "y": [1, "q"]}}), json!({}));
        let b = Fingerprint::new(
            json!({"b": {"y": [1, "q"], "x": 1}, "a": 1}),
            json!({"t": 2}),
        );
        let c = Fingerprint::new(json!({"a": 1, "b": {"x": 2, "y": [1, "q"]}}), json!({}));
        assert_eq!(a.hard, b.hard);
        assert_ne!(a.hard, c.hard);
        assert_ne!(a.soft_digest(), b.soft_digest());
    }

    #[test]
    fn a_difference_is_said_in_words() {
        let hash = |c: &str| c.repeat(64);
        let run = Fingerprint::new(
            json!({"cache_type": "f16", "layers": 4, "weights": hash("a")}),
            json!({}),
        );
        let said = |other: Value| run.differs(&other);
        assert_eq!(said(run.facts.clone()), None);
        assert_eq!(
            said(json!({"cache_type": "q8_0", "layers": 4, "weights": hash("a")})).unwrap(),
            "made with cache type q8_0, this run has f16"
        );
        assert_eq!(
            said(json!({"cache_type": "f16", "layers": 4, "weights": hash("b")})).unwrap(),
            "made with other weights than this run has"
        );
        assert_eq!(
            said(json!({"cache_type": "f16", "weights": hash("a")})).unwrap(),
            "made without layers, this run has 4"
        );
        assert_eq!(
            said(json!({"adapter": "x", "cache_type": "f16", "layers": 4})).unwrap(),
            "made with adapter x, this run has none"
        );
    }
}
