//! A regular expression that a model gives: its size is bounded when it is compiled, its time wherever
//! it runs. The usual engine cannot be stopped, so it gets only as much text as it goes through in a
//! moment even with the worst pattern. A longer line is gone through byte by byte by a DFA that is
//! built on the way, and that checks between the bytes whether it must stop.

use std::cell::{Cell, RefCell};
use std::fmt;

use grep_matcher::{Match, Matcher, NoCaptures};
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, meta};

/// Size of a compiled pattern, in bytes.
const MAX_SIZE: usize = 8 << 20;

/// Memory of the DFA that is built on the way, in bytes.
const MAX_CACHE: usize = 32 << 20;

/// Steps, states of the pattern times bytes of text, that are done without a look at the clock: less
/// than a second on a slow machine.
const UNWATCHED: usize = 1 << 24;

/// Longest error that is repeated whole, in bytes.
const MAX_ERROR: usize = 1000;

/// Bytes between two looks.
const LOOK: usize = 64;

/// Whether a search shall stop.
pub(super) type Stop<'a> = &'a dyn Fn() -> bool;

/// A compiled pattern. It is matched with lines without their ends.
pub(super) struct Pattern<'a> {
    usual: meta::Regex,
    nfa: NFA,
    watched: RefCell<Option<Watched>>,
    stop: Stop<'a>,
    /// Lines that could not be searched whole.
    unread: Cell<usize>,
}

struct Watched {
    dfa: DFA,
    cache: Cache,
}

/// A search that was stopped.
#[derive(Debug)]
pub(super) struct SearchStopped;

impl fmt::Display for SearchStopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the search was stopped")
    }
}

impl<'a> Pattern<'a> {
    /// Compiles one.
    ///
    /// # Errors
    /// A sentence for the model.
    pub fn new(pattern: &str, stop: Stop<'a>) -> Result<Pattern<'a>, String> {
        let unusable = |error: &dyn fmt::Display| {
            let error = error.to_string();
            // The message shows the pattern, which may be long; its last line says what is wrong.
            let short = match error.len() > MAX_ERROR {
                true => error.lines().last().unwrap_or_default(),
                false => &error,
            };
            format!("The pattern cannot be used, escape what is meant literally: {short}")
        };
        // A pattern may match bytes that are not UTF-8.
        let syntax = syntax::Config::new().utf8(false);
        let parsed = syntax::parse_with(pattern, &syntax).map_err(|e| unusable(&e))?;
        let config = meta::Config::new()
            .utf8_empty(false)
            .nfa_size_limit(Some(MAX_SIZE))
            .hybrid_cache_capacity(MAX_SIZE);
        let usual = meta::Builder::new()
            .configure(config)
            .build_from_hir(&parsed)
            .map_err(|error| match error.size_limit() {
                Some(limit) => format!(
                    "The pattern is too large: it takes more than {} when it is compiled. Classes \
                     such as \\w and \\p{{L}} are large; (?-u) makes them those of ASCII.",
                    super::shown::size(limit as u64)
                ),
                None => unusable(&error),
            })?;
        let config = thompson::Config::new()
            .utf8(false)
            .nfa_size_limit(Some(MAX_SIZE))
            .which_captures(WhichCaptures::None);
        let nfa = thompson::Compiler::new()
            .configure(config)
            .build_from_hir(&parsed)
            .map_err(|e| unusable(&e))?;
        Ok(Pattern {
            usual,
            nfa,
            watched: RefCell::new(None),
            stop,
            unread: Cell::new(0),
        })
    }

    /// Lines that are too long for this pattern, and were not searched to their end.
    pub fn unread(&self) -> usize {
        self.unread.get()
    }

    /// Where a line matches; of a very long one perhaps only where the match ends.
    ///
    /// # Errors
    /// The search was stopped.
    pub fn find(&self, line: &[u8]) -> Result<Option<Match>, SearchStopped> {
        if (self.stop)() {
            return Err(SearchStopped);
        }
        if line.len().saturating_mul(self.nfa.states().len()) <= UNWATCHED {
            let found = self.usual.find(line);
            return Ok(found.map(|found| Match::new(found.start(), found.end())));
        }
        self.watched(line)
    }

    fn watched(&self, line: &[u8]) -> Result<Option<Match>, SearchStopped> {
        let mut watched = self.watched.borrow_mut();
        if watched.is_none() {
            let config = DFA::config()
                .cache_capacity(MAX_CACHE)
                .skip_cache_capacity_check(true)
                // The DFA stops where a word's border stands beside a letter that is not ASCII.
                .unicode_word_boundary(true);
            let dfa = DFA::builder()
                .configure(config)
                .build_from_nfa(self.nfa.clone());
            let Ok(dfa) = dfa else {
                return Ok(self.too_long());
            };
            let cache = dfa.create_cache();
            *watched = Some(Watched { dfa, cache });
        }
        let Some(Watched { dfa, cache }) = &mut *watched else {
            return Ok(None);
        };
        let input = Input::new(line).anchored(Anchored::No);
        let Ok(mut state) = dfa.start_state_forward(cache, &input) else {
            return Ok(self.too_long());
        };
        for (piece, bytes) in line.chunks(LOOK).enumerate() {
            if (self.stop)() {
                return Err(SearchStopped);
            }
            for (at, byte) in bytes.iter().enumerate() {
                let Ok(next) = dfa.next_state(cache, state, *byte) else {
                    return Ok(self.too_long());
                };
                state = next;
                if !state.is_tagged() {
                    continue;
                }
                if state.is_match() {
                    // The DFA knows the match one byte later.
                    let end = piece * LOOK + at;
                    return Ok(Some(Match::new(end, end)));
                }
                if state.is_dead() {
                    return Ok(None);
                }
                if state.is_quit() {
                    return Ok(self.too_long());
                }
            }
        }
        match dfa.next_eoi_state(cache, state) {
            Ok(state) if state.is_match() => Ok(Some(Match::new(line.len(), line.len()))),
            Ok(_) => Ok(None),
            Err(_) => Ok(self.too_long()),
        }
    }

    fn too_long(&self) -> Option<Match> {
        self.unread.set(self.unread.get() + 1);
        None
    }
}

/// The matcher that the searcher calls for each line.
impl Matcher for Pattern<'_> {
    type Captures = NoCaptures;
    type Error = SearchStopped;

    fn find_at(&self, line: &[u8], at: usize) -> Result<Option<Match>, SearchStopped> {
        let rest = line.get(at..).unwrap_or_default();
        // A text that the searcher itself decoded keeps its CR.
        let rest = rest.strip_suffix(b"\r").unwrap_or(rest);
        let found = self.find(rest)?;
        Ok(found.map(|found| found.offset(at)))
    }

    fn new_captures(&self) -> Result<NoCaptures, SearchStopped> {
        Ok(NoCaptures::new())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    const ON: Stop<'static> = &|| false;

    /// The watched way gives the same answer as the usual one.
    #[test]
    fn long_lines_match_as_short_ones_do() {
        let patterns = [
            "needle",
            "^x*needle",
            "needle$",
            "^$",
            "n[a-z]{3}le",
            "(?i)NEEDLE",
            "привет",
            "a|needle",
            "^needle",
            "x$",
            r"\bneedle\b",
            r"needle\d",
            "",
        ];
        let lines = [
            "",
            "needle",
            "xx needle",
            "xxneedle7x",
            "needl",
            "привет needle",
        ];
        for pattern in patterns {
            let pattern = Pattern::new(pattern, ON).unwrap();
            for line in lines {
                let usual = pattern.usual.is_match(line);
                let watched = pattern.watched(line.as_bytes()).unwrap().is_some();
                let skipped = pattern.unread.take() > 0;
                assert!(
                    watched == usual || skipped,
                    "{pattern:?} {line:?}",
                    pattern = pattern.nfa
                );
                assert!(!skipped || !line.is_ascii(), "only beside other letters");
            }
        }
    }

    /// A row of letters of any script, and a text that keeps all of its states busy: as often as
    /// the pattern looks, it can be stopped, and it looks often.
    #[test]
    fn a_pattern_that_would_take_hours_stops_when_it_is_told_to() {
        let line = "жé漢a".repeat(400_000);
        for pattern in [
            r"(\p{L}{10}){9}\d",
            &r"\p{L}".repeat(100),
            r"(?:\p{L}*\p{L}*){60}!",
        ] {
            let looks = Cell::new(0);
            let stop = || {
                looks.set(looks.get() + 1);
                looks.get() > 20
            };
            let pattern = Pattern::new(pattern, &stop).unwrap();
            let began = Instant::now();
            let found = pattern.find(format!("1{line}").as_bytes());
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "{:?}",
                began.elapsed()
            );
            // Found before, or stopped.
            assert!(found.is_err() && looks.get() == 21 || found.is_ok_and(|f| f.is_some()));
        }
    }

    #[test]
    fn a_pattern_is_compiled_or_refused_in_a_moment() {
        let began = Instant::now();
        let rows = [
            r"\p{L}".repeat(2000),
            r"\w{1000}{1000}".to_owned(),
            "(?i)".to_owned() + &"[а-яa-z漢]{99}".repeat(100),
            "(".repeat(5000) + &")".repeat(5000),
        ];
        for (at, pattern) in rows.iter().enumerate() {
            match Pattern::new(pattern, ON) {
                Ok(_) => assert_eq!(at, 2),
                Err(error) => assert!(error.len() < 1500, "{}", error.len()),
            }
        }
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{:?}",
            began.elapsed()
        );
    }
}
