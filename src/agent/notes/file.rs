//! The memory files on disk: locked while they change, private, replaced whole, never overwritten
//! when they could not be read.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 256 * 1024;
/// How long another process may hold the lock. Changes take milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Held while files are read and replaced.
pub(super) struct Held {
    _file: File,
}

pub(super) fn lock(home: &Path) -> Result<Held, String> {
    let path = home.join("memory.lock");
    let failed =
        |e: std::io::Error| format!("The memory cannot be locked ({e}). Nothing was changed.");
    let file = private(
        &path,
        OpenOptions::new().write(true).create(true).truncate(false),
    )
    .map_err(failed)?;
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
pub(super) fn read(path: &Path) -> Result<Option<String>, String> {
    let place = path.display();
    let file = match File::open(path) {
        Ok(file) => file,
        // A link that leads nowhere is not the same as no file.
        Err(e) if e.kind() == ErrorKind::NotFound && path.symlink_metadata().is_err() => {
            return Ok(None);
        }
        Err(e) => return Err(format!("{place} cannot be read ({e}); it was not changed.")),
    };
    let mut bytes = Vec::new();
    match file.metadata().map(|m| m.is_file()) {
        Ok(true) => {}
        _ => return Err(format!("{place} is no file; it was not changed.")),
    }
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

/// Replaces all files or none: every text is on disk beside its file before the first is renamed,
/// and a rename that fails takes back those before it.
pub(super) fn replace(texts: &[(PathBuf, String)]) -> Result<(), String> {
    let mut staged = Vec::new();
    let mut done = Ok(());
    for (path, text) in texts {
        // A link to somewhere else stays a link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        let aside = beside(&path, "new");
        let old = fs::read(&path).ok();
        done = stage(&aside, text.as_bytes());
        staged.push((path, aside, old));
        if done.is_err() {
            break;
        }
    }
    let mut renamed = 0;
    if done.is_ok() {
        for (path, aside, _) in &staged {
            done = fs::rename(aside, path);
            if done.is_err() {
                break;
            }
            renamed += 1;
        }
    }
    if done.is_err() {
        for (path, _, old) in &staged[..renamed] {
            let back = match old {
                Some(old) => stage(&beside(path, "old"), old)
                    .and_then(|()| fs::rename(beside(path, "old"), path)),
                None => fs::remove_file(path),
            };
            if let Err(error) = back {
                tracing::error!(%error, "a memory file could not be taken back");
            }
        }
    }
    for (path, aside, _) in &staged {
        let _ = fs::remove_file(aside);
        if let Some(folder) = path.parent() {
            done = done.and_then(|()| File::open(folder)?.sync_all());
        }
    }
    done.map_err(|e| format!("The memory could not be written ({e}). Nothing was changed."))
}

fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{what}-{}", std::process::id()));
    path.with_file_name(name)
}

fn stage(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let _ = fs::remove_file(path);
    let mut file = private(path, OpenOptions::new().write(true).create_new(true))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Opens with mode 0600, whatever the umask.
fn private(path: &Path, options: &mut OpenOptions) -> std::io::Result<File> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(file)
}
