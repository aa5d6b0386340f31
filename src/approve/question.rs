//! The question to the user about a call, and how a model's text is shown in it so that the text cannot
//! look like npast's own.

use serde::{Deserialize, Serialize};

use super::ApprovalRule;
use crate::harmless;
use crate::tools::Subject;

/// Most characters of a subject that are shown.
const MAX_SHOWN: usize = 64_000;

/// A question to the user about one call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// The tool's name.
    pub tool: String,
    /// What it is about: lines without control or invisible characters, whole or cut with its
    /// length. Whoever shows it sets each line apart from the question itself.
    pub text: String,
    /// What the call does, as a verb that stands before the subject: `run`, `read`, `fetch`.
    pub verb: &'static str,
    /// Why the user is asked, where the policy alone does not say it.
    pub why: Option<String>,
    /// What the rules cover, in words; nothing where there are none.
    pub scope: Option<String>,
    /// What [`Grant::Session`] and [`Grant::Always`] would allow; where it is empty only
    /// [`Grant::Once`] and [`Grant::No`] make sense.
    pub rules: Vec<ApprovalRule>,
    /// For [`crate::tools::CallContext::granted`].
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
