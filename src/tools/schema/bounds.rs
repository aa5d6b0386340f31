//! Bounds and key words that every part of the preparation of a schema goes by.

/// Most properties of one object.
pub(super) const MOST_PROPERTIES: usize = 256;

/// Keywords that only explain.
pub(super) const NOTES: [&str; 7] = [
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
];

/// At most so many bytes of a text, with a sign where there was more.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let sign = '…';
    let room = most.saturating_sub(sign.len_utf8());
    let end = (0..=room).rev().find(|at| text.is_char_boundary(*at));
    format!("{}{sign}", &text[..end.unwrap_or(0)])
}
