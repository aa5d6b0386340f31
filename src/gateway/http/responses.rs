//! Where the responses of this start are in their sessions, so that a request can go on from any of them.
//! After a restart a response is gone on from at the end of its session.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::agent::Behind;

/// Responses whose places are remembered.
const RESPONSES: usize = 4096;

/// The place of each response: its session, and how many messages that had after it.
#[derive(Debug, Default)]
pub struct Responses {
    places: Mutex<ResponsePlaces>,
}

#[derive(Debug, Default)]
struct ResponsePlaces {
    by_id: HashMap<String, Behind>,
    /// The oldest first.
    order: VecDeque<String>,
}

impl Responses {
    /// Where a response is.
    pub fn get(&self, id: &str) -> Option<Behind> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.by_id.get(id).copied()
    }

    /// A response ended at this place in its session.
    pub fn learn(&self, id: String, at: Behind) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.order.push_back(id.clone());
        places.by_id.insert(id, at);
        while places.order.len() > RESPONSES {
            if let Some(oldest) = places.order.pop_front() {
                places.by_id.remove(&oldest);
            }
        }
    }
}
