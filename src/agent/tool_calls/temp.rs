//! The temporary folders of sessions, in `temp/` of the data folder: private, bounded together, and
//! removed with their sessions, or when those were not used for long.

use std::collections::HashMap;
use std::ffi::OsString;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{fs, io};

use crate::durable::private;
use crate::session::{Db, DbError, Lock, SessionId};
use crate::tools::results::{self, Neighbours};

/// Most bytes of the temporary folders of all sessions.
pub(in crate::agent) const MOST: u64 = 2 << 30;

/// Milliseconds after which the folder of a session that was not used goes: 30 days.
const UNUSED_MS: i64 = 30 * 24 * 3600 * 1000;

/// How the folders of sessions are called, before the session's number.
const PREFIX: &str = "session-";

/// How a folder is called that is being removed.
const LEAVING: &str = "leaving-";

/// Where long results of a session are kept.
pub(in crate::agent) fn folder(home: &Path, session: i64) -> PathBuf {
    home.join("temp").join(format!("{PREFIX}{session}"))
}

/// Makes a session's folder if it is missing.
pub(in crate::agent) fn open(home: &Path, session: SessionId) -> io::Result<PathBuf> {
    let temp = folder(home, session.0);
    private::folder(&temp)?;
    // They may be older than the rule that they are private.
    #[cfg(unix)]
    for folder in temp.ancestors().take(2) {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    trim(&temp, results::MOST);
    Ok(temp)
}

/// Removes a session's folder.
///
/// # Errors
/// When something of it is still there. The next session that starts tries again.
pub fn remove(home: &Path, session: i64) -> io::Result<()> {
    let gone = |done: io::Result<()>| match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    };
    let number = RandomState::new().build_hasher().finish();
    let leaving = home.join("temp").join(format!("{LEAVING}{number:016x}"));
    // By its name first: whatever cannot be removed below it is no session's any more.
    gone(fs::rename(folder(home, session), &leaving))?;
    gone(fs::remove_dir_all(leaving))
}

/// Removes the folders of sessions that are gone or were not used for long, unless another process
/// has them open.
pub(in crate::agent) fn sweep(home: &Path, own: SessionId, db: &Db, now_ms: i64) {
    let done = |result: io::Result<()>| {
        if let Err(error) = result {
            tracing::warn!(%error, "long results of a session stay on disk");
        }
    };
    // What cannot be read now is decided another time.
    let left = |id| match db.get(id) {
        // A session that was compressed is used as long as what it became is.
        Ok(session) => match db.newest(session, &|_| true) {
            Ok(newest) => now_ms.saturating_sub(newest.used_ms) > UNUSED_MS,
            Err(_) => false,
        },
        Err(DbError::NotFound(_)) => true,
        Err(_) => false,
    };
    let unused = |id| match db.get(id) {
        // Of one that was removed, others may still name files.
        Err(DbError::NotFound(_)) => db
            .keepers(id)
            .is_ok_and(|keepers| keepers.into_iter().all(left)),
        _ => left(id),
    };
    for id in sessions(home).into_iter().filter(|id| *id != own) {
        // Looked at again under the lock: another process may just have started it.
        if unused(id)
            && let Ok(_lock) = Lock::session(home, id)
            && unused(id)
        {
            done(remove(home, id.0));
        }
    }
    for name in names(home) {
        if name.to_string_lossy().starts_with(LEAVING) {
            done(fs::remove_dir_all(home.join("temp").join(name)));
        }
    }
}

fn names(home: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(home.join("temp")).into_iter().flatten();
    entries.flatten().map(|entry| entry.file_name()).collect()
}

/// The sessions that have a folder.
fn sessions(home: &Path) -> Vec<SessionId> {
    let number = |name: &OsString| name.to_str()?.strip_prefix(PREFIX)?.parse().ok();
    names(home)
        .iter()
        .filter_map(number)
        .map(SessionId)
        .collect()
}

/// Removes what is oldest in a folder until it has at most `most` bytes. Only before any program of
/// the session runs: what it may be using is not known.
fn trim(folder: &Path, most: u64) {
    let mut total = results::size(folder);
    if total <= most {
        return;
    }
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut all: Vec<(SystemTime, PathBuf, u64)> = entries
        .filter_map(|entry| {
            let meta = entry.metadata().ok()?;
            let bytes = match meta.is_dir() {
                true => results::size(&entry.path()),
                false => meta.len(),
            };
            Some((meta.modified().ok()?, entry.path(), bytes))
        })
        .collect();
    all.sort();
    for (_, path, bytes) in all {
        if total <= most {
            return;
        }
        let removed = match path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
        match removed {
            Ok(()) => total = total.saturating_sub(bytes),
            Err(error) => tracing::warn!(%error, "a temporary file could not be removed"),
        }
    }
}

/// The folders beside that of one session.
pub(in crate::agent) struct OtherFolders {
    pub home: PathBuf,
    pub own: SessionId,
    /// Most bytes of all together.
    pub most: u64,
}

impl Neighbours for OtherFolders {
    fn room(&self, own: u64, more: u64) -> u64 {
        let others = sessions(&self.home).into_iter();
        let others: Vec<SessionId> = others.filter(|id| *id != self.own).collect();
        let at = |id: SessionId| folder(&self.home, id.0);
        let mut taken: u64 = others.iter().map(|id| results::size(&at(*id))).sum();
        let fits = |taken: u64| taken.saturating_add(own).saturating_add(more) <= self.most;
        if fits(taken) {
            return self.most - taken;
        }
        // A session that another process has open keeps what it has.
        let mut locks = HashMap::new();
        for id in others {
            if let Ok(lock) = Lock::session(&self.home, id) {
                locks.insert(id, lock);
            }
        }
        let all = locks.keys().flat_map(|id| results::stored(&at(*id)));
        let mut all: Vec<results::StoredResult> = all.collect();
        all.sort_by_key(|one| one.modified);
        for one in all {
            if fits(taken) {
                break;
            }
            if fs::remove_file(&one.path).is_ok() {
                taken = taken.saturating_sub(one.bytes);
            }
        }
        // What their programs left.
        let modified = |id: &SessionId| fs::metadata(at(*id)).and_then(|meta| meta.modified()).ok();
        let mut folders: Vec<SessionId> = locks.keys().copied().collect();
        folders.sort_by_key(modified);
        for id in folders {
            if fits(taken) {
                break;
            }
            let bytes = results::size(&at(id));
            if remove(&self.home, id.0).is_ok() {
                taken = taken.saturating_sub(bytes);
            }
        }
        self.most.saturating_sub(taken)
    }
}

#[cfg(test)]
#[path = "temp_tests.rs"]
mod tests;
