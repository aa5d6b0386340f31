//! The form in which messages are compared, and its digest.

use blake3::Hasher;
use serde_json::{Number, Value};

use crate::chat::message::{Message, Role};
use crate::chat::pins;
use crate::ledger::Digest;

/// The digest of a history without messages.
pub const START: Digest = Digest(*b"npast: messages of a history, 1.");

/// A text without white space at both ends, as clients cut it: what Unicode, Python (`strip`) and
/// JavaScript (`trim`) take for white space.
pub(super) fn bare(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}' | '\u{feff}'))
}

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
        true => text(&mut hasher, bare(&pins::masked_first(&message.text))),
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

/// A number by its value: whole ones however they are written (1, 1.0, 1e0), others by their bits.
fn by_value(number: &Number) -> Result<i128, u64> {
    /// 2^126: a double up to here is exact as an `i128`.
    const MOST: f64 = 8.507_059_173_023_462e37;
    if let Some(n) = number.as_i64() {
        return Ok(i128::from(n));
    }
    if let Some(n) = number.as_u64() {
        return Ok(i128::from(n));
    }
    let x = number.as_f64().unwrap_or_default();
    match x.fract() == 0.0 && x.abs() <= MOST {
        true => Ok(x as i128),
        false => Err(x.to_bits()),
    }
}

/// Whether two JSON values are the same: the order of keys does not count, numbers count by value.
pub(in crate::chat) fn same_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => by_value(a) == by_value(b),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, a)| b.get(key).is_some_and(|b| same_value(a, b)))
        }
        _ => a == b,
    }
}
