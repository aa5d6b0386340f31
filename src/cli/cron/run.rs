//! `npast cron run`: what is due is claimed, then said in the job's session: through the gateway of the
//! data folder if one runs, else with a model that is loaded here. Whatever becomes of it is stored; a
//! process that dies in between leaves a claim, and the next look says so.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::super::CliContext;
use super::super::args::CronRunArgs;
use super::super::engine::{length, load, options, own_model, turn_options};
use super::super::error::{FAILED, Failure};
use super::super::input;
use super::super::interrupt::Interrupt;
use super::super::once::show;
use super::super::output::{self, EventOutput, ProgressLine, bars, count, notice};
use super::super::through::Through;
use super::{database, none, shown};
use crate::agent::{Done, Input, NewSession, WhichSession};
use crate::attach::{self, Joining, Serving};
use crate::chat::ReplyScript;
use crate::config::{Approve, Settings};
use crate::cron::{Looked, claim, claim_now};
use crate::harmless;
use crate::ledger::Finish;
use crate::service::{Projects, Request, Service, Tooling};
use crate::session::{Db, Job, JobOutcome, Lock, LockError, now_ms};

/// A clock that went back by less than this many milliseconds was only set right.
const JITTER_MS: i64 = 60_000;

/// Runs what is due, or the job that is named; the exit code is 1 where one failed.
pub fn due(run: &CliContext, args: &CronRunArgs, settings: Settings) -> Result<i32, Failure> {
    let Some(db) = database(run)? else {
        return match &args.name {
            Some(name) => Err(none(name).into()),
            None => Ok(0),
        };
    };
    let jobs = match &args.name {
        Some(name) => vec![db.job(name)?],
        None => db.jobs()?,
    };
    let script = args.script.as_deref();
    let replies = script.map(|path| input::file(path, "the script"));
    let script = script.map(ReplyScript::load).transpose()?;
    let mut timer = Timer {
        run,
        db,
        settings,
        script,
        replies: replies.transpose()?,
        interrupt: Interrupt::listen(),
        loaded: None,
    };
    let now = now_ms();
    let mut code = 0;
    for job in jobs {
        timer.interrupt.check()?;
        if !timer.look(&job, now, args.name.is_some())? {
            code = FAILED;
        }
    }
    timer.unload()?;
    Ok(code)
}

/// One call of the timer.
struct Timer<'a> {
    run: &'a CliContext,
    db: Db,
    settings: Settings,
    script: Option<ReplyScript>,
    /// The same as text, for a gateway.
    replies: Option<String>,
    interrupt: Interrupt,
    loaded: Option<Loaded>,
}

/// What serves the sessions of jobs.
struct Loaded {
    /// The model that is loaded here, and the policy under which its tools are served; nothing where the
    /// gateway serves.
    own: Option<(PathBuf, bool)>,
    serving: Serving,
    settings: Settings,
}

impl Timer<'_> {
    /// Looks at a job, and runs it if it is due or was asked for. False where that failed.
    fn look(&mut self, job: &Job, now: i64, asked: bool) -> Result<bool, Failure> {
        let name = harmless::line(&job.name).into_owned();
        let _lock = match Lock::job(&self.run.places.home, job.id) {
            Ok(lock) => lock,
            // Its times are that process's.
            Err(LockError::Held { .. }) if !asked => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        // Under the lock: another process may have looked at it meanwhile, or removed it.
        let Some(job) = self.db.jobs()?.into_iter().find(|one| one.id == job.id) else {
            return Ok(true);
        };
        for due in self.db.leave_unfinished(job.id, now)? {
            self.said(&job, due, "unfinished");
            notice(
                &format!(
                    "job {name} of {} did not finish: the process that ran it ended",
                    shown(due)
                ),
                Some("it is not run again; what was said of it is in its session"),
            );
        }
        let looked = match asked {
            true => claim_now(&self.db, &job, now)?,
            false => claim(&self.db, &job, now)?,
        };
        self.say_what_was_missed(&job, &name, &looked);
        let Some((claim, due)) = looked.run else {
            return Ok(true);
        };
        self.said(&job, due, "begun");
        if !self.run.json && !self.run.quiet {
            output::say(&format!("{name}, due at {}:", shown(due)));
        }
        let done = self.talk(&job);
        let (outcome, note) = match &done {
            Ok(()) => (JobOutcome::Done, None),
            Err(failure) => (JobOutcome::Failed, Some(failure.message.as_str())),
        };
        self.db.end_run(claim, now_ms(), outcome, note)?;
        self.said(&job, due, outcome.as_str());
        match done {
            Ok(()) => Ok(true),
            Err(failure) if failure == Failure::interrupted() => Err(failure),
            Err(failure) => {
                notice(
                    &format!("job {name} failed: {}", failure.message),
                    failure.hint.as_deref(),
                );
                Ok(false)
            }
        }
    }

    fn say_what_was_missed(&self, job: &Job, name: &str, looked: &Looked) {
        if looked.back_ms >= JITTER_MS {
            notice(
                &format!(
                    "the clock went back by {} seconds since the last look at job {name}",
                    count(usize::try_from(looked.back_ms / 1000).unwrap_or(usize::MAX))
                ),
                Some("times that were run before are not run again"),
            );
        }
        if let Some((last, times)) = looked.missed {
            self.said(job, last, "missed");
            let times = match times {
                1 => "a time".to_owned(),
                n => format!("{} times, the last one", count(n)),
            };
            notice(
                &format!("job {name} missed {times} at {}", shown(last)),
                Some("nobody called `npast cron run` then; `npast cron run NAME` runs it now"),
            );
        }
    }

    /// An event for programs.
    fn said(&self, job: &Job, due_ms: i64, stage: &str) {
        if self.run.json {
            let event = json!({"type": "job", "name": job.name, "due_ms": due_ms, "stage": stage});
            // Who does not read it any more still wants the job done.
            let _ = output::json::lines(&[event]);
        }
    }

    /// Says the job's prompt in its session.
    fn talk(&mut self, job: &Job) -> Result<(), Failure> {
        if !Path::new(&job.folder).is_dir() {
            return Err(Failure::failed(
                "job",
                format!("the project folder {} is gone", job.folder),
            )
            .hint("remove the job, and add it in another folder"));
        }
        self.load(job)?;
        let Some(Loaded {
            serving, settings, ..
        }) = &self.loaded
        else {
            return Err(Failure::failed("internal", "no model was loaded"));
        };
        let system = settings.system.as_deref();
        let system = system.map(|given| input::text_or_file(given, "the system prompt"));
        let wanted = Joining {
            open: WhichSession::Named(job.name.clone()),
            new: NewSession {
                folder: job.folder.clone(),
                system: system.transpose()?,
                tools: None,
                seed: settings.seed,
                setup: None,
            },
            agent: !settings.no_tools,
            attended: false,
            tooling: Tooling::of(settings),
            script: self.replies.clone(),
        };
        let session = serving.open(wanted, self.script.as_ref())?;
        for (text, hint) in serving.notices() {
            notice(&text, hint.as_deref());
        }
        let mut output = EventOutput::new(self.run, self.interrupt.flag().clone());
        output.session(&session);
        let request = Request::Say {
            input: Input::Text(job.prompt.clone()),
            options: turn_options(settings),
        };
        let events = session.ask_until(request, self.interrupt.flag())?;
        let closing = session.close();
        let done = show(events, &session, &mut output, None);
        output.end();
        let closed = closing.wait();
        match done? {
            Done::Turn(end) if end.finish == Finish::Interrupted => {
                return Err(Failure::interrupted());
            }
            _ => {}
        }
        Ok(closed?)
    }

    /// Finds the gateway, or loads the job's model if it is not there already.
    fn load(&mut self, job: &Job) -> Result<(), Failure> {
        let named = self.db.find(&job.name)?;
        let stored = match named {
            Some(session) => {
                let (vocab, template) = (session.vocab, session.template);
                let alike =
                    |s: &crate::session::Session| s.vocab == vocab && s.template == template;
                Some(self.db.newest(session, &alike)?)
            }
            None => None,
        };
        let mut settings = self.settings.clone();
        let own = job.model.as_ref().map(PathBuf::from);
        settings.model = settings.model.or(own);
        settings.approve = match job.auto {
            true => Approve::Auto,
            false => Approve::Deny,
        };
        let mut progress = ProgressLine::here(bars(self.run));
        if let Some(greeting) = attach::find(&self.run.places.home)? {
            self.unload()?;
            let replies = self.replies.clone();
            let mut through =
                Through::new(self.run, greeting, &settings, stored.as_ref(), replies)?;
            let peer = through.greet(&self.interrupt, &mut progress)?;
            self.loaded = Some(Loaded {
                own: None,
                serving: Serving::There(Box::new(peer)),
                settings,
            });
            return Ok(());
        }
        let own = own_model(self.run, &settings, stored.as_ref())?;
        let mut options = options(self.run, &settings, own.as_deref())?;
        let there = self.loaded.as_ref().and_then(|loaded| loaded.own.as_ref());
        if there.is_some_and(|(model, auto)| *model == options.model && *auto == job.auto) {
            return self.wait_for_servers(job);
        }
        self.unload()?;
        options.leeway.session = length(&self.run.places, stored.as_ref())?;
        let engine = load(&options, &self.interrupt, &mut progress)?;
        let projects = Arc::new(Projects::new(self.run.places.clone(), settings.clone()));
        let service = Service::new(engine, projects, settings.idle);
        self.loaded = Some(Loaded {
            own: Some((options.model, job.auto)),
            serving: Serving::Here(service),
            settings,
        });
        self.wait_for_servers(job)
    }

    /// Tools of a session that starts are those that are there.
    fn wait_for_servers(&self, job: &Job) -> Result<(), Failure> {
        let Some(Loaded {
            serving: Serving::Here(service),
            settings,
            ..
        }) = &self.loaded
        else {
            return Ok(());
        };
        if settings.no_tools {
            return Ok(());
        }
        let projects = service.projects();
        let _serving = projects.get(Path::new(&job.folder));
        while !projects.are_there() {
            self.interrupt.check()?;
        }
        Ok(())
    }

    fn unload(&mut self) -> Result<(), Failure> {
        if let Some(Loaded {
            serving: Serving::Here(service),
            ..
        }) = self.loaded.take()
        {
            service.close()?;
        }
        Ok(())
    }
}
