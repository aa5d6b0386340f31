//! Types, constants and bounds: what single keywords may say.

use serde_json::Value;

pub(super) use super::bounds::cut;
use super::keywords::{Keywords, Odd};

/// The types of JSON Schema.
pub(super) const TYPES: [&str; 7] = [
    "string", "number", "integer", "boolean", "object", "array", "null",
];

/// Most values of an `enum`.
const MOST_VALUES: usize = 256;

/// Longest `enum`, in bytes of JSON.
const MOST_VALUE_BYTES: usize = 8 << 10;

/// Counts from here on bound nothing in practice.
const LARGE_COUNT: f64 = 1e6;

/// Larger integers are not exact as the doubles of JSON.
const LARGE_NUMBER: f64 = 9_007_199_254_740_992.0;

/// The bounds of numbers, each with its other end.
pub(super) const LEAST: [&str; 2] = ["minimum", "exclusiveMinimum"];
pub(super) const MOST: [&str; 2] = ["maximum", "exclusiveMaximum"];

/// Bounds that count something.
pub(super) const COUNTS: [(&str, &str); 3] = [
    ("minLength", "maxLength"),
    ("minItems", "maxItems"),
    ("minProperties", "maxProperties"),
];

/// The types that a schema names; empty where it names none, so all are meant.
pub(super) fn types(fields: &Keywords) -> Vec<&str> {
    match fields.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(some)) => some.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Writes types; nothing where all are meant.
pub(super) fn set_types(fields: &mut Keywords, types: &[&str]) {
    match types {
        [] => fields.shift_remove("type"),
        [one] => fields.insert("type".into(), (*one).into()),
        some => fields.insert("type".into(), some.to_vec().into()),
    };
}

/// Whether a value of this type can fit.
pub(super) fn may_be(fields: &Keywords, kind: &str) -> bool {
    let types = types(fields);
    types.is_empty() || types.iter().any(|t| *t == kind || covers(t, kind))
}

/// `number` has all that `integer` has.
fn covers(wide: &str, narrow: &str) -> bool {
    wide == narrow || (wide == "number" && narrow == "integer")
}

/// The types that both lists allow.
pub(super) fn common<'a>(a: &[&'a str], b: &[&'a str]) -> Vec<&'a str> {
    let narrower = |x: &&'a str, others: &[&str]| others.iter().any(|y| covers(y, x));
    let mut both: Vec<&str> = a.iter().copied().filter(|x| narrower(x, b)).collect();
    for x in b.iter().copied().filter(|x| narrower(x, a)) {
        if !both.contains(&x) {
            both.push(x);
        }
    }
    both
}

/// The given `type`, in the names of JSON Schema; `None` where it says nothing.
pub(super) fn given_types(
    given: &Value,
    nullable: bool,
    place: &str,
    odd: &mut Odd,
) -> Vec<&'static str> {
    let names: Vec<&Value> = match given {
        Value::Array(list) => list.iter().collect(),
        one => vec![one],
    };
    let mut types: Vec<&'static str> = Vec::new();
    if names.is_empty() {
        odd.add(place, "has an empty list of types");
    }
    for name in names {
        let Some(known) = name.as_str().and_then(known_type) else {
            if name.as_str() != Some("any") {
                odd.add(place, "has a type that JSON does not have");
            }
            // Anything may be meant.
            return Vec::new();
        };
        if !types.contains(&known) {
            types.push(known);
        }
    }
    if types.contains(&"number") {
        types.retain(|t| *t != "integer");
    }
    if nullable && !types.is_empty() && !types.contains(&"null") {
        types.push("null");
    }
    types
}

/// A type by its name, or by that which other languages have for it.
fn known_type(name: &str) -> Option<&'static str> {
    let own = TYPES.iter().copied().find(|t| t.eq_ignore_ascii_case(name));
    own.or_else(|| {
        Some(match name.to_ascii_lowercase().as_str() {
            "str" | "text" => "string",
            "int" | "long" => "integer",
            "float" | "double" | "decimal" => "number",
            "bool" => "boolean",
            "dict" | "map" => "object",
            "list" | "tuple" => "array",
            "none" | "nil" => "null",
            _ => return None,
        })
    })
}

/// The type of a value, the narrowest.
pub(super) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_i64() || n.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The types of values.
pub(super) fn types_of(values: &[Value]) -> Vec<&'static str> {
    let mut own: Vec<&str> = Vec::new();
    for value in values {
        let kind = type_of(value);
        if !own.contains(&kind) {
            own.push(kind);
        }
    }
    if own.contains(&"number") {
        own.retain(|kind| *kind != "integer");
    }
    own
}

/// The values that are allowed, from `enum` and `const`.
pub(super) fn given_values(given: &Keywords, place: &str, odd: &mut Odd) -> Option<Vec<Value>> {
    let listed = match given.get("enum") {
        None => None,
        Some(Value::Array(values)) if !values.is_empty() => {
            let mut once: Vec<Value> = Vec::new();
            for value in values.iter().take(MOST_VALUES + 1) {
                if !once.contains(value) {
                    once.push(value.clone());
                }
            }
            Some(once)
        }
        Some(_) => {
            odd.add(place, "has an enum without values");
            None
        }
    };
    let values = match (listed, given.get("const")) {
        (None, None) => return None,
        (Some(values), None) => values,
        (_, Some(one)) => vec![one.clone()],
    };
    let bytes: usize = values.iter().map(|v| v.to_string().len()).sum();
    if values.len() > MOST_VALUES || bytes > MOST_VALUE_BYTES {
        odd.add(place, "has more values than can be listed");
        return None;
    }
    Some(values)
}

/// The bounds that bound something: numbers, not negative where they count, none so large that no
/// value reaches it.
pub(super) fn given_bounds(given: &Keywords, out: &mut Keywords, place: &str, odd: &mut Odd) {
    for (least, most) in COUNTS {
        for word in [least, most] {
            let Some(value) = given.get(word) else {
                continue;
            };
            match value.as_f64() {
                Some(n) if (0.0..LARGE_COUNT).contains(&n) => {
                    let n = if word == least { n.ceil() } else { n.floor() };
                    if n > 0.0 || word == most {
                        out.insert(word.into(), (n as u64).into());
                    }
                }
                // At least nothing, or at most anything.
                Some(n) if (n < 0.0) == (word == least) => {}
                _ => odd.add(place, &format!("has a {word} that nothing can have")),
            }
        }
    }
    for (plain, strict) in [(LEAST[0], LEAST[1]), (MOST[0], MOST[1])] {
        for word in [plain, strict] {
            match given.get(word) {
                None => {}
                // In Draft 4 a truth value means that the other bound is strict.
                Some(Value::Bool(_)) if word == strict => {}
                Some(Value::Number(n)) => {
                    let is_strict = word == strict || given.get(strict) == Some(&Value::Bool(true));
                    if n.as_f64().is_some_and(|n| n.abs() < LARGE_NUMBER) {
                        let name = if is_strict { strict } else { plain };
                        out.insert(name.into(), n.clone().into());
                    }
                }
                Some(_) => odd.add(place, &format!("has a {word} that is no number")),
            }
        }
    }
    if let Some(Value::Number(n)) = given.get("multipleOf")
        && n.as_f64().is_some_and(|n| n > 0.0)
    {
        out.insert("multipleOf".into(), n.clone().into());
    }
}

/// Takes out what contradicts itself: bounds that nothing fits between, values of another type.
pub(super) fn settle(fields: &mut Keywords, place: &str, odd: &mut Odd) {
    for (least, most) in COUNTS {
        let bound = |word: &str| fields.get(word).and_then(Value::as_u64);
        if let (Some(low), Some(high)) = (bound(least), bound(most))
            && low > high
        {
            odd.add(place, &format!("has a {least} above its {most}"));
            fields.shift_remove(least);
            fields.shift_remove(most);
        }
    }
    let bound = |word: &str| fields.get(word).and_then(Value::as_f64);
    let low = LEAST.iter().filter_map(|w| bound(w)).reduce(f64::max);
    let high = MOST.iter().filter_map(|w| bound(w)).reduce(f64::min);
    if let (Some(low), Some(high)) = (low, high)
        && (low > high
            || (low == high && (fields.contains_key(LEAST[1]) || fields.contains_key(MOST[1]))))
    {
        odd.add(place, "has a smallest number above its largest");
        for word in LEAST.iter().chain(&MOST) {
            fields.shift_remove(*word);
        }
    }
    settle_values(fields, place, odd);
    with_items(fields);
}

/// Every list has items, whatever they are: templates read them.
pub(super) fn with_items(fields: &mut Keywords) {
    if fields.get("type").and_then(Value::as_str) == Some("array") && !fields.contains_key("items")
    {
        fields.insert("items".into(), Value::Object(Keywords::new()));
    }
}

fn settle_values(fields: &mut Keywords, place: &str, odd: &mut Odd) {
    let Some(Value::Array(values)) = fields.get("enum") else {
        return;
    };
    let named = types(fields);
    let fits = |value: &&Value| {
        let own = type_of(value);
        let whole = value.as_f64().is_some_and(|n| n.fract() == 0.0);
        named
            .iter()
            .any(|t| covers(t, own) || (*t == "integer" && own == "number" && whole))
    };
    let fitting: Vec<Value> = values.iter().filter(fits).cloned().collect();
    if named.is_empty() {
        return;
    }
    if fitting.is_empty() {
        odd.add(place, "has an enum of another type than its own");
        let own = types_of(values);
        set_types(fields, &own);
    } else if fitting.len() < values.len() {
        fields.insert("enum".into(), fitting.into());
    }
}

/// The narrower of two bounds.
pub(super) fn narrower(word: &str, a: &Value, b: &Value) -> Value {
    let least = word.starts_with("min") || word == LEAST[1];
    let (x, y) = (a.as_f64(), b.as_f64());
    match (x, y) {
        (Some(x), Some(y)) if (x < y) == least => b.clone(),
        _ => a.clone(),
    }
}
