//! Long results on disk. The whole of a result that was cut is in the session's temporary folder. The
//! folder has a bound, and all such folders together have one. When there is no room, the oldest results
//! are removed first, and never a result of the present turn: the model has just read where to find it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use super::shown;
use crate::durable::private;

/// Most bytes of one session's temporary folder.
pub const MOST: u64 = 512 << 20;

/// Bytes that may be written before the folder is looked at again.
const STEP: u64 = 4 << 20;

/// Most files of one name.
const MAX_FILES: usize = 100;

/// Most files and folders that are counted; a folder with more counts as that many.
const MAX_ENTRIES: usize = 200_000;

/// How names of results begin, and how they end.
const BEGINNINGS: [&str; 2] = ["result-", "output-"];
const ENDING: &str = ".txt";

/// What else lies beside a session's temporary folder.
pub trait Neighbours: Send + Sync {
    /// Most bytes that this session's folder may have, which has `own` bytes and wants `more`. What
    /// is old in folders that nobody uses was removed for that, as far as it is needed.
    fn room(&self, own: u64, more: u64) -> u64;
}

/// The long results of a session.
#[derive(Clone)]
pub struct Results {
    inner: Arc<ResultsFolder>,
}

struct ResultsFolder {
    folder: PathBuf,
    most: u64,
    neighbours: Option<Box<dyn Neighbours>>,
    state: Mutex<ResultsState>,
}

#[derive(Default)]
struct ResultsState {
    /// Files of the present turn, and those that are still written to.
    present: HashMap<OsString, Weak<()>>,
    /// Bytes that may be written before the folder is looked at again.
    left: u64,
}

/// A file that a result is being written to.
pub(super) struct Kept {
    path: PathBuf,
    file: File,
    results: Results,
    /// Its file stays as long as this does.
    _held: Arc<()>,
}

/// One result on disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredResult {
    /// Its file.
    pub path: PathBuf,
    /// When it was written last.
    pub modified: SystemTime,
    /// Bytes.
    pub bytes: u64,
}

impl Results {
    /// Those in `folder`, which may have `most` bytes ([`MOST`]), less where its neighbours leave
    /// less.
    pub fn new(folder: &Path, most: u64, neighbours: Option<Box<dyn Neighbours>>) -> Results {
        Results {
            inner: Arc::new(ResultsFolder {
                folder: folder.to_owned(),
                most,
                neighbours,
                state: Mutex::default(),
            }),
        }
    }

    /// From now on what is there is of an earlier turn, but for what is still written to.
    pub fn begin_turn(&self) {
        let mut state = self.state();
        state.present.retain(|_, held| held.strong_count() > 0);
        state.left = 0;
    }

    /// A new file of the present turn that only its owner can read: `STEM.txt`, or `STEM-2.txt` and
    /// so on.
    ///
    /// # Errors
    /// The error of the operating system, or that there are too many.
    pub(super) fn create(&self, stem: &str) -> io::Result<Kept> {
        for n in 1..=MAX_FILES {
            let name = match n {
                1 => format!("{stem}{ENDING}"),
                n => format!("{stem}-{n}{ENDING}"),
            };
            let path = self.inner.folder.join(&name);
            // Held before it is there: another thread may be looking for what can go.
            let held = Arc::new(());
            let mut state = self.state();
            match private::create(&path) {
                Ok(file) => {
                    state.present.insert(name.into(), Arc::downgrade(&held));
                    drop(state);
                    return Ok(Kept {
                        path,
                        file,
                        results: self.clone(),
                        _held: held,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other(
            "the temporary folder is full of results of this call",
        ))
    }

    /// Makes sure that `bytes` more may be written.
    fn reserve(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.state();
        if let Some(left) = state.left.checked_sub(bytes) {
            state.left = left;
            return Ok(());
        }
        let mut own = size(&self.inner.folder);
        let most = match &self.inner.neighbours {
            Some(neighbours) => self.inner.most.min(neighbours.room(own, bytes)),
            None => self.inner.most,
        };
        if own.saturating_add(bytes) > most {
            let mut old = stored(&self.inner.folder);
            old.retain(|one| {
                let name = one.path.file_name().unwrap_or_default();
                !state.present.contains_key(name)
            });
            for one in old {
                if own.saturating_add(bytes) <= most {
                    break;
                }
                match fs::remove_file(&one.path) {
                    Ok(()) => own = own.saturating_sub(one.bytes),
                    Err(error) => tracing::warn!(%error, "an old result could not be removed"),
                }
            }
        }
        let left = most.saturating_sub(own);
        match left.checked_sub(bytes) {
            Some(left) => {
                state.left = left.min(STEP);
                Ok(())
            }
            None => Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!(
                    "the session's temporary folder has {} and may have {}; remove files in it",
                    shown::size(own),
                    shown::size(most)
                ),
            )),
        }
    }

    fn state(&self) -> MutexGuard<'_, ResultsState> {
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes it away again.
    pub fn remove(self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, "half a result stays on disk");
        }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// When there is no room for the bytes, or the system refuses.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.results.reserve(bytes.len() as u64)?;
        self.file.write_all(bytes)
    }
}

/// The results in a folder, oldest first.
pub fn stored(folder: &Path) -> Vec<StoredResult> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut all: Vec<StoredResult> = entries
        .filter(|entry| is_result(&entry.file_name()))
        .filter_map(|entry| {
            let meta = entry.metadata().ok().filter(fs::Metadata::is_file)?;
            Some(StoredResult {
                path: entry.path(),
                modified: meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                bytes: meta.len(),
            })
        })
        .collect();
    all.sort_by(|a, b| (a.modified, &a.path).cmp(&(b.modified, &b.path)));
    all
}

/// Bytes of all files below a folder; links are not followed.
pub fn size(folder: &Path) -> u64 {
    let mut bytes = 0u64;
    let mut entries = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            entries += 1;
            if entries > MAX_ENTRIES {
                return bytes;
            }
            // Of the entry itself, not of what a link leads to.
            let Ok(meta) = entry.metadata() else {
                continue;
            };
            if meta.is_dir() {
                folders.push(entry.path());
            } else {
                bytes = bytes.saturating_add(meta.len());
            }
        }
    }
    bytes
}

/// The sentence for a result that was removed, of the session with the temporary folder `temp` or of one
/// that it came from; `None` for every other path.
pub(super) fn gone(real: &Path, temp: &Path) -> Option<String> {
    let name = real.file_name().filter(|name| is_result(name))?;
    let temp = temp.canonicalize().ok()?;
    let folder = real.parent()?;
    let session = |folder: &Path| {
        let name = folder.file_name().map(OsStr::to_string_lossy);
        name.is_some_and(|name| name.starts_with("session-"))
    };
    let of_session =
        folder == temp || (folder.parent() == temp.parent() && session(folder) && session(&temp));
    if !of_session || real.symlink_metadata().is_ok() {
        return None;
    }
    Some(format!(
        "{} is gone: of long results the oldest are removed when there is no room, and all of a \
         session that is removed or was not used for long. Make the call again if you still need \
         it.",
        name.to_string_lossy()
    ))
}

fn is_result(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    BEGINNINGS.iter().any(|b| name.starts_with(b)) && name.ends_with(ENDING)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::super::testing::{Place, names};
    use super::super::{CallContext, ToolAnswer};
    use super::*;

    /// A result that is older than all that a test writes.
    fn old(folder: &Path, name: &str, bytes: usize, age: u64) {
        let path = folder.join(name);
        fs::write(&path, vec![b'x'; bytes]).unwrap();
        let when = SystemTime::now() - Duration::from_secs(age);
        File::options()
            .append(true)
            .open(path)
            .unwrap()
            .set_modified(when)
            .unwrap();
    }

    fn bounded(place: &Place, most: u64) -> Results {
        Results::new(&place.temp(), most, None)
    }

    #[test]
    fn the_oldest_results_go_and_never_one_of_the_present_turn() {
        let place = Place::new();
        let temp = place.temp();
        for (name, age) in [
            ("result-a.txt", 300),
            ("output-b.txt", 200),
            ("result-c.txt", 100),
        ] {
            old(&temp, name, 1000, age);
        }
        old(&temp, "notes.txt", 500, 900);
        let results = bounded(&place, 5000);
        let mut first = results.create("result-d").unwrap();
        first.write(&[b'x'; 1000]).unwrap();
        // The clock was put back: by its time it is the oldest now.
        old(&temp, "result-d.txt", 1000, 9999);
        let mut next = results.create("result-e").unwrap();
        next.write(&[b'x'; 1000]).unwrap();
        assert_eq!(
            names(&temp),
            [
                "notes.txt",
                "output-b.txt",
                "result-c.txt",
                "result-d.txt",
                "result-e.txt"
            ]
        );
        // More than the present turn leaves room for is refused, and nothing of the turn goes.
        let mut large = results.create("result-f").unwrap();
        let error = large.write(&[b'x'; 3000]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(
            names(&temp),
            ["notes.txt", "result-d.txt", "result-e.txt", "result-f.txt"]
        );
        // In the next turn they may go, but for one that is still written to.
        drop((first, large));
        results.begin_turn();
        let mut later = results.create("result-g").unwrap();
        later.write(&[b'x'; 3000]).unwrap();
        assert!(size(&temp) <= 5000, "{}", size(&temp));
        assert!(temp.join("result-e.txt").exists() && !temp.join("result-d.txt").exists());
    }

    #[test]
    fn neighbours_that_leave_no_room_are_a_sentence_and_the_answer_still_comes() {
        struct Full;
        impl Neighbours for Full {
            fn room(&self, _: u64, _: u64) -> u64 {
                1000
            }
        }
        let place = Place::new();
        let results = Results::new(&place.temp(), MOST, Some(Box::new(Full)));
        let text = place.room(None, |room| {
            let room = CallContext {
                results: &results,
                ..*room
            };
            super::super::shrink::shrink(&"x".repeat(50_000), &room)
        });
        assert!(
            text.contains("they could not be kept: the session's temporary folder has"),
            "{text}"
        );
        assert_eq!(names(&place.temp()), Vec::<String>::new());
    }

    /// Calls after calls with long results, as a session makes them in a year.
    #[test]
    fn a_session_of_many_long_results_stays_within_its_bound() {
        let place = Place::new();
        let results = bounded(&place, 1 << 20);
        let long = "a line of a long result\n".repeat(5000);
        for turn in 0..40 {
            results.begin_turn();
            let call = format!("call-{turn}-0");
            let text = place.room(None, |room| {
                let room = CallContext {
                    results: &results,
                    call: &call,
                    ..*room
                };
                super::super::shrink::shrink(&long, &room)
            });
            let name = format!("result-{call}.txt");
            assert!(text.contains(&name), "{text}");
            assert_eq!(fs::read_to_string(place.temp().join(name)).unwrap(), long);
            assert!(size(&place.temp()) <= 1 << 20, "turn {turn}");
        }
    }

    #[test]
    fn a_result_that_went_is_said_when_it_is_read() {
        let place = Place::new();
        let path = place.temp().join("result-call-3-0.txt");
        let path = path.to_str().unwrap();
        let gone = ToolAnswer::bad(
            "result-call-3-0.txt is gone: of long results the oldest are removed when there is no \
             room, and all of a session that is removed or was not used for long. Make the call \
             again if you still need it.",
        );
        for (tool, arguments) in [
            ("read_file", json!({"path": path})),
            ("search", json!({"path": path, "pattern": "x"})),
            ("edit_file", json!({"path": path, "old": "a", "new": "b"})),
        ] {
            assert_eq!(place.call(tool, arguments), gone, "{tool}");
        }
        let missing = place.call("read_file", json!({"path": "result-x.txt"}));
        assert_eq!(missing, ToolAnswer::bad("There is no file result-x.txt."));
    }
}
