//! From input to a durable message and its tokens. Law 5: fit is checked, then the message is
//! committed, then decoding begins. Law 1: what was decoded stays; only what follows is rendered.

use std::sync::Arc;

use crate::agent::conversation::handle::{Conversation, text_of};
use crate::agent::frozen::frame::Frozen;
use crate::agent::values::error::{AgentError, ErrorKind};
use crate::agent::values::options::Input;
use crate::chat::Message;
use crate::chat::message::Role;
use crate::chat::template::After;
use crate::ledger::{Finish, Token, common_prefix};
use crate::session::{MessageId, Span, State, now_ms};

/// What an input became.
pub(in crate::agent) struct Appended {
    /// Messages that the reply answers.
    pub inputs: Vec<MessageId>,
    /// The ledger and the decoded length before, to go back to when the input is withdrawn.
    pub before: Before,
    /// The user's text, handed back when it is withdrawn.
    pub text: Option<String>,
    /// What the reply comes after.
    pub after: After,
    /// Goes on with the last reply.
    pub continued: bool,
}

/// What a withdrawn input leaves: the ledger as it was.
pub(in crate::agent) struct Before {
    /// The input changed the ledger from here on.
    pub from: usize,
    /// What stood there: an exchanged end of turn, or a history that was rendered anew.
    pub tail: Vec<Token>,
    /// Messages whose tokens those are.
    pub spans: Vec<(MessageId, Span)>,
    /// Length of the ledger that was known to be decoded.
    pub decoded: usize,
    /// Whether its last token was not.
    pub pending: usize,
    pub messages: usize,
}

/// Tokens of new messages, and where they go.
pub(in crate::agent) struct Tokens {
    /// The place of the first of them in the ledger.
    pub from: usize,
    pub tokens: Vec<Token>,
    /// A prefix break that they are: the first token that differs, and why.
    pub broken: Option<(usize, String)>,
}

impl Tokens {
    fn at(from: usize, tokens: Vec<Token>) -> Tokens {
        Tokens {
            from,
            tokens,
            broken: None,
        }
    }
}

/// What is put in the place of results that never came.
pub(in crate::agent) const NOT_RUN: &str = "This call was not run.";

impl Conversation {
    /// Makes an input durable. Nothing is decoded here.
    pub(in crate::agent) fn append(&mut self, input: Input) -> Result<Appended, AgentError> {
        let open: Vec<MessageId> = self.open_messages().map(|m| m.id).collect();
        let new = match input {
            Input::Continue => return self.continue_reply(),
            Input::Open => Vec::new(),
            Input::Text(text) if text.trim().is_empty() => Vec::new(),
            Input::Text(text) => vec![Message::user(text)],
            Input::Messages(messages) => messages,
        };
        if new.is_empty() {
            if open.is_empty() {
                return Err(AgentError::new(ErrorKind::Input, "the prompt is empty")
                    .hinted("type a message, or pipe one in"));
            }
            if self.unsent() {
                // Its tokens were not committed with it; they are made now.
                return self.append_messages(Vec::new(), &open, true);
            }
            return Ok(Appended {
                // The reply changes them: they are answered then.
                before: self.before(self.ledger.len(), open.len())?,
                inputs: open,
                text: None,
                after: self.after_last_input(),
                continued: false,
            });
        }
        if let Some(bad) = new
            .iter()
            .find(|m| !matches!(m.role, Role::User | Role::Tool))
        {
            return Err(AgentError::new(
                ErrorKind::Input,
                format!("a message of role {} cannot be appended", bad.role.as_str()),
            )
            .hinted("user messages and tool results can be"));
        }
        self.append_messages(new, &open, true)
    }

    /// An open message without tokens in the ledger.
    fn unsent(&self) -> bool {
        self.open_messages().any(|m| m.span.is_none())
    }

    /// The ledger before an input that changes it from `from` on and takes `open` messages along.
    fn before(&self, from: usize, open: usize) -> Result<Before, AgentError> {
        let kept = self.open_messages().find_map(|m| m.span).map(|s| s.start);
        let kept = kept.filter(|_| open > 0).unwrap_or(self.ledger.len());
        let messages = self.messages.len() - open;
        let behind = |m: &crate::session::Message| {
            let span = m.span.filter(|s| s.end > from)?;
            Some((m.id, span))
        };
        Ok(Before {
            from,
            tail: self.ledger[from.min(kept)..kept].to_vec(),
            spans: self.messages[..messages]
                .iter()
                .filter_map(behind)
                .collect(),
            decoded: self.decoded.len(),
            pending: self.db.pending(self.row.id)?,
            messages,
        })
    }

    fn continue_reply(&mut self) -> Result<Appended, AgentError> {
        if !self.unfinished() {
            return Err(
                AgentError::new(ErrorKind::Input, "there is no reply to go on with").hinted(
                    "only a reply that was cut (length, stop string, Ctrl-C) can be continued",
                ),
            );
        }
        Ok(Appended {
            inputs: Vec::new(),
            before: self.before(self.ledger.len(), 0)?,
            text: None,
            after: self.after_last_input(),
            continued: true,
        })
    }

    /// What the last reply came after, or the next one will.
    pub(in crate::agent) fn after_last_input(&self) -> After {
        let last = self.messages.iter().rfind(|m| m.role != "assistant");
        match last.is_some_and(|m| m.role == "tool") {
            true => After::Results,
            false => After::User,
        }
    }

    /// Makes messages durable behind those that are open. `joined`: a message that a crash left open
    /// and the user's next one become one message; a client's history keeps them apart.
    pub(in crate::agent) fn append_messages(
        &mut self,
        new: Vec<Message>,
        open: &[MessageId],
        joined: bool,
    ) -> Result<Appended, AgentError> {
        let mut all = Vec::new();
        for message in self.open_messages() {
            all.push(Message::from_json(&message.body)?);
        }
        let spoken = new.iter().any(|m| m.role == Role::User);
        if joined && spoken && all.iter().any(|m| m.role == Role::User) {
            self.notices.push((
                "the message that was left without an answer was joined with this one".to_owned(),
                None,
            ));
        }
        for message in new {
            match all.last_mut() {
                Some(last) if joined && last.role == Role::User && message.role == Role::User => {
                    last.text = format!("{}\n\n{}", last.text, message.text);
                }
                _ => all.push(message),
            }
        }
        // Handed back whole: the joined message is withdrawn as one.
        let last = all.iter().rfind(|m| m.role == Role::User && spoken);
        let text = last.map(|m| m.text.clone());
        let all = self.with_results(all)?;

        let cut = self.open_messages().find_map(|m| m.span).map(|s| s.start);
        let kept = cut.unwrap_or(self.ledger.len());
        let Tokens {
            from,
            tokens,
            broken,
        } = self.tokens_of(&all, kept)?;
        let needed = from + tokens.len() + 1;
        if needed > self.shared.limit {
            return Err(AgentError::new(
                ErrorKind::TooLong,
                format!(
                    "this message would make the conversation {needed} tokens long, the context \
                     has {}",
                    self.shared.limit
                ),
            )
            .hinted(
                "nothing was stored; give a larger --ctx, shorten it, or start a new session",
            ));
        }

        let before = self.before(from, open.len())?;
        let span = Span {
            start: kept.min(from + tokens.len()),
            end: from + tokens.len(),
        };
        let answered = self.unanswered_reply();
        let trails = self.trails(before.messages, &all)?;
        let stays = self.stays(from, &tokens);
        let mut unit = self.db.begin(self.row.id)?;
        if from < self.ledger.len() {
            unit.cut_tokens(from)?;
        }
        unit.append_tokens(from, &tokens)?;
        unit.set_pending(0)?;
        unit.set_decoded(self.decoded.len().min(stays))?;
        if from + 1 == kept {
            // An exchanged end of turn still belongs to its reply.
            for (id, span) in &before.spans {
                unit.set_span(*id, *span)?;
            }
        }
        let mut inputs = Vec::new();
        for (i, message) in all.iter().enumerate() {
            let body = message.to_json();
            let id = match open.get(i) {
                Some(id) => {
                    unit.set_body(*id, &body)?;
                    *id
                }
                None => unit.add_message(message.role.as_str(), &body, State::Open)?,
            };
            unit.set_span(id, span)?;
            if let Some(trail) = trails[i] {
                unit.set_trail(id, trail)?;
            }
            inputs.push(id);
        }
        for spare in open.iter().skip(all.len()) {
            unit.set_state(*spare, State::Withdrawn)?;
        }
        if let Some(reply) = answered {
            // Its results are messages from here on.
            unit.forget_runs(reply)?;
        }
        unit.touch(now_ms())?;
        unit.commit()?;
        self.hold(from, &tokens);
        self.broken = broken.or(self.broken.take());
        self.messages = self.refresh(before.messages)?;
        let after = match all.last().is_some_and(|m| m.role == Role::Tool) {
            true => After::Results,
            false => After::User,
        };
        Ok(Appended {
            inputs,
            before,
            text,
            after,
            continued: false,
        })
    }

    /// Mirrors a change of the stored ledger: its first `from` tokens, then these.
    pub(in crate::agent) fn hold(&mut self, from: usize, tokens: &[Token]) {
        let stays = self.stays(from, tokens);
        let gone = self.ledger[stays.min(self.ledger.len())..].to_vec();
        let ledger = Arc::make_mut(&mut self.ledger);
        ledger.truncate(from);
        ledger.extend_from_slice(tokens);
        self.marks.retain(|mark| mark.len() <= stays);
        if let Some(words) = self.decoded.changed(stays, &gone, &self.ledger) {
            self.left.get_or_insert(words.into());
        }
    }

    /// How much of the ledger is the same when its first `from` tokens are followed by these.
    fn stays(&self, from: usize, tokens: &[Token]) -> usize {
        from + common_prefix(&self.ledger[from.min(self.ledger.len())..], tokens)
    }

    /// The messages again from the database, where only those from `from` on can have changed.
    fn refresh(&mut self, from: usize) -> Result<Vec<crate::session::Message>, AgentError> {
        let mut kept = std::mem::take(&mut self.messages);
        kept.truncate(from);
        let stored = self
            .db
            .messages_after(self.row.id, kept.last().map(|m| m.id))?;
        kept.extend(stored);
        Ok(kept)
    }

    /// Where the tokens of new messages go, and the tokens.
    fn tokens_of(&mut self, new: &[Message], kept: usize) -> Result<Tokens, AgentError> {
        let shared = self.shared.clone();
        let Some((row, reply)) = self.last_reply() else {
            let tokens = self.frozen.opening(&shared, new)?;
            let head = self.row.head;
            if !tokens.starts_with(&self.ledger[..head]) {
                return Err(AgentError::new(
                    ErrorKind::Template,
                    "the template writes another system prompt for this first message",
                )
                .hinted("give another template with --chat-template @FILE"));
            }
            return Ok(Tokens::at(head, tokens[head..].to_vec()));
        };
        let row = row.clone();
        if let Some(why) = self.whole_renderings() {
            let mut messages = self.canonical()?;
            messages.truncate(messages.len() - self.open_messages().count());
            messages.extend_from_slice(new);
            let tokens = self.frozen.whole(&shared, &messages)?;
            let same = common_prefix(&self.ledger[..kept], &tokens);
            // A pending end of turn may take another form; what was decoded may not in silence.
            let broken = (same < kept.min(self.decoded.len())).then_some((same, why));
            let tokens = tokens[same..].to_vec();
            return Ok(Tokens {
                broken,
                ..Tokens::at(same, tokens)
            });
        }
        self.tokens_behind(&row, &reply, new, kept)
    }

    /// Where the tokens of new messages after a reply of the ledger go, and the tokens. `kept` is where
    /// the ledger ends for them, behind that reply.
    pub(in crate::agent) fn tokens_behind(
        &mut self,
        row: &crate::session::Message,
        reply: &Message,
        new: &[Message],
        kept: usize,
    ) -> Result<Tokens, AgentError> {
        let ledger = self.ledger.clone();
        let kept = kept.min(ledger.len());
        let span = row.span.unwrap_or(Span {
            start: kept,
            end: kept,
        });
        self.tokens_after(&ledger[..kept], reply, row.finish, span, new)
    }

    /// Where the tokens of new messages go behind a ledger whose last reply has this finish and span,
    /// and the tokens. Costs O(new).
    pub(in crate::agent) fn tokens_after(
        &mut self,
        ledger: &[Token],
        reply: &Message,
        finish: Option<Finish>,
        span: Span,
        new: &[Message],
    ) -> Result<Tokens, AgentError> {
        let (shared, kept, reply_end) = (self.shared.clone(), ledger.len(), span.end);
        let delta = self.frozen.delta(&shared, reply, new)?;
        let closed = matches!(finish, Some(Finish::Stop | Finish::ToolCalls));
        // The reply's own last token is looked at: is it an end of turn?
        let last = ledger.last().copied();
        if closed && kept == reply_end && kept > 0 {
            // It was sampled and not decoded; it takes the form that history has (and has it
            // already where a message after it was cut off again).
            let text = &ledger[..kept - 1];
            let tokens = Frozen::continuation(&shared, text, "", delta.pieces.clone())?;
            if tokens.first() == last.as_ref() {
                return Ok(Tokens::at(kept, tokens[1..].to_vec()));
            }
            if last.is_some_and(|t| shared.model.vocab().is_end(t)) {
                return Ok(Tokens::at(kept - 1, tokens));
            }
        }
        // A reply that was cut is closed first: open reasoning, then what stands before the end.
        let mut before = String::new();
        if !closed {
            if self.reasoning_open(span)? {
                before.push_str(&shared.template.battery().thinking.close);
            }
            before.push_str(&delta.closing);
        }
        let tokens = Frozen::continuation(&shared, ledger, &before, delta.pieces)?;
        Ok(Tokens::at(kept, tokens))
    }

    /// Whether a reply's tokens end inside its reasoning.
    fn reasoning_open(&mut self, span: Span) -> Result<bool, AgentError> {
        let after = self.after_last_input();
        let raw = self.raw_text(&self.ledger[span.start..span.end.min(self.ledger.len())]);
        let prompt = self.format(after)?.applied.generation_prompt.clone();
        Ok(self
            .shared
            .template
            .battery()
            .thinking
            .opens(&(prompt + &raw)))
    }

    /// Results in call order, with something in the place of those that are missing.
    fn with_results(&self, new: Vec<Message>) -> Result<Vec<Message>, AgentError> {
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

    /// Ctrl-C before the first token: the ledger goes back, the text is handed back, KV stays.
    /// Results of calls are nobody's to type again: they stay, open, for the next message.
    pub(in crate::agent) fn withdraw(&mut self, appended: &Appended) -> Result<(), AgentError> {
        let before = &appended.before;
        let len = before.from + before.tail.len();
        let reached = self.decoded.len().min(before.from);
        // A last token that was pending may have been evaluated with the message.
        let pending = match before.tail.is_empty() && reached == len {
            true => 0,
            false => before.pending.min(len),
        };
        let result = |id: &MessageId| {
            let row = self.messages.iter().find(|m| m.id == *id);
            row.is_some_and(|m| m.role == "tool" && text_of(&m.body) != NOT_RUN)
        };
        let spoken: Vec<MessageId> = appended
            .inputs
            .iter()
            .copied()
            .filter(|id| !result(id))
            .collect();
        let decoded = reached.max(before.decoded.min(len));
        // It may be sent again, from another process too.
        let gone = self.ledger[before.from..self.decoded.len().max(before.from)].to_vec();
        let mut unit = self.db.begin(self.row.id)?;
        if !gone.is_empty() {
            unit.add_way(&self.ledger[..before.from], &gone)?;
        }
        unit.cut_tokens(before.from)?;
        unit.append_tokens(before.from, &before.tail)?;
        unit.set_decoded(decoded)?;
        for (id, span) in &before.spans {
            unit.set_span(*id, *span)?;
        }
        for id in spoken {
            unit.set_state(id, State::Withdrawn)?;
        }
        unit.set_pending(pending)?;
        unit.commit()?;
        let ledger = Arc::make_mut(&mut self.ledger);
        let withdrawn = ledger.split_off(before.from);
        ledger.extend_from_slice(&before.tail);
        self.marks.retain(|mark| mark.len() <= before.from);
        self.decoded.changed(before.from, &withdrawn, &self.ledger);
        self.decoded.reached(decoded);
        self.messages = self.refresh(before.messages)?;
        Ok(())
    }
}
