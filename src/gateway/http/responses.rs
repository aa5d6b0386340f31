//! Where the responses of this start are in their sessions, so that a request can go on from any of them.
//! After a restart a response is gone on from at the end of its session.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// Responses whose places are remembered.
const RESPONSES: usize = 4096;

/// In which session a response is, and how many messages that had after it.
#[derive(Debug, Default)]
pub struct Responses {
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    by_id: HashMap<String, (i64, usize)>,
    /// The oldest first.
    order: VecDeque<String>,
}

impl Responses {
    /// Where a response is.
    pub fn get(&self, id: &str) -> Option<(i64, usize)> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.by_id.get(id).copied()
    }

    /// A response ended when its session had so many messages.
    pub fn learn(&self, id: String, session: i64, messages: usize) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.order.push_back(id.clone());
        places.by_id.insert(id, (session, messages));
        while places.order.len() > RESPONSES {
            if let Some(oldest) = places.order.pop_front() {
                places.by_id.remove(&oldest);
            }
        }
    }
}
