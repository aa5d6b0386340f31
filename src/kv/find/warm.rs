//! Warming: while the model is loaded, a thread asks the kernel to read the files of an owner into the
//! page cache. These files cannot be proven yet, because the fingerprint is known only when the model is
//! loaded. But when they are proven later, they are read from memory and not from the disk. Invariant:
//! warming changes nothing in the KV folder; if it fails, only time is lost.

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

/// The number of bytes that one call asks for. The kernel reads at most its own read-ahead limit per
/// call, which is at least 128 KiB, so many calls are needed for one file.
const STEP: u64 = 128 << 10;
/// Used as the free memory if the operating system does not say how much is free; half of it is warmed.
const MOST: u64 = 2 << 30;

/// A thread that asks the kernel to read files. It ends when this value is dropped.
pub struct Warming {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<u64>>,
}

/// Starts to read the files on the way to an owner's latest pin into the page cache, in the order in
/// which a restore needs them, up to half of the free memory. `dir` is the KV folder.
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
    /// Waits until the thread has ended; returns the number of bytes that it has asked for.
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

/// The files of the chain to the owner's latest pin, from position 0 on, and after them the file of the
/// snapshot at the pin.
fn files_of(dir: &Path, owner: &str) -> SqlResult<Vec<PathBuf>> {
    let index = Index::read_only(&dir.join("index.db"))?;
    let Some((model, end)) = index.owners().last_pin(owner)? else {
        return Ok(Vec::new());
    };
    let edges = index.edges(model.id);
    let mut names = vec![files::name(RecordKind::Node, end, end)];
    let (mut at, mut before) = (end, usize::MAX);
    // Each step goes to a lower position, so the walk ends even if index rows are wrong.
    while let Some(edge) = edges.longest_to(at)?.filter(|e| e.p0 < before) {
        names.push(edge.name());
        (at, before) = (edge.from, edge.p0);
    }
    let folder = dir.join("v1").join(short(model.hard));
    let paths = names.iter().rev().map(|name| folder.join(name));
    Ok(paths.collect())
}

/// Asks the kernel for the files, at most `most` bytes; returns how many bytes it has asked for.
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

/// Asks the kernel to read a part of a file soon. False if the kernel refuses, or if this system has no
/// such call.
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

/// The bytes of memory that are free or can be freed without swapping.
fn free() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map_or(MOST, |kib| kib << 10)
}
