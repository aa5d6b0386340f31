//! `npast cron`: add, list, rm; what is due is run in `run`.

mod run;

use serde_json::{Value, json};

pub use run::due;

use super::CliContext;
use super::args::{CronArgs, CronCommand, JobPolicy};
use super::error::Failure;
use super::output::{self, table};
use crate::cron::{When, WhenError, time};
use crate::harmless;
use crate::session::{Db, DbError, Job, JobOutcome, JobRun, NewJob, now_ms};

impl From<WhenError> for Failure {
    fn from(error: WhenError) -> Failure {
        let hint = error.hint();
        Failure::usage(error.to_string(), hint)
    }
}

/// Runs the subcommands that load no model.
pub fn run(run: &CliContext, args: &CronArgs) -> Result<i32, Failure> {
    match &args.command {
        Some(CronCommand::Add {
            name,
            when,
            prompt,
            approve,
            model,
        }) => {
            if prompt.trim().is_empty() {
                return Err(Failure::usage(
                    "the prompt is empty",
                    "npast cron add NAME \"30 7 * * *\" \"What to say\"",
                ));
            }
            let now = now_ms();
            let read = When::new(when, now)?;
            let folder = std::env::current_dir()
                .map_err(|e| Failure::failed("io", format!("the current folder is gone: {e}")))?;
            // A path is another one where the timer calls.
            let model = model.as_ref().map(|given| {
                let path = given.canonicalize().unwrap_or_else(|_| given.clone());
                path.to_string_lossy().into_owned()
            });
            let job = Db::open(&run.places.db())?.add_job(&NewJob {
                name,
                pattern: when.trim(),
                prompt,
                folder: &folder.to_string_lossy(),
                model: model.as_deref(),
                auto: *approve == JobPolicy::Auto,
                now_ms: now,
            })?;
            let next = read.next_ms(now);
            if run.json {
                return output::json::lines(&[as_json(&job, next, &[])]);
            }
            if !run.quiet {
                output::say(&format!(
                    "{} is due at {}. The system's timer has to call `npast cron run`.",
                    harmless::line(name),
                    next.map_or("no time".to_owned(), shown)
                ));
            }
            Ok(0)
        }
        None | Some(CronCommand::List) => list(run),
        Some(CronCommand::Rm { names }) => {
            let db = database(run)?.ok_or_else(|| none(&names[0]))?;
            // All of them are there, or none is removed.
            let jobs = names.iter().map(|name| db.job(name));
            for job in jobs.collect::<Result<Vec<_>, _>>()? {
                db.remove_job(job.id)?;
            }
            Ok(0)
        }
        Some(CronCommand::Run(_)) => Err(Failure::failed(
            "internal",
            "a job needs a model, and none was loaded",
        )),
    }
}

/// The database; looking makes none.
fn database(run: &CliContext) -> Result<Option<Db>, Failure> {
    let path = run.places.db();
    Ok(match path.is_file() {
        true => Some(Db::open(&path)?),
        false => None,
    })
}

fn none(name: &str) -> DbError {
    DbError::Job(format!(
        "there is no job named \"{}\"",
        harmless::line(name)
    ))
}

fn list(run: &CliContext) -> Result<i32, Failure> {
    let now = now_ms();
    let (mut lines, mut rows) = (Vec::new(), Vec::new());
    if let Some(db) = database(run)? {
        for job in db.jobs()? {
            let next = When::read(&job.pattern).ok();
            let next = next.and_then(|when| when.next_ms(now.max(job.looked_ms)));
            let runs = db.job_runs(job.id, 20)?;
            lines.push(as_json(&job, next, &runs));
            rows.push(vec![
                harmless::line(&job.name).into_owned(),
                job.pattern.clone(),
                next.map_or("never".to_owned(), shown),
                runs.first().map_or(String::new(), last),
                harmless::line(&job.folder).into_owned(),
            ]);
        }
    }
    if run.json {
        return output::json::lines(&lines);
    }
    if rows.is_empty() {
        return output::page("There are no jobs.");
    }
    output::page(&table(
        &["job", "when", "next", "last", "folder"],
        &rows,
        &[],
    ))
}

fn as_json(job: &Job, next: Option<i64>, runs: &[JobRun]) -> Value {
    let runs: Vec<Value> = runs
        .iter()
        .map(|run| {
            json!({
                "due_ms": run.due_ms, "claimed_ms": run.claimed_ms,
                "outcome": run.outcome.map(JobOutcome::as_str), "missed": run.missed, "note": run.note,
            })
        })
        .collect();
    json!({
        "type": "cron", "name": job.name, "when": job.pattern, "prompt": job.prompt,
        "folder": job.folder, "model": job.model, "approve": if job.auto { "auto" } else { "deny" },
        "next_ms": next, "runs": runs,
    })
}

/// What became of a time.
fn last(run: &JobRun) -> String {
    let what = match run.outcome {
        None => "runs, or did not finish",
        Some(JobOutcome::Done) => "done",
        Some(JobOutcome::Failed) => "failed",
        Some(JobOutcome::Missed) => "missed",
        Some(JobOutcome::Unfinished) => "did not finish",
    };
    let note = match &run.note {
        Some(note) => format!(": {}", harmless::line(note)),
        None => String::new(),
    };
    format!("{} {what}{note}", shown(run.due_ms))
}

/// A moment as this machine's clock shows it.
fn shown(ms: i64) -> String {
    time(ms).format("%Y-%m-%d %H:%M").to_string()
}
