//! KV that goes so that something else has room. A store that is open removes what is of least use;
//! where none is, on a disk that is too full even for the index, the oldest files go, and the index
//! drops their rows when it is opened.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use crate::durable;
use crate::kv::record::files::is_record;
use crate::kv::store::handle::Store;
use crate::kv::write::evict::Collected;

/// Removes set-aside files, then the oldest stored ones, until `bytes` are free; `dir` is
/// $NPAST_HOME/kv. Nothing there is in use by an open [`Store`] of this process: it has
/// [`Store::make_room`].
pub fn give_way(dir: &Path, bytes: u64) -> Collected {
    let mut done = quarantined(dir, bytes);
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

/// Removes files that were set aside: nobody reads them but a person.
pub(in crate::kv) fn quarantined(dir: &Path, bytes: u64) -> Collected {
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

fn remove(path: &Path, len: u64, done: &mut Collected) {
    if fs::remove_file(path).is_ok() {
        done.files += 1;
        done.bytes += len;
    }
}

impl Store {
    /// Removes what is of least use until `bytes` are free, at the end also what is in use: it is
    /// evaluated again after a restart. Done by the writer, after what was put before. A notice says
    /// it.
    pub fn make_room(&self, bytes: u64) -> u64 {
        if self.changing().is_none() {
            return 0;
        }
        let (reply, done) = std::sync::mpsc::channel();
        self.push(crate::kv::write::writer::Job::MakeRoom { bytes, reply });
        done.recv().map_or(0, |collected| collected.bytes)
    }
}
