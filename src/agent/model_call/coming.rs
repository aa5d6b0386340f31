//! From sampled tokens to shown text and stored messages, while a reply comes.

use std::time::{Duration, Instant};

use crate::agent::conversation::read_reply::{bridge, stops_error};
use crate::agent::values::error::AgentError;
use crate::agent::values::event::Event;
use crate::agent::values::odds::Weighed;
use crate::chat::Message;
use crate::chat::reply::ReplyReader;
use crate::chat::stream::{StopHold, Utf8Hold};
use crate::chat::template::ReplyFormat;
use crate::ledger::{Finish, Token};
use crate::llama::Vocab;
use crate::session::MessageId;
use crate::slot::Odds;

use super::unshown::Unshown;
use super::watch::all_stops;

/// Sampled tokens reach the store, and then the watcher, at least this often; law 5 allows a second.
/// A person sees no steps in what is shown ten times a second, and more commits only wear the disk.
const STORE_TOKENS: usize = 64;
const STORE_EVERY: Duration = Duration::from_millis(100);

/// A reply as it comes.
pub(in crate::agent) struct Coming {
    reader: ReplyReader,
    utf8: Utf8Hold,
    stops: StopHold,
    /// How many of the stop strings are the user's; those of the format are behind them.
    own_stops: usize,
    stopped: bool,
    /// It came to where the template begins the next message: it is whole.
    ended: bool,
    /// In the store, once something of it is there.
    pub id: Option<MessageId>,
    /// Where its tokens begin in the ledger.
    pub start: usize,
    /// Sampled and not stored yet.
    unstored: Vec<Token>,
    /// What is to be shown when the tokens are stored.
    unshown: Vec<Event>,
    /// How likely its tokens were, where it is asked for.
    odds: Unshown,
    /// When something of it was stored last; at first nothing was, and the first token does not wait.
    stored_at: Option<Instant>,
    /// Sampled tokens.
    sampled: usize,
    /// The call that is being written: its place, since when, and the tokens before it.
    calling: Option<(usize, Instant, usize)>,
}

impl Coming {
    /// `answered` says that npast answers the calls itself.
    pub fn new(
        format: &ReplyFormat,
        answered: bool,
        stops: &[String],
        start: usize,
    ) -> Result<Coming, AgentError> {
        let reader = ReplyReader::new(format).map_err(bridge)?;
        Ok(Coming {
            reader: reader.answering_attempts(answered),
            utf8: Utf8Hold::new(),
            stops: StopHold::new(&all_stops(format, stops)).map_err(stops_error)?,
            own_stops: stops.len(),
            stopped: false,
            ended: false,
            id: None,
            start,
            unstored: Vec::new(),
            unshown: Vec::new(),
            odds: Unshown::default(),
            stored_at: None,
            sampled: 0,
            calling: None,
        })
    }

    /// A reply that goes on, read again and not shown. In bytes: it may end inside a character,
    /// which the next token completes.
    pub fn replay(&mut self, raw: &[u8]) {
        let text = self.utf8.feed(raw);
        self.reader.push(&text);
    }

    /// Takes how likely the token is that comes next.
    pub fn weigh(&mut self, vocab: &Vocab, odds: &Odds) {
        if !vocab.is_end(odds.token) && !self.stopped {
            self.odds.push(Weighed::of(odds, vocab, true));
        }
    }

    /// Takes a token; what it shows waits until it is stored.
    pub fn push(&mut self, vocab: &Vocab, token: Token) {
        self.unstored.push(token);
        self.sampled += 1;
        if vocab.is_end(token) || self.stopped {
            return;
        }
        let text = self.utf8.feed(&vocab.piece(token, true));
        let events = self.show(&text);
        self.unshown.extend(events);
        self.show_call();
    }

    /// Says how far the call is that is being written; nothing else of it can be shown.
    fn show_call(&mut self) {
        let Some(call) = self.reader.begun() else {
            self.calling = None;
            return;
        };
        let before = self.sampled - 1;
        let (place, since, before) = match self.calling {
            Some(calling) if calling.0 == call.place => calling,
            _ => (call.place, Instant::now(), before),
        };
        self.calling = Some((place, since, before));
        let event = Event::Calling {
            name: call.name.clone(),
            target: call.target(),
            tokens: self.sampled - before,
            seconds: since.elapsed().as_secs_f64(),
        };
        match self.unshown.last_mut() {
            Some(last @ Event::Calling { .. }) => *last = event,
            _ => self.unshown.push(event),
        }
    }

    fn show(&mut self, text: &str) -> Vec<Event> {
        let emitted = self.stops.feed(text);
        self.stopped |= emitted.found.is_some();
        self.ended |= emitted.found.is_some_and(|which| which >= self.own_stops);
        self.read(&emitted.text)
    }

    fn read(&mut self, text: &str) -> Vec<Event> {
        if text.is_empty() {
            return Vec::new();
        }
        let parts = self.reader.push(text);
        self.odds.shown(parts)
    }

    /// What was written so far, markup included.
    pub fn raw(&self) -> &str {
        self.reader.raw()
    }

    /// Whether what was sampled is due to be stored.
    pub fn due(&self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }

    /// How long what was sampled may still wait to be stored; nothing where nothing waits.
    pub fn left(&self) -> Option<Duration> {
        match (self.unstored.len(), self.stored_at) {
            (0, _) => None,
            (STORE_TOKENS.., _) | (_, None) => Some(Duration::ZERO),
            (_, Some(at)) => Some(STORE_EVERY.saturating_sub(at.elapsed())),
        }
    }

    pub fn take_unstored(&mut self) -> Vec<Token> {
        self.stored_at = Some(Instant::now());
        std::mem::take(&mut self.unstored)
    }

    /// What can be shown now that the tokens are stored.
    pub fn take_stored(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.unshown)
    }

    /// Why it ended: where the template begins the next message a reply stops by itself.
    pub fn why(&self, finish: Finish) -> Finish {
        match finish {
            Finish::StopString if self.ended => Finish::Stop,
            finish => finish,
        }
    }

    /// The end: what was held back, and the message.
    pub fn finish(mut self, finish: Finish, seed: u64) -> (Vec<Event>, Message) {
        let mut events = Vec::new();
        if !self.stopped {
            let rest = self.utf8.finish();
            events.extend(self.show(&rest));
            if !self.stopped {
                let held = self.stops.finish();
                events.extend(self.read(&held));
            }
        }
        let cut = finish != Finish::Stop && !self.ended;
        let (last, message) = self.reader.finish(cut, seed);
        events.extend(self.odds.shown(last));
        (events, message)
    }
}
