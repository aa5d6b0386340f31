//! What of a normal schema a grammar enforces. llama.cpp writes a count out rule by rule, so counts
//! and values have a common bound for all tools of a session; what is over it, the check of a call's
//! arguments judges.

use serde_json::{Map, Value};

use super::{Keywords, values};

/// How much of a schema the grammar follows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum GrammarDetail {
    /// All that a grammar can say.
    Whole,
    /// The names of the parameters and their types.
    Types,
}

/// What the grammar of a session may still grow by.
#[derive(Clone, Debug)]
pub struct GrammarRoom {
    repeats: u64,
    bytes: usize,
    nodes: usize,
}

impl Default for GrammarRoom {
    fn default() -> GrammarRoom {
        GrammarRoom {
            repeats: 16 << 10,
            bytes: 256 << 10,
            nodes: 8 << 10,
        }
    }
}

/// Largest count that is written out.
const MOST_REPEATS: u64 = 256;

/// Largest number whose digits are written out.
const MOST_BOUND: i64 = 1_000_000_000;

/// Most properties below the parameters: each may be left out, so their grammar grows faster than
/// they do.
const MOST_PROPERTIES: usize = 96;

/// The schema that the grammar is made of, from a normal one.
pub fn for_grammar(normal: &Value, level: GrammarDetail, room: &mut GrammarRoom) -> Value {
    match normal {
        Value::Object(fields) => Value::Object(parameters(fields, level, room)),
        _ => Value::Object(Map::from_iter([("type".into(), "object".into())])),
    }
}

fn parameters(fields: &Keywords, level: GrammarDetail, room: &mut GrammarRoom) -> Keywords {
    let mut out = Keywords::from_iter([("type".to_owned(), Value::from("object"))]);
    if let Some(Value::Object(properties)) = fields.get("properties") {
        let own = properties.iter().map(|(name, schema)| {
            room.bytes = room.bytes.saturating_sub(name.len());
            let schema = match (schema.as_object(), level) {
                (Some(schema), GrammarDetail::Whole) => node(schema, room),
                (Some(schema), GrammarDetail::Types) => only_types(schema),
                (None, _) => Keywords::new(),
            };
            (name.clone(), Value::Object(schema))
        });
        let own: Map<String, Value> = own.collect();
        out.insert("properties".into(), Value::Object(own));
    }
    out.extend(
        fields
            .get("required")
            .map(|names| ("required".to_owned(), names.clone())),
    );
    match fields.get("additionalProperties") {
        Some(Value::Bool(open)) => {
            out.insert("additionalProperties".into(), Value::Bool(*open));
        }
        Some(Value::Object(schema)) if level == GrammarDetail::Whole => {
            let schema = node(schema, room);
            out.insert("additionalProperties".into(), Value::Object(schema));
        }
        Some(_) => {
            out.insert("additionalProperties".into(), Value::Bool(true));
        }
        None => {}
    }
    out
}

/// The types of a schema, and of its alternatives.
fn only_types(fields: &Keywords) -> Keywords {
    let mut all: Vec<&str> = values::types(fields);
    if let Some(Value::Array(some)) = fields.get("anyOf") {
        for one in some.iter().filter_map(Value::as_object) {
            let own = values::types(one);
            if own.is_empty() {
                return Keywords::new();
            }
            for kind in own {
                if !all.contains(&kind) {
                    all.push(kind);
                }
            }
        }
    }
    let mut out = Keywords::new();
    values::set_types(&mut out, &all);
    out
}

fn node(fields: &Keywords, room: &mut GrammarRoom) -> Keywords {
    if room.nodes == 0 {
        return only_types(fields);
    }
    room.nodes -= 1;
    if let Some(Value::Array(some)) = fields.get("anyOf") {
        let some = some.iter().filter_map(Value::as_object);
        let some: Vec<Value> = some.map(|one| Value::Object(node(one, room))).collect();
        return Keywords::from_iter([("anyOf".to_owned(), some.into())]);
    }
    if let Some(listed) = fields.get("enum") {
        let bytes = listed.to_string().len();
        if bytes <= room.bytes {
            room.bytes -= bytes;
            return Keywords::from_iter([("enum".to_owned(), listed.clone())]);
        }
        return only_types(fields);
    }
    let mut out = only_types(fields);
    match values::types(fields).as_slice() {
        // Of several types each has its own keywords, and llama.cpp wants them side by side.
        [_, _, ..] => {
            let each = values::types(fields).into_iter().map(|kind| {
                let mut one = fields.clone();
                one.insert("type".into(), kind.into());
                Value::Object(node(&one, room))
            });
            let each: Vec<Value> = each.collect();
            return Keywords::from_iter([("anyOf".to_owned(), each.into())]);
        }
        ["string"] => string(fields, &mut out, room),
        ["integer"] => integer(fields, &mut out),
        ["array"] => {
            if let Some(Value::Object(items)) = fields.get("items") {
                let items = node(items, room);
                out.insert("items".into(), Value::Object(items));
            }
            counts(fields, &mut out, "minItems", "maxItems", room);
        }
        ["object"] => object(fields, &mut out, room),
        _ => {}
    }
    out
}

fn object(fields: &Keywords, out: &mut Keywords, room: &mut GrammarRoom) {
    let listed = fields.get("properties").and_then(Value::as_object);
    if listed.is_some_and(|listed| listed.len() > MOST_PROPERTIES) {
        return;
    }
    out.extend(parameters(fields, GrammarDetail::Whole, room));
}

fn string(fields: &Keywords, out: &mut Keywords, room: &mut GrammarRoom) {
    let text = |word: &str| fields.get(word).and_then(Value::as_str);
    if let Some(format) = text("format")
        && ["date", "time", "date-time"].contains(&format)
    {
        out.insert("format".into(), format.into());
        return;
    }
    if let Some(pattern) = text("pattern")
        && let Some(repeats) = simple(pattern)
        && repeats <= room.repeats
    {
        room.repeats -= repeats;
        out.insert("pattern".into(), pattern.into());
        return;
    }
    counts(fields, out, "minLength", "maxLength", room);
}

fn counts(fields: &Keywords, out: &mut Keywords, least: &str, most: &str, room: &mut GrammarRoom) {
    let bound = |word: &str| fields.get(word).and_then(Value::as_u64);
    let small = |n: &u64| *n <= MOST_REPEATS;
    let (low, high) = (bound(least).filter(small), bound(most).filter(small));
    let cost = high.or(low).unwrap_or(0);
    if cost > room.repeats || low.zip(high).is_some_and(|(low, high)| low > high) {
        return;
    }
    room.repeats -= cost;
    out.extend(low.map(|n| (least.to_owned(), n.into())));
    out.extend(high.map(|n| (most.to_owned(), n.into())));
}

fn integer(fields: &Keywords, out: &mut Keywords) {
    let bound = |word: &str, up: bool| {
        let n = fields.get(word)?.as_f64()?;
        let n = if up { n.ceil() } else { n.floor() };
        (n.abs() <= MOST_BOUND as f64).then_some(n as i64)
    };
    let low = [
        bound("minimum", true),
        bound("exclusiveMinimum", false).map(|n| n + 1),
    ];
    let high = [
        bound("maximum", false),
        bound("exclusiveMaximum", true).map(|n| n - 1),
    ];
    let low = low.into_iter().flatten().max();
    let high = high.into_iter().flatten().min();
    // No integer lies between 0.2 and 0.8.
    if low.zip(high).is_some_and(|(low, high)| low > high) {
        return;
    }
    out.extend(low.map(|n| ("minimum".to_owned(), n.into())));
    out.extend(high.map(|n| ("maximum".to_owned(), n.into())));
}

/// Whether llama.cpp reads a pattern as everybody does, and how many repeats it writes out: single
/// characters and plain classes of them, with a count.
fn simple(pattern: &str) -> Option<u64> {
    let inner = pattern.strip_prefix('^')?.strip_suffix('$')?;
    if inner.is_empty() || inner.len() > 200 || !inner.is_ascii() {
        return None;
    }
    let literal = |c: char| c.is_ascii_alphanumeric() || "_ -/:@,=#~".contains(c);
    let mut repeats = 0u64;
    // llama.cpp counts the repeats of a sequence as if each stood in the one before it.
    let mut nested = 1u64;
    let mut chars = inner.chars().peekable();
    let mut before = false;
    while let Some(c) = chars.next() {
        match c {
            '[' => {
                let mut any = false;
                loop {
                    match chars.next()? {
                        ']' if any => break,
                        c if c.is_ascii_alphanumeric() || "_-./:@ ".contains(c) => any = true,
                        _ => return None,
                    }
                }
                before = true;
            }
            '+' | '*' | '?' if before => before = false,
            '{' if before => {
                let mut count = String::new();
                loop {
                    match chars.next()? {
                        '}' => break,
                        c => count.push(c),
                    }
                }
                let (low, high) = count.split_once(',').unwrap_or((&count, &count));
                let low: u64 = low.parse().ok()?;
                let high: u64 = match high {
                    "" => low,
                    high => high.parse().ok()?,
                };
                nested = nested.saturating_mul(high.max(1));
                if nested > MOST_REPEATS || low > high {
                    return None;
                }
                repeats += high;
                before = false;
            }
            c if literal(c) => before = true,
            _ => return None,
        }
    }
    Some(repeats)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_patterns_that_mean_the_same_everywhere_reach_the_grammar() {
        for (pattern, is) in [
            ("^[a-z0-9_-]+$", Some(0)),
            ("^[A-Z]{3}-[0-9]{1,4}$", Some(7)),
            ("^v[0-9]+$", Some(0)),
            ("[a-z]+", None),
            ("^(a|b)$", None),
            ("^\\d+$", None),
            ("^.*$", None),
            ("^[^a]$", None),
            ("^a{1,1000}$", None),
            ("^a{5,2}$", None),
            ("^a{20}b{20}$", None),
            ("^a++$", None),
            ("^$", None),
            ("^[]$", None),
            ("^[a$", None),
            ("^a{3$", None),
            ("^é$", None),
        ] {
            assert_eq!(simple(pattern), is, "{pattern}");
        }
    }
}
