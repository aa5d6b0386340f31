//! Warming: while a model is loaded, the kernel reads an owner's files into the page cache. They cannot
//! be proven yet, but their proof will then read from memory. Warming changes nothing, and its errors
//! only cost time.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crate::kv::index::connection::Index;
use crate::kv::index::table::SqlResult;
use crate::kv::model::facts::short;
use crate::kv::record::files;
use crate::kv::record::format::RecordKind;

/// Bytes that one call asks for: the kernel reads no more ahead than its own limit, 128 KiB at
/// least, so a whole file takes many.
const STEP: u64 = 128 << 10;
/// The bytes that are warmed where the system does not say how much memory is free.
const MOST: u64 = 2 << 30;

/// A thread that asks the kernel to read files; it ends when this is dropped.
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
    /// Waits until the kernel was asked for all files; returns their bytes.
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
fn files_of(dir: &Path, owner: &str) -> SqlResult<Vec<PathBuf>> {
    let index = Index::read_only(&dir.join("index.db"))?;
    let Some((model, end)) = index.owners().last_pin(owner)? else {
        return Ok(Vec::new());
    };
    let edges = index.edges(model.id);
    let mut names = vec![files::name(RecordKind::Node, end, end)];
    let (mut at, mut before) = (end, usize::MAX);
    // Each step is to a lower position, so the walk ends even where rows are wrong.
    while let Some(edge) = edges.longest_to(at)?.filter(|e| e.p0 < before) {
        names.push(edge.name());
        (at, before) = (edge.from, edge.p0);
    }
    let folder = dir.join("v1").join(short(model.hard));
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

/// Bytes of memory that are free, or can be made free without swapping.
fn free() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map_or(MOST, |kib| kib << 10)
}
