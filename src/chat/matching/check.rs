//! Histories that are no conversation. A history from outside is checked before any of it is stored.

use super::said::NormalMessage;
use super::values::bare;
use crate::chat::message::Role;

/// Why a history is no conversation. Messages are counted from 0, as they were sent.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Disorder {
    /// Nothing to answer.
    #[error("there is no message to answer")]
    Empty,
    /// Only instructions.
    #[error("there are only system messages: a user's message is missing")]
    OnlySystem,
    /// A reply to nothing.
    #[error("message {0} (assistant) comes before any user message")]
    ReplyFirst(usize),
    /// A result that answers no call.
    #[error(
        "message {0} (tool) is a result, and the message before it has no call that it could answer"
    )]
    NoCall(usize),
    /// More results than calls.
    #[error("message {0} (tool) is one result more than there are calls")]
    TooMany(usize),
    /// A call that is not answered.
    #[error("the calls of message {at} (assistant) have {results} results, and need {calls}")]
    NoResult {
        /// The message.
        at: usize,
        /// Its calls.
        calls: usize,
        /// Their results.
        results: usize,
    },
    /// Nothing in it.
    #[error("message {0} (user) is empty")]
    EmptyUser(usize),
}

/// Whether a history in normal form is a conversation, up to a message that can be answered or a
/// reply that can be gone on with.
///
/// # Errors
/// See [`Disorder`].
pub fn check(history: &[NormalMessage]) -> Result<(), Disorder> {
    if history.is_empty() {
        return Err(Disorder::Empty);
    }
    if history.iter().all(|s| s.message.role == Role::System) {
        return Err(Disorder::OnlySystem);
    }
    // The last reply's calls: its place, how many, and how many of them are answered.
    let mut calls: Option<(usize, usize, usize)> = None;
    let mut spoken = false;
    for said in history {
        let at = said.at;
        if said.message.role == Role::Tool {
            match &mut calls {
                None => return Err(Disorder::NoCall(at)),
                Some((_, calls, results)) => {
                    *results += 1;
                    if *results > *calls {
                        return Err(Disorder::TooMany(at));
                    }
                }
            }
            continue;
        }
        answered(calls.take())?;
        match said.message.role {
            Role::User if bare(&said.message.text).is_empty() => {
                return Err(Disorder::EmptyUser(at));
            }
            Role::User => spoken = true,
            Role::Assistant if !spoken => return Err(Disorder::ReplyFirst(at)),
            Role::Assistant if !said.message.calls.is_empty() => {
                calls = Some((at, said.message.calls.len(), 0));
            }
            Role::Assistant | Role::System | Role::Tool => {}
        }
    }
    match history.last() {
        // The last reply may have calls without results: the caller decides whether that is allowed.
        Some(last) if last.message.role == Role::Assistant => Ok(()),
        _ => answered(calls),
    }
}

fn answered(calls: Option<(usize, usize, usize)>) -> Result<(), Disorder> {
    match calls {
        Some((at, calls, results)) if results < calls => {
            Err(Disorder::NoResult { at, calls, results })
        }
        _ => Ok(()),
    }
}
