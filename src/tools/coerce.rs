//! Arguments that are of another type than the schema wants, where only one reading is possible:
//! a number, a truth value, a list or an object that a model wrote as a text, a whole number with a
//! point. Where a text would fit too, it stays one.

use serde_json::{Map, Value};

use super::check;

/// Deepest place that is looked at.
const MAX_DEPTH: usize = 32;

/// The arguments as the schema wants them, as far as there is no doubt.
pub(super) fn coerced(schema: &Value, given: &Value) -> Value {
    value(schema, given, 0)
}

fn value(schema: &Value, given: &Value, depth: usize) -> Value {
    let Some(fields) = schema.as_object().filter(|_| depth < MAX_DEPTH) else {
        return given.clone();
    };
    let types = types(fields);
    let read = match given {
        Value::String(text) => text_as(&types, fields, text),
        Value::Number(n) if types == ["integer"] => whole(n).map(Value::from),
        _ => None,
    };
    let given = read.unwrap_or_else(|| given.clone());
    match given {
        Value::Object(object) => {
            let known = fields.get("properties").and_then(Value::as_object);
            let all = object.into_iter().map(|(name, given)| {
                let schema = known.and_then(|known| known.get(&name));
                let read = match schema.or_else(|| fields.get("additionalProperties")) {
                    Some(schema) => value(schema, &given, depth + 1),
                    None => given,
                };
                (name, read)
            });
            Value::Object(all.collect())
        }
        Value::Array(list) => match fields.get("items") {
            Some(items) => list.iter().map(|v| value(items, v, depth + 1)).collect(),
            None => Value::Array(list),
        },
        other => other,
    }
}

/// The types that a schema and its alternatives name; none where anything may be meant.
fn types(fields: &Map<String, Value>) -> Vec<&str> {
    let own: Vec<&str> = match fields.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(some)) => some.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !own.is_empty() {
        return own;
    }
    let mut all = Vec::new();
    for word in ["anyOf", "oneOf"] {
        for one in fields
            .get(word)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            match one.as_object().map(types) {
                Some(types) if !types.is_empty() => all.extend(types),
                _ => return Vec::new(),
            }
        }
    }
    all
}

/// What a text says in JSON, where no text is wanted and that is.
fn text_as(types: &[&str], fields: &Map<String, Value>, text: &str) -> Option<Value> {
    let read = || {
        let text = text.trim();
        let spelled = match text {
            "True" | "TRUE" => "true",
            "False" | "FALSE" => "false",
            "None" => "null",
            text => text,
        };
        let value: Value = serde_json::from_str(spelled).ok()?;
        (!value.is_string()).then_some(value)
    };
    if let Some(Value::Array(allowed)) = fields.get("enum") {
        let as_text = allowed.iter().any(|one| one.as_str() == Some(text));
        return read().filter(|value| !as_text && allowed.contains(value));
    }
    if types.is_empty() || types.contains(&"string") {
        return None;
    }
    let value = read()?;
    let value = match &value {
        Value::Number(n) if !types.contains(&"number") => whole(n).map_or(value, Value::from),
        _ => value,
    };
    types
        .iter()
        .any(|kind| check::is(kind, &value) == Some(true))
        .then_some(value)
}

fn whole(n: &serde_json::Number) -> Option<i64> {
    n.as_i64().or_else(|| {
        let n = n.as_f64()?;
        (n.fract() == 0.0 && n.abs() < 9e15).then_some(n as i64)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_can_be_read_in_one_way_only_is_read_so_and_all_else_stays() {
        let schema = json!({"type": "object", "properties": {
            "n": {"type": "integer"}, "x": {"type": "number"}, "b": {"type": "boolean"},
            "s": {"type": "string"}, "either": {"type": ["string", "integer"]},
            "list": {"type": "array", "items": {"type": "integer"}},
            "o": {"type": "object", "properties": {"n": {"type": "integer"}}},
            "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "any": {}, "e": {"enum": [1, 2, "3"]},
        }});
        for (given, read) in [
            (json!({"n": "7"}), json!({"n": 7})),
            (json!({"n": " 7 "}), json!({"n": 7})),
            (json!({"n": 7.0}), json!({"n": 7})),
            (json!({"n": "7.0"}), json!({"n": 7})),
            (json!({"n": "7.5"}), json!({"n": "7.5"})),
            (json!({"n": "seven"}), json!({"n": "seven"})),
            (json!({"n": "true"}), json!({"n": "true"})),
            (json!({"x": "1e3"}), json!({"x": 1e3})),
            (json!({"b": "True"}), json!({"b": true})),
            (json!({"b": "yes"}), json!({"b": "yes"})),
            (json!({"s": "7"}), json!({"s": "7"})),
            (json!({"s": 7}), json!({"s": 7})),
            (json!({"either": "7"}), json!({"either": "7"})),
            (json!({"list": "[1, \"2\"]"}), json!({"list": [1, 2]})),
            (json!({"o": "{\"n\": \"3\"}"}), json!({"o": {"n": 3}})),
            (json!({"maybe": "null"}), json!({"maybe": null})),
            (json!({"maybe": "4"}), json!({"maybe": 4})),
            (json!({"any": "4"}), json!({"any": "4"})),
            (json!({"e": "2"}), json!({"e": 2})),
            (json!({"e": "3"}), json!({"e": "3"})),
            (json!({"other": "4"}), json!({"other": "4"})),
            (json!("{\"n\": \"1\"}"), json!({"n": 1})),
            (json!("text"), json!("text")),
        ] {
            assert_eq!(coerced(&schema, &given), read, "{given}");
        }
    }
}
