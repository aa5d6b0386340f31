//! Schemas of which one holds. One schema replaces them where that is possible: types in a list, values in an
//! enum; for a tool's parameters, objects as one object with the properties of all.

use serde_json::{Map, Value};

use super::bounds::{MOST_PROPERTIES, NOTES};
use super::{Keywords, merge, values};

/// Most alternatives that are shown.
pub(super) const MOST_ALTERNATIVES: usize = 32;

/// `base`, and beside it one of `some`; `None` where none of them fits.
pub(super) fn one_of(base: Keywords, some: Vec<Keywords>) -> Option<Keywords> {
    let mut flat: Vec<Keywords> = Vec::new();
    for mut one in some {
        match one.shift_remove("anyOf") {
            // Nothing but alternatives is in such a schema.
            Some(Value::Array(inner)) => {
                for inner in inner {
                    if let Value::Object(inner) = inner {
                        add(&mut flat, inner);
                    }
                }
            }
            _ => add(&mut flat, one),
        }
    }
    if flat.len() > MOST_ALTERNATIVES || flat.iter().any(says_nothing) {
        return Some(base);
    }
    let joined = match flat.len() {
        0 => return Some(base),
        1 => flat.swap_remove(0),
        _ => match plain_types(&flat).or_else(|| listed(&flat)) {
            Some(joined) => joined,
            None => {
                let flat: Vec<Value> = flat.into_iter().map(Value::Object).collect();
                Keywords::from_iter([("anyOf".to_owned(), flat.into())])
            }
        },
    };
    merge::both(base, joined)
}

fn add(flat: &mut Vec<Keywords>, one: Keywords) {
    if !flat.contains(&one) {
        flat.push(one);
    }
}

fn says_nothing(one: &Keywords) -> bool {
    one.keys().all(|word| NOTES.contains(&word.as_str()))
}

/// Alternatives that are types and no more.
fn plain_types(some: &[Keywords]) -> Option<Keywords> {
    let mut all: Vec<&str> = Vec::new();
    for one in some {
        let any_items =
            |word: &str, value: &Value| word == "items" && value == &Value::Object(Map::new());
        if one
            .iter()
            .any(|(word, value)| word != "type" && !any_items(word, value))
        {
            return None;
        }
        for kind in values::types(one) {
            if !all.contains(&kind) {
                all.push(kind);
            }
        }
    }
    if all.contains(&"number") {
        all.retain(|kind| *kind != "integer");
    }
    let mut joined = Keywords::new();
    values::set_types(&mut joined, &all);
    Some(joined)
}

/// Alternatives that are lists of values and no more; what explains a value is kept.
fn listed(some: &[Keywords]) -> Option<Keywords> {
    let mut all: Vec<Value> = Vec::new();
    let mut told: Vec<String> = Vec::new();
    for one in some {
        let own = |word: &str| ["type", "enum", "description", "title"].contains(&word);
        let Some(Value::Array(listed)) = one.get("enum") else {
            return None;
        };
        if one.keys().any(|word| !own(word)) {
            return None;
        }
        for value in listed {
            if !all.contains(value) {
                all.push(value.clone());
            }
        }
        let note = one.get("description").or_else(|| one.get("title"));
        if let (Some(Value::String(note)), [value]) = (note, listed.as_slice()) {
            told.push(format!("{value}: {note}"));
        }
    }
    let mut joined = Keywords::from_iter([("enum".to_owned(), all.into())]);
    values::settle(&mut joined, "", &mut super::Odd::default());
    if !told.is_empty() {
        let told = values::cut(&told.join("; "), 2 << 10);
        joined.insert("description".into(), told.into());
    }
    Some(joined)
}

/// One object for several: the properties of all, and required what each requires.
pub(super) fn one_object(some: Vec<Keywords>) -> Keywords {
    let mut names: Vec<&String> = Vec::new();
    let properties = |one: &'_ Keywords| one.get("properties").and_then(Value::as_object).cloned();
    let maps: Vec<Map<String, Value>> = some.iter().filter_map(properties).collect();
    for map in &maps {
        for name in map.keys() {
            if !names.contains(&name) && names.len() < MOST_PROPERTIES {
                names.push(name);
            }
        }
    }
    let mut all = Map::new();
    for name in names {
        let mut forms: Vec<Keywords> = Vec::new();
        for map in &maps {
            if let Some(Value::Object(form)) = map.get(name) {
                add(&mut forms, form.clone());
            }
        }
        let note = forms
            .iter()
            .find_map(|form| form.get("description").cloned());
        let mut one = match forms.len() {
            1 => forms.swap_remove(0),
            _ => one_of(Keywords::new(), forms).unwrap_or_default(),
        };
        if let Some(note) = note.filter(|_| !one.contains_key("description")) {
            one.insert("description".into(), note);
        }
        all.insert(name.clone(), Value::Object(one));
    }
    let required = |one: &Keywords| one.get("required").and_then(Value::as_array).cloned();
    let mut needed = some.first().and_then(required).unwrap_or_default();
    for one in some.iter().skip(1) {
        let theirs = required(one).unwrap_or_default();
        needed.retain(|name| theirs.contains(name));
    }
    // An object of any form is among them, or more names may be given.
    let any = some.iter().any(|one| {
        let open = one
            .get("additionalProperties")
            .is_some_and(|more| more != &Value::Bool(false));
        open || !one.contains_key("properties")
    });
    let closed = some
        .iter()
        .all(|one| one.get("additionalProperties") == Some(&Value::Bool(false)));
    let mut object = Keywords::from_iter([("type".to_owned(), Value::from("object"))]);
    object.insert("properties".into(), Value::Object(all));
    if !needed.is_empty() {
        object.insert("required".into(), needed.into());
    }
    if any || closed {
        object.insert("additionalProperties".into(), Value::Bool(any));
    }
    object
}
