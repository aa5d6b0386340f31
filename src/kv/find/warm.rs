//! Warming: before a model is loaded nothing can be proven yet, but the kernel can be asked to read
//! an owner's files while weights load. Proof then runs at the speed of memory. It touches nothing,
//! and what goes wrong is of no importance.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use crate::ledger::Digest;

use crate::kv::index::connection::{Index, ModelId};
use crate::kv::index::rebuild::short;
use crate::kv::record::files;
use crate::kv::record::format::Kind;

/// Bytes that one call asks for: the kernel reads no more ahead than its own limit, 128 KiB at
/// least, so a whole file takes many.
const STEP: u64 = 128 << 10;
/// Without a word of the system about free memory.
const MOST: u64 = 2 << 30;

/// A thread that asks the kernel for files; dropping it ends that.
pub struct Warming {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

/// Starts reading the files behind an owner's latest pin into the page cache, in the order in which
/// a restore wants them; at most half of what memory is free. `dir` is $NPAST_HOME/kv.
pub fn warm(dir: &Path, owner: &str) -> Warming {
    let stop = Arc::new(AtomicBool::new(false));
    let (dir, owner, stopped) = (dir.to_path_buf(), owner.to_owned(), stop.clone());
    let thread = thread::Builder::new()
        .name("npast-kv-warm".to_string())
        .spawn(move || {
            let paths = files_of(&dir, &owner).unwrap_or_else(|error| {
                tracing::debug!(%error, "kv is not warmed");
                Vec::new()
            });
            let asked = ask(&paths, free() / 2, &stopped);
            tracing::debug!(files = paths.len(), asked, "kv warmed");
            asked
        });
    Warming {
        stop,
        thread: thread.ok(),
    }
}

impl Warming {
    /// Waits until all was asked for; the bytes of it.
    pub fn wait(mut self) -> u64 {
        let thread = self.thread.take();
        thread.map_or(0, |t| t.join().unwrap_or(0))
    }
}

impl Drop for Warming {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The files that lead to the owner's latest pin, from position 0 on, and the snapshot there.
fn files_of(dir: &Path, owner: &str) -> Result<Vec<PathBuf>, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(dir.join("index.db"), flags)?;
    db.busy_timeout(Duration::from_secs(1))?;
    let pinned = db
        .query_row(
            "SELECT pin.model, model.hard, pin.digest FROM pin JOIN model ON model.id = pin.model
             WHERE owner = ?1 ORDER BY pin.id DESC LIMIT 1",
            params![owner],
            |r| Ok((ModelId(r.get(0)?), Digest(r.get(1)?), Digest(r.get(2)?))),
        )
        .optional()?;
    let Some((model, hard, end)) = pinned else {
        return Ok(Vec::new());
    };
    let index = Index { db };
    let mut names = vec![files::name(Kind::Node, end, end)];
    let (mut at, mut before) = (end, usize::MAX);
    // Positions fall, so it ends whatever the rows say.
    while let Some(edge) = index.edge_to(model, at)?.filter(|e| e.p0 < before) {
        names.push(files::name(Kind::Edge, edge.from, edge.to));
        (at, before) = (edge.from, edge.p0);
    }
    let folder = dir.join("v1").join(short(hard));
    let paths = names.iter().rev().map(|name| folder.join(name));
    Ok(paths.collect())
}

fn ask(paths: &[PathBuf], most: u64, stop: &AtomicBool) -> u64 {
    let mut asked = 0;
    for path in paths {
        let Ok(file) = File::open(path) else {
            continue;
        };
        let len = file.metadata().map_or(0, |m| m.len());
        let mut at = 0;
        while at < len {
            if stop.load(Ordering::Relaxed) || asked >= most {
                return asked;
            }
            let step = STEP.min(len - at);
            if !will_need(&file, at, step) {
                return asked;
            }
            at += step;
            asked += step;
        }
    }
    asked
}

/// Asks the kernel to read a part of a file soon; false where it refuses, or cannot be asked.
fn will_need(file: &File, at: u64, length: u64) -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{Advice, fadvise};
        let length = std::num::NonZeroU64::new(length);
        fadvise(file, at, length, Advice::WillNeed).is_ok()
    }
    #[cfg(target_vendor = "apple")]
    {
        rustix::fs::fcntl_rdadvise(file, at, length).is_ok()
    }
    #[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
    {
        let _ = (file, at, length);
        false
    }
}

/// Bytes of memory that can be used without anybody missing them.
fn free() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map_or(MOST, |kib| kib << 10)
}
