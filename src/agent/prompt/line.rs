//! Text from outside that a prompt holds on one line.

/// A text from outside on one line, without control characters.
pub(in crate::agent) fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
