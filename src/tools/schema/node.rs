//! One schema, keyword by keyword. References are followed in place; a schema that holds itself is
//! shown a few times and then only outlined, and so is what lies too deep.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::bounds::{MOST_PROPERTIES, NOTES};
use super::refs::resolve;
use super::{Keywords, Odd, either, merge, values};

/// Deepest schema that is shown.
pub(super) const MOST_DEPTH: usize = 12;

/// Most schemas of one tool, those behind references counted each time.
const MOST_NODES: usize = 2000;

/// How often a schema is shown inside itself.
const MOST_INSIDE: usize = 2;

/// Longest name of a property, in bytes.
const MOST_NAME: usize = 128;

/// Longest explanation, in bytes.
const MOST_DESCRIPTION: usize = 4 << 10;

/// Longest pattern, in bytes.
const MOST_PATTERN: usize = 512;

/// Longest default or example, in bytes of JSON.
const MOST_EXAMPLE: usize = 1 << 10;

/// Keywords with a plain value that are shown to the model, and that no grammar knows.
const SHOWN: [&str; 5] = [
    "uniqueItems",
    "minContains",
    "maxContains",
    "contentEncoding",
    "contentMediaType",
];

/// On its way through one tool's schema.
pub(super) struct SchemaWalk<'a> {
    root: &'a Value,
    nodes: usize,
    /// References that are being followed.
    inside: Vec<&'a str>,
    pub odd: Odd,
}

impl<'a> SchemaWalk<'a> {
    pub fn new(root: &'a Value) -> SchemaWalk<'a> {
        SchemaWalk {
            root,
            nodes: 0,
            inside: Vec::new(),
            odd: Odd::default(),
        }
    }

    /// The normal form of a schema; `None` where no value is allowed.
    pub fn node(&mut self, given: &'a Value, depth: usize, place: &str) -> Option<Keywords> {
        let given_fields = match given {
            Value::Bool(true) => return Some(Keywords::new()),
            Value::Bool(false) => return None,
            Value::Object(fields) => fields,
            _ => {
                self.odd.add(place, "is no schema");
                return Some(Keywords::new());
            }
        };
        self.nodes += 1;
        if depth >= MOST_DEPTH || self.nodes > MOST_NODES {
            let outline = outline(given_fields);
            if outline != *given_fields {
                self.odd.add(place, "lies too deep, and is only outlined");
            }
            return Some(outline);
        }
        let mut out = self.own(given_fields, depth, place)?;
        for word in ["$ref", "$dynamicRef", "$recursiveRef"] {
            if let Some(reference) = given_fields.get(word) {
                let there = self.follow(reference, depth, place)?;
                out = self.both(out, there, place);
            }
        }
        match given_fields.get("allOf") {
            Some(Value::Array(all)) => {
                for one in all {
                    let one = self.node(one, depth + 1, place)?;
                    out = self.both(out, one, place);
                }
            }
            Some(_) => self.odd.add(place, "has an allOf that is no list"),
            None => {}
        }
        self.conditional(given_fields, &mut out, depth, place);
        for word in ["anyOf", "oneOf"] {
            if let Some(listed) = given_fields.get(word) {
                out = self.one_of(out, word, listed, depth, place)?;
            }
        }
        Some(ordered(given, out))
    }

    /// Both hold; where no value can fit both, the first counts.
    fn both(&mut self, one: Keywords, other: Keywords, place: &str) -> Keywords {
        let first = one.clone();
        merge::both(one, other).unwrap_or_else(|| {
            self.odd.add(place, "contradicts itself");
            first
        })
    }

    /// What the keywords of the schema itself say.
    fn own(&mut self, given: &'a Keywords, depth: usize, place: &str) -> Option<Keywords> {
        let mut out = notes(given);
        let nullable = given.get("nullable") == Some(&Value::Bool(true));
        let types = match given.get("type") {
            Some(kind) => values::given_types(kind, nullable, place, &mut self.odd),
            None => Vec::new(),
        };
        values::set_types(&mut out, &types);
        if let Some(listed) = values::given_values(given, place, &mut self.odd) {
            out.insert("enum".into(), listed.into());
        }
        values::given_bounds(given, &mut out, place, &mut self.odd);
        let text = |word: &str, most: usize| {
            let text = given.get(word).and_then(Value::as_str);
            text.filter(|text| !text.is_empty() && text.len() <= most)
        };
        for (word, most) in [("pattern", MOST_PATTERN), ("format", 40)] {
            if let Some(text) = text(word, most) {
                out.insert(word.into(), text.into());
            }
        }
        for word in SHOWN {
            let plain = |v: &&Value| matches!(v, Value::Bool(_) | Value::Number(_));
            let kept = given.get(word).filter(plain).cloned();
            let kept = kept.or_else(|| text(word, 80).map(Value::from));
            out.extend(kept.map(|value| (word.to_owned(), value)));
        }
        self.object(given, &mut out, depth, place);
        self.array(given, &mut out, depth, place);
        if types.is_empty() && !out.contains_key("enum") && given.get("type").is_none() {
            infer_type(&mut out);
        }
        values::settle(&mut out, place, &mut self.odd);
        Some(out)
    }

    fn object(&mut self, given: &'a Keywords, out: &mut Keywords, depth: usize, place: &str) {
        let mut closed = given.get("additionalProperties") == Some(&Value::Bool(false));
        let patterns = given.get("patternProperties").and_then(Value::as_object);
        let patterns = patterns.is_some_and(|patterns| !patterns.is_empty());
        // Names that a pattern allows are not listed: the object is open.
        closed &= !patterns;
        let mut properties = Map::new();
        let mut never: Vec<&str> = Vec::new();
        let listed = match given.get("properties") {
            Some(Value::Object(listed)) => Some(listed),
            Some(_) => {
                self.odd
                    .add(place, "has properties that are no list of names");
                None
            }
            None => None,
        };
        let required: Vec<&str> = match given.get("required") {
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let shown = listed.and_then(|listed| fewer(listed, &required));
        if shown.is_some() {
            self.odd.add(place, "has more properties than can be shown");
            closed = false;
        }
        for (name, property) in listed.into_iter().flatten() {
            if shown
                .as_ref()
                .is_some_and(|shown| !shown.contains(name.as_str()))
            {
                continue;
            }
            let there = below(place, name);
            if name.len() > MOST_NAME {
                self.odd.add(&there, "has too long a name");
                closed = false;
                continue;
            }
            match self.node(property, depth + 1, &there) {
                Some(property) => {
                    properties.insert(name.clone(), Value::Object(property));
                }
                None => never.push(name),
            }
        }
        let mut needed: Vec<Value> = Vec::new();
        for name in required {
            let shown = properties.contains_key(name);
            if name.len() > MOST_NAME || (!shown && properties.len() >= MOST_PROPERTIES) {
                continue;
            }
            if never.contains(&name) || (closed && !properties.contains_key(name)) {
                self.odd
                    .add(&below(place, name), "is required, and cannot be given");
                continue;
            }
            if !properties.contains_key(name) {
                properties.insert(name.to_owned(), Value::Object(Map::new()));
            }
            let name = Value::from(name);
            if !needed.contains(&name) {
                needed.push(name);
            }
        }
        if listed.is_some() || !properties.is_empty() {
            out.insert("properties".into(), Value::Object(properties));
        }
        if !needed.is_empty() {
            out.insert("required".into(), needed.into());
        }
        let additional = match given.get("additionalProperties") {
            None if patterns => Some(Value::Bool(true)),
            None => None,
            Some(_) if patterns => Some(Value::Bool(true)),
            Some(Value::Bool(false)) if !closed => None,
            Some(Value::Bool(open)) => Some(Value::Bool(*open)),
            Some(schema) => match self.node(schema, depth + 1, &below(place, "*")) {
                None => Some(Value::Bool(false)),
                Some(fields) if fields.is_empty() => Some(Value::Bool(true)),
                Some(fields) => Some(Value::Object(fields)),
            },
        };
        out.extend(additional.map(|value| ("additionalProperties".to_owned(), value)));
    }

    /// A list whose places have schemas of their own is one of items that have one of these.
    fn array(&mut self, given: &'a Keywords, out: &mut Keywords, depth: usize, place: &str) {
        let there = format!("{place}[]");
        let (first, rest) = match (given.get("prefixItems"), given.get("items")) {
            (Some(Value::Array(first)), rest) => (Some(first), rest),
            // Draft 2019 and before.
            (_, Some(Value::Array(first))) => (Some(first), given.get("additionalItems")),
            (_, rest) => (None, rest),
        };
        let rest = rest.map(|schema| self.node(schema, depth + 1, &there));
        let Some(first) = first else {
            match rest {
                Some(Some(fields)) => {
                    out.insert("items".into(), Value::Object(fields));
                }
                Some(None) => {
                    out.insert("maxItems".into(), 0.into());
                }
                None => {}
            }
            return;
        };
        let closed = rest == Some(None);
        let mut some: Vec<Keywords> = Vec::new();
        // The list ends where nothing can stand.
        let mut end = None;
        for (at, schema) in first.iter().enumerate() {
            match self.node(schema, depth + 1, &there) {
                Some(fields) => some.push(fields),
                None => {
                    end = Some(at as u64);
                    break;
                }
            }
        }
        if closed {
            end = end.or(Some(first.len() as u64));
        }
        match rest {
            Some(Some(fields)) => some.push(fields),
            None => some.push(Keywords::new()),
            Some(None) => {}
        }
        if let Some(end) = end {
            let most = out.get("maxItems").and_then(Value::as_u64);
            out.insert(
                "maxItems".into(),
                most.map_or(end, |most| most.min(end)).into(),
            );
        }
        let items = either::one_of(Keywords::new(), some);
        if let Some(items) = items.filter(|items| !items.is_empty()) {
            out.insert("items".into(), Value::Object(items));
        }
    }

    /// What is only there under a condition may be there.
    fn conditional(&mut self, given: &'a Keywords, out: &mut Keywords, depth: usize, place: &str) {
        let mut branches: Vec<&'a Value> = ["if", "then", "else"]
            .iter()
            .filter_map(|word| given.get(*word))
            .collect();
        for word in ["dependentSchemas", "dependencies"] {
            let dependent = given.get(word).and_then(Value::as_object);
            branches.extend(dependent.into_iter().flat_map(|map| map.values()));
        }
        for branch in branches {
            let Some(branch) = branch.as_object() else {
                continue;
            };
            let Some(Value::Object(more)) = branch.get("properties") else {
                continue;
            };
            for (name, property) in more {
                let known = out.get("properties").and_then(Value::as_object);
                let closed = out.get("additionalProperties") == Some(&Value::Bool(false));
                let full = known.is_some_and(|known| known.len() >= MOST_PROPERTIES);
                if closed || full || known.is_some_and(|known| known.contains_key(name)) {
                    continue;
                }
                if name.len() > MOST_NAME {
                    continue;
                }
                let Some(property) = self.node(property, depth + 1, &below(place, name)) else {
                    continue;
                };
                let all = out
                    .entry("properties")
                    .or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(all) = all {
                    all.insert(name.clone(), Value::Object(property));
                }
            }
        }
    }

    fn one_of(
        &mut self,
        out: Keywords,
        word: &str,
        listed: &'a Value,
        depth: usize,
        place: &str,
    ) -> Option<Keywords> {
        let Some(listed) = listed.as_array().filter(|listed| !listed.is_empty()) else {
            self.odd
                .add(place, &format!("has {word} without alternatives"));
            return Some(out);
        };
        // "One of these must be there" says nothing of what they are.
        let demands = |one: &Value| {
            one.as_object().is_some_and(|one| {
                !one.is_empty() && one.keys().all(|key| key == "required" || key == "not")
            })
        };
        if out.keys().any(|word| !NOTES.contains(&word.as_str())) && listed.iter().all(demands) {
            return Some(out);
        }
        if listed.len() > either::MOST_ALTERNATIVES {
            self.odd
                .add(place, "has more alternatives than can be shown");
            return Some(out);
        }
        let some: Vec<Keywords> = listed
            .iter()
            .filter_map(|one| self.node(one, depth + 1, place))
            .collect();
        if some.is_empty() {
            return None;
        }
        let base = out.clone();
        Some(either::one_of(out, some).unwrap_or_else(|| {
            self.odd
                .add(place, "has alternatives that all contradict it");
            base
        }))
    }

    fn follow(&mut self, reference: &'a Value, depth: usize, place: &str) -> Option<Keywords> {
        let Some(name) = reference.as_str() else {
            self.odd.add(place, "has a reference that is no text");
            return Some(Keywords::new());
        };
        let Some(there) = resolve(self.root, name) else {
            let what = format!("refers to {}, which is not in it", values::cut(name, 80));
            self.odd.add(place, &what);
            return Some(Keywords::new());
        };
        let times = self.inside.iter().filter(|open| **open == name).count();
        if times >= MOST_INSIDE || self.inside.len() >= 4 * MOST_DEPTH {
            let outline = there.as_object().map(outline);
            return Some(outline.unwrap_or_default());
        }
        self.inside.push(name);
        // One level deeper: a reference to itself ends at the depth at last.
        let found = self.node(there, depth + 1, place);
        self.inside.pop();
        found
    }
}

/// The explanations of a schema, bounded.
fn notes(given: &Keywords) -> Keywords {
    let mut out = Keywords::new();
    for word in NOTES {
        let Some(value) = given.get(word) else {
            continue;
        };
        let kept = match (word, value) {
            ("title" | "description", Value::String(text)) => {
                let text = text.trim();
                (!text.is_empty()).then(|| values::cut(text, MOST_DESCRIPTION).into())
            }
            ("title" | "description", _) => None,
            ("deprecated" | "readOnly" | "writeOnly", Value::Bool(true)) => Some(value.clone()),
            ("deprecated" | "readOnly" | "writeOnly", _) => None,
            _ => (value.to_string().len() <= MOST_EXAMPLE).then(|| value.clone()),
        };
        out.extend(kept.map(|value| (word.to_owned(), value)));
    }
    out
}

/// What a schema is, without what is in it.
pub(super) fn outline(given: &Keywords) -> Keywords {
    let mut out = Keywords::new();
    let types = match given.get("type") {
        Some(kind) => values::given_types(kind, false, "", &mut Odd::default()),
        None => Vec::new(),
    };
    values::set_types(&mut out, &types);
    if let Some(Value::String(text)) = given.get("description") {
        out.insert("description".into(), values::cut(text.trim(), 200).into());
    }
    values::with_items(&mut out);
    out
}

/// A schema whose keywords belong to one type is meant for that type.
fn infer_type(out: &mut Keywords) {
    let has = |words: &[&str]| words.iter().any(|word| out.contains_key(*word));
    let object = has(&[
        "properties",
        "required",
        "additionalProperties",
        "minProperties",
        "maxProperties",
    ]);
    let array = has(&["items", "minItems", "maxItems", "uniqueItems"]);
    let string = has(&["pattern", "minLength", "maxLength", "contentEncoding"]);
    let kind = match (object, array, string) {
        (true, false, false) => "object",
        (false, true, false) => "array",
        (false, false, true) => "string",
        _ => return,
    };
    out.insert("type".into(), kind.into());
}

/// Of too many properties the required ones, and then others, as many as can be shown.
fn fewer<'a>(listed: &'a Keywords, required: &[&str]) -> Option<HashSet<&'a str>> {
    if listed.len() <= MOST_PROPERTIES {
        return None;
    }
    let required: HashSet<&str> = required.iter().copied().collect();
    let names = || listed.keys().map(String::as_str);
    let first = names().filter(|name| required.contains(name));
    let then = names().filter(|name| !required.contains(name));
    Some(first.chain(then).take(MOST_PROPERTIES).collect())
}

fn below(place: &str, name: &str) -> String {
    let name: String = name.escape_debug().collect();
    let name = values::cut(&name, 40);
    match place {
        "" => name,
        place => format!("{place}.{name}"),
    }
}

/// Keywords in the order in which they were given; new ones first.
pub(super) fn ordered(given: &Value, mut fields: Keywords) -> Keywords {
    let Value::Object(given) = given else {
        return fields;
    };
    let known: Vec<(String, Value)> = given
        .keys()
        .filter_map(|word| fields.shift_remove_entry(word))
        .collect();
    fields.extend(known);
    fields
}
