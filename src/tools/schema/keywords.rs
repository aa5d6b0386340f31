//! A schema as its keywords, and the list of what in it no reader could use.

use serde_json::{Map, Value};

use super::bounds::cut;

/// The keywords of a schema.
pub(super) type Keywords = Map<String, Value>;

/// Sentences about one schema; more say nothing new.
const MOST_ODD: usize = 8;

/// What was odd, and where.
#[derive(Default)]
pub(super) struct Odd(pub(super) Vec<String>);

impl Odd {
    /// Adds a sentence about the schema at `place`.
    pub(super) fn add(&mut self, place: &str, what: &str) {
        if self.0.len() >= MOST_ODD {
            return;
        }
        let sentence = match place {
            "" => format!("its schema {what}"),
            place => format!("{} {what}", cut(place, 80)),
        };
        if !self.0.contains(&sentence) {
            self.0.push(sentence);
        }
    }
}
