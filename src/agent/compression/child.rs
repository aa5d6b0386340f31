//! The new conversation: its tokens, its session, and going on in it. What stays keeps the tokens that it
//! has (law 1); the note and the summary are rendered by the template as plain content (law 9).

use serde_json::Value;

use crate::agent::conversation::handle::Conversation;
use crate::agent::engine::model_files::file_name;
use crate::agent::frozen::frame::FrozenFrame;
use crate::agent::input::appended::Tokens;
use crate::agent::model_call::script::tokenized;
use crate::agent::opening::rendered::rendered;
use crate::agent::values::error::{AgentError, ErrorKind};
use crate::chat::Message;
use crate::chat::script::{LineContent, ScriptLine};
use crate::ledger::{Finish, Token, common_prefix};
use crate::session::{
    self, Carried, Continuation, Heir, MessageId, MessageState, SessionRecord, Span,
};

use super::cut::Division;
use super::note::{self, Note};

/// A conversation that is about to be made.
pub(in crate::agent) struct Child {
    /// All its tokens; the last one waits to be decoded.
    tokens: Vec<Token>,
    /// So many of them stand where they stood and need not be read: the head, and the first exchange up to
    /// its last token.
    kept: usize,
    messages: Vec<Carried>,
}

impl Child {
    /// These tokens and messages; the first `kept` stand where they stood.
    pub fn new(tokens: Vec<Token>, kept: usize, messages: Vec<Carried>) -> Child {
        Child {
            tokens,
            kept,
            messages,
        }
    }

    /// Tokens.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }
}

impl Conversation {
    /// The conversation as a cut leaves it.
    pub(in crate::agent) fn child_of(
        &mut self,
        cut: &Division,
        note: Note,
        summary: &str,
    ) -> Result<Child, AgentError> {
        let n = self.answered();
        let exact = self.whole_renderings().is_none() && self.spans_are_known(cut, n);
        let made = match exact {
            true => self.exact_child(cut, &note, summary, n)?,
            false => None,
        };
        let mut child = match made {
            Some(child) => child,
            None => self.whole_child(cut, &note, summary, n)?,
        };
        self.take_open_along(&mut child);
        Ok(child)
    }

    /// Inputs without a reply go along; their tokens are made when they are answered.
    pub(in crate::agent) fn take_open_along(&self, child: &mut Child) {
        let open = self.messages[self.answered()..].iter();
        child.messages.extend(open.map(|m| Carried {
            state: MessageState::Open,
            span: None,
            ..carried(m, 0)
        }));
    }

    /// Whether what stays has tokens of its own in the ledger.
    fn spans_are_known(&self, cut: &Division, n: usize) -> bool {
        let known = |m: &session::StoredMessage| {
            m.role != "assistant"
                || m.span
                    .is_some_and(|s| s.start > self.row.head && s.end > s.start)
        };
        self.messages[..cut.first].iter().all(known) && self.messages[cut.tail..n].iter().all(known)
    }

    /// With the tokens that stay as they are. Nothing where the tail cannot follow the summary as it
    /// follows what stands before it now.
    fn exact_child(
        &mut self,
        cut: &Division,
        note: &Note,
        summary: &str,
        n: usize,
    ) -> Result<Option<Child>, AgentError> {
        let shared = self.shared.clone();
        let said = note.message();
        let mut messages: Vec<Carried> = self.messages[..cut.first]
            .iter()
            .map(|m| carried(m, 0))
            .collect();
        let (mut tokens, start) = match self.messages[..cut.first].last() {
            Some(row) => {
                let (row, reply) = (row.clone(), Message::from_json(&row.body)?);
                let kept = row.span.map_or(self.row.head, |s| s.end);
                let Tokens { from, tokens, .. } =
                    self.tokens_behind(&row, &reply, &[said], kept)?;
                ([&self.ledger[..from], &tokens].concat(), kept)
            }
            None => (self.frozen.opening(&shared, &[said])?, self.row.head),
        };
        if !tokens.starts_with(&self.ledger[..self.row.head]) {
            return Ok(None);
        }
        let kept = match cut.first {
            0 => self.row.head,
            _ => start.saturating_sub(1),
        };
        messages.push(made(
            "user",
            note.body(),
            Span {
                start,
                end: tokens.len(),
            },
        ));

        let reply = Message::assistant(summary);
        let line = ScriptLine {
            line: 0,
            said: LineContent::Message(reply.clone()),
            finish: None,
        };
        let written = self.frozen.sampled(&shared, &line);
        let written = written.map_err(|e| AgentError::new(ErrorKind::Template, e.to_string()))?;
        let start = tokens.len();
        tokens.extend(FrozenFrame::continuation(
            &shared,
            &tokens,
            "",
            written.pieces,
        )?);
        let text_end = tokens.len();
        let body = note::summary_body(&reply);
        let tail = cut.tail..n;
        if tail.is_empty() {
            match written.end_of_turn.as_deref() {
                Some("") | None => tokens.extend(shared.model.vocab().eos()),
                Some(end) => tokens.extend(tokenized(shared.model.vocab(), end)?),
            }
            messages.push(made(
                "assistant",
                body,
                Span {
                    start,
                    end: tokens.len(),
                },
            ));
            return Ok(Some(Child {
                tokens,
                kept,
                messages,
            }));
        }
        // The inputs before the first reply that stays follow the summary.
        let first = self.messages[tail.clone()]
            .iter()
            .position(|m| m.role == "assistant");
        let first = tail.start + first.unwrap_or(0);
        let inputs: Vec<&session::StoredMessage> = cut
            .user
            .map(|at| &self.messages[at])
            .into_iter()
            .chain(&self.messages[tail.start..first])
            .collect();
        let spoken = inputs
            .iter()
            .map(|m| Message::from_json(&m.body))
            .collect::<Result<Vec<_>, _>>()?;
        let delta = self.frozen.delta(&shared, &reply, &spoken)?;
        let ends = usize::from(!delta.end_of_turn.is_empty());
        tokens.extend(FrozenFrame::continuation(
            &shared,
            &tokens,
            "",
            delta.pieces,
        )?);
        let end = (text_end + ends).min(tokens.len());
        messages.push(made("assistant", body, Span { start, end }));
        let span = Some(Span {
            start: end,
            end: tokens.len(),
        });
        messages.extend(inputs.into_iter().map(|m| Carried {
            span,
            ..carried(m, 0)
        }));
        // And from there on the ledger goes on as it did.
        let from = self.messages[first].span.map_or(0, |s| s.start);
        if tokens.last() != self.ledger[..from].last() {
            return Ok(None);
        }
        let shift = tokens.len() as isize - from as isize;
        tokens.extend_from_slice(&self.ledger[from..self.answered_end()]);
        messages.extend(self.messages[first..n].iter().map(|m| carried(m, shift)));
        Ok(Some(Child {
            tokens,
            kept,
            messages,
        }))
    }

    /// As one rendering: where a template can only be rendered whole, or what stays has no tokens of its
    /// own.
    fn whole_child(
        &self,
        cut: &Division,
        note: &Note,
        summary: &str,
        n: usize,
    ) -> Result<Child, AgentError> {
        let stored = |role: &str, body: Value| session::StoredMessage {
            id: MessageId(0),
            seq: 0,
            role: role.to_owned(),
            body,
            state: MessageState::Answered,
            finish: (role == "assistant").then_some(Finish::Stop),
            span: None,
            created_ms: 0,
            trail: None,
        };
        let mut all = self.messages[..cut.first].to_vec();
        all.push(stored("user", note.body()));
        all.push(stored(
            "assistant",
            note::summary_body(&Message::assistant(summary)),
        ));
        let quoted = cut.tail == n;
        all.extend(
            cut.user
                .filter(|_| !quoted)
                .map(|at| self.messages[at].clone()),
        );
        all.extend_from_slice(&self.messages[cut.tail..n]);
        let head = &self.ledger[..self.row.head];
        let taken = rendered(&self.shared, &self.frozen, head, &all)?;
        let (tokens, mut messages) = taken.unwrap_or_default();
        for message in messages.iter_mut().filter(|m| m.of == Some(MessageId(0))) {
            message.of = None;
        }
        Ok(Child {
            tokens,
            kept: self.row.head,
            messages,
        })
    }

    /// Stores the child as the successor of this session, in one transaction, and goes on in it.
    pub(in crate::agent) fn go_on_as(&mut self, child: Child) -> Result<(), AgentError> {
        let old = &self.row;
        let chain = self.db.lineage(old.id)?;
        let name = self
            .db
            .free_name(chain.first().map_or(&old.name, |root| &root.name))?;
        let common = common_prefix(&self.ledger, &child.tokens);
        let row = self.db.succeed(
            &SessionRecord {
                name: &name,
                folder: &old.folder,
                model: &file_name(&self.shared.options.model),
                class: self.shared.class.as_str(),
                vocab: old.vocab,
                template: old.template,
                fingerprint: self.shared.store.fingerprint().hard,
                system: old.system.as_deref(),
                tools: old.tools.as_ref(),
                preface: old.preface.as_deref(),
                head: &child.tokens[..old.head],
                common: old.common,
                started_ms: old.started_ms,
                seed: old.seed,
                policy: &old.policy,
                parent: Some(old.id),
                runs_tools: old.runs_tools,
                thinking: old.thinking.unwrap_or_else(|| self.shared.options.thinks()),
                shift: old.shift,
            },
            &Heir {
                made: Continuation::Compressed,
                tokens: &child.tokens[old.head..],
                messages: &child.messages,
                pending: 1,
                decoded: child.kept.min(common).min(self.ledger.decoded()),
                runs: &[],
            },
        )?;
        self.enter(row)?;
        self.next_receipt
            .left("the conversation was compressed here");
        self.unread = true;
        Ok(())
    }
}

/// A message that the new session takes over, its tokens elsewhere.
pub(in crate::agent) fn carried(message: &session::StoredMessage, shift: isize) -> Carried {
    let moved = |at: usize| at.saturating_add_signed(shift);
    Carried {
        of: Some(message.id),
        role: message.role.clone(),
        body: message.body.clone(),
        state: message.state,
        finish: message.finish,
        span: message.span.map(|s| Span {
            start: moved(s.start),
            end: moved(s.end),
        }),
    }
}

/// A message that is neither the user's nor the model's.
fn made(role: &str, body: Value, span: Span) -> Carried {
    Carried {
        of: None,
        role: role.to_owned(),
        body,
        state: MessageState::Answered,
        finish: (role == "assistant").then_some(Finish::Stop),
        span: Some(span),
    }
}
