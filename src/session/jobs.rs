//! Prompts that are run at times, and what became of each time. Who wants to run one claims its time
//! first: in one transaction that only one of several processes can make, and before anything is decoded.
//! So a time is never run twice, and a process that dies leaves a claim that says so.

use rusqlite::{OptionalExtension, Row, params};

use super::db::taken;
use super::{Db, DbError, Result, check_name, fault};

/// Rows of a job's times that are kept, besides those of the last days.
const KEPT: i64 = 100;
/// Milliseconds for which every row is kept: a clock may go back.
const KEPT_MS: i64 = 32 * 24 * 3600 * 1000;

/// A job's row. Never used again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JobId(pub i64);

/// A claimed time's row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClaimId(i64);

/// A prompt that is run at times.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Job {
    /// Its row.
    pub id: JobId,
    /// Its name, and that of its session.
    pub name: String,
    /// When: five fields, or a word such as `@daily`.
    pub pattern: String,
    /// What is said.
    pub prompt: String,
    /// The project it was added in.
    pub folder: String,
    /// The model, as `-m` names it.
    pub model: Option<String>,
    /// Whether calls that would be asked about are run (`auto`) or not (`deny`).
    pub auto: bool,
    /// Unix milliseconds.
    pub created_ms: i64,
    /// All times up to this one were decided about, in Unix milliseconds.
    pub looked_ms: i64,
}

/// What a job is made of.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct NewJob<'a> {
    pub name: &'a str,
    pub pattern: &'a str,
    pub prompt: &'a str,
    pub folder: &'a str,
    pub model: Option<&'a str>,
    pub auto: bool,
    /// Unix milliseconds: times after it are due.
    pub now_ms: i64,
}

/// How a time of a job ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JobOutcome {
    /// It was answered.
    Done,
    /// An error ended it.
    Failed,
    /// Nobody looked in time.
    Missed,
    /// The process that ran it ended without a word.
    Unfinished,
}

impl JobOutcome {
    const ALL: [JobOutcome; 4] = [
        JobOutcome::Done,
        JobOutcome::Failed,
        JobOutcome::Missed,
        JobOutcome::Unfinished,
    ];

    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            JobOutcome::Done => "done",
            JobOutcome::Failed => "failed",
            JobOutcome::Missed => "missed",
            JobOutcome::Unfinished => "unfinished",
        }
    }
}

/// What became of a time of a job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobRun {
    /// When it was due, in Unix milliseconds.
    pub due_ms: i64,
    /// When it was claimed.
    pub claimed_ms: i64,
    /// `None` while it runs.
    pub outcome: Option<JobOutcome>,
    /// Times up to this one that were missed, as far as they were counted.
    pub missed: usize,
    /// What went wrong.
    pub note: Option<String>,
}

/// What a look at a job decided.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Decision {
    /// The time that is run now, in Unix milliseconds.
    pub run: Option<i64>,
    /// The last time that was missed, and how many were.
    pub missed: Option<(i64, usize)>,
}

const JOB: &str =
    "id, name, pattern, prompt, folder, model, approve = 'auto' AS auto, created_ms, looked_ms";

fn job(row: &Row<'_>) -> rusqlite::Result<Job> {
    Ok(Job {
        id: JobId(row.get("id")?),
        name: row.get("name")?,
        pattern: row.get("pattern")?,
        prompt: row.get("prompt")?,
        folder: row.get("folder")?,
        model: row.get("model")?,
        auto: row.get("auto")?,
        created_ms: row.get("created_ms")?,
        looked_ms: row.get("looked_ms")?,
    })
}

impl Db {
    /// Stores a job. [`DbError::Exists`] if its name is taken by another one.
    pub fn add_job(&self, new: &NewJob<'_>) -> Result<Job> {
        check_name(new.name)?;
        let tx = self.write()?;
        tx.execute(
            "INSERT INTO jobs (name, pattern, prompt, folder, model, approve, created_ms, looked_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
            params![
                new.name,
                new.pattern,
                new.prompt,
                new.folder,
                new.model,
                if new.auto { "auto" } else { "deny" },
                new.now_ms,
            ],
        )
        .map_err(|error| match taken(error, new.name) {
            DbError::Exists(name) => DbError::Job(format!("a job named \"{name}\" exists already")),
            error => error,
        })?;
        let made = tx.query_row(
            &format!("SELECT {JOB} FROM jobs WHERE name = ?"),
            [new.name],
            job,
        )?;
        fault::check(fault::StatementKind::Commit)?;
        tx.commit()?;
        fault::made()?;
        Ok(made)
    }

    /// All jobs, by their names.
    pub fn jobs(&self) -> Result<Vec<Job>> {
        fault::check(fault::StatementKind::Read)?;
        let mut query = self
            .conn
            .prepare_cached(&format!("SELECT {JOB} FROM jobs ORDER BY name"))?;
        let jobs = query.query_map([], job)?;
        Ok(jobs.collect::<rusqlite::Result<_>>()?)
    }

    /// The job of this name.
    pub fn job(&self, name: &str) -> Result<Job> {
        fault::check(fault::StatementKind::Read)?;
        let mut query = self
            .conn
            .prepare_cached(&format!("SELECT {JOB} FROM jobs WHERE name = ?"))?;
        let found = query.query_row([name], job).optional()?;
        found.ok_or_else(|| DbError::Job(format!("there is no job named \"{name}\"")))
    }

    /// Removes a job with what became of its times. Its session stays.
    pub fn remove_job(&self, id: JobId) -> Result<()> {
        let tx = self.write()?;
        tx.execute("DELETE FROM jobs WHERE id = ?", [id.0])?;
        fault::check(fault::StatementKind::Commit)?;
        tx.commit()?;
        fault::made()
    }

    /// Whether this time of a job was decided about.
    pub fn was_due(&self, id: JobId, due_ms: i64) -> Result<bool> {
        fault::check(fault::StatementKind::Read)?;
        let mut query = self
            .conn
            .prepare_cached("SELECT 1 FROM job_runs WHERE job = ? AND due_ms = ?")?;
        Ok(query.exists(params![id.0, due_ms])?)
    }

    /// Makes a decision about all times of a job up to `now_ms`; the claim of the time that is to be run,
    /// if there is one. Nothing is done, and nothing is claimed, where another process decided since
    /// `seen` was read, or the time was decided about before.
    pub fn decide(&self, seen: &Job, now_ms: i64, decision: &Decision) -> Result<Option<ClaimId>> {
        let tx = self.write()?;
        let ours = tx.execute(
            "UPDATE jobs SET looked_ms = ?3 WHERE id = ?1 AND looked_ms = ?2",
            params![seen.id.0, seen.looked_ms, now_ms],
        )?;
        if ours == 0 {
            return Ok(None);
        }
        if let Some((last, count)) = decision.missed {
            tx.execute(
                "INSERT OR IGNORE INTO job_runs
                     (job, due_ms, claimed_ms, ended_ms, outcome, missed)
                 VALUES (?1, ?2, ?3, ?3, 'missed', ?4)",
                params![seen.id.0, last, now_ms, count],
            )?;
        }
        let mut claim = None;
        if let Some(due) = decision.run {
            let made = tx.execute(
                "INSERT OR IGNORE INTO job_runs (job, due_ms, claimed_ms) VALUES (?, ?, ?)",
                params![seen.id.0, due, now_ms],
            )?;
            claim = (made == 1).then(|| ClaimId(tx.last_insert_rowid()));
        }
        tx.execute(
            "DELETE FROM job_runs WHERE job = ?1 AND outcome IS NOT NULL AND due_ms < ?2 AND id NOT IN
                 (SELECT id FROM job_runs WHERE job = ?1 ORDER BY id DESC LIMIT ?3)",
            params![seen.id.0, now_ms.saturating_sub(KEPT_MS), KEPT],
        )?;
        fault::check(fault::StatementKind::Commit)?;
        tx.commit()?;
        fault::made()?;
        Ok(claim)
    }

    /// Says how a claimed time ended.
    pub fn end_run(
        &self,
        claim: ClaimId,
        now_ms: i64,
        outcome: JobOutcome,
        note: Option<&str>,
    ) -> Result<()> {
        let tx = self.write()?;
        tx.execute(
            "UPDATE job_runs SET ended_ms = ?2, outcome = ?3, note = ?4 WHERE id = ?1",
            params![claim.0, now_ms, outcome.as_str(), note],
        )?;
        fault::check(fault::StatementKind::Commit)?;
        tx.commit()?;
        fault::made()
    }

    /// The claims of a job that nobody ended; from now on they are known as not finished. The caller has
    /// the job's lock: whoever claimed them is gone.
    pub fn leave_unfinished(&self, id: JobId, now_ms: i64) -> Result<Vec<i64>> {
        fault::check(fault::StatementKind::Read)?;
        let open = "SELECT due_ms FROM job_runs WHERE job = ? AND outcome IS NULL ORDER BY due_ms";
        let mut query = self.conn.prepare_cached(open)?;
        let due = query.query_map([id.0], |row| row.get(0))?;
        let due: Vec<i64> = due.collect::<rusqlite::Result<_>>()?;
        if due.is_empty() {
            return Ok(due);
        }
        let tx = self.write()?;
        tx.execute(
            "UPDATE job_runs SET ended_ms = ?2, outcome = 'unfinished'
             WHERE job = ?1 AND outcome IS NULL",
            params![id.0, now_ms],
        )?;
        fault::check(fault::StatementKind::Commit)?;
        tx.commit()?;
        fault::made()?;
        Ok(due)
    }

    /// What became of a job's last times, the latest first.
    pub fn job_runs(&self, id: JobId, most: usize) -> Result<Vec<JobRun>> {
        fault::check(fault::StatementKind::Read)?;
        let mut query = self.conn.prepare_cached(
            "SELECT due_ms, claimed_ms, outcome, missed, note FROM job_runs
             WHERE job = ? ORDER BY id DESC LIMIT ?",
        )?;
        let runs = query.query_map(params![id.0, most], |row| {
            let outcome: Option<String> = row.get("outcome")?;
            Ok(JobRun {
                due_ms: row.get("due_ms")?,
                claimed_ms: row.get("claimed_ms")?,
                outcome: outcome
                    .and_then(|word| JobOutcome::ALL.into_iter().find(|o| o.as_str() == word)),
                missed: row.get("missed")?,
                note: row.get("note")?,
            })
        })?;
        Ok(runs.collect::<rusqlite::Result<_>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::testing::disk;

    fn new(name: &str) -> NewJob<'_> {
        NewJob {
            name,
            pattern: "@daily",
            prompt: "Look.",
            folder: "/f",
            model: None,
            auto: false,
            now_ms: 1000,
        }
    }

    fn run(due: i64) -> Decision {
        Decision {
            run: Some(due),
            missed: None,
        }
    }

    #[test]
    fn a_time_is_claimed_once_however_many_look_and_whatever_the_clock_does() {
        let home = tempfile::tempdir().unwrap();
        let (one, _) = disk(home.path());
        let other = Db::open(&home.path().join("npast.db")).unwrap();
        let job = one.add_job(&new("nightly")).unwrap();
        assert_eq!(other.jobs().unwrap(), std::slice::from_ref(&job));
        // Both saw the same.
        let claim = one
            .decide(&job, 5000, &run(4000))
            .unwrap()
            .expect("a claim");
        assert_eq!(other.decide(&job, 5001, &run(4000)).unwrap(), None);
        // The clock goes back, and the same time comes again.
        let seen = other.job("nightly").unwrap();
        assert_eq!(seen.looked_ms, 5000);
        assert_eq!(
            other.decide(&seen, 3000, &Decision::default()).unwrap(),
            None
        );
        let seen = other.job("nightly").unwrap();
        assert_eq!(seen.looked_ms, 3000);
        assert_eq!(other.decide(&seen, 4500, &run(4000)).unwrap(), None);
        assert!(other.was_due(job.id, 4000).unwrap() && !other.was_due(job.id, 4001).unwrap());

        one.end_run(claim, 6000, JobOutcome::Failed, Some("no"))
            .unwrap();
        let seen = one.job("nightly").unwrap();
        let missed = Decision {
            run: Some(9000),
            missed: Some((8000, 3)),
        };
        one.decide(&seen, 9001, &missed).unwrap().expect("a claim");
        // Its process dies.
        assert_eq!(other.leave_unfinished(job.id, 9500).unwrap(), [9000]);
        assert_eq!(other.leave_unfinished(job.id, 9600).unwrap(), [0; 0]);
        let seen: Vec<_> = other
            .job_runs(job.id, 9)
            .unwrap()
            .into_iter()
            .map(|r| (r.due_ms, r.outcome.unwrap(), r.missed, r.note))
            .collect();
        assert_eq!(
            seen,
            [
                (9000, JobOutcome::Unfinished, 0, None),
                (8000, JobOutcome::Missed, 3, None),
                (4000, JobOutcome::Failed, 0, Some("no".into())),
            ]
        );
    }

    #[test]
    fn jobs_are_found_by_name_and_go_with_all_that_became_of_them() {
        let home = tempfile::tempdir().unwrap();
        let (db, work) = disk(home.path());
        let job = db.add_job(&new("nightly")).unwrap();
        let twice = db.add_job(&new("nightly")).unwrap_err();
        assert_eq!(twice.to_string(), "a job named \"nightly\" exists already");
        assert!(matches!(db.add_job(&new("a/b")), Err(DbError::Name(_))));
        db.decide(&job, 5000, &run(4000)).unwrap();
        db.remove_job(job.id).unwrap();
        let gone = db.job("nightly").unwrap_err();
        assert_eq!(gone.to_string(), "there is no job named \"nightly\"");
        assert!(gone.hint().is_some());
        assert_eq!(db.job_runs(job.id, 9).unwrap(), []);
        assert_eq!(db.ids().unwrap(), [work.id]);
    }

    #[test]
    fn old_times_go_and_those_of_the_last_days_stay() {
        let home = tempfile::tempdir().unwrap();
        let (db, _) = disk(home.path());
        db.add_job(&new("often")).unwrap();
        let minute = 60_000;
        for n in 0..150 {
            let seen = db.job("often").unwrap();
            let due = n * minute;
            let claim = db.decide(&seen, due + 1, &run(due)).unwrap().unwrap();
            db.end_run(claim, due + 2, JobOutcome::Done, None).unwrap();
        }
        let id = db.job("often").unwrap().id;
        assert_eq!(db.job_runs(id, 1000).unwrap().len(), 150);
        let seen = db.job("often").unwrap();
        let later = KEPT_MS + 200 * minute;
        db.decide(&seen, later, &run(later)).unwrap().unwrap();
        assert_eq!(db.job_runs(id, 1000).unwrap().len(), KEPT as usize);
    }
}
