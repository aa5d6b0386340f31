//! Rendered text with its author: the type by which rendering hands a text to the tokenizer.

/// A part of a rendered text, and who wrote the part. All parts of a text, joined, are the exact text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Authored {
    /// Written by the template: its control text becomes control tokens.
    Template(String),
    /// Written by anyone else: stays text, whatever it looks like.
    Content(String),
}

impl Authored {
    /// The text of the part.
    pub fn text(&self) -> &str {
        match self {
            Authored::Template(text) | Authored::Content(text) => text,
        }
    }
}
