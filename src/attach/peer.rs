//! The gateway, as a command line has it: found, greeted, and asked for sessions. Each session has a
//! connection of its own.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::frame::{Down, Hello, Joining, PROTOCOL, Up};
use super::place;
use super::remote::{RemoteSession, Socket, failure};
use crate::agent::{AgentError, ErrorKind, Notice};

/// Why the gateway that is there cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The socket.
    #[error("the gateway of {home} cannot be reached: {source}")]
    Io {
        /// The data folder.
        home: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ended before it was ready.
    #[error("the gateway ended before its model was loaded")]
    Ended,
    /// Another npast.
    #[error("the gateway (process {pid}) is npast {version}, and this one cannot work through it")]
    Version {
        /// Its process.
        pid: u32,
        /// Its version.
        version: String,
    },
    /// The user does not want to wait.
    #[error("interrupted")]
    Interrupted,
}

impl AttachError {
    /// What to do.
    pub fn hint(&self) -> &'static str {
        match self {
            AttachError::Io { .. } => "--alone loads the model in this process instead",
            AttachError::Ended => "start npast again: it loads the model itself",
            AttachError::Version { .. } => {
                "start the gateway again; --alone loads the model in this process meanwhile"
            }
            AttachError::Interrupted => "start npast again",
        }
    }
}

/// A gateway that was found and is not known yet.
pub struct Greeting {
    link: Socket,
    home: PathBuf,
}

/// The gateway of a data folder, if one runs. It may still load its model.
///
/// # Errors
/// When its socket cannot be used.
pub fn find(home: &Path) -> Result<Option<Greeting>, AttachError> {
    let failed = |source| AttachError::Io {
        home: home.to_owned(),
        source,
    };
    let Some(stream) = place::connect(home).map_err(failed)? else {
        return Ok(None);
    };
    Ok(Some(Greeting {
        link: Socket::new(stream).map_err(failed)?,
        home: home.to_owned(),
    }))
}

impl Greeting {
    /// Waits until the gateway is ready; `wait` is called again and again, and false gives up.
    ///
    /// # Errors
    /// When the gateway ends, is another npast, or is not waited for any more.
    pub fn greeted(mut self, wait: &mut dyn FnMut() -> bool) -> Result<Peer, AttachError> {
        let hello = loop {
            match self.link.next() {
                Ok(Some(Down::Hello(hello))) => break *hello,
                Ok(Some(_)) => {}
                Ok(None) if wait() => {}
                Ok(None) => return Err(AttachError::Interrupted),
                Err(_) => return Err(AttachError::Ended),
            }
        };
        if hello.protocol != PROTOCOL {
            return Err(AttachError::Version {
                pid: hello.pid,
                version: hello.version,
            });
        }
        Ok(Peer {
            home: self.home,
            hello,
            spare: Mutex::new(Some(self.link)),
            notices: Mutex::default(),
        })
    }
}

/// The gateway.
pub struct Peer {
    home: PathBuf,
    hello: Hello,
    /// Greeted, and without a session.
    spare: Mutex<Option<Socket>>,
    notices: Mutex<Vec<Notice>>,
}

impl Peer {
    /// What it said of itself.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// What it had to say when sessions were opened; each thing once.
    pub fn notices(&self) -> Vec<Notice> {
        let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *notices)
    }

    /// Opens a session.
    ///
    /// # Errors
    /// As [`crate::service::Service::open`]; when the gateway has ended.
    pub fn open(&self, wanted: Joining) -> Result<RemoteSession, AgentError> {
        let spare = self.spare.lock();
        let spare = spare.unwrap_or_else(PoisonError::into_inner).take();
        let mut link = match spare {
            Some(link) => link,
            None => self.connect()?,
        };
        let ended = |_: io::Error| self.ended();
        link.send(&Up::Open(Box::new(wanted))).map_err(ended)?;
        loop {
            match link.next().map_err(ended)? {
                Some(Down::Opened { now, notices }) => {
                    let own = self.notices.lock();
                    own.unwrap_or_else(PoisonError::into_inner).extend(notices);
                    let remote = RemoteSession::new(link, self.hello.pid, *now);
                    return remote.map_err(|e| {
                        let text = format!("the session's thread did not start: {e}");
                        AgentError::new(ErrorKind::Internal, text)
                    });
                }
                Some(Down::Refused { error }) => return Err(failure(error)),
                _ => {}
            }
        }
    }

    fn connect(&self) -> Result<Socket, AgentError> {
        let greeting = find(&self.home);
        let greeting = greeting.map_err(|e| AgentError::new(ErrorKind::Engine, e.to_string()))?;
        let mut link = greeting.ok_or_else(|| self.ended())?.link;
        loop {
            match link.next().map_err(|_| self.ended())? {
                Some(Down::Hello(hello)) if hello.pid == self.hello.pid => return Ok(link),
                Some(Down::Hello(_)) => return Err(self.ended()),
                _ => {}
            }
        }
    }

    fn ended(&self) -> AgentError {
        let text = format!("the gateway (process {}) has ended", self.hello.pid);
        AgentError::new(ErrorKind::Engine, text).hinted("nothing stored is lost; start npast again")
    }
}
