//! Two normal schemas that both hold, as one. Where one schema cannot express both, the result allows
//! more, never less.

use serde_json::{Map, Value};

use super::bounds::{MOST_PROPERTIES, NOTES};
use super::{Keywords, Odd, values};

/// What fits both; `None` where nothing can. Explanations of the first count before the second's.
pub(super) fn both(one: Keywords, other: Keywords) -> Option<Keywords> {
    if one.is_empty() {
        return Some(other);
    }
    match (one.contains_key("anyOf"), other.contains_key("anyOf")) {
        // Each with each would be many: the first's are the more likely ones.
        (true, true) => {
            let mut rest = other;
            rest.shift_remove("anyOf");
            both(one, rest)
        }
        (true, false) => each(one, &other, true),
        (false, true) => each(other, &one, false),
        (false, false) => plain(one, other),
    }
}

/// Each alternative with what holds beside it. `first` says whose explanations count.
fn each(mut some: Keywords, beside: &Keywords, first: bool) -> Option<Keywords> {
    let mut demands = beside.clone();
    demands.retain(|word, _| !NOTES.contains(&word.as_str()));
    if !demands.is_empty()
        && let Some(Value::Array(alternatives)) = some.get_mut("anyOf")
    {
        let mut fitting: Vec<Value> = Vec::with_capacity(alternatives.len());
        for alternative in std::mem::take(alternatives) {
            if let Value::Object(alternative) = alternative
                && let Some(both) = plain(alternative, demands.clone())
            {
                fitting.push(Value::Object(both));
            }
        }
        match fitting.len() {
            0 => return None,
            1 => {
                let only = fitting.pop();
                some.shift_remove("anyOf");
                if let Some(Value::Object(only)) = only {
                    some = plain(some, only)?;
                }
            }
            _ => *alternatives = fitting,
        }
    }
    for (word, value) in beside {
        if NOTES.contains(&word.as_str()) && (!first || !some.contains_key(word)) {
            some.insert(word.clone(), value.clone());
        }
    }
    Some(some)
}

fn plain(mut one: Keywords, other: Keywords) -> Option<Keywords> {
    types(&mut one, &other)?;
    enums(&mut one, &other)?;
    properties(&mut one, &other);
    for (word, value) in other {
        match (word.as_str(), one.get(&word)) {
            ("type" | "enum" | "properties" | "required" | "additionalProperties", _) => {}
            (_, None) => {
                one.insert(word, value);
            }
            ("items", Some(Value::Object(items))) => {
                if let Value::Object(more) = value
                    && let Some(items) = both(items.clone(), more)
                {
                    one.insert(word, Value::Object(items));
                }
            }
            (bound, Some(own)) if bound.starts_with("m") || bound.starts_with("exclusive") => {
                if bound != "multipleOf" {
                    let narrower = values::narrower(bound, own, &value);
                    one.insert(word, narrower);
                }
            }
            (_, Some(_)) => {}
        }
    }
    values::settle(&mut one, "", &mut Odd::default());
    Some(one)
}

fn types(one: &mut Keywords, other: &Keywords) -> Option<()> {
    let (a, b) = (values::types(one), values::types(other));
    let common: Vec<&str> = match (a.is_empty(), b.is_empty()) {
        (_, true) => return Some(()),
        (true, false) => b,
        (false, false) => values::common(&a, &b),
    };
    if common.is_empty() {
        return None;
    }
    let common: Vec<String> = common.into_iter().map(str::to_owned).collect();
    let common: Vec<&str> = common.iter().map(String::as_str).collect();
    values::set_types(one, &common);
    Some(())
}

fn enums(one: &mut Keywords, other: &Keywords) -> Option<()> {
    match (one.get("enum"), other.get("enum")) {
        (_, None) => Some(()),
        (None, Some(values)) => {
            one.insert("enum".into(), values.clone());
            Some(())
        }
        (Some(Value::Array(own)), Some(Value::Array(theirs))) => {
            let both: Vec<Value> = own.iter().filter(|v| theirs.contains(v)).cloned().collect();
            if both.is_empty() {
                return None;
            }
            one.insert("enum".into(), both.into());
            Some(())
        }
        _ => Some(()),
    }
}

fn properties(one: &mut Keywords, other: &Keywords) {
    let closed =
        |fields: &Keywords| fields.get("additionalProperties") == Some(&Value::Bool(false));
    let any_closed = closed(one) || closed(other);
    if let Some(Value::Object(theirs)) = other.get("properties") {
        let own = one
            .entry("properties")
            .or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(own) = own {
            for (name, schema) in theirs {
                let merged = match (own.get(name), schema) {
                    (Some(Value::Object(mine)), Value::Object(more)) => {
                        // What cannot be is as the first says.
                        both(mine.clone(), more.clone()).unwrap_or_else(|| mine.clone())
                    }
                    (None, Value::Object(more)) if own.len() < MOST_PROPERTIES => more.clone(),
                    _ => continue,
                };
                own.insert(name.clone(), Value::Object(merged));
            }
        }
    }
    if let Some(Value::Array(theirs)) = other.get("required") {
        let own = one
            .entry("required")
            .or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(own) = own {
            for name in theirs {
                if !own.contains(name) {
                    own.push(name.clone());
                }
            }
        }
    }
    let open = |fields: &Keywords| {
        let value = fields.get("additionalProperties")?;
        (value != &Value::Bool(true)).then(|| value.clone())
    };
    let additional = match (open(one), open(other)) {
        _ if any_closed => Some(Value::Bool(false)),
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            Some(Value::Object(both(a.clone(), b).unwrap_or(a)))
        }
        (Some(one), _) | (None, Some(one)) => Some(one),
        // `true` beside names: more names than these.
        (None, None) => match (
            one.get("additionalProperties"),
            other.get("additionalProperties"),
        ) {
            (None, None) => None,
            _ => Some(Value::Bool(true)),
        },
    };
    match additional {
        Some(value) => one.insert("additionalProperties".into(), value),
        None => one.shift_remove("additionalProperties"),
    };
}
