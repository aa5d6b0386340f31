//! What llama.cpp counted of models at earlier starts, in the data folder. With the numbers the cache type
//! of the last start is kept: stored KV is of one type, and another type would read every session again.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::durable::{self, Attributes, Links};
use crate::llama::CacheType;
use crate::slot::fit::Demand;

/// Where the numbers are kept, how many models' and how many bytes.
pub(in crate::agent) const LIST: &str = "fits.json";
const MOST: usize = 64;
const MOST_BYTES: u64 = 8 << 20;

/// What is kept of a model.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::agent) struct FitRecord {
    pub name: String,
    pub demand: Demand,
    /// The cache type of its last start.
    pub cache: Option<CacheType>,
}

#[derive(Default, Serialize, Deserialize)]
pub(in crate::agent) struct Records {
    pub models: Vec<FitRecord>,
}

impl Records {
    /// What cannot be read is an empty list: it is counted again.
    pub fn read(home: &Path) -> Records {
        let file = fs::File::open(home.join(LIST));
        let text = file.and_then(|f| io::read_to_string(f.take(MOST_BYTES)));
        serde_json::from_str(&text.unwrap_or_default()).unwrap_or_default()
    }

    /// What is kept under this name.
    pub fn find(&self, name: &str) -> Option<&FitRecord> {
        self.models.iter().find(|record| record.name == name)
    }

    /// Keeps a record, if it says something new.
    pub fn keep(mut self, home: &Path, record: FitRecord) -> io::Result<()> {
        let old = self.find(&record.name);
        if old.is_some_and(|old| old.cache == record.cache && old.demand == record.demand) {
            return Ok(());
        }
        self.models.retain(|old| old.name != record.name);
        self.models.push(record);
        let surplus = self.models.len().saturating_sub(MOST);
        self.models.drain(..surplus);
        let text = serde_json::to_vec(&self)?;
        durable::private::folder(home)?;
        durable::replace(&home.join(LIST), &text, Attributes::Private, Links::Refuse)
            .map_err(|e| io::Error::other(e.to_string()))
    }
}
