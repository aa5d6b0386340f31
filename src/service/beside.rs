//! Requests of clients that stand beside their conversations: each has a thread of its own and no session.
//! Where scratch has no room for one it becomes a session like all others.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::mailbox::{Events, Sink, mailbox};
use super::{Request, Service};
use crate::agent::{
    AgentError, ClientHistory, Done, ErrorKind, Event, Names, NewSession, Side, TurnOptions,
};
use crate::chat::ReplyScript;
use crate::chat::pins::PinRules;

/// A client's request that may stand beside.
pub struct Beside {
    /// What the client sent.
    pub history: ClientHistory,
    /// How the reply is sampled.
    pub options: TurnOptions,
    /// Most tokens of the reply, where the client says.
    pub most: Option<usize>,
    /// What a session of it is started with, where it becomes one; of this the folder and the seed are
    /// used.
    pub new: NewSession,
    /// Prepared replies.
    pub script: Option<ReplyScript>,
}

/// Requests that run beside the sessions.
#[derive(Default)]
pub(super) struct Running {
    count: Mutex<usize>,
    changed: Condvar,
}

/// One of them.
struct One(Arc<Running>);

impl Running {
    fn begin(self: &Arc<Running>) -> One {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        One(self.clone())
    }

    /// Waits until none runs.
    pub(super) fn wait_until_none(&self) {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        while *count > 0 {
            count = self
                .changed
                .wait(count)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for One {
    fn drop(&mut self) {
        *self.0.count.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.changed.notify_all();
    }
}

impl Service {
    /// Answers a request that stands beside the open sessions, on scratch; gives it back where it is a
    /// conversation. The events end with [`Event::Done`] or [`Event::Error`]. It ends between two decode
    /// calls when `stop` is set and its events are dropped.
    ///
    /// # Errors
    /// npast.db's; when no thread can be started.
    pub fn beside(
        &self,
        asked: Beside,
        names: Names<'_>,
        stop: &Arc<AtomicBool>,
    ) -> Result<Result<Events, Box<Beside>>, AgentError> {
        let open: Vec<i64> = self.sessions().iter().map(|s| s.info().id).collect();
        if open.is_empty() {
            return Ok(Err(Box::new(asked)));
        }
        let engine = self.engine();
        let sign = engine.stands_beside(&asked.history, names, asked.most, &open)?;
        let Some(sign) = sign else {
            return Ok(Err(Box::new(asked)));
        };
        let (sink, events) = mailbox();
        let (own, stop) = (self.clone(), stop.clone());
        let running = self.running().begin();
        let thread = std::thread::Builder::new().name("npast-side".to_owned());
        let spawned = thread.spawn(move || {
            let done = own.answer_beside(asked, sign.name(), &stop, &sink);
            if let Err(error) = done {
                sink.put(error.into());
            }
            sink.end();
            // The engine may end with it.
            drop(own);
            drop(running);
        });
        spawned.map_err(|e| {
            let text = format!("the thread of a request did not start: {e}");
            AgentError::new(ErrorKind::Engine, text)
        })?;
        Ok(Ok(events))
    }

    fn answer_beside(
        &self,
        mut asked: Beside,
        sign: &str,
        stop: &Arc<AtomicBool>,
        sink: &Sink,
    ) -> Result<(), AgentError> {
        let side = Side {
            history: &asked.history,
            options: &asked.options,
            seed: asked.new.seed,
        };
        let end = self.engine().side(
            &*self.passes(),
            &side,
            asked.script.as_mut(),
            stop,
            &|| sink.is_left(),
            &mut |event| {
                if let Event::Receipt(r) = &event {
                    let (kept, evaluated, generated) = (r.kept, r.evaluated, r.generated);
                    tracing::info!(sign, kept, evaluated, generated, "beside the conversation");
                }
                sink.put(event);
            },
        )?;
        if let Some(end) = end {
            let sign = sign.to_owned();
            sink.put(Event::Done(Done::Beside { end, sign }));
            return Ok(());
        }
        tracing::info!(sign, "no room beside the conversation: it is a session");
        let rules = PinRules::all();
        let session = self.open_of(&asked.history, &[], rules, asked.new, asked.script)?;
        let request = Request::Follow {
            history: asked.history,
            rules,
            options: asked.options,
        };
        for event in session.ask_until(request, stop)? {
            sink.put(event);
        }
        Ok(())
    }
}
