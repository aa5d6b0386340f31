//! An open conversation: what npast.db says of it, held in memory while this process works on it.
//! Everything is written to the database first and mirrored here, so that a turn costs O(new).

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::decoded::Decoded;
use super::engine::{Notice, Shared};
use super::error::ErrorKind;
use super::frame::Frozen;
use super::{AgentError, NewSession, Open, Options, Passes, Policy, Rank, Setup};
use crate::chat::Message;
use crate::chat::battery::Mode;
use crate::chat::template::{After, ReplyFormat};
use crate::chat::wish::Wish;
use crate::kv::{self, Warming};
use crate::ledger::{Digest, Finish, Mark, Token};
use crate::session::{
    self, Carried, Db, Heir, Lock, Made, Session, SessionId, Span, State, Titled, now_ms,
};
use crate::slot::Class;

/// A conversation as people know it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Info {
    /// In npast.db.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// It was there before.
    pub resumed: bool,
    /// The model's file name.
    pub model: String,
    /// The memory class.
    pub class: Class,
    /// Tokens of its ledger.
    pub context: usize,
    /// The text of a message that a crash left unanswered.
    pub open_message: Option<String>,
    /// The last reply ended early and can be continued.
    pub unfinished: bool,
    /// Its tools are npast's to run.
    pub runs_tools: bool,
    /// The folder it belongs to.
    pub folder: String,
}

/// An open conversation; this process alone has it.
pub struct Conversation {
    pub(super) shared: Arc<Shared>,
    pub(super) passes: Arc<dyn Passes>,
    pub(super) db: Db,
    pub(super) row: Session,
    pub(super) resumed: bool,
    _lock: Lock,
    /// Without withdrawn ones, in order.
    pub(super) messages: Vec<session::Message>,
    /// Shared with the slot while it compares: a call copies nothing of it.
    pub(super) ledger: Arc<Vec<Token>>,
    /// The ledger's first tokens that this session decoded before.
    pub(super) decoded: Decoded,
    /// What the slot said it held after a call, as long as the ledger still begins with it.
    pub(super) marks: Vec<Mark>,
    pub(super) frozen: Frozen,
    /// Formats of replies, after a user's message and after results; made when first needed.
    pub(super) formats: [Option<ReplyFormat>; 2],
    /// The format of the last reply of which more was asked.
    pub(super) wished: Option<(After, Wish, ReplyFormat)>,
    pub(super) calls: u64,
    /// Bytes of snapshots that were stored between calls; the next receipt counts them.
    pub(super) settled: u64,
    pub(super) notices: Vec<Notice>,
    /// A prefix break made on purpose, named in the next receipt: the first token that differs,
    /// and why.
    pub(super) broken: Option<(usize, String)>,
    /// Why the slot may hold something else after the ledger's end: named if that costs something.
    pub(super) left: Option<Cow<'static, str>>,
    /// What the next receipt has to say of results that became lines.
    pub(super) pruned: Option<super::Pruned>,
    /// A compression of this session was refused at this length in tokens.
    pub(super) refused: Option<(SessionId, usize)>,
    /// Before a summary of this session, at this length, the model was asked what to remember.
    pub(super) flushed: Option<(SessionId, usize)>,
    /// A compression made this conversation, and not all of it is read.
    pub(super) unread: bool,
    /// This session was read ahead, at this length, as the template rewrites it.
    pub(super) rewritten: Option<(SessionId, usize)>,
    /// Whose words its title is; nothing where the user named it.
    pub(super) titled: Option<Titled>,
    /// How urgent its model calls are.
    pub(super) rank: Rank,
    /// A reply was taken off, and no other is there yet: the one may have to be put back.
    pub(super) replacing: bool,
    /// An operation on it did not end well: memory may say something else than npast.db.
    pub(super) stale: bool,
}

impl Conversation {
    pub(super) fn open(
        shared: Arc<Shared>,
        passes: Arc<dyn Passes>,
        open: Open,
        new: NewSession,
    ) -> Result<Conversation, AgentError> {
        let db = shared.database()?;
        let found = match &open {
            Open::Named(name) => {
                session::check_name(name).map_err(session::Error::from)?;
                db.find(name)?
            }
            Open::Last => Some(db.last_in_folder(&new.folder)?.ok_or_else(|| {
                AgentError::new(ErrorKind::Input, "no session was started in this folder")
                    .hinted("give it a prompt, or a name with --session")
            })?),
            Open::FromWords(_) => None,
        };
        let mut notices = Vec::new();
        let resumed = found.is_some();
        let row = match found {
            Some(row) => {
                if row.runs_tools && row.system.as_deref().unwrap_or_default().is_empty() {
                    // Law 7: what was frozen stays; another prompt would be another session.
                    notices.push((
                        format!(
                            "the stored system prompt of session {} is missing; it is not built \
                             again, and the session goes on with the tokens it has",
                            row.name
                        ),
                        Some("start another session to have a prompt again".to_owned()),
                    ));
                }
                if new.system.is_some() || new.tools.is_some() {
                    let same = new
                        .system
                        .as_ref()
                        .is_none_or(|s| Some(s) == row.system.as_ref())
                        && new
                            .tools
                            .as_ref()
                            .is_none_or(|t| same_tools(&shared, t, &row));
                    if !same {
                        notices.push((
                            format!(
                                "session {} keeps the system prompt and tools it was started with",
                                row.name
                            ),
                            Some("start another session to use others".to_owned()),
                        ));
                    }
                }
                row
            }
            None => {
                let name = match &open {
                    Open::Named(name) => name.clone(),
                    Open::FromWords(words) => db.free_name(&session::name_from_words(words))?,
                    Open::Last => unreachable!("the last session was found"),
                };
                let row = start(&shared, &db, &name, &new, &mut notices)?;
                if let Open::FromWords(words) = &open {
                    db.begin_title(row.id, words)?;
                }
                if let Some(setup) = &new.setup {
                    notices.extend(setup.notices.iter().cloned());
                }
                row
            }
        };
        let named = row;
        let row = db.newest(named.clone(), &|session| fits(&shared, session))?;
        if row.id != named.id {
            let why = match fits(&shared, &named) {
                true => "was compressed",
                false => "was made with another vocabulary or chat template",
            };
            let text = format!("session {} {why}; it goes on as {}", named.name, row.name);
            notices.push((text, None));
        }
        let lock = Lock::session(&shared.options.home, row.id)?;
        let mut here = Conversation {
            frozen: Frozen::of(&shared, &row),
            calls: row.usage.calls,
            settled: 0,
            messages: db.messages(row.id)?,
            ledger: Arc::new(db.ledger(row.id)?),
            decoded: Decoded::default(),
            marks: Vec::new(),
            formats: [None, None],
            wished: None,
            notices,
            broken: None,
            left: None,
            pruned: None,
            refused: None,
            flushed: None,
            unread: false,
            rewritten: None,
            titled: db.title(row.id)?.map(|title| title.made),
            rank: Rank::Interactive,
            replacing: false,
            stale: false,
            resumed,
            _lock: lock,
            shared,
            passes,
            row,
            db,
        };
        here.check_tokens()?;
        here.decoded = here.known_decoded()?;
        here.freeze_thinking()?;
        here.say_what_is_kept();
        here.mend()?;
        if !fits(&here.shared, &here.row) {
            here = here.child(&new)?;
        }
        here.close_calls()?;
        if here.row.runs_tools && !std::path::Path::new(&here.row.folder).is_dir() {
            here.notices.push((
                format!("the project folder {} is gone", here.row.folder),
                Some("tools that need it will say so".to_owned()),
            ));
        }
        Ok(here)
    }

    /// Something to say when the next request begins.
    pub fn note(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    /// Takes another session's lock in the place of the one that was held.
    pub(super) fn keep_lock(&mut self, lock: Lock) {
        self._lock = lock;
    }

    /// What it is.
    pub fn info(&self) -> Info {
        let said = |m: &session::Message| match m.role == "tool" {
            true => "(results of calls)".to_owned(),
            false => text_of(&m.body).to_owned(),
        };
        let mut open: Vec<String> = self.open_messages().map(said).collect();
        open.dedup();
        Info {
            id: self.row.id.0,
            name: self.row.name.clone(),
            resumed: self.resumed,
            model: super::engine::file_name(&self.shared.options.model),
            class: self.shared.class,
            context: self.ledger.len(),
            open_message: (!open.is_empty()).then(|| open.join("\n\n")),
            unfinished: self.unfinished(),
            runs_tools: self.row.runs_tools,
            folder: self.row.folder.clone(),
        }
    }

    /// Waits until everything is on disk, and lets the session go. A session that was started for
    /// an input that was refused leaves nothing behind.
    ///
    /// # Errors
    /// When the store's writer has died, or npast.db fails; the session itself is whole.
    pub fn close(mut self) -> Result<(), AgentError> {
        let left = self.leave_nothing();
        self.settle();
        self.shared
            .store
            .flush()
            .map_err(|e| AgentError::new(ErrorKind::Session, e.to_string()))?;
        left
    }

    /// Removes a session that was started here and has nothing in it.
    fn leave_nothing(&mut self) -> Result<(), AgentError> {
        if self.resumed {
            return Ok(());
        }
        if self.stale {
            // A message may be stored that memory does not know.
            self.read_stored()?;
        }
        if self.calls == 0 && self.messages.is_empty() {
            self.db.remove(self.row.id)?;
        }
        Ok(())
    }

    /// The state after the last call goes to disk, where it did not yet: the turn has ended, or a
    /// tool is about to run that may take this process with it. A dead engine is said by the call
    /// that needs it.
    pub(super) fn settle(&mut self) {
        self.settled += self.passes.settle(&self.owner());
    }

    /// Messages at the end that nobody answered yet.
    pub(super) fn open_messages(&self) -> impl Iterator<Item = &session::Message> {
        let from = self
            .messages
            .iter()
            .rposition(|m| m.state != State::Open)
            .map_or(0, |i| i + 1);
        self.messages[from..].iter()
    }

    /// Whether the last reply ended before its end of turn, and the ledger ends with it.
    pub(super) fn unfinished(&self) -> bool {
        self.messages.last().is_some_and(|m| {
            m.role == "assistant"
                && m.span.is_some_and(|s| s.end == self.ledger.len())
                && !matches!(m.finish, Some(Finish::Stop | Finish::ToolCalls) | None)
        })
    }

    /// The last reply, as the model wrote it.
    pub(super) fn last_reply(&self) -> Option<(&session::Message, Message)> {
        let row = self.messages.iter().rfind(|m| m.role == "assistant")?;
        Some((row, Message::from_json(&row.body).ok()?))
    }

    /// All messages in canonical form.
    ///
    /// # Errors
    /// When a stored body is not a message.
    pub(super) fn canonical(&self) -> Result<Vec<Message>, AgentError> {
        self.messages
            .iter()
            .map(|m| Message::from_json(&m.body).map_err(AgentError::from))
            .collect()
    }

    pub(super) fn owner(&self) -> String {
        kv_owner(self.row.id)
    }

    /// How the messages are written: by deltas, or whole each time and why.
    pub(super) fn whole_renderings(&self) -> Option<String> {
        let battery = self.shared.template.battery();
        if let Mode::Fallback { reason } = &battery.mode {
            return Some(format!(
                "this template can only be rendered whole ({reason})"
            ));
        }
        let template = Policy::parse(&self.row.policy) == Some(Policy::Template);
        (template && battery.thinking.dropped)
            .then(|| "the template drops earlier thinking (history policy template)".to_owned())
    }

    /// What was decoded, as npast.db says: on the way that the ledger is on, and on those that were
    /// left.
    pub(super) fn known_decoded(&self) -> Result<Decoded, AgentError> {
        let known = match self.db.decoded(self.row.id)? {
            Some(known) => known,
            None => self.surely_decoded()?,
        };
        let ways = self.db.ways(self.row.id, &self.ledger)?;
        Ok(Decoded::of(known, ways, &self.ledger))
    }

    /// In a session of before that was counted, or one that has nothing of its own yet: everything
    /// but a pending token; where a crash left a message open, what was before it.
    fn surely_decoded(&self) -> Result<usize, AgentError> {
        let pending = self.db.pending(self.row.id)?;
        let end = match self.open_messages().next().and_then(|m| m.span) {
            Some(open) => {
                let reply = self.messages.iter().rfind(|m| m.role == "assistant");
                let reply_end = reply.and_then(|m| m.span.as_ref()).map_or(0, |s| s.end);
                return Ok(reply_end.min(open.start).saturating_sub(1));
            }
            None => self.ledger.len(),
        };
        let any = self.messages.iter().any(|m| m.role == "assistant");
        Ok(if any { end - pending.min(end) } else { 0 })
    }

    /// After a kill in the middle of a reply its body is older than its tokens: the tokens are the
    /// truth, the text is read from them again.
    pub(super) fn mend(&mut self) -> Result<(), AgentError> {
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
        let stale =
            |m: &session::Message| m.body != body || m.finish != Some(finish) || m.trail != trail;
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

    /// A session of another vocabulary or template goes on as a child, rendered from the messages.
    fn child(mut self, new: &NewSession) -> Result<Conversation, AgentError> {
        let old = self.row.clone();
        let setup = old.runs_tools.then(|| Setup {
            system: old.system.clone().unwrap_or_default(),
            tools: old.tools.clone().unwrap_or_default(),
            notices: Vec::new(),
        });
        let frame = NewSession {
            folder: match old.runs_tools {
                // Its tools work where they did.
                true => old.folder.clone(),
                false => new.folder.clone(),
            },
            system: old.system.clone().filter(|_| setup.is_none()),
            tools: old.tools.clone().filter(|_| setup.is_none()),
            seed: Some(old.seed),
            setup,
        };
        let stand_ins = self.own_stand_ins()?;
        let name = self.db.free_name(&old.name)?;
        let mut notices = std::mem::take(&mut self.notices);
        let row = made(
            &self.shared,
            &name,
            &frame,
            Some(&old),
            &mut notices,
            |row, frozen| {
                let taken = rendered(&self.shared, frozen, row.head, &self.messages)?;
                let (tokens, messages) = taken.unwrap_or_default();
                // What is known of the last reply's calls, where they have no results.
                let reply = messages.len().saturating_sub(1);
                let runs = super::calls::marks_of(reply, &stand_ins);
                let heir = Heir {
                    made: Made::Rendered,
                    tokens: tokens.get(row.head.len()..).unwrap_or_default(),
                    messages: &messages,
                    pending: 0,
                    decoded: 0,
                    runs: &runs,
                };
                Ok(self.db.succeed(row, &heir)?)
            },
        )?;
        let mut child = self.newborn(row, notices)?;
        let what = match old.vocab == child.shared.vocab {
            true => "chat template",
            false => "vocabulary",
        };
        child.notices.push((
            format!(
                "session {} was made with another {what}; it goes on as {}, and at most {} tokens \
                 are read once more",
                old.name,
                child.row.name,
                child.ledger.len()
            ),
            None,
        ));
        Ok(child)
    }

    /// A session with another head that has nothing of this one yet. Takes the notices along.
    pub(super) fn begin_child(&mut self, frame: &NewSession) -> Result<Conversation, AgentError> {
        let name = self.db.free_name(&self.row.name)?;
        let mut notices = std::mem::take(&mut self.notices);
        let (shared, parent) = (&self.shared, Some(&self.row));
        let row = made(shared, &name, frame, parent, &mut notices, |row, _| {
            Ok(self.db.create(row)?)
        })?;
        self.newborn(row, notices)
    }

    /// A session that was just stored, open beside this one.
    fn newborn(&self, row: Session, notices: Vec<Notice>) -> Result<Conversation, AgentError> {
        let shared = self.shared.clone();
        Ok(Conversation {
            frozen: Frozen::of(&shared, &row),
            _lock: Lock::session(&shared.options.home, row.id)?,
            ledger: Arc::new(self.db.ledger(row.id)?),
            messages: self.db.messages(row.id)?,
            decoded: Decoded::default(),
            marks: Vec::new(),
            formats: [None, None],
            wished: None,
            calls: 0,
            settled: 0,
            notices,
            broken: None,
            left: None,
            pruned: None,
            refused: None,
            flushed: None,
            unread: false,
            rewritten: None,
            titled: self.db.title(row.id)?.map(|title| title.made),
            rank: Rank::Interactive,
            replacing: false,
            stale: false,
            resumed: true,
            passes: self.passes.clone(),
            db: shared.database()?,
            shared,
            row,
        })
    }

    /// A line for people, once.
    pub(super) fn take_notices(&mut self) -> Vec<Notice> {
        let mut notices = std::mem::take(&mut self.notices);
        let stored = self.shared.store.take_notices();
        notices.extend(stored.into_iter().map(|n| (n.text, Some(n.hint))));
        notices
    }
}

/// The name under which a session's KV is held.
pub fn kv_owner(id: SessionId) -> String {
    format!("session-{}", id.0)
}

/// The text of a stored body.
pub(super) fn text_of(body: &serde_json::Value) -> &str {
    body.get("content")
        .and_then(|c| c.as_str())
        .unwrap_or_default()
}

/// Whether a session's ledger means the same under this model's vocabulary and template.
pub(super) fn fits(shared: &Shared, row: &Session) -> bool {
    row.vocab == shared.vocab && row.template == shared.source
}

/// The tokens of a whole conversation, and its messages with their places in them.
type OneRendering = (Vec<Token>, Vec<Carried>);

/// The messages of a session up to its last reply, as another session takes them over: one rendering
/// that begins with the head, in which the place of each message is not known. Nothing where there is
/// no reply.
pub(super) fn rendered(
    shared: &Shared,
    frozen: &Frozen,
    head: &[Token],
    messages: &[session::Message],
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
        state: State::Answered,
        finish: (m.role == "assistant").then(|| m.finish.unwrap_or(Finish::Stop)),
        span: Some(Span {
            start: keep,
            end: if i == last { end } else { keep },
        }),
    });
    let carried = carried.collect();
    Ok(Some((tokens, carried)))
}

/// Whether a session that starts with these tools would freeze those that this one has.
fn same_tools(shared: &Shared, given: &serde_json::Value, row: &Session) -> bool {
    if Some(given) == row.tools.as_ref() {
        return true;
    }
    let system = row.system.clone();
    let (frozen, _) = Frozen::start(shared, system, Some(given.clone()), true, row.started_ms);
    frozen.tools() == row.tools.as_ref()
}

fn start(
    shared: &Shared,
    db: &Db,
    name: &str,
    new: &NewSession,
    notices: &mut Vec<Notice>,
) -> Result<Session, AgentError> {
    made(shared, name, new, None, notices, |row, _| {
        Ok(db.create(row)?)
    })
}

/// Law 7: the head becomes tokens here, once. A child thinks and keeps its history as its parent does.
/// `store` stores the row.
fn made(
    shared: &Shared,
    name: &str,
    new: &NewSession,
    parent: Option<&Session>,
    notices: &mut Vec<Notice>,
    store: impl FnOnce(&session::NewSession<'_>, &Frozen) -> Result<Session, AgentError>,
) -> Result<Session, AgentError> {
    let thinking = parent.and_then(|p| p.thinking);
    let thinking = thinking.unwrap_or_else(|| shared.options.thinks());
    let policy = parent.and_then(|p| Policy::parse(&p.policy));
    let policy = policy.unwrap_or_else(|| shared.options.policy.unwrap_or_default());
    let started_ms = now_ms();
    let seed = new.seed.unwrap_or_else(|| {
        let mix = Digest::of(format!("{name}\0{started_ms}\0{}", std::process::id()).as_bytes());
        u64::from_le_bytes([
            mix.0[0],
            mix.0[1],
            mix.0[2],
            mix.0[3],
            mix.0[4],
            mix.0[5],
            mix.0[6],
            mix.0[7] & 0x7f,
        ])
    });
    let (system, tools) = match &new.setup {
        Some(setup) => (Some(&setup.system), Some(&setup.tools)),
        None => (new.system.as_ref(), new.tools.as_ref()),
    };
    let (frozen, said) = Frozen::start(
        shared,
        system.cloned(),
        tools.cloned(),
        thinking,
        started_ms,
    );
    notices.extend(said);
    let head = frozen.head(shared)?;
    if head.len() + 64 > shared.limit {
        return Err(AgentError::new(
            ErrorKind::TooLong,
            format!(
                "the system prompt and tools take {} tokens, the context has {}",
                head.len(),
                shared.limit
            ),
        )
        .hinted(match new.setup {
            Some(_) => "give a larger --ctx, or --no-tools for a chat without tools",
            None => "give a larger --ctx, or a shorter system prompt",
        }));
    }
    let row = session::NewSession {
        name,
        folder: &new.folder,
        model: &super::engine::file_name(&shared.options.model),
        class: shared.class.as_str(),
        vocab: shared.vocab,
        template: shared.source,
        fingerprint: shared.store.fingerprint().hard,
        system: system.map(String::as_str),
        tools: frozen.tools(),
        head: &head,
        started_ms,
        seed,
        policy: policy.as_str(),
        parent: parent.map(|p| p.id),
        runs_tools: new.setup.is_some(),
        thinking,
    };
    store(&row, &frozen)
}

/// Whether a session can be opened, asked before weights are loaded: its name is a name, and no
/// other process has it. From here on, until what is returned is dropped, the kernel reads the
/// files that a restore of it will want.
///
/// # Errors
/// As [`super::Engine::conversation`] would give them.
pub fn preflight(
    options: &Options,
    open: &Open,
    folder: &str,
) -> Result<Option<Warming>, AgentError> {
    let db = Db::open(&options.home.join("npast.db"))?;
    let found = match open {
        Open::Named(name) => {
            session::check_name(name).map_err(session::Error::from)?;
            db.find(name)?
        }
        Open::Last => db.last_in_folder(folder)?,
        Open::FromWords(_) => None,
    };
    let Some(named) = found else {
        return Ok(None);
    };
    // Under the same vocabulary and template: which others there are the model will say.
    let (vocab, template) = (named.vocab, named.template);
    let alike = |s: &Session| s.vocab == vocab && s.template == template;
    let row = db.newest(named, &alike)?;
    drop(Lock::session(&options.home, row.id)?);
    let owner = kv_owner(row.id);
    Ok(options
        .store_kv
        .then(|| kv::warm(&options.home.join("kv"), &owner)))
}
