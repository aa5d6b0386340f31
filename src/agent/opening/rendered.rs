//! The messages of one session as another session takes them over: rendered anew, in one piece.

use crate::agent::engine::shared::EngineShared;
use crate::agent::frozen::frame::FrozenFrame;
use crate::agent::values::error::{AgentError, ErrorKind};
use crate::chat::Message;
use crate::ledger::{Finish, Token};
use crate::session::{self, Carried, MessageState, Span};

/// The tokens of a whole conversation, and its messages with their places in them.
type OneRendering = (Vec<Token>, Vec<Carried>);

/// The messages of a session up to its last reply, as another session takes them over: one rendering
/// that begins with the head, in which the place of each message is not known. Nothing where there is
/// no reply.
pub(in crate::agent) fn rendered(
    shared: &EngineShared,
    frozen: &FrozenFrame,
    head: &[Token],
    messages: &[session::StoredMessage],
) -> Result<Option<OneRendering>, AgentError> {
    let last = messages.iter().rposition(|m| m.role == "assistant");
    let Some(last) = last else {
        return Ok(None);
    };
    let answered = &messages[..=last];
    let canonical = answered
        .iter()
        .map(|m| Message::from_json(&m.body))
        .collect::<Result<Vec<_>, _>>()?;
    let tokens = frozen.closed_tokens(shared, &canonical)?;
    if !tokens.starts_with(head) {
        return Err(AgentError::new(
            ErrorKind::Template,
            "the template writes another beginning for this history",
        ));
    }
    let (keep, end) = (head.len(), tokens.len());
    let carried = answered.iter().enumerate().map(|(i, m)| Carried {
        of: Some(m.id),
        role: m.role.clone(),
        body: m.body.clone(),
        state: MessageState::Answered,
        finish: (m.role == "assistant").then(|| m.finish.unwrap_or(Finish::Stop)),
        span: Some(Span {
            start: keep,
            end: if i == last { end } else { keep },
        }),
    });
    let carried = carried.collect();
    Ok(Some((tokens, carried)))
}
