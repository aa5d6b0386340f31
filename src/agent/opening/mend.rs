//! What a crash left is put right when a conversation is opened or read again: a reply that was cut gets
//! its text from its tokens, and calls without results get them.

use crate::agent::conversation::handle::Conversation;
use crate::agent::input::unanswered::{NOT_RUN_WORDS, UNKNOWN_EFFECT};
use crate::agent::values::error::{AgentError, ErrorKind};
use crate::agent::values::options::Input;
use crate::chat::Message;
use crate::ledger::Finish;
use crate::session;

impl Conversation {
    /// After a kill in the middle of a reply its body is older than its tokens: the tokens are the
    /// truth, the text is read from them again.
    pub(in crate::agent) fn mend(&mut self) -> Result<(), AgentError> {
        let Some(last) = self.messages.last() else {
            return Ok(());
        };
        if last.role != "assistant" || last.finish != Some(Finish::Interrupted) {
            return Ok(());
        }
        let (id, span) = (last.id, last.span);
        let Some(span) = span else { return Ok(()) };
        let after = self.after_last_input();
        let tokens = self.ledger[span.start..span.end].to_vec();
        // The end of turn may have reached the store, and the reply's finish not.
        let vocab = self.shared.model.vocab();
        let ended = tokens.last().is_some_and(|t| vocab.is_end(*t));
        let message = self.read_reply(&tokens, after, !ended)?;
        let finish = match (ended, message.calls.is_empty()) {
            (false, _) => Finish::Interrupted,
            (true, true) => Finish::Stop,
            (true, false) => Finish::ToolCalls,
        };
        let body = message.to_json();
        let place = self.messages.len() - 1;
        let trail = self
            .trails(place, std::slice::from_ref(&message))?
            .pop()
            .flatten();
        let stale = |m: &session::StoredMessage| {
            m.body != body || m.finish != Some(finish) || m.trail != trail
        };
        if self.messages.last().is_some_and(stale) {
            let mut unit = self.db.begin(self.row.id)?;
            unit.set_body(id, &body)?;
            unit.set_finish(id, finish)?;
            if let Some(trail) = trail {
                unit.set_trail(id, trail)?;
            }
            unit.commit()?;
            if let Some(last) = self.messages.last_mut() {
                last.body = body;
                last.finish = Some(finish);
                last.trail = trail;
            }
        }
        Ok(())
    }

    /// Calls that a crash or an error left without results get them now, in the ledger's tail.
    pub(in crate::agent) fn close_calls(&mut self) -> Result<(), AgentError> {
        let Some(open) = self.unanswered() else {
            return Ok(());
        };
        let texts = self.stand_ins(open.reply, open.calls.len())?;
        let count = |word: &str| texts.iter().filter(|t| t.contains(word)).count();
        let (unknown, not_run) = (count(UNKNOWN_EFFECT), count(NOT_RUN_WORDS));
        let results = open.calls.iter().zip(&texts);
        let results = results.map(|(call, text)| Message::tool_result("", &call.name, text));
        match self.append(Input::Messages(results.collect())) {
            Ok(_) => self.notices.push((
                format!(
                    "the last turn ended between calls and their results: of {} calls {} have \
                     their result, {not_run} were not run, {unknown} may have had an effect",
                    texts.len(),
                    texts.len() - unknown - not_run,
                ),
                (unknown > 0).then(|| "look at what the calls may have changed".to_owned()),
            )),
            Err(e) if e.is(ErrorKind::Session) => return Err(e),
            // The next message brings them along.
            Err(e) => self.notices.push((
                format!("the calls of the last reply could not be closed: {e}"),
                e.hint(),
            )),
        }
        Ok(())
    }
}
