//! Schemas of tools come from servers and files, in every form that JSON Schema has and in some
//! that it has not. Here each becomes one that templates can show, llama.cpp can make a grammar of,
//! and [`super::check`] can judge: an object with named parameters, no references, no
//! contradictions, bounded in depth and size. What a schema allowed stays allowed; where a rule has
//! no place in the smaller language, it is left out, and whoever serves the tool checks it.
//!
//! Pure: nothing here knows a template or a model. Nothing here can fail.
//!
//! - `node`: one schema, its keywords in order; `refs`: what a reference means; `values`: types,
//!   constants and bounds.
//! - `merge`: two schemas that both hold; `either`: schemas of which one holds.
//! - `size`: cut to a number of bytes, explanations last.
//! - `grammar`: what of a normal schema a grammar can enforce.

mod bounds;
mod either;
mod grammar;
mod keywords;
mod merge;
mod node;
mod refs;
mod size;
#[cfg(test)]
mod tests;
mod values;

use serde_json::Value;

pub use grammar::{GrammarDetail, GrammarRoom, for_grammar};
use keywords::{Keywords, Odd};

/// Largest normal schema, in bytes of JSON, where the caller wants no smaller one.
pub const MOST_BYTES: usize = 64 << 10;

/// How often a schema is looked at again after it was cut.
const MOST_AGAIN: usize = 4;

/// A schema in its normal form.
#[derive(Clone, PartialEq, Debug)]
pub struct Normal {
    /// `{"type":"object",…}`. The normal form of it is itself.
    pub schema: Value,
    /// What in the given schema no reader could use, or had to be cut, with its place: for people.
    /// Keywords that are only left out are not in it.
    pub odd: Vec<String>,
}

/// The normal form of a tool's parameters, in at most about `most` bytes of JSON.
pub fn normal(given: &Value, most: usize) -> Normal {
    let (mut schema, odd) = once(given, most);
    // What was cut may have a shorter form.
    for _ in 0..MOST_AGAIN {
        let (again, _) = once(&schema, most);
        if again == schema {
            break;
        }
        schema = again;
    }
    Normal { schema, odd }
}

fn once(given: &Value, most: usize) -> (Value, Vec<String>) {
    let mut walk = node::SchemaWalk::new(given);
    let whole = walk.node(given, 0, "");
    let mut fields = match whole {
        Some(fields) => parameters(fields, &mut walk.odd),
        None => {
            walk.odd.add("", "allows nothing");
            Keywords::new()
        }
    };
    fields.insert("type".into(), "object".into());
    let mut fields = node::ordered(given, fields);
    // Merged schemas may lie deeper than they were given.
    size::bounded(&mut fields, node::MOST_DEPTH);
    if size::fit(&mut fields, most) {
        walk.odd.add("", "is large, and was cut");
    }
    (Value::Object(fields), walk.odd.0)
}

/// Parameters are an object's properties: alternatives between objects become one object.
fn parameters(mut fields: Keywords, odd: &mut Odd) -> Keywords {
    if let Some(Value::Array(alternatives)) = fields.shift_remove("anyOf") {
        let objects: Vec<Keywords> = alternatives
            .into_iter()
            .filter_map(|alternative| match alternative {
                Value::Object(fields) if values::may_be(&fields, "object") => Some(fields),
                _ => None,
            })
            .collect();
        let one = either::one_object(objects);
        fields.extend(one);
    }
    if !values::may_be(&fields, "object") {
        odd.add("", "is the schema of no object");
        fields.retain(|word, _| word == "description");
    }
    // An object out of a list is rare, and templates show no such thing.
    fields.shift_remove("enum");
    fields
}
