//! How likely the tokens of an answer were, told with the text that they became. Text is shown later than
//! its tokens were sampled, and some tokens become none (thinking's marks, calls): so a token's bytes are
//! looked for in what is shown.

use std::collections::VecDeque;

use crate::agent::values::event::Event;
use crate::agent::values::odds::Weighed;
use crate::chat::reply::ReplyEvent;

/// Tokens whose text was not shown yet.
#[derive(Debug, Default)]
pub(in crate::agent) struct Unshown {
    /// Each with the place where its bytes begin.
    tokens: VecDeque<(usize, Weighed)>,
    /// Their bytes, but for those that were shown.
    bytes: Vec<u8>,
    /// The place of the first of these bytes.
    start: usize,
}

impl Unshown {
    /// A token was sampled.
    pub fn push(&mut self, token: Weighed) {
        let at = self.start + self.bytes.len();
        self.bytes.extend_from_slice(&token.chosen.bytes);
        self.tokens.push_back((at, token));
    }

    /// The tokens that a text which is shown now came from. Those before them became no text. A text
    /// that none of the bytes are is from all of them: it was written in another form.
    pub fn take(&mut self, text: &str) -> Vec<Weighed> {
        // At the front, where nothing else was sampled; else as late as it can be, behind a mark.
        let found = match self.bytes.starts_with(text.as_bytes()) {
            true => Some(0),
            false => memchr::memmem::rfind(&self.bytes, text.as_bytes()),
        };
        let Some(skipped) = found.filter(|_| !text.is_empty()) else {
            self.start += self.bytes.len();
            self.bytes.clear();
            return self.tokens.drain(..).map(|(_, token)| token).collect();
        };
        let (from, to) = (self.start + skipped, self.start + skipped + text.len());
        self.bytes.drain(..skipped + text.len());
        self.start = to;
        let mut taken = Vec::new();
        let ends = self.tokens.iter().position(|(at, _)| *at >= to);
        for (at, token) in self.tokens.drain(..ends.unwrap_or(self.tokens.len())) {
            if at >= from || at + token.chosen.bytes.len() > from {
                taken.push(token);
            }
        }
        taken
    }
}

impl Unshown {
    /// What a client is told of a reply's parts: before a text of the answer its tokens, where it is
    /// known how likely they were.
    pub fn shown(&mut self, parts: Vec<ReplyEvent>) -> Vec<Event> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::values::odds::Likely;
    use crate::ledger::Token;

    fn weighed(text: &[u8]) -> Weighed {
        Weighed {
            chosen: Likely {
                token: Token(0),
                bytes: text.to_vec(),
                logprob: Some(-1.0),
            },
            top: Vec::new(),
        }
    }

    fn taken(unshown: &mut Unshown, text: &str) -> Vec<String> {
        let taken = unshown.take(text).into_iter();
        taken
            .map(|w| String::from_utf8_lossy(&w.chosen.bytes).into_owned())
            .collect()
    }

    #[test]
    fn a_text_has_the_tokens_whose_bytes_it_is_however_late_it_is_shown() {
        let mut unshown = Unshown::default();
        for token in ["<think>", "hm", "</think>", "\n", "It", " is", " so"] {
            unshown.push(weighed(token.as_bytes()));
        }
        assert_eq!(taken(&mut unshown, "hm"), ["hm"]);
        // The rest of a token that was told already is not told again.
        assert_eq!(taken(&mut unshown, "It i"), ["It", " is"]);
        assert_eq!(taken(&mut unshown, "s so"), [" so"]);
        unshown.push(weighed(b"\xc3"));
        unshown.push(weighed(b"\xa9"));
        assert_eq!(unshown.take("é").len(), 2);
        unshown.push(weighed(b"\xff"));
        assert_eq!(unshown.take("\u{fffd}").len(), 1);
        unshown.push(weighed(b""));
        unshown.push(weighed(b"a"));
        assert_eq!(taken(&mut unshown, "a"), ["", "a"]);
        // Not the one inside of the mark.
        unshown.push(weighed(b"</think>"));
        unshown.push(weighed(b"k"));
        assert_eq!(taken(&mut unshown, "k"), ["k"]);
        assert!(unshown.tokens.is_empty() && unshown.bytes.is_empty());
    }
}
