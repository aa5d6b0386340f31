//! What a turn says, on its way to whoever reads it. It is shown by a thread of its own: a reader that
//! is slow or stopped (`| less`, Ctrl-S) holds up what is seen, and neither the turn nor what is
//! stored of it. What waits is held in memory; it is no more than what the turn says.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a waiter looks whether Ctrl-C was pressed.
const LOOK: Duration = Duration::from_millis(50);

enum Item<E> {
    Event(E),
    /// Answered when all that came before is shown.
    Mark(Sender<()>),
}

/// The way from a turn to its reader, for all who must know how far that is.
pub struct Showing<E> {
    /// There while a turn runs.
    way: Arc<Mutex<Option<Sender<Item<E>>>>>,
}

impl<E> Default for Showing<E> {
    fn default() -> Showing<E> {
        Showing {
            way: Arc::default(),
        }
    }
}

impl<E> Clone for Showing<E> {
    fn clone(&self) -> Showing<E> {
        Showing {
            way: self.way.clone(),
        }
    }
}

impl<E: Send> Showing<E> {
    /// Runs `work`, whose events are given to `show` on another thread, in order; none is waited for.
    /// Returns when all of them are shown.
    pub fn during<T>(
        &self,
        mut show: impl FnMut(E) + Send,
        work: impl FnOnce(&mut dyn FnMut(E)) -> T,
    ) -> T {
        let (send, items) = channel();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for item in items {
                    match item {
                        Item::Event(event) => show(event),
                        Item::Mark(shown) => {
                            let _ = shown.send(());
                        }
                    }
                }
            });
            *self.way() = Some(send.clone());
            // However the work ends, the thread ends behind it.
            let _end = End(self);
            // Where the thread has died there is nobody to show anything to.
            work(&mut move |event| drop(send.send(Item::Event(event))))
        })
    }

    /// Waits until all that was said before is shown. Ctrl-C ends the waiting.
    pub fn wait(&self, cancel: &AtomicBool) {
        let (send, shown) = channel();
        let Some(way) = self.way().clone() else {
            return;
        };
        if way.send(Item::Mark(send)).is_err() {
            return;
        }
        drop(way);
        while !cancel.load(Ordering::SeqCst) {
            match shown.recv_timeout(LOOK) {
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                _ => return,
            }
        }
    }

    // A sender is whole, whoever panicked beside it.
    fn way(&self) -> MutexGuard<'_, Option<Sender<Item<E>>>> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the way away.
struct End<'a, E: Send>(&'a Showing<E>);

impl<E: Send> Drop for End<'_, E> {
    fn drop(&mut self) {
        self.0.way().take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_is_stopped_holds_up_no_work_and_gets_all_in_order_later() {
        let showing = Showing::default();
        let (go, gate) = channel::<()>();
        let gate = Mutex::new(gate);
        let mut shown = Vec::new();
        let sent = showing.during(
            |n: usize| {
                if shown.is_empty() {
                    gate.lock().unwrap().recv().unwrap();
                }
                shown.push(n);
            },
            |on| {
                (0..10_000).for_each(&mut *on);
                // All of the work is done, and nothing was read.
                go.send(()).unwrap();
                on(10_000);
                10_001
            },
        );
        assert_eq!(shown, (0..sent).collect::<Vec<_>>());
    }

    #[test]
    fn a_waiter_goes_on_when_all_before_is_shown_or_ctrl_c_is_pressed() {
        let showing = Showing::default();
        let (never, always) = (AtomicBool::new(false), AtomicBool::new(true));
        let shown = Mutex::new(Vec::new());
        let (go, gate) = channel::<()>();
        let gate = Mutex::new(gate);
        showing.during(
            |n: usize| {
                if n == 2 {
                    gate.lock().unwrap().recv().unwrap();
                }
                shown.lock().unwrap().push(n);
            },
            |on| {
                on(0);
                on(1);
                showing.wait(&never);
                assert_eq!(*shown.lock().unwrap(), [0, 1]);
                on(2);
                showing.wait(&always);
                assert_eq!(
                    shown.lock().unwrap().len(),
                    2,
                    "it still waits for its reader"
                );
                go.send(()).unwrap();
            },
        );
        assert_eq!(*shown.lock().unwrap(), [0, 1, 2]);
        // Between turns nothing is on its way.
        showing.wait(&never);
    }
}
