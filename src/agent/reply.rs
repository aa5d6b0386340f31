//! From sampled tokens to shown text and stored messages, while a reply comes.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::conversation::Conversation;
use super::odds::{Unshown, Weighed};
use super::{AgentError, Event};
use crate::chat::Message;
use crate::chat::reply::{ReplyEvent, ReplyReader};
use crate::chat::stream::{StopHold, Utf8Hold};
use crate::chat::template::{After, ReplyFormat};
use crate::chat::wish::Wish;
use crate::ledger::{Finish, Token};
use crate::llama::{Grammar, Vocab};
use crate::session::MessageId;
use crate::slot::{Flow, Odds, Watch};

/// Sampled tokens reach the store, and then the watcher, at least this often; law 5 allows a second.
/// A person sees no steps in what is shown ten times a second, and more commits only wear the disk.
const STORE_TOKENS: usize = 64;
const STORE_EVERY: Duration = Duration::from_millis(100);

/// A reply as it comes.
pub(super) struct Coming {
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
        if vocab.is_end(token) || self.stopped {
            return;
        }
        let text = self.utf8.feed(&vocab.piece(token, true));
        let events = self.show(&text);
        self.unshown.extend(events);
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

impl Unshown {
    /// What a client is told of a reply's parts: before a text of the answer its tokens, where it is
    /// known how likely they were.
    fn shown(&mut self, parts: Vec<ReplyEvent>) -> Vec<Event> {
        let mut events = Vec::with_capacity(parts.len());
        for part in parts {
            match part {
                ReplyEvent::Reasoning(text) => {
                    self.take(&text);
                    events.push(Event::Reasoning { text });
                }
                ReplyEvent::Text(text) => {
                    let tokens = self.take(&text);
                    if !tokens.is_empty() {
                        events.push(Event::Odds { tokens });
                    }
                    events.push(Event::Text { text });
                }
            }
        }
        events
    }
}

fn bridge(error: crate::llama::bridge::BridgeError) -> AgentError {
    AgentError::new(super::ErrorKind::Template, error.to_string())
}

pub(super) fn stops_error(error: impl std::fmt::Display) -> AgentError {
    AgentError::new(
        super::ErrorKind::Input,
        format!("these stop strings cannot be searched: {error}"),
    )
}

/// The user's stop strings, and those of a format behind them.
fn all_stops(format: &ReplyFormat, own: &[String]) -> Vec<String> {
    own.iter().chain(&format.ends).cloned().collect()
}

/// Finds stop strings on the engine thread, so that nothing is sampled after one.
pub(super) fn watch(
    vocab: &Vocab,
    format: &ReplyFormat,
    own: &[String],
) -> Result<Watch, AgentError> {
    let stops = &all_stops(format, own);
    if stops.is_empty() {
        return Ok(Box::new(|_| Flow::Continue));
    }
    let vocab = vocab.clone();
    let mut utf8 = Utf8Hold::new();
    let mut hold = StopHold::new(stops).map_err(stops_error)?;
    Ok(Box::new(move |token| {
        let text = utf8.feed(&vocab.piece(token, true));
        match hold.feed(&text).found {
            Some(_) => Flow::Stop(Finish::StopString),
            None => Flow::Continue,
        }
    }))
}

/// The grammar of a format, its triggers made tokens and patterns as llama.cpp's own tools do.
pub(super) fn grammar(vocab: &Vocab, format: &ReplyFormat) -> Option<Grammar> {
    let applied = &format.applied;
    if applied.grammar.is_empty() {
        return None;
    }
    let mut patterns = Vec::new();
    let mut tokens = Vec::new();
    for trigger in &applied.triggers {
        // common_grammar_trigger_type: token, word, pattern, full pattern.
        match trigger.kind {
            0 => tokens.extend(trigger.token.map(Token)),
            1 => match vocab.tokenize(&trigger.value, true).as_deref() {
                Ok([one]) if vocab.is_control(*one) || vocab.is_user_defined(*one) => {
                    tokens.push(*one);
                }
                _ => patterns.push(escaped(&trigger.value)),
            },
            2 => patterns.push(trigger.value.clone()),
            _ => {
                let inner = trigger.value.trim_start_matches('^').trim_end_matches('$');
                patterns.push(format!("^{inner}$"));
            }
        }
    }
    Some(Grammar {
        text: applied.grammar.clone(),
        lazy: applied.grammar_lazy,
        patterns,
        tokens,
        // A lazy grammar begins at its trigger, and llama.cpp's triggers are made for the reply
        // alone.
        prefill: match applied.grammar_lazy {
            true => Vec::new(),
            false => vocab
                .tokenize(&applied.generation_prompt, true)
                .unwrap_or_default(),
        },
        begun: Vec::new(),
    })
}

/// A text as a regular expression of itself.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if r".^$|()*+?[]{}\".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

impl Conversation {
    /// The format of replies; made once for each kind of input.
    pub(super) fn format(&mut self, after: After) -> Result<&ReplyFormat, AgentError> {
        let made = self.format_unless(after, &Arc::default())?;
        match made {
            Some(format) => Ok(format),
            None => unreachable!("nobody cancels it"),
        }
    }

    /// The format of replies; nothing where `cancel` came first.
    pub(super) fn format_unless(
        &mut self,
        after: After,
        cancel: &Arc<AtomicBool>,
    ) -> Result<Option<&ReplyFormat>, AgentError> {
        let place = usize::from(after == After::Results);
        if self.formats[place].is_none() {
            let made = self.frozen.format(&self.shared, after, cancel)?;
            let Some(made) = made else {
                return Ok(None);
            };
            // Both kinds have the same tools.
            if self.formats.iter().all(Option::is_none) {
                self.notices.extend(made.notices);
            }
            self.formats[place] = Some(made.format);
        }
        Ok(self.formats[place].as_ref())
    }

    /// The format of one reply of which more is asked; nothing where `cancel` came first. The last
    /// one is kept: a program asks the same of many.
    ///
    /// # Errors
    /// When no grammar holds the reply to it.
    pub(super) fn wished(
        &mut self,
        after: After,
        wish: &Wish,
        cancel: &AtomicBool,
    ) -> Result<Option<ReplyFormat>, AgentError> {
        if let Some((made_after, made_for, format)) = &self.wished
            && (*made_after, made_for) == (after, wish)
        {
            return Ok(Some(format.clone()));
        }
        let format = self.frozen.wished(&self.shared, after, wish, cancel)?;
        let kept = format.clone();
        self.wished = kept.map(|format| (after, wish.clone(), format));
        Ok(format)
    }

    /// The text of a reply's tokens, markup included, without its end of turn.
    pub(super) fn raw_text(&self, tokens: &[Token]) -> String {
        let vocab = self.shared.model.vocab();
        let body = match tokens.split_last() {
            Some((last, body)) if vocab.is_end(*last) => body,
            _ => tokens,
        };
        String::from_utf8_lossy(&vocab.bytes(body, true)).into_owned()
    }

    /// A message from a reply's tokens.
    pub(super) fn read_reply(
        &mut self,
        tokens: &[Token],
        after: After,
        cut: bool,
    ) -> Result<Message, AgentError> {
        let raw = self.raw_text(tokens);
        let (seed, answered) = (self.row.seed, self.row.runs_tools);
        let format = self.format(after)?;
        let reader = ReplyReader::new(format).map_err(bridge)?;
        let mut reader = reader.answering_attempts(answered);
        let mut ends = StopHold::new(&format.ends).map_err(stops_error)?;
        let read = ends.feed(&raw);
        reader.push(&read.text);
        reader.push(&ends.finish());
        Ok(reader.finish(cut && read.found.is_none(), seed).1)
    }
}
