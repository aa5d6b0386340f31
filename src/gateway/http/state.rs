//! What all requests of a server share.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::access::Access;
use super::metrics::Metrics;
use crate::agent::{AgentError, TurnOptions};
use crate::chat::ReplyScript;
use crate::gateway::wire::{RefusalKind, RequestRefusal, ResponseHead};
use crate::service::{OpenSession, Service};
use crate::session::Db;

/// Sessions that stay open when no request runs in them.
const OPEN: usize = 8;

/// How a server is set.
#[derive(Clone, Debug)]
pub struct GatewaySettings {
    /// Who may call.
    pub access: Access,
    /// The data folder.
    pub home: PathBuf,
    /// The folder that sessions belong to which clients start.
    pub folder: String,
    /// How a turn runs where a request says nothing.
    pub turn: TurnOptions,
    /// Prepared replies, in the order of calls, whatever session they are in.
    pub script: Option<ReplyScript>,
    /// Most bytes of a body.
    pub body: usize,
    /// Replies that run or wait at the same time.
    pub replies: usize,
}

/// What all requests share. Clones are the same.
#[derive(Clone)]
pub struct Gateway {
    inner: Arc<GatewayShared>,
}

struct GatewayShared {
    service: Service,
    settings: GatewaySettings,
    metrics: Arc<Metrics>,
    replies: Arc<Semaphore>,
    /// The last used last.
    open: Mutex<Vec<OpenSession>>,
    responses: super::follow::Responses,
    /// Told apart from those of another start.
    start: u64,
    count: AtomicU64,
}

impl Gateway {
    /// On a service.
    pub fn new(service: Service, settings: GatewaySettings) -> Gateway {
        Gateway {
            inner: Arc::new(GatewayShared {
                service,
                metrics: Arc::default(),
                replies: Arc::new(Semaphore::new(settings.replies)),
                settings,
                open: Mutex::default(),
                responses: super::follow::Responses::default(),
                // A random number of the standard library's, for ids only.
                start: RandomState::new().build_hasher().finish(),
                count: AtomicU64::new(0),
            }),
        }
    }

    /// The service.
    pub fn service(&self) -> &Service {
        &self.inner.service
    }

    /// How the server is set.
    pub fn settings(&self) -> &GatewaySettings {
        &self.inner.settings
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.inner.metrics
    }

    /// Where responses stand in their sessions.
    pub fn responses(&self) -> &super::follow::Responses {
        &self.inner.responses
    }

    /// npast.db.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn db(&self) -> Result<Db, AgentError> {
        Ok(Db::open(&self.settings().home.join("npast.db"))?)
    }

    /// A place among the replies that run or wait.
    ///
    /// # Errors
    /// When all are taken.
    pub fn place(&self) -> Result<OwnedSemaphorePermit, RequestRefusal> {
        self.inner.replies.clone().try_acquire_owned().map_err(|_| {
            RequestRefusal::new(
                RefusalKind::Busy,
                format!(
                    "{} requests wait already; try again later",
                    self.settings().replies
                ),
            )
        })
    }

    /// Keeps a session open for the next request. One that was started for a request that was refused
    /// is not kept, and leaves nothing behind.
    pub fn keep(&self, session: &OpenSession) {
        let id = session.info().id;
        let open = &self.inner.open;
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|other| other.info().id != id);
        open.push(session.clone());
        if open.len() > OPEN {
            open.remove(0);
        }
    }

    /// An id that no other request has: of this start, counted.
    pub fn id(&self) -> String {
        let count = self.inner.count.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}{count:06x}", self.inner.start)
    }

    /// What a response says of itself. The session is in its id: a response can be gone on from also
    /// after a restart.
    pub fn head(&self, model: Option<String>, session: i64) -> ResponseHead {
        let id = format!("{}s{session:x}", self.id());
        ResponseHead {
            stamp: format!("npast.{id}"),
            id,
            created: now(),
            model: model
                .filter(|m| !m.is_empty())
                .unwrap_or_else(|| self.model()),
        }
    }

    /// The model's name.
    pub fn model(&self) -> String {
        let file = self.inner.service.facts().model;
        file.strip_suffix(".gguf").unwrap_or(&file).to_owned()
    }
}

/// The session in the id of a response.
pub fn session_in(id: &str) -> Option<i64> {
    let (_, session) = id.rsplit_once('s')?;
    i64::from_str_radix(session, 16).ok()
}

/// Seconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
