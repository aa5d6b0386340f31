//! A normal schema in so many bytes. The deepest parts are cut first; the names of parameters, their
//! types and their explanations stay longest.

use serde_json::Value;

use super::node::outline;
use super::{Keywords, values};

/// Depths at which a schema is only outlined, one after another.
const DEPTHS: [usize; 5] = [6, 4, 3, 2, 1];

/// Lengths of explanations in bytes, one after another.
const TEXTS: [usize; 4] = [400, 160, 60, 0];

/// Makes it fit; whether that took anything away.
pub(super) fn fit(fields: &mut Keywords, most: usize) -> bool {
    let large = |fields: &Keywords| length(fields) > most;
    if !large(fields) {
        return false;
    }
    each(fields, &mut |one, _| {
        for word in ["title", "examples", "default"] {
            one.shift_remove(word);
        }
    });
    for depth in DEPTHS {
        if !large(fields) {
            return true;
        }
        outlined(fields, depth);
    }
    for text in TEXTS {
        if !large(fields) {
            return true;
        }
        each(fields, &mut |one, _| shorten(one, text));
    }
    if large(fields) {
        each(fields, &mut |one, _| {
            if let Some(Value::Array(all)) = one.shift_remove("enum")
                && values::types(one).is_empty()
            {
                values::set_types(one, &values::types_of(&all));
                values::with_items(one);
            }
            one.shift_remove("pattern");
        });
    }
    fewer(fields, most);
    true
}

fn length(fields: &Keywords) -> usize {
    serde_json::to_string(fields).map_or(0, |text| text.len())
}

/// Visits a schema and all in it, with how deep each lies.
fn each(fields: &mut Keywords, visit: &mut dyn FnMut(&mut Keywords, usize)) {
    at(fields, 0, visit);
}

fn at(fields: &mut Keywords, depth: usize, visit: &mut dyn FnMut(&mut Keywords, usize)) {
    visit(fields, depth);
    for (word, value) in fields.iter_mut() {
        match (word.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                for property in properties.values_mut().filter_map(Value::as_object_mut) {
                    at(property, depth + 1, visit);
                }
            }
            ("anyOf", Value::Array(some)) => {
                for one in some.iter_mut().filter_map(Value::as_object_mut) {
                    at(one, depth + 1, visit);
                }
            }
            ("items" | "additionalProperties", Value::Object(schema)) => {
                at(schema, depth + 1, visit);
            }
            _ => {}
        }
    }
}

/// Schemas at this depth are only outlined, as those are that are given so deep.
pub(super) fn bounded(fields: &mut Keywords, depth: usize) {
    each(fields, &mut |one, at| {
        if at == depth {
            *one = outline(one);
        }
    });
}

/// Schemas at this depth lose what is in them.
fn outlined(fields: &mut Keywords, from: usize) {
    each(fields, &mut |one, depth| {
        let nested = ["properties", "items", "anyOf", "additionalProperties"];
        if depth == from && nested.iter().any(|word| one.contains_key(*word)) {
            let values = one.get("enum").cloned();
            *one = outline(one);
            one.extend(values.map(|values| ("enum".to_owned(), values)));
        }
    });
}

fn shorten(fields: &mut Keywords, most: usize) {
    match fields.get_mut("description") {
        Some(Value::String(text)) if most > 0 => *text = values::cut(text, most),
        Some(_) => {
            fields.shift_remove("description");
        }
        None => {}
    }
}

/// Leaves out parameters, from the end, those that need not be given first.
fn fewer(fields: &mut Keywords, most: usize) {
    let required: Vec<Value> = match fields.get("required") {
        Some(Value::Array(names)) => names.clone(),
        _ => Vec::new(),
    };
    let mut over = length(fields).saturating_sub(most);
    if over == 0 {
        return;
    }
    let Some(Value::Object(properties)) = fields.get_mut("properties") else {
        return;
    };
    let mut gone: Vec<Value> = Vec::new();
    for needed in [false, true] {
        let names: Vec<String> = properties.keys().rev().cloned().collect();
        for name in names {
            let value = Value::from(name.as_str());
            if over == 0 || required.contains(&value) != needed {
                continue;
            }
            if let Some(schema) = properties.shift_remove(&name) {
                over = over.saturating_sub(name.len() + schema.to_string().len());
                gone.push(value);
            }
        }
    }
    if let Some(Value::Array(names)) = fields.get_mut("required") {
        names.retain(|name| !gone.contains(name));
    }
    // What is not shown any more may still be given.
    fields.shift_remove("additionalProperties");
}
