//! The memory files on disk: locked while they change, private, replaced whole, never overwritten
//! when they could not be read.

use std::fs::{self, File, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::durable::{self, Attributes, Links, ReplacedFile, Replacement};
use crate::tools::{Secrets, gate};

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 256 * 1024;
/// How long another process may hold the lock. Changes take milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Held while files are read and replaced.
pub(in crate::agent) struct Held {
    _file: File,
}

pub(in crate::agent) fn lock(home: &Path) -> Result<Held, String> {
    let path = home.join("memory.lock");
    let failed =
        |e: std::io::Error| format!("The memory cannot be locked ({e}). Nothing was changed.");
    let file = durable::private::file(&path).map_err(failed)?;
    let until = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Held { _file: file }),
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(TryLockError::WouldBlock) => {
                return Err("Another process is changing the memory. Nothing was changed.".into());
            }
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
    }
}

/// A file's text; nothing if there is none.
pub(in crate::agent) fn read(path: &Path, secret: &Secrets) -> Result<Option<String>, String> {
    let place = path.display();
    let file = match gate::open_own(path, secret) {
        Ok(Some(file)) => file,
        Ok(None) => return Ok(None),
        Err(why) => return Err(format!("{place} is not used: {why}. It was not changed.")),
    };
    let mut bytes = Vec::new();
    let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|e| format!("{place} cannot be read ({e}); it was not changed."))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!(
            "{place} is larger than {MAX_BYTES} bytes; it was neither used nor changed."
        ));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(e) => {
            let at = e.utf8_error().valid_up_to();
            Err(format!(
                "{place} is not UTF-8 (byte {at}); it was neither used nor changed."
            ))
        }
    }
}

/// Replaces all files or none: every text is on disk beside its file before the first takes its
/// place, and one that fails takes back those before it. A link to somewhere else stays a link, and
/// is not followed again after it was judged.
pub(in crate::agent) fn replace(
    texts: &[(PathBuf, String)],
    secret: &Secrets,
) -> Result<(), String> {
    let unchanged = |e: &dyn std::fmt::Display| {
        format!("The memory could not be written ({e}). Nothing was changed.")
    };
    let mut drafts = Vec::new();
    for (path, text) in texts {
        let real = gate::own(path, secret).map_err(|why| unchanged(&why))?;
        let path = real.unwrap_or_else(|| path.clone());
        let draft = ReplacedFile::at(&path, Links::Refuse)
            .and_then(|target| Replacement::write(target, text.as_bytes(), Attributes::Private))
            .map_err(|e| unchanged(&e))?;
        let old = fs::read(&path).ok();
        drafts.push((path, old, draft));
    }
    let mut unsynced = None;
    let mut done = Vec::new();
    for (path, old, draft) in drafts {
        match draft.commit() {
            Ok(()) => {}
            Err(error @ durable::ReplaceError::Unsynced(_)) => unsynced = Some(error),
            Err(error) => {
                done.into_iter().for_each(take_back);
                return Err(unchanged(&error));
            }
        }
        done.push((path, old));
    }
    match unsynced {
        Some(error) => Err(format!("The memory was changed: {error}.")),
        None => Ok(()),
    }
}

fn take_back((path, old): (PathBuf, Option<Vec<u8>>)) {
    let back = match old {
        Some(old) => durable::replace(&path, &old, Attributes::Private, Links::Refuse),
        None => fs::remove_file(path).map_err(durable::ReplaceError::from),
    };
    if let Err(error) = back {
        tracing::error!(%error, "a memory file could not be taken back");
    }
}
