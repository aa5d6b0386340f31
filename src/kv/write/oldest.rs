//! Frees disk space without using the index: removes files in quarantine, then the oldest record files by
//! their modification time. [`give_way`] is for a process that has no open store, when npast.db has no
//! space to store a message. The disk may then be too full to open the index, and the message is more
//! important than stored KV, whose tokens can be evaluated again. A process with an open store calls
//! `Store::make_room`, which evicts through the index and uses only [`empty_quarantine`] of this file.
//! Invariant: only files in quarantine and record files are removed; the next open of the index drops the
//! rows of these record files.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use crate::durable;
use crate::kv::record::files::is_record;

use super::evict::Collected;

/// Removes files in quarantine, then the oldest record files, until files of at least `bytes` bytes are
/// removed; `dir` is the KV folder. Only for a process that has no open store there: an open store has
/// `Store::make_room`.
pub fn give_way(dir: &Path, bytes: u64) -> Collected {
    let mut done = empty_quarantine(dir, bytes);
    let models = fs::read_dir(dir.join("v1")).into_iter().flatten().flatten();
    let mut found: Vec<(SystemTime, std::path::PathBuf, u64)> = Vec::new();
    for model in models {
        for file in fs::read_dir(model.path()).into_iter().flatten().flatten() {
            let record = file.file_name().to_str().is_some_and(is_record);
            if let (true, Ok(meta)) = (record, file.metadata()) {
                let time = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                found.push((time, file.path(), meta.len()));
            }
        }
    }
    found.sort();
    for (_, path, len) in found {
        if done.bytes >= bytes {
            break;
        }
        remove(&path, len, &mut done);
    }
    if done.files > 0 {
        let _ = durable::sync_folder(dir);
    }
    done
}

/// Removes files in quarantine until files of at least `bytes` bytes are removed. npast never reads these
/// files.
pub(in crate::kv) fn empty_quarantine(dir: &Path, bytes: u64) -> Collected {
    let mut done = Collected::default();
    for file in fs::read_dir(dir.join("quarantine"))
        .into_iter()
        .flatten()
        .flatten()
    {
        if done.bytes >= bytes {
            break;
        }
        if let Ok(meta) = file.metadata()
            && meta.is_file()
        {
            remove(&file.path(), meta.len(), &mut done);
        }
    }
    done
}

/// Removes a file and counts it.
fn remove(path: &Path, len: u64, done: &mut Collected) {
    if fs::remove_file(path).is_ok() {
        done.files += 1;
        done.bytes += len;
    }
}
