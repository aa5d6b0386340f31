//! What the body of a stored message says, where more than one part of this room asks.

use crate::session;

/// The text of a stored body.
pub(in crate::agent) fn text_of(body: &serde_json::Value) -> &str {
    body.get("content")
        .and_then(|c| c.as_str())
        .unwrap_or_default()
}

/// Bytes of a tool's result from which on a line may take its place.
pub(in crate::agent) const LONG_RESULT: usize = 1200;

/// What is put in the place of results that never came.
pub(in crate::agent) const NOT_RUN: &str = "This call was not run.";

/// The field of a stored body that says that a message is part of a hand-over.
pub(in crate::agent) const FIELD: &str = "handover";

/// Whether a message is part of a hand-over, and so of neither user nor model.
pub(in crate::agent) fn is_handover(message: &session::StoredMessage) -> bool {
    message.body.get(FIELD).is_some()
}
