//! What a person is asked, and how text of a model is shown so that it cannot play another role.

use serde::{Deserialize, Serialize};

use super::Rule;
use crate::harmless;
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
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

/// `text` for a terminal, cut with its length: see [`harmless::exact`].
pub(super) fn shown(text: &str) -> String {
    let start: String = text.chars().take(MAX_SHOWN).collect();
    let mut out = harmless::exact(&start);
    let all = text.chars().count();
    if all > MAX_SHOWN {
        out.push_str(&format!(
            "\n… ({} of {all} characters are not shown)",
            all - MAX_SHOWN
        ));
    }
    out
}
