//! What the thread of an open session does while nobody asks it for anything. A request that comes stops it
//! between two decode calls, a request of another session too: that one's call takes the pass.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::base::NextSession;
use super::desk::Desk;
use super::inner::ServiceShared;
use super::table::OpenSessions;
use crate::agent::{Conversation, Event, IdleJob, Idled, Toolset, TurnOptions};
use crate::chat::ReplyScript;

/// What a session leaves to be done when nobody waits.
#[derive(Default)]
pub struct Later {
    /// Of the last request that leaves anything to idle time.
    options: Option<TurnOptions>,
    /// What was done since the last request, or could not be.
    tried: Vec<IdleJob>,
    /// The next session of the folder, where npast runs its tools.
    next: Option<NextSession>,
    /// That one was looked at since the last request.
    looked: bool,
}

/// What a piece of idle work is done with.
pub struct Means<'a> {
    /// The conversation.
    pub talk: &'a mut Conversation,
    /// The tools of its session.
    pub tools: Option<&'a mut Toolset<'static>>,
    /// Prepared replies.
    pub script: Option<&'a mut ReplyScript>,
}

impl Later {
    /// A request begins that may leave something to idle time, if there is any; the options that it runs
    /// with.
    pub fn leave(&mut self, options: TurnOptions, inner: &ServiceShared) -> TurnOptions {
        let options = TurnOptions {
            idle: options.idle && inner.idle,
            ..options
        };
        self.options = options.idle.then(|| options.clone());
        options
    }

    /// A request has ended: what could not be done before it may be possible now.
    pub fn look_again(&mut self) {
        self.tried.clear();
        self.looked = false;
    }

    /// A session like this may be the folder's next one.
    pub fn expect(&mut self, next: NextSession) {
        self.next = Some(next);
    }

    /// Does the next piece of idle work. False where there is none, or somebody asks for something.
    pub fn work(&mut self, with: Means<'_>, desk: &Arc<Desk>, inner: &ServiceShared) -> bool {
        let Means {
            talk,
            tools,
            script,
        } = with;
        let Some(options) = &self.options else {
            return false;
        };
        let jobs = talk.idle_jobs(options);
        let Some(job) = jobs.into_iter().find(|job| !self.tried.contains(job)) else {
            return self.prepare(talk, desk, inner);
        };
        let Some(cancel) = desk.begin_idle() else {
            return false;
        };
        let on = &mut |event: Event| {
            if let Event::Receipt(receipt) = &event {
                inner.book.count(receipt);
            }
            desk.tell(event);
        };
        let done = talk.idle(job, options, tools, script, &cancel, on);
        let before = desk.info().id;
        follow(talk, desk, &inner.table);
        desk.end_idle();
        let info = desk.info();
        if info.id != before {
            let sandbox = desk.sandbox();
            desk.tell(Event::Session { info, sandbox });
        }
        match done {
            Ok(Idled::Stopped) => {}
            Ok(Idled::Done | Idled::Elsewhere) => self.tried.push(job),
            Err(error) => {
                self.tried.push(job);
                let text = format!("what was done in idle time failed: {error}");
                talk.note((text, error.hint()));
            }
        }
        true
    }

    /// The last of it: the beginning of the folder's next session.
    fn prepare(
        &mut self,
        talk: &mut Conversation,
        desk: &Arc<Desk>,
        inner: &ServiceShared,
    ) -> bool {
        let Some(next) = self.next.as_mut().filter(|_| !self.looked) else {
            return false;
        };
        let Some(cancel) = desk.begin_idle() else {
            return false;
        };
        let on = &mut |event: Event| {
            if let Event::Receipt(receipt) = &event {
                inner.book.count(receipt);
            }
            desk.tell(event);
        };
        let changed = next.changed(&inner.projects);
        let stopped = cancel.load(Ordering::SeqCst);
        if let Some(setup) = changed.filter(|_| !stopped) {
            match talk.prepare_next(&setup, &cancel, on) {
                Ok(Idled::Done) => next.is_prepared(setup),
                Ok(Idled::Elsewhere | Idled::Stopped) => {}
                Err(error) => {
                    let text = format!("what was done in idle time failed: {error}");
                    talk.note((text, error.hint()));
                }
            }
        }
        desk.end_idle();
        self.looked = !cancel.load(Ordering::SeqCst);
        true
    }
}

/// Has the clients of a session know it as what it is now: it may have gone on as another one.
pub fn follow(talk: &Conversation, desk: &Desk, table: &OpenSessions) {
    let info = talk.info();
    table.renamed(desk.info().id, info.id);
    desk.set(info);
}
