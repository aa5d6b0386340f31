//! How a template writes reasoning: found by the battery, used when a reply is rendered.

/// Reasoning in replies and in the history.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Thinking {
    /// The template leaves the reasoning of earlier turns out.
    pub dropped: bool,
    /// The template has an argument that keeps that reasoning.
    pub can_be_preserved: bool,
    /// The generation prompt opens the reasoning by itself.
    pub opened: bool,
    /// The text that opens reasoning, empty without one.
    pub start: String,
    /// The texts that end it.
    pub ends: Vec<String>,
    /// What closes an open reasoning block before the text, white space included.
    pub close: String,
}

impl Thinking {
    /// Whether a text opens reasoning and leaves it open.
    pub fn opens(&self, text: &str) -> bool {
        self.after_start(text)
            .is_some_and(|after| !self.ended(after))
    }

    fn after_start<'a>(&self, text: &'a str) -> Option<&'a str> {
        let start = self.start.trim();
        let at = text.rfind(start).filter(|_| !start.is_empty())?;
        Some(&text[at + start.len()..])
    }

    /// Whether a text ends reasoning.
    pub fn ended(&self, text: &str) -> bool {
        let mut ends = self.ends.iter().map(|end| end.trim());
        ends.any(|end| !end.is_empty() && text.contains(end))
    }
}
