//! One process per session, and one per loaded model: `locks/<kind>-<key>.lock` under npast's
//! home, held by the operating system's file lock and naming its holder's pid. The lock ends with
//! the process, however it ends, so a file that is left behind is harmless and is never removed
//! (removing one while another process opens it would let two hold "the" lock).

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::{JobId, SessionId};
use crate::durable::private;

/// Longest key of a lock file: twice a 32-byte hash in hexadecimal.
const MAX_KEY: usize = 128;

/// A held lock; dropping it lets go. Programs that we start do not inherit it.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds the lock.
    #[error("{}", held(what, *pid))]
    Held {
        /// `session`, `model`, `gateway` or `job`.
        what: &'static str,
        /// The holder; `None` in the moment before it has written its pid.
        pid: Option<u32>,
    },
    /// The lock file cannot be made or locked.
    #[error("cannot lock {path}: {source}")]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl LockError {
    /// The process that holds the lock, if that is the reason and it is known.
    pub fn pid(&self) -> Option<u32> {
        match self {
            LockError::Held { pid, .. } => *pid,
            LockError::Io { .. } => None,
        }
    }

    /// What the user can do.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            LockError::Held { what: "model", .. } => {
                "end that process, or send it the work: loading the model again takes its memory twice"
            }
            LockError::Held { what: "job", .. } => "wait until it has run",
            LockError::Held {
                what: "gateway", ..
            } => "send it the work, or give this one another data folder (NPAST_HOME)",
            LockError::Held { .. } => "end that process, or use another session",
            LockError::Io { .. } => {
                "make the data folder writable, or set NPAST_HOME to another folder"
            }
        })
    }
}

fn held(what: &str, pid: Option<u32>) -> String {
    match pid {
        Some(pid) => format!("the {what} is in use by process {pid}"),
        None => format!("the {what} is in use by another process"),
    }
}

impl Lock {
    /// Takes a session: its ledger has one writer (law 1).
    pub fn session(home: &Path, id: SessionId) -> Result<Lock, LockError> {
        Lock::take(home, "session", &id.0.to_string())
    }

    /// Takes a job that is run at times: one process runs it.
    pub fn job(home: &Path, id: JobId) -> Result<Lock, LockError> {
        Lock::take(home, "job", &id.0.to_string())
    }

    /// Takes a loaded model, named by its fingerprint in hexadecimal.
    pub fn model(home: &Path, fingerprint_hex: &str) -> Result<Lock, LockError> {
        Lock::take(home, "model", fingerprint_hex)
    }

    /// Takes the place of the gateway of a data folder: command lines work through that one.
    pub fn gateway(home: &Path) -> Result<Lock, LockError> {
        Lock::take(home, "gateway", "0")
    }

    fn take(home: &Path, what: &'static str, key: &str) -> Result<Lock, LockError> {
        let folder = home.join("locks");
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if key.is_empty() || key.len() > MAX_KEY || !key.chars().all(plain) {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "not a key for a lock");
            return Err(LockError::Io {
                path: folder,
                source,
            });
        }
        let path = folder.join(format!("{what}-{key}.lock"));
        let failed = |source| LockError::Io {
            path: path.clone(),
            source,
        };
        private::folder(&folder).map_err(failed)?;
        let mut file = private::file(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {
                let pid = std::process::id();
                file.set_len(0).map_err(failed)?;
                writeln!(file, "{pid}").map_err(failed)?;
                Ok(Lock { file })
            }
            Err(TryLockError::WouldBlock) => Err(LockError::Held {
                what,
                pid: read_pid(&file),
            }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Best effort: the next holder must not be blamed on us.
        let _ = self.file.set_len(0);
        // Closing unlocks too, but a child that is just being started has a copy of the file for
        // a moment longer, and would keep the lock for as long.
        let _ = self.file.unlock();
    }
}

/// The pid in a lock file, whatever else may be in there.
fn read_pid(mut file: &File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(16).read_to_string(&mut text).ok()?;
    text.strip_suffix('\n')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    #[test]
    fn a_second_taker_of_a_session_is_told_the_pid_of_the_first() {
        let home = tempfile::tempdir().unwrap();
        let lock = Lock::session(home.path(), SessionId(7)).unwrap();
        let error = Lock::session(home.path(), SessionId(7)).unwrap_err();
        assert_eq!(error.pid(), Some(std::process::id()));
        assert_eq!(
            error.to_string(),
            format!("the session is in use by process {}", std::process::id())
        );
        Lock::session(home.path(), SessionId(8)).unwrap();
        drop(lock);
        Lock::session(home.path(), SessionId(7)).unwrap();
    }

    #[test]
    fn a_model_and_a_session_are_locked_apart() {
        let home = tempfile::tempdir().unwrap();
        let _session = Lock::session(home.path(), SessionId(1)).unwrap();
        let _model = Lock::model(home.path(), "1").unwrap();
        let error = Lock::model(home.path(), "1").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("the model is in use by process ")
        );
    }

    #[test]
    fn a_stale_or_scribbled_lock_file_is_harmless() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("locks/session-3.lock");
        std::fs::create_dir(home.path().join("locks")).unwrap();
        for left in ["4194305\n", "", "\u{0}garbage", &"9".repeat(1000)] {
            std::fs::write(&path, left).unwrap();
            let lock = Lock::session(home.path(), SessionId(3)).unwrap();
            assert_eq!(
                std::fs::read_to_string(&path).unwrap(),
                format!("{}\n", std::process::id())
            );
            std::fs::write(&path, left).unwrap();
            let error = Lock::session(home.path(), SessionId(3)).unwrap_err();
            assert_eq!(error.pid(), left.trim().parse().ok(), "{left:?}");
            drop(lock);
        }
    }

    #[test]
    fn a_key_cannot_leave_the_folder_of_locks() {
        let home = tempfile::tempdir().unwrap();
        for key in ["", "../x", "a/b", "a.b", &"a".repeat(129)] {
            let error = Lock::model(home.path(), key).unwrap_err();
            assert!(matches!(error, LockError::Io { .. }), "{key:?}");
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn a_child_process_does_not_keep_a_lock_that_its_parent_let_go() {
        let home = tempfile::tempdir().unwrap();
        let lock = Lock::session(home.path(), SessionId(5)).unwrap();
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        drop(lock);
        let free = Lock::session(home.path(), SessionId(5)).is_ok();
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(free);
    }

    /// Runs itself as a second process, which takes the lock and is killed.
    #[test]
    fn a_process_is_named_while_it_lives_and_its_lock_is_free_when_it_was_killed() {
        const HOME: &str = "NPAST_TEST_LOCK_HOME";
        if let Some(home) = std::env::var_os(HOME) {
            let _lock = Lock::session(Path::new(&home), SessionId(9)).unwrap();
            println!("\nheld");
            let _ = io::stdin().read(&mut [0]);
            return;
        }
        let home = tempfile::tempdir().unwrap();
        let name = "session::lock::tests::a_process_is_named_while_it_lives_and_its_lock_is_free_when_it_was_killed";
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(HOME, home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let held = lines.any(|line| line.unwrap() == "held");
        let while_alive = Lock::session(home.path(), SessionId(9)).map_err(|e| e.pid());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(held);
        assert_eq!(while_alive.err(), Some(Some(child.id())));
        Lock::session(home.path(), SessionId(9)).unwrap();
    }
}
