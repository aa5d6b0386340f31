//! A look at a stored job: what is decided is stored in one transaction, before anything is run.

use super::due::{Clock, look};
use super::when::When;
use super::zone::time;
use crate::session::{ClaimId, Db, DbError, Decision, Job};

/// What a look at a stored job came to.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Looked {
    /// What is run now: the claim, and the time at which it was due (Unix milliseconds).
    pub run: Option<(ClaimId, i64)>,
    /// The last time that was missed, and how many were.
    pub missed: Option<(i64, usize)>,
    /// Milliseconds by which the clock went back since the last look.
    pub back_ms: i64,
}

/// Looks at a job at `now_ms`, and claims the time that is due. Nothing where another process was faster.
///
/// # Errors
/// When npast.db fails, or the job's expression cannot be read, which a later npast may have written.
pub fn claim(db: &Db, job: &Job, now_ms: i64) -> Result<Looked, DbError> {
    let when = When::read(&job.pattern).map_err(|error| DbError::Job(error.to_string()))?;
    // What cannot be asked is not run: the claim says why.
    let known = |due: i64| db.was_due(job.id, due).unwrap_or(true);
    let (decision, clock) = look(&when, &time(job.looked_ms), &time(now_ms), &known);
    let back_ms = match clock {
        Clock::On => 0,
        Clock::Back(by) => by,
    };
    if decision == Decision::default() && back_ms == 0 {
        return Ok(Looked::default());
    }
    let claim = db.decide(job, now_ms, &decision)?;
    if decision.run.is_some() && claim.is_none() {
        return Ok(Looked::default());
    }
    Ok(Looked {
        run: claim.zip(decision.run),
        missed: decision.missed,
        back_ms,
    })
}

/// Claims a job for a run that somebody asks for now, whenever it is due.
///
/// # Errors
/// When npast.db fails.
pub fn claim_now(db: &Db, job: &Job, now_ms: i64) -> Result<Looked, DbError> {
    let decision = Decision {
        run: Some(now_ms),
        missed: None,
    };
    // Times that are due stay due.
    let claim = db.decide(job, job.looked_ms, &decision)?;
    Ok(Looked {
        run: claim.map(|claim| (claim, now_ms)),
        ..Looked::default()
    })
}
