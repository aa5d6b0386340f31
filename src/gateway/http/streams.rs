//! Streams that can be taken up again. A client that names its conversation (`X-Conversation-Id`) may lose its
//! connection in the middle of a reply: the reply goes on for a while, and what was sent of it is kept here,
//! each event with a number. Whoever comes back says how far it came and gets the rest.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

/// Streams that are kept; the oldest one goes first.
const STREAMS: usize = 32;
/// Bytes of a stream that are kept; what is older cannot be had again.
const MOST_BYTES: usize = 8 << 20;
/// A reply goes on for so long when nobody hears it.
const RETURN: Duration = Duration::from_secs(60);

/// The streams of a server.
#[derive(Debug, Default)]
pub struct Streams {
    /// By conversation, the newest last.
    all: Mutex<VecDeque<(String, Arc<KeptStream>)>>,
}

/// A stream that is kept.
#[derive(Debug)]
pub struct KeptStream {
    state: Mutex<StreamState>,
    /// Counts what happens to it.
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct StreamState {
    events: VecDeque<Bytes>,
    bytes: usize,
    /// The number of the first event that is there.
    first: usize,
    /// No more comes.
    ended: bool,
    /// The reply is to be stopped.
    stopped: bool,
    /// Clients that hear it.
    listeners: usize,
    /// When the last of them went, or it began.
    left: Instant,
}

/// What comes next of a kept stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// An event.
    Event(Bytes),
    /// Nothing yet.
    Nothing,
    /// There are no more.
    End,
    /// It is not kept any more.
    Gone,
}

/// A client that hears a stream, until this is dropped.
#[derive(Debug)]
pub struct Listener {
    kept: Arc<KeptStream>,
    changed: watch::Receiver<u64>,
    /// The number of its next event.
    next: usize,
}

impl Streams {
    fn all(&self) -> MutexGuard<'_, VecDeque<(String, Arc<KeptStream>)>> {
        // What is held is whole between two statements, whoever panicked.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream of a conversation begins, in the place of its last one.
    pub fn begin(&self, conversation: &str) -> Arc<KeptStream> {
        let kept = Arc::new(KeptStream {
            state: Mutex::new(StreamState {
                events: VecDeque::new(),
                bytes: 0,
                first: 0,
                ended: false,
                stopped: false,
                listeners: 0,
                left: Instant::now(),
            }),
            changed: watch::Sender::default(),
        });
        let mut all = self.all();
        all.retain(|(name, _)| name != conversation);
        all.push_back((conversation.to_owned(), kept.clone()));
        if all.len() > STREAMS {
            all.pop_front();
        }
        kept
    }

    /// The last stream of a conversation.
    pub fn find(&self, conversation: &str) -> Option<Arc<KeptStream>> {
        let all = self.all();
        let found = all.iter().rfind(|(name, _)| name == conversation);
        found.map(|(_, kept)| kept.clone())
    }
}

impl KeptStream {
    fn state(&self) -> MutexGuard<'_, StreamState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Keeps an event, with its number as the events' own `id`.
    pub fn put(&self, event: &[u8]) {
        let mut state = self.state();
        let number = state.first + state.events.len();
        let bytes = [format!("id: {number}\n").as_bytes(), event].concat();
        state.bytes += bytes.len();
        state.events.push_back(bytes.into());
        while state.bytes > MOST_BYTES {
            let Some(oldest) = state.events.pop_front() else {
                break;
            };
            state.bytes -= oldest.len();
            state.first += 1;
        }
        drop(state);
        self.wake();
    }

    /// No more comes.
    pub fn end(&self) {
        self.state().ended = true;
        self.wake();
    }

    /// The reply is to be stopped.
    pub fn stop(&self) {
        self.state().stopped = true;
        self.wake();
    }

    /// Hears the stream from an event on.
    pub fn listen(self: &Arc<KeptStream>, from: usize) -> Listener {
        self.state().listeners += 1;
        self.wake();
        Listener {
            kept: self.clone(),
            changed: self.changed.subscribe(),
            next: from,
        }
    }

    /// Waits until the reply is to be stopped, or nobody heard it for a while.
    pub async fn left(&self) {
        let mut changed = self.changed.subscribe();
        loop {
            let until = {
                let state = self.state();
                if state.stopped {
                    return;
                }
                (state.listeners == 0).then(|| state.left + RETURN)
            };
            let waited = match until {
                None => Ok(changed.changed().await),
                Some(until) => tokio::time::timeout_at(until, changed.changed()).await,
            };
            if waited.is_err() {
                return;
            }
        }
    }
}

impl Listener {
    /// What comes next, if it is there.
    pub fn now(&mut self) -> Next {
        let state = self.kept.state();
        let Some(at) = self.next.checked_sub(state.first) else {
            return Next::Gone;
        };
        match state.events.get(at) {
            Some(event) => {
                let event = event.clone();
                self.next += 1;
                Next::Event(event)
            }
            None if state.ended => Next::End,
            None => Next::Nothing,
        }
    }

    /// Waits until something may have come.
    pub async fn wait(&mut self) {
        let _ = self.changed.changed().await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = self.kept.state();
        state.listeners -= 1;
        state.left = Instant::now();
        drop(state);
        self.kept.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> Next {
        Next::Event(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[tokio::test]
    async fn who_comes_back_hears_the_rest_and_what_comes() {
        let streams = Streams::default();
        let kept = streams.begin("a");
        kept.put(b"data: 1\n\n");
        kept.put(b"data: 2\n\n");
        let mut first = kept.listen(0);
        assert_eq!(first.now(), event("id: 0\ndata: 1\n\n"));
        drop(first);
        let mut again = streams.find("a").expect("a stream").listen(1);
        assert_eq!(again.now(), event("id: 1\ndata: 2\n\n"));
        assert_eq!(again.now(), Next::Nothing);
        kept.put(b"data: 3\n\n");
        kept.end();
        again.wait().await;
        assert_eq!(again.now(), event("id: 2\ndata: 3\n\n"));
        assert_eq!(again.now(), Next::End);
        assert!(streams.find("b").is_none());
    }

    #[test]
    fn a_long_stream_and_many_streams_take_a_bounded_part_of_memory() {
        let streams = Streams::default();
        let kept = streams.begin("long");
        let mega = vec![b'x'; 1 << 20];
        (0..20).for_each(|_| kept.put(&mega));
        assert_eq!(kept.listen(0).now(), Next::Gone);
        assert!(matches!(kept.listen(19).now(), Next::Event(_)));
        assert!(kept.state().bytes <= MOST_BYTES);
        for n in 0..100 {
            streams.begin(&n.to_string());
        }
        assert_eq!(streams.all().len(), STREAMS);
        assert!(streams.find("long").is_none() && streams.find("99").is_some());
    }

    #[tokio::test]
    async fn a_stream_that_is_stopped_is_left_and_one_that_is_heard_is_not() {
        let streams = Streams::default();
        let kept = streams.begin("a");
        let listener = kept.listen(0);
        let left = kept.left();
        let mut left = std::pin::pin!(left);
        let waited = tokio::time::timeout(Duration::from_millis(20), &mut left).await;
        assert!(waited.is_err(), "somebody hears it");
        kept.stop();
        left.await;
        drop(listener);
    }
}
