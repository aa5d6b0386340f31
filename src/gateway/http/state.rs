//! What all requests of a server share.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::access::Access;
use super::body::BodyLimits;
use super::metrics::Metrics;
use super::rate::Rates;
use super::responses::Responses;
use super::streams::Streams;
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
    /// What a body may be.
    pub body: BodyLimits,
    /// Replies that run or wait at the same time.
    pub replies: usize,
    /// Requests a minute of each address; as many as they like without.
    pub rate: Option<u32>,
}

/// What all requests share. Clones are the same.
#[derive(Clone)]
pub struct Gateway {
    inner: Arc<GatewayShared>,
}

struct GatewayShared {
    settings: GatewaySettings,
    replies: Arc<Semaphore>,
    rates: Option<Rates>,
    kept: Arc<Lasting>,
}

/// What stays when the settings are read again.
struct Lasting {
    service: Service,
    metrics: Arc<Metrics>,
    /// The last used last.
    open: Mutex<Vec<OpenSession>>,
    responses: Responses,
    streams: Streams,
    document: OnceLock<fn() -> String>,
    /// Told apart from those of another start.
    start: u64,
    count: AtomicU64,
}

impl Gateway {
    /// On a service.
    pub fn new(service: Service, settings: GatewaySettings) -> Gateway {
        Gateway {
            inner: Arc::new(GatewayShared {
                replies: Arc::new(Semaphore::new(settings.replies)),
                rates: settings.rate.map(Rates::new),
                settings,
                kept: Arc::new(Lasting {
                    service,
                    metrics: Arc::default(),
                    open: Mutex::default(),
                    responses: Responses::default(),
                    streams: Streams::default(),
                    document: OnceLock::new(),
                    // A random number of the standard library's, for ids only.
                    start: RandomState::new().build_hasher().finish(),
                    count: AtomicU64::new(0),
                }),
            }),
        }
    }

    /// The same gateway, set otherwise: sessions, responses and counts stay. Requests that run go on as
    /// they began.
    pub fn with(&self, settings: GatewaySettings) -> Gateway {
        let inner = &self.inner;
        let replies = match inner.settings.replies == settings.replies {
            true => inner.replies.clone(),
            // Those that run have their places in the one before.
            false => Arc::new(Semaphore::new(settings.replies)),
        };
        // Whoever asked a moment ago may ask as often as one who did not.
        let rates = settings.rate.map(Rates::new);
        Gateway {
            inner: Arc::new(GatewayShared {
                replies,
                rates,
                settings,
                kept: inner.kept.clone(),
            }),
        }
    }

    /// The service.
    pub fn service(&self) -> &Service {
        &self.inner.kept.service
    }

    /// How the server is set.
    pub fn settings(&self) -> &GatewaySettings {
        &self.inner.settings
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.inner.kept.metrics
    }

    /// What the server says of its paths.
    pub fn document(&self) -> String {
        let make = self.inner.kept.document.get();
        make.map_or_else(String::new, |make| make())
    }

    /// How it makes what it says of its paths; the first that is set stays.
    pub fn set_document(&self, make: fn() -> String) {
        let _ = self.inner.kept.document.set(make);
    }

    /// Streams that can be taken up again.
    pub fn streams(&self) -> &Streams {
        &self.inner.kept.streams
    }

    /// How often callers may ask, if that is counted.
    pub fn rates(&self) -> Option<&Rates> {
        self.inner.rates.as_ref()
    }

    /// Where responses stand in their sessions.
    pub fn responses(&self) -> &Responses {
        &self.inner.kept.responses
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
                    "{} replies run or wait already; try again later",
                    self.settings().replies
                ),
            )
        })
    }

    /// Keeps a session open for the next request. One that was started for a request that was refused
    /// is not kept, and leaves nothing behind.
    pub fn keep(&self, session: Option<&OpenSession>) {
        let Some(session) = session else {
            return;
        };
        let id = session.info().id;
        let open = &self.inner.kept.open;
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|other| other.info().id != id);
        open.push(session.clone());
        if open.len() > OPEN {
            open.remove(0);
        }
    }

    /// Keeps a session open no longer.
    pub fn let_go(&self, id: i64) {
        let open = &self.inner.kept.open;
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|other| other.info().id != id);
    }

    /// An id that no other request has: of this start, counted.
    pub fn id(&self) -> String {
        let count = self.inner.kept.count.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}{count:06x}", self.inner.kept.start)
    }

    /// What a response says of itself. The session is in its id: a response can be gone on from also
    /// after a restart. One that stands beside the sessions has none.
    pub fn head(&self, model: Option<String>, session: Option<i64>) -> ResponseHead {
        let session = session.map(|id| format!("s{id:x}"));
        let id = format!("{}{}", self.id(), session.unwrap_or_default());
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
        let file = self.inner.kept.service.facts().model;
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
