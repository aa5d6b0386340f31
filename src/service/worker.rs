//! The thread of one open session: it alone has the conversation and its tools, and does one request
//! at a time. Its events go to the desk.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, TryRecvError};

use super::base::NextSession;
use super::desk::Desk;
use super::gate::Asking;
use super::idle::{Later, Means, follow};
use super::inner::{ServiceShared, SessionOpening};
use super::job::{AskJob, SessionJob};
use super::projects::{self, held};
use super::request::Request;
use super::setup::setup;
use super::table::OpenSessions;
use super::terms::Terms;
use crate::agent::{
    AgentError, Conversation, Done, ErrorKind, Event, Followed, Input, Refused, Toolset,
    TurnOptions,
};
use crate::approve::Approve;
use crate::chat::ReplyScript;

/// A session at work.
struct Worker {
    conversation: Conversation,
    tools: Option<Toolset<'static>>,
    /// What serves the tools; it lives as long as they do.
    project: Option<projects::SharedTools>,
    /// Of the client that opened it.
    terms: Arc<Terms>,
    /// Prepared replies of the client whose request runs.
    script: Option<ReplyScript>,
    desk: Arc<Desk>,
    inner: Arc<ServiceShared>,
    later: Later,
}

/// Opens a session, says so, and works until its last client is gone.
pub fn run(
    inner: Arc<ServiceShared>,
    opening: SessionOpening,
    terms: Arc<Terms>,
    opened: Sender<Result<Arc<Desk>, AgentError>>,
    jobs: Receiver<SessionJob>,
) {
    // Dropped after the conversation, which has the session's lock, also when the thread panics.
    let mut end = CloseOnDrop(None);
    let table = inner.table.clone();
    let mut worker = match Worker::open(inner, opening, terms) {
        Ok(worker) => worker,
        Err(error) => return drop(opened.send(Err(error))),
    };
    end.0 = Some((worker.desk.clone(), table));
    let _ = opened.send(Ok(worker.desk.clone()));
    let mut answer = None;
    loop {
        let job = match jobs.try_recv() {
            Ok(job) => Ok(job),
            Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) if worker.idle() => continue,
            Err(TryRecvError::Empty) => {
                worker.desk.rest(true);
                jobs.recv()
            }
        };
        worker.desk.rest(false);
        let Ok(job) = job else { break };
        match job {
            SessionJob::Ask(asked) => worker.ask(asked),
            SessionJob::Look(look) => look(&mut worker.conversation),
            SessionJob::Close(done) => {
                answer = Some(done);
                break;
            }
        }
    }
    let closed = worker.close();
    drop(end);
    if let Some(answer) = answer {
        let _ = answer.send(closed);
    } else if let Err(error) = closed {
        tracing::warn!(%error, "a session was closed, and something of it could not be stored");
    }
}

/// However the thread ends, the clients get an event, and the session can be opened again.
struct CloseOnDrop(Option<(Arc<Desk>, Arc<OpenSessions>)>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        if let Some((desk, table)) = &self.0 {
            desk.close();
            table.closed(desk.info().id);
        }
    }
}

impl Worker {
    fn open(
        inner: Arc<ServiceShared>,
        opening: SessionOpening,
        terms: Arc<Terms>,
    ) -> Result<Worker, AgentError> {
        let SessionOpening {
            open,
            mut new,
            agent,
            ..
        } = opening;
        // It stays until the session has it, so that its servers start once.
        let (folder, words) = (new.folder.clone(), new.system.clone());
        let mut serving = None;
        if agent && inner.engine.stored(&open, &new.folder)?.is_none() {
            let system = new.system.take();
            let project = inner.projects.get(Path::new(&new.folder));
            let made = setup(&mut held(&project), &terms.tooling, system.as_deref())?;
            new.setup = Some(made.0);
            serving = Some(project);
        }
        let passes = inner.scheduler.clone();
        let scheduler = Arc::downgrade(&inner.scheduler);
        let conversation = inner.engine.conversation_with(passes, open, new)?;
        let wake = Box::new(move || {
            if let Some(scheduler) = scheduler.upgrade() {
                scheduler.wake();
            }
        });
        let desk = Arc::new(Desk::new(conversation.info(), wake));
        let mut worker = Worker {
            conversation,
            tools: None,
            project: None,
            script: terms.script.clone(),
            terms,
            desk,
            inner,
            later: Later::default(),
        };
        worker.serve()?;
        if agent && worker.tools.is_some() {
            let (tooling, projects) = (&worker.terms.tooling, &worker.inner.projects);
            let next = NextSession::of(&folder, words, tooling, projects);
            worker.later.expect(next);
        }
        drop(serving);
        Ok(worker)
    }

    /// Gets the tools of a session whose tools are npast's to run.
    fn serve(&mut self) -> Result<(), AgentError> {
        let (conversation, desk) = (&mut self.conversation, &self.desk);
        let info = conversation.info();
        if !info.runs_tools {
            return Ok(());
        }
        desk.set_rights(self.terms.tooling.approve, self.terms.attended);
        let (projects, tooling) = (&self.inner.projects, &self.terms.tooling);
        let project = projects.get(Path::new(&info.folder));
        let temp = conversation.temp_folder()?;
        let mut live = held(&project);
        let all = live.tools(Some(&temp));
        let (gate, said) = Asking::new(&live, &temp, desk.clone());
        if let Some(text) = said {
            conversation.note((text, None));
        }
        let mut tools = conversation.toolset(all, Box::new(gate), live.secrets())?;
        if let Some(tools) = &mut tools {
            tools.budget = tooling.budget;
            tools.steering = desk.steering.clone();
            let names: Vec<&str> = tools.names().collect();
            for server in live.unknown_to(&names).iter().filter(|_| info.resumed) {
                conversation.note((
                    format!("the MCP server {server} joins the next session"),
                    Some("this one keeps the tools it was started with".to_owned()),
                ));
            }
        }
        for notice in live.take_notices() {
            conversation.note(notice);
        }
        desk.set_sandbox(Some(live.held_back().to_owned()));
        drop(live);
        self.tools = tools;
        self.project = Some(project);
        Ok(())
    }

    fn ask(&mut self, asked: AskJob) {
        let AskJob {
            request,
            sink,
            cancel,
            terms,
        } = asked;
        self.take(
            &terms.unwrap_or_else(|| self.terms.clone()),
            request.policy(),
        );
        self.desk.begin(sink, cancel.clone());
        let desk = self.desk.clone();
        let done = self.obey(*request, &cancel, &mut |event| desk.tell(event));
        follow(&self.conversation, &self.desk, &self.inner.table);
        self.later.look_again();
        self.desk.requests.fetch_sub(1, Ordering::SeqCst);
        self.desk.tell(match done {
            Ok(done) => Event::Done(done),
            Err(error) => error.into(),
        });
        self.desk.end();
    }

    /// Does a piece of idle work; false where there is none.
    fn idle(&mut self) -> bool {
        let with = Means {
            talk: &mut self.conversation,
            tools: self.tools.as_mut(),
            script: self.script.as_mut(),
        };
        self.later.work(with, &self.desk, &self.inner)
    }

    /// The next request runs so, under its own policy if it names one.
    fn take(&mut self, terms: &Terms, policy: Option<Approve>) {
        let tooling = &terms.tooling;
        let policy = policy.unwrap_or(tooling.approve);
        self.desk.set_rights(policy, terms.attended);
        if let Some(tools) = &mut self.tools {
            tools.budget = tooling.budget;
        }
        self.script = terms.script.clone();
    }

    fn obey(
        &mut self,
        request: Request,
        cancel: &Arc<AtomicBool>,
        on: &mut dyn FnMut(Event),
    ) -> Result<Done, AgentError> {
        match request {
            Request::Say { input, options } => {
                let options = self.later.leave(options, &self.inner);
                self.say(input, &options, cancel, on)
            }
            Request::Follow {
                history,
                rules,
                options,
            } => {
                let options = self.later.leave(options, &self.inner);
                let script = self.script.as_mut();
                let talk = &mut self.conversation;
                let done = talk.follow(&history, rules, &options, script, cancel, on)?;
                Ok(followed(done, talk.info().name))
            }
            Request::GoOn {
                from,
                history,
                rules,
                options,
            } => {
                let script = self.script.as_mut();
                let talk = &mut self.conversation;
                let done = talk.go_on(from, &history, rules, &options, script, cancel, on)?;
                Ok(followed(done, talk.info().name))
            }
            Request::Retry { options } => {
                let options = self.later.leave(options, &self.inner);
                let (tools, script) = (self.tools.as_mut(), self.script.as_mut());
                let talk = &mut self.conversation;
                let end = talk.retry(&options, tools, script, cancel, on)?;
                Ok(Done::Turn(end))
            }
            Request::Edit => Ok(Done::Undone(self.conversation.edit()?)),
            Request::Undo { turns } => Ok(Done::Undone(self.conversation.undo(turns)?)),
            Request::Redo { branch } => Ok(Done::Redone {
                tokens: self.conversation.redo(branch)?,
            }),
            Request::Fork { name, keep } => {
                let child = self.conversation.fork(name.as_deref(), keep)?;
                Ok(Done::Forked { name: child.name })
            }
            Request::Aside { question, options } => {
                let (script, talk) = (self.script.as_mut(), &mut self.conversation);
                let end = talk.aside(&question, &options, script, cancel, on)?;
                Ok(Done::Turn(end))
            }
            Request::Compress { topic, options } => {
                let (tools, mut script) = (self.tools.as_mut(), self.script.as_mut());
                let talk = &mut self.conversation;
                let name = talk.info().name;
                talk.flush(&options, tools, script.as_deref_mut(), cancel, on)?;
                let made = talk.compress(topic.as_deref(), &options, script, cancel, on)?;
                made.map(Done::Compressed).map_err(|why| why.of(&name))
            }
            Request::Prune { options } => {
                let pruned = self.conversation.prune(&options, cancel, on)?;
                pruned.map(Done::Pruned).map_err(|why| match why {
                    Refused::Interrupted => why.of(""),
                    _ => AgentError::new(
                        ErrorKind::Refused,
                        "there is no long result of a tool before the last turns",
                    ),
                })
            }
            Request::Info => Ok(Done::Info {
                info: Box::new(self.conversation.info()),
                last_text: self.conversation.last_text(),
                exchange: self.conversation.last_exchange(),
            }),
            Request::Steer { .. } | Request::Interrupt | Request::Answer { .. } => Ok(Done::Heard),
        }
    }

    fn say(
        &mut self,
        input: Input,
        options: &TurnOptions,
        cancel: &Arc<AtomicBool>,
        on: &mut dyn FnMut(Event),
    ) -> Result<Done, AgentError> {
        let (tools, script) = (self.tools.as_mut(), self.script.as_mut());
        let talk = &mut self.conversation;
        let end = talk.work(input, options, tools, script, cancel, on)?;
        Ok(Done::Turn(end))
    }

    /// Lets the session go. The engine may end with it.
    fn close(self) -> Result<(), AgentError> {
        let Worker {
            conversation,
            tools,
            project,
            inner,
            later,
            ..
        } = self;
        drop((tools, later));
        let closed = conversation.close();
        drop(project);
        inner.projects.sweep();
        closed
    }
}

fn followed(followed: Followed, session: String) -> Done {
    let rules = followed.overlooked.iter();
    Done::Followed {
        end: followed.end,
        same: followed.same,
        sent: followed.sent,
        difference: followed.difference.map(|d| d.to_string()),
        overlooked: rules.map(|seen| seen.rule.name().to_owned()).collect(),
        renewed: followed.renewed,
        messages: followed.messages,
        session,
    }
}
