//! An open conversation: a mirror in memory of what npast.db stores, while this process works on it.
//! Every change is written to the database first and mirrored here, so that a turn costs O(new).

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::agent::engine::pass::{Passes, Rank, SlotPass, Want};
use crate::agent::engine::shared::EngineShared;
use crate::agent::frozen::frame::FrozenFrame;
use crate::agent::values::error::AgentError;
use crate::agent::values::event::{Event, On};
use crate::agent::values::notice::Notice;
use crate::ledger::Token;
use crate::session::{self, Db, Lock, Session, SessionId, Titled};

use super::formats::Formats;
use super::held_ledger::HeldLedger;
use super::names::kv_owner;
use super::next_receipt::NextReceipt;

/// An open conversation; this process alone has it.
pub struct Conversation {
    pub(in crate::agent) shared: Arc<EngineShared>,
    pub(in crate::agent) passes: Arc<dyn Passes>,
    pub(in crate::agent) db: Db,
    pub(in crate::agent) row: Session,
    pub(in crate::agent) resumed: bool,
    _lock: Lock,
    /// Without withdrawn ones, in order.
    pub(in crate::agent) messages: Vec<session::StoredMessage>,
    pub(in crate::agent) ledger: HeldLedger,
    pub(in crate::agent) frozen: FrozenFrame,
    pub(in crate::agent) formats: Formats,
    /// Model calls so far.
    pub(in crate::agent) calls: u64,
    pub(in crate::agent) next_receipt: NextReceipt,
    /// Said when the next request begins, or ends.
    pub(in crate::agent) notices: Vec<Notice>,
    /// A compression of this session was refused at this length in tokens.
    pub(in crate::agent) refused: Option<(SessionId, usize)>,
    /// Before a summary of this session, at this length, the model was asked what to remember.
    pub(in crate::agent) flushed: Option<(SessionId, usize)>,
    /// A compression made this conversation, and not all of it is read.
    pub(in crate::agent) unread: bool,
    /// The last turns stand so many positions nearer to the start than in the session before a compression,
    /// and may be moved there in the slot (`--shift`).
    pub(in crate::agent) moved: Option<usize>,
    /// The user knows why nothing is moved.
    pub(in crate::agent) said_unmoved: bool,
    /// After the last call the slot's state had moved tokens, which are not stored.
    pub(in crate::agent) approximate: bool,
    /// This session was read ahead, at this length, as the template rewrites it.
    pub(in crate::agent) rewritten: Option<(SessionId, usize)>,
    /// Whose words its title is; nothing where the user named it.
    pub(in crate::agent) titled: Option<Titled>,
    /// How urgent its model calls are.
    pub(in crate::agent) rank: Rank,
    /// A reply was taken off, and no other is there yet: the one may have to be put back.
    pub(in crate::agent) replacing: bool,
    /// Inputs that were committed since the conversation was opened.
    pub(in crate::agent) committed: u64,
    /// An operation ended with an error: the mirror may differ from npast.db, and is read again before the
    /// next operation.
    pub(in crate::agent) stale: bool,
}

impl Conversation {
    /// What npast.db says of a session that this process has locked. How much of the ledger was decoded is
    /// not counted yet.
    ///
    /// # Errors
    /// npast.db's.
    pub(in crate::agent) fn read(
        shared: Arc<EngineShared>,
        passes: Arc<dyn Passes>,
        db: Db,
        lock: Lock,
        row: Session,
        resumed: bool,
    ) -> Result<Conversation, AgentError> {
        Ok(Conversation {
            frozen: FrozenFrame::of(&shared, &row),
            calls: row.usage.calls,
            messages: db.messages(row.id)?,
            ledger: HeldLedger::new(db.ledger(row.id)?),
            formats: Formats::default(),
            notices: Vec::new(),
            next_receipt: NextReceipt::default(),
            refused: None,
            flushed: None,
            unread: false,
            moved: None,
            said_unmoved: false,
            approximate: false,
            rewritten: None,
            titled: db.title(row.id)?.map(|title| title.made),
            rank: Rank::Interactive,
            replacing: false,
            committed: 0,
            stale: false,
            resumed,
            _lock: lock,
            shared,
            passes,
            row,
            db,
        })
    }

    /// Adds a notice; the next request shows it.
    pub fn note(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    /// The notices that nobody has seen yet, the store's among them. Each is given once.
    pub(in crate::agent) fn take_notices(&mut self) -> Vec<Notice> {
        let mut notices = std::mem::take(&mut self.notices);
        let stored = self.shared.store.take_notices();
        notices.extend(stored.into_iter().map(|n| (n.text, Some(n.hint))));
        notices
    }

    /// The name under which its KV is held.
    pub(in crate::agent) fn owner(&self) -> String {
        kv_owner(self.row.id)
    }

    /// Has the slot store the state after the last call, unless it is stored. It is called when a turn
    /// ends, and before a tool runs that may end this process. A dead engine is reported by the next model
    /// call.
    pub(in crate::agent) fn settle(&mut self) {
        let bytes = self.passes.settle(&self.owner());
        self.next_receipt.settled(bytes);
    }

    /// Takes another session's lock in the place of the one that was held.
    pub(in crate::agent) fn keep_lock(&mut self, lock: Lock) {
        self._lock = lock;
    }

    /// Shows the notices that nobody has seen yet.
    pub(in crate::agent) fn say(&mut self, on: On<'_>) {
        for (text, hint) in self.take_notices() {
            on(Event::Notice { text, hint });
        }
    }

    /// Waits for the slot. `None` if `cancel` was set meanwhile, and for idle work where the slot holds
    /// another conversation, whose place it would take.
    pub(in crate::agent) fn pass(&self, cancel: &Arc<AtomicBool>, on: On<'_>) -> Option<SlotPass> {
        let owner = self.owner();
        let want = Want {
            owner: &owner,
            rank: self.rank,
            cancel,
        };
        let asked_for = self.rank == Rank::Interactive;
        let place = &mut |place| {
            if asked_for {
                on(Event::Queued { place });
            }
        };
        let pass = self.passes.take(&want, place)?;
        (asked_for || self.passes.is_resident(&owner)).then_some(pass)
    }

    /// What is held in memory. For verification.
    pub fn mirror(&self) -> Mirror {
        Mirror {
            name: self.row.name.clone(),
            tries: self.row.tries,
            messages: self.messages.clone(),
            ledger: self.ledger.to_vec(),
        }
    }

    /// The logits after the last token that the slot holds, where they are held. For verification.
    ///
    /// # Errors
    /// When the engine is dead.
    pub fn next_logits(&self) -> Result<Option<Vec<f32>>, AgentError> {
        let pass = self.pass(&Arc::default(), &mut |_| {});
        Ok(pass.map(|pass| pass.slot().row()).transpose()?.flatten())
    }
}

/// What an open conversation holds in memory. For verification.
#[derive(Clone, PartialEq, Debug)]
pub struct Mirror {
    /// The session's name.
    pub name: String,
    /// How often a reply of it was sampled again.
    pub tries: u64,
    /// Its messages, without withdrawn ones.
    pub messages: Vec<session::StoredMessage>,
    /// Its ledger.
    pub ledger: Vec<Token>,
}
