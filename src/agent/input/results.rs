//! Tool results in call order, with something in the place of those that are missing.

use crate::agent::conversation::handle::Conversation;
use crate::agent::conversation::stored::NOT_RUN;
use crate::agent::values::error::{AgentError, ErrorKind};
use crate::chat::Message;
use crate::chat::message::Role;
use crate::ledger::Finish;

impl Conversation {
    /// Results in call order, with something in the place of those that are missing.
    pub(in crate::agent) fn with_results(
        &self,
        new: Vec<Message>,
    ) -> Result<Vec<Message>, AgentError> {
        let calls = match self.last_reply() {
            Some((row, reply)) if row.finish == Some(Finish::ToolCalls) => reply.calls,
            _ => Vec::new(),
        };
        let (results, others): (Vec<_>, Vec<_>) =
            new.into_iter().partition(|m| m.role == Role::Tool);
        if calls.is_empty() {
            return match results.is_empty() {
                true => Ok(others),
                false => Err(AgentError::new(
                    ErrorKind::Input,
                    "there is a tool result, and no call it could answer",
                )),
            };
        }
        let mut places: Vec<Option<Message>> = vec![None; calls.len()];
        for result in results {
            let named = result.call_id.as_deref().filter(|id| !id.is_empty());
            let at = match named {
                // Ids of a model's own may be the same twice.
                Some(id) => (0..calls.len())
                    .find(|at| calls[*at].id == id && places[*at].is_none())
                    .or_else(|| {
                        // Ids of a client's own: by position.
                        places.iter().position(Option::is_none)
                    }),
                None => places.iter().position(Option::is_none),
            };
            match at.filter(|at| places[*at].is_none()) {
                Some(at) => places[at] = Some(result),
                None => {
                    return Err(AgentError::new(
                        ErrorKind::Input,
                        format!("there are more tool results than the {} calls", calls.len()),
                    ));
                }
            }
        }
        // What a call that was never answered gets: in a session whose tools are ours, the truth.
        let mut missing = vec![NOT_RUN.to_owned(); calls.len()];
        if self.row.runs_tools
            && places.contains(&None)
            && let Some((row, _)) = self.last_reply()
        {
            missing = self.stand_ins(row.id, calls.len())?;
        }
        let mut all: Vec<Message> = places
            .into_iter()
            .zip(missing)
            .zip(&calls)
            .map(|((result, missing), call)| {
                let text = result.map_or(missing, |r| r.text);
                Message::tool_result(&call.id, &call.name, text)
            })
            .collect();
        all.extend(others);
        Ok(all)
    }
}
