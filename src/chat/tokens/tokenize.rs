//! Text to tokens so that content cannot speak as the template.
//!
//! A text in which no content holds control text is llama.cpp's to tokenize. In any other, the
//! hostile path cuts the text ourselves where the *template* wrote special tokens, and what lies
//! between becomes ordinary text tokens. On text that is not hostile both paths give the same.
//!
//! Both are judged by the tokens that come out, not by the text alone: a tokenizer sees a text with
//! spaces as `▁`, a space before it, bytes as other characters, and looks up what it merged among
//! all tokens, control tokens too. So `of▁the` after a space can be the token `▁of▁the`.

use std::collections::HashSet;

pub use super::authored::Authored;
use super::control::{AuthoredText, Fragment, Special, SpecialClass, Specials, is_space};
use crate::ledger::Token;
use crate::llama::{Vocab, VocabError};

#[cfg(test)]
mod tests;

/// Why pieces did not become tokens.
#[derive(Debug, thiserror::Error)]
pub enum TokenizeError {
    /// llama.cpp refused.
    #[error(transparent)]
    Vocab(#[from] VocabError),
    /// The special tokens of the vocabulary make no automaton.
    #[error("the special tokens of this vocabulary cannot be searched for: {0}")]
    Automaton(#[from] aho_corasick::BuildError),
    /// Content would be a control token however it is cut.
    #[error("a content holds {0:?}, which this vocabulary can only read as a control token")]
    Unbreakable(String),
    /// The vocabulary spoils text that is tokenized in parts.
    #[error(
        "this vocabulary ({0}) puts a space before each part of a text, so control text in a content cannot be broken"
    )]
    Prefix(&'static str),
}

/// How a text joins what stands before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Junction {
    /// The text is the first, or follows a special token: llama.cpp's own treatment.
    Fresh,
    /// The text follows ordinary text: no space prefix.
    Text,
}

/// A character that no token holds: the tokens of what follows it are those of a text without a
/// space prefix.
struct Guard {
    text: String,
    tokens: Vec<Token>,
}

/// Tokenizes with the rights of template and content kept apart. Built once for a vocabulary and a
/// template; a call costs time in the length of its text.
pub struct Tokenizer {
    vocab: Vocab,
    specials: Specials,
    /// Control tokens and marks.
    guarded: HashSet<Token>,
    /// All tokens that llama.cpp cuts a text at.
    cutting: HashSet<Token>,
    /// What the vocabulary makes of a character it does not have.
    unknown: Option<Token>,
    /// There if the vocabulary puts a space before texts.
    prefix: Option<Guard>,
}

impl Tokenizer {
    /// Looks through the vocabulary. A user-defined token counts as a mark, which content may not
    /// write, if it stands in `template_source` or has the form `<|…|>`, and has both letters and
    /// punctuation.
    ///
    /// # Errors
    /// When the special tokens make no automaton, or llama.cpp cannot tokenize at all.
    pub fn new(vocab: Vocab, template_source: &str) -> Result<Tokenizer, TokenizeError> {
        let mut list = Vec::new();
        for token in vocab.tokens() {
            let control = vocab.is_control(token);
            if !control && !vocab.is_user_defined(token) {
                continue;
            }
            let text = vocab.text(token);
            let class = if control {
                SpecialClass::Control
            } else if is_mark(&text, template_source) {
                SpecialClass::Mark
            } else {
                SpecialClass::Word
            };
            let (lstrip, rstrip) = vocab.strips(token);
            list.push(Special {
                token,
                text,
                class,
                lstrip,
                rstrip,
            });
        }
        let cutting = list.iter().map(|s| s.token).collect();
        let guarded = list
            .iter()
            .filter(|s| s.class != SpecialClass::Word)
            .map(|s| s.token)
            .collect();
        let stranger = stranger(&vocab);
        let unknown = vocab
            .tokenize(&stranger, false)?
            .into_iter()
            .find(|token| vocab.is_control(*token));
        let probe = vocab.tokenize("x", false)?;
        let prefix = if vocab.bytes(&probe, true).starts_with(b" ") {
            Some(Guard {
                tokens: vocab.tokenize(&stranger, false)?,
                text: stranger,
            })
        } else {
            None
        };
        Ok(Tokenizer {
            specials: Specials::new(list)?,
            vocab,
            guarded,
            cutting,
            unknown,
            prefix,
        })
    }

    /// The tokens of a rendered text. `at_start`: it is the first text of a ledger, and BOS is put
    /// before it if the vocabulary wants one and the template did not write it. Otherwise it
    /// follows, or begins with, a special token. EOS is never added.
    ///
    /// # Errors
    /// See [`TokenizeError`].
    pub fn tokenize(
        &self,
        pieces: &[Authored],
        at_start: bool,
    ) -> Result<Vec<Token>, TokenizeError> {
        let mut tokens = self.tokens(&AuthoredText::of(pieces), Junction::Fresh)?;
        if at_start
            && self.vocab.adds_bos()
            && let Some(bos) = self.vocab.bos()
            && tokens.first() != Some(&bos)
        {
            tokens.insert(0, bos);
        }
        Ok(tokens)
    }

    /// The tokens of a text that is appended to `ledger`; an empty ledger is a start.
    ///
    /// `tokens(a ‖ b) == tokens(a) ‖ continuation(tokens(a), b)` wherever `a` ends or `b` begins
    /// with a special token of the template, or with a user-defined word of which `b` does not
    /// make a longer one. It does not hold where the cut goes through ordinary text (tokens that
    /// reach over it are not made; a space prefix is not added either), nor where `b` begins with
    /// a token that strips white space to its left and `a` ends in white space: decoded tokens
    /// stay.
    ///
    /// # Errors
    /// See [`TokenizeError`].
    pub fn continuation(
        &self,
        ledger: &[Token],
        pieces: &[Authored],
    ) -> Result<Vec<Token>, TokenizeError> {
        let Some(last) = ledger.last() else {
            return self.tokenize(pieces, true);
        };
        let mut rendered = AuthoredText::of(pieces);
        if !self.cutting.contains(last) {
            return self.tokens(&rendered, Junction::Text);
        }
        if self.vocab.strips(*last).1 {
            let space = rendered.text.bytes().take_while(|b| is_space(*b)).count();
            rendered = rendered.without_first(space);
        }
        self.tokens(&rendered, Junction::Fresh)
    }

    /// The control tokens of the vocabulary, the longest text first.
    pub fn control_tokens(&self) -> impl Iterator<Item = Token> {
        self.specials
            .list()
            .iter()
            .filter(|special| special.class == SpecialClass::Control)
            .map(|special| special.token)
    }

    /// The tokens that content may not write, see [`Tokenizer::is_guarded`]; the longest text first.
    pub fn guarded_tokens(&self) -> impl Iterator<Item = Token> {
        self.specials
            .list()
            .iter()
            .filter(|special| special.class != SpecialClass::Word)
            .map(|special| special.token)
    }

    /// Whether content may not write this token: a control token, or a user-defined one that the
    /// template uses as a mark.
    pub fn is_guarded(&self, token: Token) -> bool {
        self.guarded.contains(&token)
    }

    /// Index of the last token that is a control token or a mark: a text cut after it is tokenized
    /// the same on both sides.
    pub fn last_control(&self, tokens: &[Token]) -> Option<usize> {
        tokens.iter().rposition(|token| self.is_guarded(*token))
    }

    /// The text of some tokens, control tokens included. A vocabulary that puts a space before
    /// texts shows that space; bytes that are no UTF-8 are U+FFFD.
    pub fn text_of(&self, tokens: &[Token]) -> String {
        String::from_utf8_lossy(&self.vocab.bytes(tokens, true)).into_owned()
    }

    /// The vocabulary.
    pub fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    fn tokens(&self, rendered: &AuthoredText, join: Junction) -> Result<Vec<Token>, TokenizeError> {
        if !self.specials.hostile(rendered) {
            let tokens = self.plain(&rendered.text, join, true)?;
            if !rendered.has_content() || self.by_template(&tokens, rendered) {
                return Ok(tokens);
            }
        }
        self.tokenize_hostile(rendered, join)
    }

    /// Whether all guarded tokens among `tokens` are where the template wrote their text.
    fn by_template(&self, tokens: &[Token], rendered: &AuthoredText) -> bool {
        let mut guarded = tokens.iter().filter(|t| self.speaks(**t)).peekable();
        if guarded.peek().is_none() {
            return true;
        }
        let fragments = self.specials.partition(rendered);
        let written = fragments.iter().filter_map(|fragment| match fragment {
            Fragment::Token(token) if self.speaks(*token) => Some(token),
            _ => None,
        });
        guarded.eq(written)
    }

    /// Whether a token is one that content may not become. What stands for characters that the
    /// vocabulary does not have is a control token in some, and says nothing.
    fn speaks(&self, token: Token) -> bool {
        self.is_guarded(token) && Some(token) != self.unknown
    }

    /// The path for text in which content holds control text.
    fn tokenize_hostile(
        &self,
        rendered: &AuthoredText,
        mut join: Junction,
    ) -> Result<Vec<Token>, TokenizeError> {
        let mut tokens = Vec::new();
        for fragment in self.specials.partition(rendered) {
            match fragment {
                Fragment::Token(token) => {
                    tokens.push(token);
                    join = Junction::Fresh;
                }
                Fragment::Text(range) => {
                    let text = &rendered.text[range.clone()];
                    tokens.extend(if rendered.by_template(&range) {
                        self.plain(text, join, false)?
                    } else {
                        self.harmless(text, join)?
                    });
                }
            }
        }
        Ok(tokens)
    }

    /// The tokens of a text none of which is a control token or a mark.
    fn harmless(&self, text: &str, mut join: Junction) -> Result<Vec<Token>, TokenizeError> {
        // Marks are cut out of text in any case; these breaks are known beforehand.
        let mut tokens = Vec::new();
        let mut start = 0;
        for end in self.specials.breaks(text).into_iter().chain([text.len()]) {
            let part = &text[start..end];
            let natural = self.plain(part, join, false)?;
            if natural.iter().any(|token| self.speaks(*token)) {
                tokens.extend(self.broken(part, join)?);
            } else {
                tokens.extend(natural);
            }
            join = Junction::Text;
            start = end;
        }
        Ok(tokens)
    }

    /// The tokens of a text of which the tokenizer makes a control token or a mark, though it is
    /// given as text: cut one character before such a token is whole, so that the rest keeps its
    /// natural tokens. Each cut is found by doubling and halving, so the time is that of the
    /// text's length times the logarithm of a part's.
    fn broken(&self, text: &str, mut join: Junction) -> Result<Vec<Token>, TokenizeError> {
        let ends = text.char_indices().skip(1).map(|(at, _)| at);
        let bounds: Vec<usize> = [0].into_iter().chain(ends).chain([text.len()]).collect();
        let last = bounds.len() - 1;
        let mut tokens = Vec::new();
        let (mut from, mut step) = (0, 64);
        while from < last {
            // In characters: up to `clean` there is no control token, up to `bad` there is one.
            let (mut clean, mut bad) = (from, last + 1);
            let mut kept = Vec::new();
            let mut to = (from + step).min(last);
            while bad - clean > 1 {
                let part = self.plain(&text[bounds[from]..bounds[to]], join, false)?;
                match part.iter().find(|token| self.speaks(**token)) {
                    Some(token) if to == from + 1 => {
                        return Err(TokenizeError::Unbreakable(self.vocab.text(*token)));
                    }
                    Some(_) => bad = to,
                    None => (clean, kept) = (to, part),
                }
                to = if bad > last {
                    (clean + (clean - from)).min(last)
                } else {
                    clean + (bad - clean) / 2
                };
            }
            tokens.append(&mut kept);
            step = 2 * (clean - from);
            from = clean;
            join = Junction::Text;
        }
        Ok(tokens)
    }

    /// llama.cpp's tokens of a text, with or without its space prefix.
    fn plain(
        &self,
        text: &str,
        join: Junction,
        special: bool,
    ) -> Result<Vec<Token>, TokenizeError> {
        let guard = match (&self.prefix, join) {
            (Some(guard), Junction::Text) if !text.is_empty() => guard,
            _ => return Ok(self.vocab.tokenize(text, special)?),
        };
        let mut tokens = self
            .vocab
            .tokenize(&format!("{}{text}", guard.text), special)?;
        if !tokens.starts_with(&guard.tokens) {
            return Err(TokenizeError::Prefix(self.vocab.kind()));
        }
        tokens.drain(..guard.tokens.len());
        Ok(tokens)
    }
}

/// Whether a user-defined token is a mark of the template. Words and runs of white space are not,
/// though they stand in it: content must be able to use them.
fn is_mark(text: &str, template_source: &str) -> bool {
    let letters = text.chars().any(char::is_alphanumeric);
    let signs = text
        .chars()
        .any(|c| !c.is_alphanumeric() && !c.is_whitespace() && c != '▁');
    let formed = text.starts_with('<') && text.ends_with('>') && text.contains(['|', '｜']);
    letters && signs && (formed || template_source.contains(text))
}

/// A character that stands in no token of the vocabulary: from the private use area.
fn stranger(vocab: &Vocab) -> String {
    let private = '\u{e000}'..='\u{f8ff}';
    let known: HashSet<char> = vocab
        .tokens()
        .flat_map(|token| vocab.text(token).chars().collect::<Vec<_>>())
        .filter(|c| private.contains(c))
        .collect();
    let free = private.clone().find(|c| !known.contains(c));
    free.unwrap_or(*private.start()).to_string()
}
