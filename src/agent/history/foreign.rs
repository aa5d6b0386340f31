//! Replies that this session never sampled: a client's history may hold those of another model, of
//! another session, or what a user made of one. They become tokens as the model would have written
//! them, each with a place of its own, so that the conversation can be cut after each. Law 9 holds: an
//! untrusted reply is content, and cannot become control tokens.

use crate::agent::branches::turns::cut_before;
use crate::agent::conversation::handle::Conversation;
use crate::agent::frozen::frame::FrozenFrame;
use crate::agent::input::appended::{Appended, LedgerBefore, Tokens};
use crate::agent::model_call::script::tokenized;
use crate::agent::values::error::{AgentError, ErrorKind};
use crate::chat::Message;
use crate::chat::message::Role;
use crate::chat::template::After;
use crate::ledger::{Finish, Token, common_prefix};
use crate::session::{CutPoint, MessageId, MessageState, Span, Why, now_ms};

/// Messages with their tokens, behind those that stay.
struct Laid {
    /// The ledger's first tokens that stay.
    from: usize,
    tokens: Vec<Token>,
    /// For each message its tokens.
    spans: Vec<Span>,
    /// A prefix break that they are.
    broken: Option<(usize, String)>,
}

impl Conversation {
    /// Appends messages with replies among them behind the first `place` messages; what follows those
    /// now is cut off and stays as a branch. A reply at the end is one to go on with.
    pub(in crate::agent) fn append_foreign(
        &mut self,
        place: usize,
        tail: Vec<Message>,
        cut: bool,
    ) -> Result<Appended, AgentError> {
        let exact = cut_before(&self.messages, place, self.row.head);
        let at = exact.map_or(self.ledger.len(), |cut| cut.at);
        let whole = exact.is_none() || self.whole_renderings().is_some();
        let laid = match whole {
            true => self.laid_whole(place, &tail)?,
            false => match self.laid(place, at, &tail) {
                Err(error) if error.is(ErrorKind::Template) => {
                    tracing::debug!(%error, "the history is rendered whole");
                    self.laid_whole(place, &tail)?
                }
                laid => laid?,
            },
        };
        let needed = laid.from + laid.tokens.len() + 1;
        if needed > self.shared.limit {
            return Err(AgentError::new(
                ErrorKind::TooLong,
                format!(
                    "this history would be {needed} tokens long, the context has {}",
                    self.shared.limit
                ),
            )
            .hinted(
                self.shared
                    .room_hint("nothing was stored; send a shorter history"),
            ));
        }
        self.store_laid(place, tail, laid, cut)
    }

    fn store_laid(
        &mut self,
        place: usize,
        tail: Vec<Message>,
        laid: Laid,
        cut: bool,
    ) -> Result<Appended, AgentError> {
        let trails = self.trails(place, &tail)?;
        let kept: Vec<_> = self.messages[..place]
            .iter()
            .map(|m| (m.id, m.span))
            .collect();
        let answered = tail.iter().rposition(|m| m.role == Role::Assistant);
        let answered = answered.map_or(0, |at| at + 1);
        let begun = answered == tail.len();
        let mut unit = self.db.begin(self.row.id)?;
        if cut {
            let cut = CutPoint {
                after: kept.last().map(|(id, _)| *id),
                at: laid.from.max(self.row.head),
                pending: 0,
            };
            unit.abandon(cut, Why::History)?;
        }
        if laid.from < unit.ledger_len() {
            unit.cut_tokens(laid.from)?;
        }
        unit.append_tokens(laid.from, &laid.tokens)?;
        let end = laid.from + laid.tokens.len();
        if let Some((id, Some(span))) = kept.last()
            && span.end == laid.from + 1
            && span.end <= end
        {
            // An exchanged end of turn still belongs to its reply.
            unit.set_span(*id, *span)?;
        }
        let mut inputs: Vec<MessageId> = Vec::new();
        for (at, message) in tail.iter().enumerate() {
            let state = match at < answered {
                true => MessageState::Answered,
                false => MessageState::Open,
            };
            let id = unit.add_message(message.role.as_str(), &message.to_json(), state)?;
            unit.set_span(id, laid.spans[at])?;
            if message.role == Role::Assistant {
                let finish = match (begun && at + 1 == tail.len(), message.calls.is_empty()) {
                    (true, _) => Finish::Length,
                    (false, true) => Finish::Stop,
                    (false, false) => Finish::ToolCalls,
                };
                unit.set_finish(id, finish)?;
            }
            if let Some(trail) = trails[at] {
                unit.set_trail(id, trail)?;
            }
            if state == MessageState::Open {
                inputs.push(id);
            }
        }
        unit.set_pending(0)?;
        unit.set_decoded(self.ledger.decoded().min(laid.from))?;
        unit.touch(now_ms())?;
        unit.commit()?;
        let named = self.next_receipt.forget_break();
        self.read_again()?;
        self.next_receipt.broke_if(laid.broken.or(named));
        let after = match begun {
            true => self.after_last_input(),
            false if tail.last().is_some_and(|m| m.role == Role::Tool) => After::Results,
            false => After::User,
        };
        Ok(Appended {
            before: LedgerBefore {
                from: self.ledger.len(),
                tail: Vec::new(),
                spans: Vec::new(),
                decoded: self.ledger.decoded(),
                pending: 0,
                messages: self.messages.len() - inputs.len(),
            },
            inputs,
            // Nobody typed it: without an answer it stays, and is answered when it is sent again.
            text: None,
            after,
            continued: begun,
        })
    }

    /// Messages as tokens behind the first `place` messages, which end at token `at`. Costs O(ledger)
    /// in copied tokens, and O(new) in rendered ones.
    fn laid(&mut self, place: usize, at: usize, tail: &[Message]) -> Result<Laid, AgentError> {
        let shared = self.shared.clone();
        let mut ledger = self.ledger[..at].to_vec();
        let last = place.checked_sub(1).map(|last| &self.messages[last]);
        let mut before = match last {
            Some(row) => Some((
                Message::from_json(&row.body)?,
                row.finish,
                row.span.unwrap_or(Span { start: at, end: at }),
            )),
            None => None,
        };
        let mut from = at;
        let mut spans: Vec<Span> = Vec::with_capacity(tail.len());
        let mut i = 0;
        while i < tail.len() {
            let inputs = tail[i..].iter();
            let count = inputs.take_while(|m| m.role != Role::Assistant).count();
            let inputs = &tail[i..i + count];
            let begun = ledger.len();
            match &before {
                _ if inputs.is_empty() => {}
                Some((reply, finish, span)) => {
                    let Tokens {
                        from: cut, tokens, ..
                    } = self.tokens_after(&ledger, reply, *finish, *span, inputs)?;
                    ledger.truncate(cut);
                    ledger.extend(tokens);
                    from = from.min(cut);
                }
                None => {
                    let tokens = self.frozen.opening(&shared, inputs)?;
                    if !tokens.starts_with(&ledger[..self.row.head]) {
                        return Err(AgentError::new(
                            ErrorKind::Template,
                            "the template writes another beginning for this history",
                        ));
                    }
                    from = self.row.head;
                    ledger = tokens;
                }
            }
            let span = Span {
                start: begun.min(ledger.len()),
                end: ledger.len(),
            };
            spans.extend(inputs.iter().map(|_| span));
            i += count;
            let Some(reply) = tail.get(i) else { break };
            let open = i + 1 == tail.len();
            let start = ledger.len();
            let (pieces, end) = self.frozen.written(&shared, reply)?;
            ledger.extend(FrozenFrame::continuation(&shared, &ledger, "", pieces)?);
            if !open {
                let vocab = shared.model.vocab();
                match end.as_str() {
                    "" => ledger.extend(vocab.eos()),
                    end => ledger.extend(tokenized(vocab, end)?),
                }
            }
            let span = Span {
                start,
                end: ledger.len(),
            };
            spans.push(span);
            let finish = match reply.calls.is_empty() {
                true => Finish::Stop,
                false => Finish::ToolCalls,
            };
            before = Some((reply.clone(), Some(finish), span));
            i += 1;
        }
        Ok(Laid {
            from,
            tokens: ledger[from..].to_vec(),
            spans,
            broken: None,
        })
    }

    /// The same, of a template that writes a history only as a whole. Where each message lies is not
    /// known then, but for the last ones.
    fn laid_whole(&mut self, place: usize, tail: &[Message]) -> Result<Laid, AgentError> {
        if tail.last().is_some_and(|m| m.role == Role::Assistant) {
            return Err(AgentError::new(
                ErrorKind::Input,
                "a reply that was begun elsewhere cannot be gone on with under this template",
            )
            .hinted("nothing was stored; end the history with a user message"));
        }
        let mut all = self.canonical()?;
        all.truncate(place);
        all.extend_from_slice(tail);
        let tokens = self.frozen.whole(&self.shared, &all)?;
        let head = self.row.head;
        let from = common_prefix(&self.ledger, &tokens);
        if from < head {
            return Err(AgentError::new(
                ErrorKind::Template,
                "the template writes another beginning for this history",
            )
            .hinted("give another template with --chat-template @FILE"));
        }
        let stays = self.messages[..place].last().and_then(|m| m.span);
        let stays = stays.map_or(head, |s| s.end.saturating_sub(1));
        let why = self.whole_renderings();
        let why = why.unwrap_or_else(|| "this part of the history is one rendering".to_owned());
        let end = tokens.len();
        let last = tail.iter().rposition(|m| m.role == Role::Assistant);
        let spans = (0..tail.len()).map(|at| match last.is_some_and(|last| at <= last) {
            true => Span {
                start: from,
                end: from,
            },
            false => Span { start: from, end },
        });
        Ok(Laid {
            from,
            tokens: tokens[from..].to_vec(),
            spans: spans.collect(),
            broken: (from < stays.min(self.ledger.decoded())).then_some((from, why)),
        })
    }
}
