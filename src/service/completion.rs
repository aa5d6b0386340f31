//! A completion, on a thread of its own: it belongs to no session.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::inner::ServiceShared;
use super::mailbox::{Events, mailbox};
use crate::agent::{AgentError, Done, ErrorKind, Event, RawPrompt, TurnEnd, TurnOptions};
use crate::chat::ReplyScript;

/// What is completed, and how.
pub struct Completion {
    /// What the model goes on with.
    pub prompt: RawPrompt,
    /// How it is sampled.
    pub options: TurnOptions,
    /// Seed of its sampling; drawn where there is none.
    pub seed: Option<u64>,
    /// Prepared replies.
    pub script: Option<ReplyScript>,
}

impl Completion {
    /// Begins; the events end with [`Event::Done`] or [`Event::Error`]. `cancel` stops it.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn begin(
        self,
        inner: &Arc<ServiceShared>,
        cancel: &Arc<AtomicBool>,
    ) -> Result<Events, AgentError> {
        let (sink, events) = mailbox();
        let at_work = inner.completing.begin(cancel);
        let (inner, cancel) = (inner.clone(), cancel.clone());
        let thread = std::thread::Builder::new().name("npast-completion".to_owned());
        let spawned = thread.spawn(move || {
            let done = self.run(&inner, &cancel, &mut |event| sink.put(event));
            sink.put(match done {
                Ok(end) => Event::Done(Done::Turn(end)),
                Err(error) => error.into(),
            });
            // Whoever waits for the end finds the engine used by nobody.
            drop(inner);
            drop(at_work);
        });
        spawned.map(|_| events).map_err(|e| {
            AgentError::new(
                ErrorKind::Engine,
                format!("the completion's thread did not start: {e}"),
            )
        })
    }

    fn run(
        mut self,
        inner: &ServiceShared,
        cancel: &Arc<AtomicBool>,
        on: &mut dyn FnMut(Event),
    ) -> Result<TurnEnd, AgentError> {
        let script = self.script.as_mut();
        let (prompt, options) = (&self.prompt, &self.options);
        let passes = &*inner.scheduler;
        let engine = &inner.engine;
        engine.complete(passes, prompt, options, self.seed, script, cancel, on)
    }
}
