//! One sentence to the user about something that went wrong or was decided, with what to do.

/// Something to say once: a sentence and what to do.
pub type Notice = (String, Option<String>);
