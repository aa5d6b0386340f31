//! Text to tokens so that content cannot speak as the template.

/// A run of a rendered text and who wrote it. The concatenation of all pieces is the exact text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    /// Written by the template: its control text becomes control tokens.
    Template(String),
    /// Written by anyone else: stays text, whatever it looks like.
    Content(String),
}

impl Piece {
    /// The text of the piece.
    pub fn text(&self) -> &str {
        match self {
            Piece::Template(text) | Piece::Content(text) => text,
        }
    }
}
