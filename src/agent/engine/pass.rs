//! How a conversation gets the slot: a pass for one model call at a time. The room
//! above decides who gets the next one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::slot::SlotHandle;

/// How urgent a model call is; the greater one comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rank {
    /// Work for which no client waits, such as storing a state.
    Idle,
    /// Work beside a conversation, such as a title.
    Side,
    /// Somebody waits for the answer.
    Interactive,
}

/// A model call that is to be made.
pub struct Want<'a> {
    /// The conversation, by its opaque id.
    pub owner: &'a str,
    /// How urgent it is.
    pub rank: Rank,
    /// The flag that stops the call. Where something more urgent comes, the flag of a less urgent
    /// call is set, and [`SlotPass::preempted`] tells it from the user's own.
    pub cancel: &'a Arc<AtomicBool>,
}

/// The right to use the slot, until it is dropped.
pub struct SlotPass {
    slot: SlotHandle,
    preempted: Arc<AtomicBool>,
    /// Gives the pass back.
    _back: Option<Box<dyn Send>>,
}

impl SlotPass {
    /// A pass; `back` is dropped with it, and `preempted` is set when something more urgent wants
    /// the slot.
    pub fn new(slot: SlotHandle, preempted: Arc<AtomicBool>, back: Box<dyn Send>) -> SlotPass {
        SlotPass {
            slot,
            preempted,
            _back: Some(back),
        }
    }

    /// The slot.
    pub fn slot(&self) -> &SlotHandle {
        &self.slot
    }

    /// Whether the call was stopped for something more urgent: it may be made again.
    pub fn preempted(&self) -> bool {
        self.preempted.load(Ordering::SeqCst)
    }
}

/// Who gives passes.
pub trait Passes: Send + Sync {
    /// Waits for the slot; `place` gets the number of calls that come before this one, each time that
    /// changes. `None` when the flag of `want` was set meanwhile.
    fn take(&self, want: &Want<'_>, place: &mut dyn FnMut(usize)) -> Option<SlotPass>;

    /// Has the state of this conversation's last call stored, if it is in memory alone; then the
    /// bytes of snapshots that were handed to the store. It waits for no other conversation's call:
    /// the slot stores such a state before another conversation takes its place.
    fn settle(&self, owner: &str) -> u64;

    /// Whether the slot's last call was this conversation's.
    fn is_resident(&self, owner: &str) -> bool;

    /// A conversation goes on under another id: what the slot holds of it is that one's.
    fn renamed(&self, from: &str, to: &str);
}

/// Passes where one conversation at a time uses the slot: there is nothing to wait for.
pub(in crate::agent) struct Alone(pub SlotHandle);

impl Passes for Alone {
    fn take(&self, _: &Want<'_>, _: &mut dyn FnMut(usize)) -> Option<SlotPass> {
        Some(SlotPass {
            slot: self.0.clone(),
            preempted: Arc::default(),
            _back: None,
        })
    }

    fn settle(&self, _: &str) -> u64 {
        self.0.settle().unwrap_or_default()
    }

    fn is_resident(&self, _: &str) -> bool {
        true
    }

    fn renamed(&self, _: &str, _: &str) {}
}
