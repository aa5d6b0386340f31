//! The digest of a history: equal digests are equal histories in the form in which histories are compared.

use blake3::Hasher;
use serde_json::Value;

use super::blocks::masked_first;
use super::values::{bare, by_value};
use crate::chat::message::{Message, Role};
use crate::ledger::Digest;

/// The digest of a history without messages.
pub const START: Digest = Digest(*b"npast: messages of a history, 1.");

/// The digest of a history that ends in `message`, where `before` is the digest of all before it.
/// The message is one of a history in normal form; `first` says that it is its first user message.
/// Costs O(bytes of the message).
pub fn chain(before: Digest, message: &Message, first: bool) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(&before.0);
    hasher.update(&[match message.role {
        Role::System => 0,
        Role::User => 1,
        Role::Assistant => 2,
        Role::Tool => 3,
    }]);
    match first {
        true => text(&mut hasher, bare(&masked_first(&message.text))),
        false => text(&mut hasher, bare(&message.text)),
    }
    length(&mut hasher, message.calls.len());
    for call in &message.calls {
        text(&mut hasher, &call.name);
        value(&mut hasher, &call.arguments);
    }
    Digest(*hasher.finalize().as_bytes())
}

fn length(hasher: &mut Hasher, n: usize) {
    hasher.update(&(n as u64).to_le_bytes());
}

fn text(hasher: &mut Hasher, text: &str) {
    length(hasher, text.len());
    hasher.update(text.as_bytes());
}

/// Equal values give equal bytes, and no value's bytes begin another's.
fn value(hasher: &mut Hasher, one: &Value) {
    match one {
        Value::Null => {
            hasher.update(b"n");
        }
        Value::Bool(b) => {
            hasher.update(if *b { b"t" } else { b"f" });
        }
        Value::Number(number) => match by_value(number) {
            Ok(whole) => {
                hasher.update(b"i");
                hasher.update(&whole.to_le_bytes());
            }
            Err(bits) => {
                hasher.update(b"d");
                hasher.update(&bits.to_le_bytes());
            }
        },
        Value::String(s) => {
            hasher.update(b"s");
            text(hasher, s);
        }
        Value::Array(list) => {
            hasher.update(b"a");
            length(hasher, list.len());
            list.iter().for_each(|item| value(hasher, item));
        }
        Value::Object(fields) => {
            hasher.update(b"o");
            length(hasher, fields.len());
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_unstable_by_key(|(key, _)| *key);
            for (key, item) in sorted {
                text(hasher, key);
                value(hasher, item);
            }
        }
    }
}
