//! The beginning of the next session: its system prompt and tools are evaluated in idle time when the
//! configuration, the memory or the day changed, so that it restores them and reads its own first message
//! alone. It is done on scratch: whatever conversation the slot holds stays as it is (law 8).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc::unbounded_channel;

use crate::agent::conversation::handle::Conversation;
use crate::agent::conversation::names::base_owner;
use crate::agent::engine::pass::{Rank, Want};
use crate::agent::frozen::frame::FrozenFrame;
use crate::agent::values::error::AgentError;
use crate::agent::values::event::On;
use crate::agent::values::options::AgentSetup;
use crate::ledger::{Finish, Token};
use crate::session::now_ms;
use crate::slot::{self, Base, Flow, Fork, Outcome, ReplyOptions, SlotError, TokenChoice};

use super::work::Idled;

/// The name of this idle work in receipts.
const JOB: &str = "base";

impl Conversation {
    /// Has the head stored of a session that would start now in this folder with this prompt and these
    /// tools, if it is not stored. Its receipt belongs to this session. `cancel` stops it between two decode
    /// calls; nothing is stored then.
    ///
    /// # Errors
    /// When npast.db fails or the engine is lost.
    pub fn prepare_next(
        &mut self,
        setup: &AgentSetup,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<Idled, AgentError> {
        self.operation(|talk| talk.prepare_base(setup, cancel, on))
    }

    fn prepare_base(
        &mut self,
        setup: &AgentSetup,
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<Idled, AgentError> {
        let shared = self.shared.clone();
        if shared.store.is_off() {
            return Ok(Idled::Done);
        }
        let (system, tools) = (setup.system.clone(), setup.tools.clone());
        let thinks = shared.options.thinks();
        let (frozen, _) = FrozenFrame::start(
            &shared,
            Some(system),
            Some(tools),
            setup.preface.clone(),
            thinks,
            now_ms(),
        );
        let head = frozen.head(&shared)?;
        // Such a session cannot start.
        if head.is_empty() || head.len() + 64 > shared.limit {
            return Ok(Idled::Done);
        }
        let done = self.prepare_head(&head, cancel, on)?;
        if done != Idled::Done {
            return Ok(done);
        }
        self.hold_base(&head);
        // Sessions of other folders start where its preface begins.
        let common = frozen.common_len(&shared, &head)?;
        match 0 < common && common < head.len() {
            true => self.prepare_head(&head[..common], cancel, on),
            false => Ok(Idled::Done),
        }
    }

    /// Has these first tokens stored, if they are not.
    fn prepare_head(
        &mut self,
        head: &[Token],
        cancel: &Arc<AtomicBool>,
        on: On<'_>,
    ) -> Result<Idled, AgentError> {
        if cancel.load(Ordering::SeqCst) {
            return Ok(Idled::Stopped);
        }
        let shared = self.shared.clone();
        let stored = || slot::is_stored(&shared.store, shared.class, head);
        // What waits for the writer is stored soon.
        if stored() || (shared.store.flush().is_ok() && stored()) {
            return Ok(Idled::Done);
        }
        let Some(mut outcome) = self.evaluate_beside(head, cancel)? else {
            return Ok(match cancel.load(Ordering::SeqCst) {
                true => Idled::Stopped,
                // There may be room later.
                false => Idled::Elsewhere,
            });
        };
        let whole = outcome.kept + outcome.evaluated == head.len() && outcome.error.is_none();
        if let Some(error) = outcome.error.take() {
            tracing::warn!(%error, "the beginning of the next session was not stored");
        }
        outcome.finish = match whole {
            true => Finish::Stop,
            false => Finish::Interrupted,
        };
        if outcome.evaluated > 0 {
            self.account(&outcome, JOB, on)?;
        }
        Ok(match whole {
            true => Idled::Done,
            false => Idled::Stopped,
        })
    }

    /// Keeps what is stored of a head: one for each folder. The one before it goes when its place is needed.
    fn hold_base(&self, head: &[Token]) {
        let owner = base_owner(&self.row.folder);
        if let Err(error) = self.shared.store.hold(&owner, head, head.len()) {
            tracing::warn!(%error, "the beginning of the next session is held by nobody");
        }
    }

    /// Evaluates a head on scratch and has it stored; nothing where there is no room beside the
    /// conversation, or something more urgent came before the slot was free.
    fn evaluate_beside(
        &mut self,
        head: &[Token],
        cancel: &Arc<AtomicBool>,
    ) -> Result<Option<Outcome>, AgentError> {
        let owner = self.owner();
        let want = Want {
            owner: &owner,
            rank: Rank::Idle,
            cancel,
        };
        let Some(pass) = self.passes.take(&want, &mut |_| {}) else {
            return Ok(None);
        };
        let (events, _inbox) = unbounded_channel();
        let answer = pass.slot().fork(Fork {
            base: Base::Beside { room: 0 },
            keep: false,
            store: true,
            tokens: head.to_vec(),
            reply: ReplyOptions {
                choice: TokenChoice::Script {
                    tokens: Vec::new(),
                    finish: Finish::Stop,
                },
                max_tokens: 0,
                watch: Box::new(|_| Flow::Continue),
                observe: None,
                odds: None,
            },
            cancel: cancel.clone(),
            events,
        })?;
        match answer.wait() {
            Ok(outcome) => Ok(Some(outcome)),
            Err(dead @ SlotError::Dead(_)) => Err(dead.into()),
            Err(error) => {
                tracing::info!(%error, "the beginning of the next session is not evaluated");
                Ok(None)
            }
        }
    }
}
