//! The blocks that clients write into a user's first message, and that message without what changes in
//! them. Pure.

use super::rules::{Masked, mask};

/// The first user message as it is compared: what clients write into it in blocks of their own
/// (`<system-reminder>`, `<environment_context>` and others) without what the rules are about. Text of
/// the user is never masked.
pub fn masked_first(text: &str) -> String {
    first_of(text).text
}

/// A user message without the blocks that clients write into it.
pub fn own_words(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, _, behind)) = block(rest) {
        // The opening mark ends `before`.
        out.push_str(before.rfind('<').map_or(before, |at| &before[..at]));
        rest = behind.split_once('>').map_or("", |(_, rest)| rest);
    }
    out.push_str(rest);
    out
}

/// Marks of the blocks that clients write into a user's message.
const BLOCKS: [&str; 5] = [
    "system-reminder",
    "environment_context",
    "environment_details",
    "env",
    "context",
];

pub(super) fn first_of(text: &str) -> Masked {
    let mut out = Masked::default();
    let mut rest = text;
    while let Some((before, inner, behind)) = block(rest) {
        out.text.push_str(before);
        let inner = mask(inner);
        out.text.push_str(&inner.text);
        out.found.extend(inner.found);
        rest = behind;
    }
    out.text.push_str(rest);
    out
}

/// The first block of a text: what is before its contents, the contents, and all from its end on.
fn block(text: &str) -> Option<(&str, &str, &str)> {
    BLOCKS
        .iter()
        .filter_map(|tag| {
            let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
            let from = text.find(&open)? + open.len();
            let to = from + text[from..].find(&close)?;
            Some((from, to))
        })
        .min()
        .map(|(from, to)| (&text[..from], &text[from..to], &text[to..]))
}
