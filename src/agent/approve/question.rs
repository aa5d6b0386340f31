//! What a person is asked, and how text of a model is shown so that it cannot play another role.

use super::Rule;
use crate::tools::Subject;

/// Most characters of a subject that are shown.
const MAX_SHOWN: usize = 4_000;

/// A question to the user about one call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// The tool's name.
    pub tool: String,
    /// What it is about: lines without control or invisible characters, whole or cut with its
    /// length. Whoever shows it sets each line apart from the question itself.
    pub text: String,
    /// Why it is asked, where that is not plain from the policy.
    pub why: Option<String>,
    /// What [`Grant::Session`] and [`Grant::Always`] would allow; where it is empty only
    /// [`Grant::Once`] and [`Grant::No`] make sense.
    pub rules: Vec<Rule>,
    /// For [`crate::tools::Room::granted`].
    pub subject: Subject,
}

/// The user's answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grant {
    /// This call.
    Once,
    /// This call and what [`Question::rules`] say, in this run.
    Session,
    /// The same, in this project from now on.
    Always,
    /// Not this call.
    No,
}

/// What follows from an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Granted {
    /// Whether the call may run.
    pub run: bool,
    /// Something to tell the user.
    pub notice: Option<String>,
}

/// `text` for a terminal: line feeds stay, other control characters and those that are not seen or
/// turn the direction of writing are written out.
pub(super) fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_SHOWN));
    for c in text.chars().take(MAX_SHOWN) {
        match c {
            '\n' => out.push(c),
            '\t' => out.push_str("    "),
            c if c.is_control() || unseen(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    let all = text.chars().count();
    if all > MAX_SHOWN {
        out.push_str(&format!(
            "\n… ({} of {all} characters are not shown)",
            all - MAX_SHOWN
        ));
    }
    out
}

/// Characters of Unicode's default-ignorable and bidirectional kinds, line separators, private use
/// and tags, and spaces that look like the ordinary one or like nothing.
fn unseen(c: char) -> bool {
    matches!(c,
        '\u{a0}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{1680}'
        | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2000}'..='\u{200f}'
        | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}' | '\u{2800}' | '\u{3000}' | '\u{3164}'
        | '\u{e000}'..='\u{f8ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{10ffff}')
}
