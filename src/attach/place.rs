//! The socket's place: `gateway.sock` in the data folder, 0600. A lock file says which process may have
//! it, and the kernel drops the lock however that process ends; so a socket that a dead gateway left is
//! removed by the next one, and a client that finds one refuses nothing and is refused by the kernel.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::durable::private;
use crate::session::{Lock, LockError};

const NAME: &str = "gateway.sock";
/// Bound under this name first: nobody connects before its mode is right.
const DRAFT: &str = "gateway.sock.new";
/// Most bytes of a socket's path that every Unix takes.
const MOST_PATH: usize = 100;

/// Why a gateway has no socket.
#[derive(Debug, thiserror::Error)]
pub enum SeatError {
    /// Another gateway serves this data folder.
    #[error(transparent)]
    Held(#[from] LockError),
    /// The socket cannot be made.
    #[error("command lines cannot work through this gateway: {path} cannot be made: {source}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A gateway's place in a data folder.
pub struct Seat {
    listener: UnixListener,
    path: PathBuf,
    /// Let go when the socket is removed.
    _lock: Lock,
}

impl Seat {
    /// Takes the place. Clients that connect wait from now on.
    ///
    /// # Errors
    /// Another gateway has it, or the file system has no sockets.
    pub fn take(home: &Path) -> Result<Seat, SeatError> {
        let lock = Lock::gateway(home)?;
        let path = home.join(NAME);
        let listener = bound(home).map_err(|source| SeatError::Io {
            path: path.clone(),
            source,
        })?;
        Ok(Seat {
            listener,
            path,
            _lock: lock,
        })
    }

    /// Where clients come in.
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Best effort: whoever finds it is refused by the kernel.
        let _ = fs::remove_file(&self.path);
    }
}

fn bound(home: &Path) -> io::Result<UnixListener> {
    private::folder(home)?;
    match fs::remove_file(home.join(DRAFT)) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = reach(home, DRAFT, |path| UnixListener::bind(path))?;
    fs::set_permissions(home.join(DRAFT), Permissions::from_mode(0o600))?;
    fs::rename(home.join(DRAFT), home.join(NAME))?;
    Ok(listener)
}

/// Connects to the gateway of a data folder; nothing where none is.
///
/// # Errors
/// When there is a socket that is another user's, or cannot be connected to.
pub fn connect(home: &Path) -> io::Result<Option<UnixStream>> {
    let found = match fs::symlink_metadata(home.join(NAME)) {
        Ok(found) if found.file_type().is_socket() => found,
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("it belongs to another user"));
    }
    match reach(home, NAME, |path| UnixStream::connect(path)) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused | ErrorKind::NotFound
    )
}

/// Where a data folder's path is too long for a socket, Linux takes it through the open folder.
fn reach<T>(home: &Path, name: &str, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let path = home.join(name);
    if path.as_os_str().len() <= MOST_PATH {
        return act(&path);
    }
    let folder = File::open(home)?;
    let short = format!("/proc/self/fd/{}/{name}", folder.as_raw_fd());
    act(Path::new(&short))
}
