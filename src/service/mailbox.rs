//! Events on their way to one client. The sender never waits: text that comes while the client does
//! not read is joined, and progress that the client did not see is replaced by later progress, so what waits is
//! bounded by what the request says. A client that is slow or stopped (`| less`, Ctrl-S) holds up what
//! it sees, and neither the engine nor what is stored.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::agent::Event;

/// Bytes of text that wait for one client at the most; beyond them, events that only show progress,
/// text or results are dropped, and an event says how many.
const MOST_BYTES: usize = 32 << 20;

/// The events of one request, or of all requests of a session.
pub struct Events {
    shared: Arc<MailboxShared>,
}

/// Where events are put. When the last clone of it goes, the events end.
#[derive(Clone)]
pub struct Sink {
    shared: Arc<MailboxShared>,
    _last: Arc<Last>,
}

struct Last(Arc<MailboxShared>);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// What a client that waits for a while gets.
#[derive(Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one at a time, and moved once")]
pub enum NextMail {
    /// An event.
    Event(Event),
    /// Nothing yet.
    Nothing,
    /// There are no more.
    End,
}

struct MailboxShared {
    state: Mutex<MailboxState>,
    changed: Condvar,
}

#[derive(Default)]
struct MailboxState {
    waiting: VecDeque<Event>,
    bytes: usize,
    dropped: usize,
    /// Nothing is put any more.
    ended: bool,
    /// Nobody reads any more.
    left: bool,
    waker: Option<Waker>,
}

/// A sink and its client's end.
pub fn mailbox() -> (Sink, Events) {
    let shared = Arc::new(MailboxShared {
        state: Mutex::default(),
        changed: Condvar::new(),
    });
    (
        Sink {
            shared: shared.clone(),
            _last: Arc::new(Last(shared.clone())),
        },
        Events { shared },
    )
}

impl Events {
    /// The next event, if it comes within `most`.
    pub fn next_within(&mut self, most: Duration) -> NextMail {
        let until = Instant::now() + most;
        let mut state = self.shared.state();
        loop {
            match state.take() {
                NextMail::Nothing => {}
                next => return next,
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return NextMail::Nothing;
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The next event, for a task. `None` when there are no more.
    pub async fn recv(&mut self) -> Option<Event> {
        poll_fn(|context| {
            let mut state = self.shared.state();
            match state.take() {
                NextMail::Event(event) => Poll::Ready(Some(event)),
                NextMail::End => Poll::Ready(None),
                NextMail::Nothing => {
                    state.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl Iterator for Events {
    type Item = Event;

    /// Waits for the next event. `None` when there are no more.
    fn next(&mut self) -> Option<Event> {
        let mut state = self.shared.state();
        loop {
            match state.take() {
                NextMail::Event(event) => return Some(event),
                NextMail::End => return None,
                NextMail::Nothing => {
                    let waited = self.shared.changed.wait(state);
                    state = waited.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.left = true;
        state.waiting.clear();
        state.bytes = 0;
    }
}

impl Sink {
    /// Puts an event; never waits.
    pub fn put(&self, event: Event) {
        let mut state = self.shared.state();
        state.put(event);
        self.shared.wake(state);
    }

    /// Nothing is put any more.
    pub fn end(&self) {
        self.shared.end();
    }

    /// Whether the client went away.
    pub fn is_left(&self) -> bool {
        self.shared.state().left
    }
}

impl MailboxShared {
    // The value is consistent between two statements, whichever thread panicked.
    fn state(&self) -> MutexGuard<'_, MailboxState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        self.wake(state);
    }

    fn wake(&self, mut state: MutexGuard<'_, MailboxState>) {
        let waker = state.waker.take();
        drop(state);
        self.changed.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl MailboxState {
    fn take(&mut self) -> NextMail {
        if let Some(event) = self.waiting.pop_front() {
            self.bytes -= bytes(&event);
            return NextMail::Event(event);
        }
        if self.dropped > 0 {
            let count = std::mem::take(&mut self.dropped);
            return NextMail::Event(Event::Notice {
                text: format!("{count} events were dropped, because the client did not read them"),
                hint: Some("the session has all of it".to_owned()),
            });
        }
        match self.ended {
            true => NextMail::End,
            false => NextMail::Nothing,
        }
    }

    fn put(&mut self, event: Event) {
        if self.left || self.ended {
            return;
        }
        match (self.waiting.back_mut(), &event) {
            (Some(Event::Text { text }), Event::Text { text: more })
            | (Some(Event::Reasoning { text }), Event::Reasoning { text: more })
                if self.bytes + more.len() <= MOST_BYTES =>
            {
                text.push_str(more);
                self.bytes += more.len();
            }
            (_, Event::Running { id, .. }) => {
                let said = |one: &&mut Event| matches!(one, Event::Running { .. });
                let same =
                    |one: &&mut Event| matches!(one, Event::Running { id: of, .. } if of == id);
                // Calls run side by side: each has one such event that waits.
                let older = self.waiting.iter_mut().rev().take_while(said).find(same);
                match older {
                    Some(older) => {
                        self.bytes = self.bytes - bytes(older) + bytes(&event);
                        *older = event;
                    }
                    None => self.push(event),
                }
            }
            (Some(last @ Event::Calling { .. }), Event::Calling { .. }) => {
                self.bytes = self.bytes - bytes(last) + bytes(&event);
                *last = event;
            }
            (Some(last @ Event::Prefill { .. }), Event::Prefill { .. })
            | (Some(last @ Event::Queued { .. }), Event::Queued { .. }) => *last = event,
            _ => self.push(event),
        }
    }

    fn push(&mut self, event: Event) {
        if self.bytes + bytes(&event) > MOST_BYTES && can_be_dropped(&event) {
            self.dropped += 1;
            return;
        }
        self.bytes += bytes(&event);
        self.waiting.push_back(event);
    }
}

/// What an event takes that is not the same for all of its kind.
fn bytes(event: &Event) -> usize {
    match event {
        Event::Text { text } | Event::Reasoning { text } | Event::Steered { text } => text.len(),
        Event::ToolResult { text, change, .. } => {
            64 + text.len() + change.as_ref().map_or(0, |change| change.diff.len())
        }
        Event::Running { tail, .. } => 64 + tail.len(),
        Event::Calling { target, .. } => 64 + target.as_ref().map_or(0, String::len),
        Event::ToolCall { arguments, .. } => 64 + arguments.to_string().len(),
        Event::Odds { tokens } => tokens.iter().map(|t| 64 * (1 + t.top.len())).sum(),
        Event::Restoring { .. } | Event::Prefill { .. } | Event::Queued { .. } => 64,
        _ => 0,
    }
}

fn can_be_dropped(event: &Event) -> bool {
    bytes(event) > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Event {
        Event::Text { text: text.into() }
    }

    #[test]
    fn text_that_nobody_read_is_joined_and_progress_is_the_latest() {
        let (sink, mut events) = mailbox();
        for done in 1..100 {
            sink.put(Event::Prefill { done, total: 100 });
        }
        sink.put(text("a"));
        assert_eq!(
            events.next(),
            Some(Event::Prefill {
                done: 99,
                total: 100
            })
        );
        (0..3).for_each(|_| sink.put(text("b")));
        sink.put(Event::Reasoning { text: "c".into() });
        sink.end();
        sink.put(text("too late"));
        assert_eq!(events.next(), Some(text("abbb")));
        assert_eq!(events.next(), Some(Event::Reasoning { text: "c".into() }));
        assert_eq!(events.next(), None);
        assert_eq!(events.next_within(Duration::ZERO), NextMail::End);
    }

    /// A command that writes for an hour while the client is stopped (Ctrl-S).
    #[test]
    fn of_a_running_call_the_last_output_alone_waits_for_a_client_that_does_not_read() {
        let (sink, mut events) = mailbox();
        let running = |id: &str, bytes: u64| Event::Running {
            id: id.into(),
            name: "terminal".into(),
            seconds: 1.0,
            bytes,
            tail: "x".repeat(usize::try_from(bytes).unwrap()),
        };
        for bytes in 1..1000 {
            sink.put(running("a", bytes));
            sink.put(running("b", 1000 - bytes));
        }
        sink.put(text("done"));
        sink.end();
        assert_eq!(events.next(), Some(running("a", 999)));
        assert_eq!(events.next(), Some(running("b", 1)));
        assert_eq!(events.next(), Some(text("done")));
        assert_eq!(events.shared.state().bytes, 0);
        let (sink, mut events) = mailbox();
        let calling = |tokens| Event::Calling {
            name: "write_file".into(),
            target: Some("a".repeat(tokens)),
            tokens,
            seconds: 0.5,
        };
        (1..50).for_each(|tokens| sink.put(calling(tokens)));
        sink.end();
        assert_eq!(events.next(), Some(calling(49)));
        assert_eq!(events.next(), None);
        assert_eq!(events.shared.state().bytes, 0);
    }

    #[test]
    fn a_client_that_never_reads_takes_a_bounded_part_of_memory_and_hears_of_it() {
        let (sink, mut events) = mailbox();
        let mega = "x".repeat(1 << 20);
        for _ in 0..100 {
            sink.put(text(&mega));
            sink.put(Event::ToolResult {
                id: "1".into(),
                name: "read".into(),
                ok: true,
                text: mega.clone(),
                seconds: None,
                exit: None,
                refused: None,
                change: None,
            });
        }
        let mut seen = 0;
        while let NextMail::Event(event) = events.next_within(Duration::ZERO) {
            seen += bytes(&event);
            if let Event::Notice { text, .. } = event {
                assert_eq!(
                    text,
                    "169 events were dropped, because the client did not read them"
                );
                return assert!(seen <= MOST_BYTES);
            }
        }
        panic!("the client hears of it");
    }

    #[tokio::test]
    async fn a_task_waits_for_events_without_a_thread() {
        let (sink, mut events) = mailbox();
        let reader = tokio::spawn(async move {
            let mut seen = Vec::new();
            while let Some(event) = events.recv().await {
                seen.push(event);
            }
            seen
        });
        tokio::task::yield_now().await;
        sink.put(text("a"));
        tokio::task::yield_now().await;
        sink.put(text("b"));
        sink.end();
        let seen: String = reader
            .await
            .unwrap()
            .into_iter()
            .map(|event| match event {
                Event::Text { text } => text,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(seen, "ab");
    }

    #[test]
    fn a_client_that_left_is_known_and_holds_nothing() {
        let (sink, events) = mailbox();
        sink.put(text("a"));
        assert!(!sink.is_left());
        drop(events);
        sink.put(text("b"));
        assert!(sink.is_left());
        assert!(sink.shared.state().waiting.is_empty());
    }
}
