//! When two texts, and when two JSON values, count as the same. Pure.

use serde_json::{Number, Value};

/// A text without white space at both ends, as clients cut it: what Unicode, Python (`strip`) and
/// JavaScript (`trim`) take for white space.
pub(super) fn bare(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}' | '\u{feff}'))
}

/// A number by its value: whole ones however they are written (1, 1.0, 1e0), others by their bits.
pub(super) fn by_value(number: &Number) -> Result<i128, u64> {
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
pub(super) fn same_value(a: &Value, b: &Value) -> bool {
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
