//! A folder tree in memory that keeps apart what a process sees and what a power cut leaves: bytes
//! become durable by `sync`, names by `sync_folder`. It stops, fails or shortens any operation.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::kv::record::storage::{OutputFile, Storage};
use crate::kv::tests::Draw;

/// What happens at the chosen operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ReadFault {
    /// It and all that follow do nothing and fail: the process is gone.
    Stop,
    /// It fails with this error and does nothing; a write has done half of its work.
    Fails(i32),
    /// A write takes half of the bytes, says so, and goes on when asked again.
    Short,
    /// The disk becomes read-only: it and all later changes fail, and what is there can be read.
    ReadOnly,
}

const EROFS: i32 = 30;

/// What is left after a stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cut {
    /// `kill -9`: what the system was told stays.
    Process,
    /// Power: only what was synced stays.
    Power,
    /// Power, and some of what was not synced had reached the disk: any of the changes of names,
    /// and torn contents. The number chooses.
    Torn(u64),
}

#[derive(Clone, Default)]
struct File {
    live: Vec<u8>,
    durable: Vec<u8>,
}

/// A change of names that no sync has covered yet.
#[derive(Clone)]
enum Change {
    Name(PathBuf, usize),
    Gone(PathBuf),
    Moved(PathBuf, PathBuf, usize),
}

impl Change {
    fn is_in(&self, folder: &Path) -> bool {
        let (Change::Name(path, _) | Change::Gone(path) | Change::Moved(_, path, _)) = self;
        path.parent() == Some(folder)
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Change::Name(path, file) => drop(names.insert(path.clone(), *file)),
            Change::Gone(path) => drop(names.remove(path)),
            Change::Moved(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
        }
    }
}

#[derive(Default)]
struct State {
    files: Vec<File>,
    live: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    unsynced: Vec<Change>,
    /// Folders that were made, and whether their own names are durable.
    folders: BTreeMap<PathBuf, bool>,
    operations: usize,
    fault: Option<(usize, ReadFault)>,
    stopped: bool,
    read_only: bool,
}

/// Runs at a stop, before anything else learns of it.
pub(super) type AtStop = Box<dyn Fn() + Send + Sync>;

/// The double.
#[derive(Default)]
pub(super) struct Ram {
    state: Mutex<State>,
    at_stop: Option<AtStop>,
}

/// What to do with an operation that may go on.
#[derive(PartialEq, Eq)]
enum Go {
    Whole,
    Half,
}

impl Ram {
    pub(super) fn new(fault: Option<(usize, ReadFault)>, at_stop: Option<AtStop>) -> Arc<Ram> {
        let state = Mutex::new(State {
            fault,
            ..State::default()
        });
        Arc::new(Ram { state, at_stop })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Operations that were asked for so far.
    pub(super) fn operations(&self) -> usize {
        self.lock().operations
    }

    /// True when the stop was reached.
    pub(super) fn stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Makes the disk read-only, or writable again.
    pub(super) fn set_read_only(&self, read_only: bool) {
        let mut state = self.lock();
        state.read_only = read_only;
        state.fault = None;
    }

    /// Flips a bit in the last byte of a file.
    pub(super) fn spoil(&self, path: &Path) {
        let mut state = self.lock();
        let file = state.live[path];
        *state.files[file].live.last_mut().unwrap() ^= 1;
    }

    /// Names that are seen now.
    pub(super) fn names(&self) -> Vec<PathBuf> {
        self.lock().live.keys().cloned().collect()
    }

    /// What a new process finds after the cut.
    pub(super) fn after(&self, cut: Cut) -> Arc<Ram> {
        self.after_with(cut, None, None)
    }

    /// The same, with a fault to come.
    pub(super) fn after_with(
        &self,
        cut: Cut,
        fault: Option<(usize, ReadFault)>,
        at_stop: Option<AtStop>,
    ) -> Arc<Ram> {
        let state = self.lock();
        let mut files = state.files.clone();
        let names = match cut {
            Cut::Process => state.live.clone(),
            Cut::Power => state.durable.clone(),
            Cut::Torn(seed) => {
                let mut draw = Draw(seed | 1);
                let mut names = state.durable.clone();
                for change in &state.unsynced {
                    if draw.below(2) == 0 {
                        change.apply(&mut names);
                    }
                }
                for file in files.iter_mut().filter(|f| f.live != f.durable) {
                    let kept = draw.below(file.live.len() + 1);
                    let mut torn = file.live[..kept].to_vec();
                    if draw.below(2) == 0 {
                        // The length reached the disk, the bytes did not.
                        torn.resize(file.live.len(), 0);
                    }
                    file.durable = torn;
                }
                names
            }
        };
        let mut folders = state.folders.clone();
        let mut names = names;
        match cut {
            Cut::Process => folders.values_mut().for_each(|synced| *synced = true),
            Cut::Power | Cut::Torn(_) => {
                folders.retain(|_, synced| *synced);
                names.retain(|path, _| {
                    let made = |folder: &&Path| state.folders.contains_key(*folder);
                    let mut above = path.ancestors().skip(1).filter(made);
                    above.all(|folder| folders.contains_key(folder))
                });
            }
        }
        for file in &mut files {
            match cut {
                Cut::Process => file.durable.clone_from(&file.live),
                Cut::Power | Cut::Torn(_) => file.live.clone_from(&file.durable),
            }
        }
        let state = Mutex::new(State {
            files,
            live: names.clone(),
            durable: names,
            folders,
            fault,
            ..State::default()
        });
        Arc::new(Ram { state, at_stop })
    }

    /// [`Ram::may`] for an operation that changes nothing.
    fn may_read(&self) -> io::Result<Go> {
        let was = std::mem::take(&mut self.lock().read_only);
        let may = match self.may(false) {
            Err(error) if error.raw_os_error() == Some(EROFS) => Ok(Go::Whole),
            may => may,
        };
        self.lock().read_only |= was;
        may
    }

    /// Counts an operation, and says what becomes of it.
    fn may(&self, write: bool) -> io::Result<Go> {
        let fault = {
            let mut state = self.lock();
            if state.stopped {
                return Err(stopped());
            }
            state.operations += 1;
            match state.fault {
                Some((at, fault)) if at == state.operations => fault,
                _ if state.read_only => ReadFault::ReadOnly,
                _ => return Ok(Go::Whole),
            }
        };
        match fault {
            ReadFault::Stop => {
                if let Some(at_stop) = &self.at_stop {
                    at_stop();
                }
                self.lock().stopped = true;
                Err(stopped())
            }
            ReadFault::ReadOnly => {
                self.lock().read_only = true;
                Err(io::Error::from_raw_os_error(EROFS))
            }
            ReadFault::Fails(_) | ReadFault::Short if write => Ok(Go::Half),
            ReadFault::Fails(code) => Err(io::Error::from_raw_os_error(code)),
            ReadFault::Short => Ok(Go::Whole),
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("stopped")
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

struct Writing {
    ram: Arc<Ram>,
    file: usize,
}

impl io::Write for Writing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let go = self.ram.may(true)?;
        let mut state = self.ram.lock();
        let taken = match go {
            Go::Whole => bytes.len(),
            Go::Half => bytes.len().div_ceil(2),
        };
        state.files[self.file]
            .live
            .extend_from_slice(&bytes[..taken]);
        match state.fault {
            Some((_, ReadFault::Fails(code))) if go == Go::Half => {
                Err(io::Error::from_raw_os_error(code))
            }
            _ => Ok(taken),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl OutputFile for Writing {
    fn sync(&mut self) -> io::Result<()> {
        self.ram.may(false)?;
        let file = &mut self.ram.lock().files[self.file];
        file.durable.clone_from(&file.live);
        Ok(())
    }
}

impl Storage for Arc<Ram> {
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.may(false)?;
        let mut state = self.lock();
        state.folders.entry(path.to_path_buf()).or_insert(false);
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn OutputFile>> {
        self.may(false)?;
        let mut state = self.lock();
        if state.live.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.files.push(File::default());
        let file = state.files.len() - 1;
        state.live.insert(path.to_path_buf(), file);
        state.unsynced.push(Change::Name(path.to_path_buf(), file));
        let ram = self.clone();
        Ok(Box::new(Writing { ram, file }))
    }

    fn open(&self, path: &Path) -> io::Result<(Box<dyn Read>, u64)> {
        self.may_read()?;
        let state = self.lock();
        let file = *state.live.get(path).ok_or_else(missing)?;
        let bytes = state.files[file].live.clone();
        let len = bytes.len() as u64;
        Ok((Box::new(Cursor::new(bytes)), len))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.may(false)?;
        let mut state = self.lock();
        let file = state.live.remove(from).ok_or_else(missing)?;
        state.live.insert(to.to_path_buf(), file);
        let (from, to) = (from.to_path_buf(), to.to_path_buf());
        state.unsynced.push(Change::Moved(from, to, file));
        Ok(())
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.may(false)?;
        let mut state = self.lock();
        let changes = std::mem::take(&mut state.unsynced);
        let (now, later) = changes.into_iter().partition(|c| c.is_in(path));
        state.unsynced = later;
        for change in Vec::<Change>::into_iter(now) {
            change.apply(&mut state.durable);
        }
        for (folder, synced) in &mut state.folders {
            *synced |= folder.parent() == Some(path);
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.may(false)?;
        let mut state = self.lock();
        state.live.remove(path).ok_or_else(missing)?;
        state.unsynced.push(Change::Gone(path.to_path_buf()));
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.may_read()?;
        let state = self.lock();
        // Folders are not kept: they are the names between a folder and what is below it.
        let mut names: Vec<String> = state
            .live
            .keys()
            .filter_map(|p| p.strip_prefix(path).ok()?.iter().next()?.to_str())
            .map(str::to_owned)
            .collect();
        names.dedup();
        Ok(names)
    }
}
