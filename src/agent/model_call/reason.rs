//! Why tokens were evaluated again, in a sentence: the slot reports places and tokens, the spans say
//! whose they are.

use crate::agent::values::receipt::MissNote;
use crate::ledger::Token;
use crate::llama::Vocab;
use crate::session::{Span, StoredMessage};
use crate::slot::{Cause, Miss};

/// The message that a place in the ledger belongs to: its number and its role.
fn owner(messages: &[StoredMessage], at: usize) -> Option<(usize, &str)> {
    let holds = |span: &Span| span.start <= at && at < span.end;
    messages
        .iter()
        .enumerate()
        .find(|(_, m)| m.span.as_ref().is_some_and(holds))
        .map(|(i, m)| (i, m.role.as_str()))
}

/// The words for a place in the ledger.
fn place(owner: Option<(usize, &str)>, at: usize, head: usize) -> String {
    match owner {
        _ if at < head => "the system prompt or the tools".to_owned(),
        Some((i, role)) => format!("message {i} ({role})"),
        None => format!("token {at}"),
    }
}

/// A prefix break that the caller made on purpose and that made nothing be evaluated again but
/// what it replaced.
pub(in crate::agent) fn broken(
    at: usize,
    why: &str,
    messages: &[StoredMessage],
    head: usize,
) -> MissNote {
    let owner = owner(messages, at);
    MissNote {
        at,
        message: owner.map(|(i, _)| i),
        reason: format!("{}: {why}", place(owner, at, head)),
    }
}

/// What was moved to other positions is not there any more.
pub(in crate::agent) fn was_moved(at: usize, messages: &[StoredMessage], head: usize) -> MissNote {
    let owner = owner(messages, at);
    let place = place(owner, at, head);
    MissNote {
        at,
        message: owner.map(|(i, _)| i),
        reason: format!(
            "{place} and what follows is read again: --shift had moved it, and a state with moved \
             tokens is approximate and not stored"
        ),
    }
}

/// A miss as a receipt shows it. `broken` names a prefix break that the caller made on purpose.
pub(in crate::agent) fn note(
    miss: &Miss,
    messages: &[StoredMessage],
    head: usize,
    vocab: &Vocab,
    broken: Option<&str>,
) -> MissNote {
    let owner = owner(messages, miss.at);
    let place = place(owner, miss.at, head);
    let piece = |token: Token| format!("{:?}", String::from_utf8_lossy(&vocab.piece(token, true)));
    let differs = |had, got| {
        format!(
            "{place} differs: the slot had {}, the ledger has {}",
            piece(had),
            piece(got)
        )
    };
    let reason = match (&miss.cause, broken) {
        (Cause::Differs { .. }, Some(broken)) => format!("{place}: {broken}"),
        (Cause::NoState { nearest, .. }, Some(broken)) => format!(
            "{place}: {broken}; this model's memory cannot be cut there, and the nearest kept state \
             is at token {nearest}"
        ),
        (Cause::Differs { had, got }, _) => differs(*had, *got),
        (Cause::NoState { nearest, had, got }, _) => format!(
            "{}; this model's memory cannot be cut, and the nearest kept state is at token {nearest}",
            differs(*had, *got)
        ),
        (Cause::Between { nearest }, Some(broken)) => format!(
            "{place}: {broken}; this model's memory cannot be cut there, and the nearest kept state \
             is at token {nearest}"
        ),
        (Cause::Between { nearest }, None) => format!(
            "{place} is read again: this model's memory cannot be cut, and the nearest state on disk \
             is at token {nearest}; a later one was not kept, was deleted, or the last process ended \
             before it was saved"
        ),
        (Cause::NotStored(Some(why)), _) => why.clone(),
        (Cause::NotStored(None), _) => format!(
            "no KV from {place} on is on disk: it was deleted, or the last process ended before it \
             was saved"
        ),
        (Cause::Refused(why), _) => format!("stored KV was refused: {why}"),
        (Cause::Row, _) => {
            "the logits after the last token are not kept, so it is read again".to_owned()
        }
        (Cause::Lost, _) => "the slot's memory was given up after a failed decode".to_owned(),
    };
    let reason = match (&miss.cause, broken) {
        (Cause::Differs { .. } | Cause::NoState { .. } | Cause::Between { .. }, _) | (_, None) => {
            reason
        }
        (_, Some(broken)) => format!("{broken}; {reason}"),
    };
    MissNote {
        at: miss.at,
        message: owner.map(|(i, _)| i),
        reason,
    }
}
