//! A request that stands beside the conversations (`chat/beside.rs`): one question and its answer, on
//! scratch, while the conversation stays in the slot (law 8). It has no session: nothing of it is stored,
//! and its receipts go to who asked. A message of a conversation comes first: it stops what stands beside
//! between two decode calls, and that goes on afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc::unbounded_channel;

use crate::agent::conversation::names::key_handle;
use crate::agent::conversation::stored::text_of;
use crate::agent::engine::handle::Engine;
use crate::agent::engine::pass::{Passes, Rank, Want};
use crate::agent::frozen::frame::FrozenFrame;
use crate::agent::frozen::grammar::grammar;
use crate::agent::model_call::coming::Coming;
use crate::agent::model_call::script::prepared_with;
use crate::agent::model_call::seed::mixed;
use crate::agent::model_call::watch::watch;
use crate::agent::values::error::{AgentError, ErrorKind};
use crate::agent::values::event::{Event, On};
use crate::agent::values::options::TurnOptions;
use crate::agent::values::outcome::TurnEnd;
use crate::agent::values::receipt::{Milliseconds, MissNote, Receipt};
use crate::chat::beside::{self, Asked, Open, Sign};
use crate::chat::message::Role;
use crate::chat::pins::PinRules;
use crate::chat::template::{After, ReplyFormat};
use crate::chat::{Message, ReplyScript};
use crate::ledger::{Finish, Token};
use crate::llama::Sampling;
use crate::session::{Db, Session, SessionId, now_ms};
use crate::slot::{self, Base, CallKind, Fork, Outcome, ReplyOptions, SlotError, TokenChoice};

use super::sent::{ClientHistory, Sent};
use super::whose::{self, Whose};

/// The name of such work in scripts.
const JOB: &str = "side";
/// Whose work it is, for the scheduler.
const OWNER: &str = "side";
/// Longest prompt in tokens. A longer one is worth a session, whose KV is stored: scratch forgets it. So
/// many cells are free beside a full conversation.
const MOST_PROMPT: usize = 2048;
/// Cells that must be free for a reply of which nobody says how long it is.
const REPLY: usize = 512;

/// By what a request may belong to a conversation of a client's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Names<'a> {
    /// Names of the conversation that the request would be, the surest first.
    pub own: &'a [String],
    /// Names of conversations of another kind that the client calls the same.
    pub others: &'a [String],
}

/// How a request beside the conversations is answered.
pub struct Side<'a> {
    /// What the client sent.
    pub history: &'a ClientHistory,
    /// How the reply is sampled.
    pub options: &'a TurnOptions,
    /// Seed of its sampling; `None` draws one.
    pub seed: Option<u64>,
}

impl Engine {
    /// Whether a request stands beside the conversations that are open (`open` are their ids), and by
    /// what that is known. `most` is what the client says of the reply's length. Costs O(bytes of the
    /// request) and some looks into indexes.
    ///
    /// # Errors
    /// npast.db's.
    pub fn stands_beside(
        &self,
        history: &ClientHistory,
        names: Names<'_>,
        most: Option<usize>,
        open: &[i64],
    ) -> Result<Option<Sign>, AgentError> {
        let asked = Asked {
            system: None,
            tools: history
                .tools
                .as_ref()
                .is_some_and(|t| t.as_array().is_none_or(|t| !t.is_empty())),
            messages: &history.messages,
            most,
        };
        if !beside::is_one_question(&asked) {
            return Ok(None);
        }
        // What is no conversation is refused where all others are.
        let Ok(sent) = history.sent() else {
            return Ok(None);
        };
        let db = self.shared().database()?;
        if !matches!(whose::longest(&db, &sent, PinRules::all())?, Whose::New) {
            return Ok(None);
        }
        let mut all = Vec::new();
        for name in names.own.iter().chain(names.others) {
            let Some(session) = db.by_handle(&key_handle(name))? else {
                continue;
            };
            if begins(&db, &session, &sent)? {
                return Ok(None);
            }
            let named = true;
            all.push(Open {
                named,
                ..known(&db, &session)?
            });
        }
        for id in open {
            // One that is gone meanwhile is not open.
            if let Ok(session) = db.get(SessionId(*id)) {
                all.push(known(&db, &session)?);
            }
        }
        Ok(beside::sign(
            &Asked {
                system: sent.system.as_deref(),
                ..asked
            },
            &all,
        ))
    }

    /// Answers a request beside the conversations, on scratch. Nothing where there is no room for it:
    /// it is a session then. `stop` ends it between two decode calls; `gone` says that nobody wants it
    /// any more, since a conversation's message sets `stop` too, after which the work goes on.
    ///
    /// # Errors
    /// When the history is no conversation, the template cannot write it, or the engine fails.
    pub fn side(
        &self,
        passes: &dyn Passes,
        side: &Side<'_>,
        script: Option<&mut ReplyScript>,
        stop: &Arc<AtomicBool>,
        gone: &dyn Fn() -> bool,
        on: On<'_>,
    ) -> Result<Option<TurnEnd>, AgentError> {
        let shared = self.shared();
        let sent = side.history.sent()?;
        let thinks = shared.options.thinks();
        let frozen = FrozenFrame::new(sent.system.clone(), None, thinks, now_ms());
        let (prompt, begun) = prompt(&frozen, self, &sent)?;
        if prompt.len() > MOST_PROMPT {
            return Ok(None);
        }
        let wish = &side.options.wish;
        let format = match wish.is_none() {
            true => frozen
                .format(shared, After::User, stop)?
                .map(|made| made.format),
            false => frozen.wished(shared, After::User, wish, stop)?,
        };
        let Some(format) = format else {
            return Err(interrupted());
        };
        let line = script.and_then(|script| script.next_job(JOB));
        let prepared = line.map(|line| prepared_with(&frozen, shared, &line, &prompt));
        let limit = shared.limit;
        let mut work = Work {
            engine: self,
            side,
            seed: side.seed.unwrap_or_else(|| now_ms() as u64),
            most: side.options.max_tokens.unwrap_or(limit).min(limit),
            prepared: prepared.transpose()?,
            prompt,
            begun,
            format,
            said: Vec::new(),
            reached: 0,
            calls: 0,
        };
        let mut coming = Coming::new(&work.format, false, &side.options.stop, 0)?;
        coming.replay(&shared.model.vocab().bytes(&work.begun, true));
        loop {
            let went = work.go(passes, &mut coming, stop, gone, on)?;
            match went {
                BesideEnd::NoRoom => return Ok(None),
                BesideEnd::Stopped => {}
                BesideEnd::Ended(finish) => return Ok(Some(work.end(coming, finish, on))),
            }
            // A message of a conversation set the flag, or the client did.
            stop.store(false, Ordering::SeqCst);
            if gone() {
                return Ok(Some(work.end(coming, Finish::Interrupted, on)));
            }
        }
    }
}

/// Whether a session begins as a history does: the request belongs to it then, whatever it looks like.
fn begins(db: &Db, session: &Session, sent: &Sent) -> Result<bool, AgentError> {
    for trail in sent.trails() {
        let places = db.at_trail(trail)?;
        if places.iter().any(|place| place.session == session.id) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn known(db: &Db, session: &Session) -> Result<Open, AgentError> {
    let said = db.user_ends(session.id)?;
    let text = |body: serde_json::Value| text_of(&body).to_owned();
    Ok(Open {
        system: session.system.clone(),
        tools: session.tools.is_some(),
        said: said.into_iter().map(text).collect(),
        named: false,
    })
}

/// The tokens of a request, and those of them that are the reply which the client began.
fn prompt(
    frozen: &FrozenFrame,
    engine: &Engine,
    sent: &Sent,
) -> Result<(Vec<Token>, Vec<Token>), AgentError> {
    let shared = engine.shared();
    let all: Vec<Message> = sent.said.iter().map(|s| s.message.clone()).collect();
    let (begun, asked) = match all.split_last() {
        Some((last, rest)) if last.role == Role::Assistant => (Some(last), rest),
        _ => (None, &all[..]),
    };
    let mut tokens = match frozen.opening(shared, asked) {
        Err(error) if error.is(ErrorKind::Template) => frozen.whole(shared, asked)?,
        tokens => tokens?,
    };
    let Some(begun) = begun else {
        return Ok((tokens, Vec::new()));
    };
    let (pieces, _) = frozen.written(shared, begun)?;
    let begun = FrozenFrame::continuation(shared, &tokens, "", pieces)?;
    tokens.extend(&begun);
    Ok((tokens, begun))
}

fn interrupted() -> AgentError {
    AgentError::new(ErrorKind::Interrupted, "interrupted")
}

/// What a piece of work came to.
enum BesideEnd {
    /// There is no room for it on scratch.
    NoRoom,
    /// It was stopped between two decode calls.
    Stopped,
    Ended(Finish),
}

/// A request on its way.
struct Work<'a> {
    engine: &'a Engine,
    side: &'a Side<'a>,
    seed: u64,
    /// Most tokens of the reply.
    most: usize,
    /// A prepared reply, and how it ends.
    prepared: Option<(Vec<Token>, Finish)>,
    prompt: Vec<Token>,
    /// The prompt's last tokens, where they are a reply that the client began.
    begun: Vec<Token>,
    format: ReplyFormat,
    /// What was sampled so far.
    said: Vec<Token>,
    /// So many tokens of prompt and reply were decoded before.
    reached: usize,
    calls: u64,
}

impl Work<'_> {
    /// One call: from what was said so far to the end, or until it is stopped.
    fn go(
        &mut self,
        passes: &dyn Passes,
        coming: &mut Coming,
        stop: &Arc<AtomicBool>,
        gone: &dyn Fn() -> bool,
        on: On<'_>,
    ) -> Result<BesideEnd, AgentError> {
        let want = Want {
            owner: OWNER,
            rank: Rank::Side,
            cancel: stop,
        };
        let place = &mut |place| on(Event::Queued { place });
        let Some(pass) = passes.take(&want, place) else {
            return Ok(BesideEnd::Stopped);
        };
        let vocab = self.engine.shared().model.vocab().clone();
        let (events, mut inbox) = unbounded_channel();
        let answer = pass.slot().fork(Fork {
            base: Base::Beside {
                room: (self.most - self.said.len()).min(REPLY),
            },
            keep: false,
            store: false,
            tokens: [&self.prompt[..], &self.said].concat(),
            reply: self.reply()?,
            cancel: stop.clone(),
            events,
        })?;
        while let Some(event) = inbox.blocking_recv() {
            match event {
                slot::SlotEvent::Restoring { tokens } => on(Event::Restoring { tokens }),
                slot::SlotEvent::Prefill { done, total } => on(Event::Prefill { done, total }),
                // Nobody who asks how likely tokens are is answered beside (`gateway/http/follow.rs`).
                slot::SlotEvent::Odds(_) => {}
                slot::SlotEvent::Sampled(token) => {
                    coming.push(&vocab, token);
                    // Nothing of it is stored, so nothing of it waits for the store.
                    coming.take_unstored();
                    coming.take_stored().into_iter().for_each(&mut *on);
                }
            }
            if gone() {
                stop.store(true, Ordering::SeqCst);
            }
        }
        let mut outcome = match answer.wait() {
            Err(SlotError::TooLong { .. }) if self.said.is_empty() => return Ok(BesideEnd::NoRoom),
            outcome => outcome?,
        };
        let error = outcome.error.take();
        let receipt = self.receipt(&outcome, coming.why(outcome.finish));
        self.said.extend(&outcome.tokens);
        self.reached = self.reached.max(outcome.context());
        if outcome.evaluated > 0 {
            on(Event::Receipt(Box::new(receipt)));
        }
        match error {
            Some(error) => Err(error.into()),
            None if outcome.finish == Finish::Interrupted && stop.load(Ordering::SeqCst) => {
                Ok(BesideEnd::Stopped)
            }
            None => Ok(BesideEnd::Ended(outcome.finish)),
        }
    }

    /// What is still to be sampled.
    fn reply(&self) -> Result<ReplyOptions, AgentError> {
        let vocab = self.engine.shared().model.vocab();
        let options = self.side.options;
        let mut watch = watch(vocab, &self.format, &options.stop, false)?;
        for token in &self.said {
            watch(*token);
        }
        let choice = match &self.prepared {
            Some((tokens, finish)) => TokenChoice::Script {
                tokens: tokens[self.said.len().min(tokens.len())..].to_vec(),
                finish: *finish,
            },
            None => {
                let at = self.prompt.len() + self.said.len();
                let whole = [&self.prompt[..], &self.said].concat();
                let window = options.sampling.penalty_window;
                TokenChoice::Sample {
                    sampling: Sampling {
                        seed: mixed(self.seed, at),
                        ..options.sampling.clone()
                    },
                    grammar: grammar(vocab, &self.format).map(|grammar| crate::llama::Grammar {
                        begun: [&self.begun[..], &self.said].concat(),
                        ..grammar
                    }),
                    recent: whole[whole.len().saturating_sub(window)..].to_vec(),
                }
            }
        };
        Ok(ReplyOptions {
            choice,
            max_tokens: self.most - self.said.len(),
            watch,
            observe: None,
            odds: None,
        })
    }

    fn receipt(&mut self, outcome: &Outcome, finish: Finish) -> Receipt {
        self.calls += 1;
        let prompt = outcome.kept + outcome.evaluated;
        let appended = prompt - self.reached.max(outcome.kept).min(prompt);
        let ms = |x: f64| x.max(0.0).round() as u64;
        Receipt {
            kind: CallKind::Fork,
            job: Some("beside".to_owned()),
            call: self.calls,
            context: outcome.context(),
            kept: outcome.kept,
            shifted: 0,
            approximate: outcome.approximate,
            restored: 0,
            evaluated: outcome.evaluated,
            appended,
            generated: outcome.tokens.len(),
            pending: outcome.pending,
            finish,
            miss: (outcome.evaluated > appended).then(|| MissNote {
                at: outcome.kept,
                message: None,
                reason:
                    "a message of a conversation came first, and what stood beside made room for it"
                        .to_owned(),
            }),
            pruned: None,
            restored_bytes: 0,
            saved_bytes: 0,
            snapshot_bytes: 0,
            ms: Milliseconds {
                restore: 0,
                prefill: ms(outcome.times.prefill),
                first_token: ms(outcome.times.first_token),
                decode: ms(outcome.times.decode),
                save: 0,
            },
        }
    }

    fn end(&self, coming: Coming, finish: Finish, on: On<'_>) -> TurnEnd {
        let finish = coming.why(finish);
        let (events, reply) = coming.finish(finish, self.seed);
        events.into_iter().for_each(&mut *on);
        for call in &reply.calls {
            on(Event::ToolCall {
                id: call.id.clone(),
                name: call.name.clone(),
                arguments: call.arguments.clone(),
            });
        }
        TurnEnd {
            finish: match (finish, reply.calls.is_empty()) {
                (Finish::Stop, false) => Finish::ToolCalls,
                (finish, _) => finish,
            },
            withdrawn: None,
            stopped: None,
        }
    }
}
