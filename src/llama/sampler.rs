//! Choosing the next token from a row of logits. Each call makes a new chain; the ledger gives it
//! the tokens of the past that penalties need.

use std::ffi::CString;

use llama_cpp_sys_2 as sys;
use serde::{Deserialize, Serialize};

use super::Vocab;
use crate::ledger::Token;

/// How tokens are chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sampling {
    /// 0 takes the most likely token.
    pub temperature: f32,
    /// Keep the k most likely; 0 keeps all.
    pub top_k: u32,
    /// Keep the most likely that together reach this probability; 1 keeps all.
    pub top_p: f32,
    /// Keep those at least this likely, relative to the most likely; 0 keeps all.
    pub min_p: f32,
    /// Makes tokens of the last `penalty_window` less likely; 1 is off.
    pub repeat_penalty: f32,
    /// Tokens that `repeat_penalty` looks back.
    pub penalty_window: usize,
    /// Seed of this call: the session's seed mixed with the position.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repeat_penalty: 1.0,
            penalty_window: 64,
            seed: 0,
        }
    }
}

/// A grammar that replies must follow, in llama.cpp's GBNF.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grammar {
    /// The rules; the root is called `root`.
    pub text: String,
    /// Whether it begins only at a trigger.
    pub lazy: bool,
    /// Regular expressions over the reply that begin it, matched from the reply's start.
    pub patterns: Vec<String>,
    /// Tokens that begin it.
    pub tokens: Vec<Token>,
    /// Tokens of the reply that the prompt wrote already; the grammar starts after them.
    pub prefill: Vec<Token>,
    /// The reply so far, where one goes on. Where it does not follow the grammar, what comes is
    /// free.
    pub begun: Vec<Token>,
}

impl Grammar {
    /// Whether llama.cpp can use it.
    ///
    /// # Errors
    /// Where it cannot.
    pub fn check(&self, vocab: &Vocab) -> Result<(), SamplerError> {
        make_grammar(vocab, self).map(drop)
    }
}

/// Why no token was chosen.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SamplerError {
    /// llama.cpp could not read the grammar.
    #[error("the grammar of this call's tools was refused by llama.cpp")]
    Grammar,
    /// A NUL byte in a grammar or trigger.
    #[error("the grammar of this call's tools holds a NUL byte")]
    Nul,
    /// Nothing is left that the grammar allows.
    #[error("no token is left that the grammar of this call's tools allows")]
    Exhausted,
    /// The logits are not numbers.
    #[error("the model's logits are not finite numbers")]
    NotFinite,
    /// llama.cpp refused a token that it had allowed.
    #[error("the sampler refused token {0}")]
    Accept(i32),
}

struct RawSampler(*mut sys::llama_sampler);

// SAFETY: a sampler is used by the thread that owns it, through `&mut`.
unsafe impl Send for RawSampler {}

impl Drop for RawSampler {
    fn drop(&mut self) {
        // SAFETY: made by us and freed once; a chain frees what was added to it.
        unsafe { sys::llama_sampler_free(self.0) }
    }
}

impl RawSampler {
    fn accept(&mut self, token: Token) -> Result<(), SamplerError> {
        // SAFETY: the wrapper catches what llama.cpp throws.
        let status = unsafe { sys::llama_rs_sampler_accept(self.0, token.0) };
        (status == sys::LLAMA_RS_STATUS_OK)
            .then_some(())
            .ok_or(SamplerError::Accept(token.0))
    }

    fn apply(&mut self, candidates: &mut Vec<sys::llama_token_data>) -> i64 {
        let mut array = sys::llama_token_data_array {
            data: candidates.as_mut_ptr(),
            size: candidates.len(),
            selected: -1,
            sorted: false,
        };
        // SAFETY: the array describes the vector; samplers may shrink it but not grow it, and
        // choose within it. They may also swap the pointer, so the result is read through it.
        unsafe {
            sys::llama_sampler_apply(self.0, &mut array);
            if array.data == candidates.as_mut_ptr() {
                candidates.truncate(array.size);
            } else {
                *candidates = std::slice::from_raw_parts(array.data, array.size).to_vec();
            }
        }
        array.selected
    }
}

/// A chain of samplers for one call, with the grammar beside it.
pub struct Sampler {
    chain: Option<RawSampler>,
    grammar: Option<RawSampler>,
    candidates: Vec<sys::llama_token_data>,
}

impl Sampler {
    /// Makes a chain. `recent` are the last tokens of the ledger, for penalties.
    ///
    /// # Errors
    /// When the grammar is refused.
    pub fn new(
        vocab: &Vocab,
        sampling: &Sampling,
        grammar: Option<&Grammar>,
        recent: &[Token],
    ) -> Result<Sampler, SamplerError> {
        let greedy = sampling.temperature <= 0.0;
        let penalties = sampling.repeat_penalty != 1.0 && sampling.penalty_window > 0;
        let chain = (!greedy || penalties).then(|| {
            // SAFETY: each sampler is made and handed to the chain, which frees it.
            unsafe {
                let mut params = sys::llama_sampler_chain_default_params();
                params.no_perf = true;
                let chain = sys::llama_sampler_chain_init(params);
                let add = |s| sys::llama_sampler_chain_add(chain, s);
                if penalties {
                    add(sys::llama_sampler_init_penalties(
                        vocab.size() as i32,
                        sampling.penalty_window.min(65_536) as i32,
                        sampling.repeat_penalty.max(0.01),
                        0.0,
                        0.0,
                    ));
                }
                if greedy {
                    add(sys::llama_sampler_init_greedy());
                } else {
                    add(sys::llama_sampler_init_top_k(
                        sampling.top_k.min(i32::MAX as u32) as i32,
                    ));
                    add(sys::llama_sampler_init_top_p(sampling.top_p, 1));
                    add(sys::llama_sampler_init_min_p(sampling.min_p, 1));
                    add(sys::llama_sampler_init_temp(sampling.temperature));
                    let seed = (sampling.seed ^ (sampling.seed >> 32)) as u32;
                    // u32::MAX means "draw one at random" to llama.cpp.
                    add(sys::llama_sampler_init_dist(seed.min(u32::MAX - 1)));
                }
                RawSampler(chain)
            }
        });
        let mut sampler = Sampler {
            chain,
            grammar: match grammar {
                Some(grammar) => begin(make_grammar(vocab, grammar)?, &grammar.begun),
                None => None,
            },
            candidates: Vec::new(),
        };
        if penalties && let Some(chain) = &mut sampler.chain {
            let skip = recent.len().saturating_sub(sampling.penalty_window);
            for token in &recent[skip..] {
                chain.accept(*token)?;
            }
        }
        Ok(sampler)
    }

    /// Chooses a token from a row of logits and takes note of it.
    ///
    /// # Errors
    /// When the logits are not numbers or the grammar leaves nothing.
    pub fn sample(&mut self, logits: &[f32]) -> Result<Token, SamplerError> {
        let mut token = self.choose(logits, false)?;
        // As llama.cpp's own tools do: the grammar checks one token first,
        // and the whole vocabulary only when it refuses that token.
        if let Some(grammar) = &mut self.grammar {
            let mut one = vec![data(token.0, 1.0)];
            grammar.apply(&mut one);
            if one.first().is_none_or(|d| d.logit == f32::NEG_INFINITY) {
                token = self.choose(logits, true)?;
            }
            if let Some(grammar) = &mut self.grammar {
                grammar.accept(token)?;
            }
        }
        if let Some(chain) = &mut self.chain {
            chain.accept(token)?;
        }
        Ok(token)
    }

    /// Takes note of a token that was chosen elsewhere (a scripted reply).
    ///
    /// # Errors
    /// When llama.cpp refuses it.
    pub fn accept(&mut self, token: Token) -> Result<(), SamplerError> {
        match &mut self.chain {
            Some(chain) => chain.accept(token),
            None => Ok(()),
        }
    }

    fn choose(&mut self, logits: &[f32], with_grammar: bool) -> Result<Token, SamplerError> {
        if self.chain.is_none() && !with_grammar {
            return argmax(logits.iter().copied().enumerate());
        }
        self.candidates.clear();
        self.candidates.extend(
            logits
                .iter()
                .enumerate()
                .map(|(id, logit)| data(id as i32, *logit)),
        );
        if with_grammar && let Some(grammar) = &mut self.grammar {
            grammar.apply(&mut self.candidates);
            self.candidates.retain(|d| d.logit > f32::NEG_INFINITY);
            if self.candidates.is_empty() {
                return Err(SamplerError::Exhausted);
            }
        }
        let Some(chain) = &mut self.chain else {
            return argmax(self.candidates.iter().map(|d| (d.id as usize, d.logit)));
        };
        if !self.candidates.iter().any(|d| d.logit.is_finite()) {
            return Err(SamplerError::NotFinite);
        }
        let chosen = chain.apply(&mut self.candidates);
        usize::try_from(chosen)
            .ok()
            .and_then(|i| self.candidates.get(i))
            .map(|d| Token(d.id))
            .ok_or(SamplerError::NotFinite)
    }
}

/// Lets a grammar read a reply that goes on; without one where the reply does not follow it.
fn begin(mut grammar: RawSampler, begun: &[Token]) -> Option<RawSampler> {
    let follows = begun.iter().all(|token| grammar.accept(*token).is_ok());
    follows.then_some(grammar)
}

fn data(id: i32, logit: f32) -> sys::llama_token_data {
    sys::llama_token_data { id, logit, p: 0.0 }
}

fn argmax(logits: impl Iterator<Item = (usize, f32)>) -> Result<Token, SamplerError> {
    let mut best: Option<(usize, f32)> = None;
    for (id, logit) in logits {
        if logit.is_finite() && best.is_none_or(|(_, b)| logit > b) {
            best = Some((id, logit));
        }
    }
    best.map(|(id, _)| Token(id as i32))
        .ok_or(SamplerError::NotFinite)
}

fn make_grammar(vocab: &Vocab, grammar: &Grammar) -> Result<RawSampler, SamplerError> {
    let c = |text: &str| CString::new(text).map_err(|_| SamplerError::Nul);
    let text = c(&grammar.text)?;
    let root = c("root")?;
    let patterns = grammar
        .patterns
        .iter()
        .map(|p| c(p))
        .collect::<Result<Vec<_>, _>>()?;
    let mut pointers: Vec<_> = patterns.iter().map(|p| p.as_ptr()).collect();
    // SAFETY: all strings and arrays outlive the call; the wrapper catches exceptions.
    let raw = unsafe {
        if grammar.lazy {
            sys::llama_rs_sampler_init_grammar_lazy_patterns(
                vocab.raw(),
                text.as_ptr(),
                root.as_ptr(),
                pointers.as_mut_ptr(),
                pointers.len(),
                grammar.tokens.as_ptr().cast(),
                grammar.tokens.len(),
            )
        } else {
            sys::llama_rs_sampler_init_grammar(vocab.raw(), text.as_ptr(), root.as_ptr())
        }
    };
    if raw.is_null() {
        return Err(SamplerError::Grammar);
    }
    let mut raw = RawSampler(raw);
    for token in &grammar.prefill {
        raw.accept(*token)?;
    }
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greedy_takes_the_first_of_the_most_likely_tokens_and_refuses_rows_without_a_number() {
        let row = [0.5, 2.0, f32::NAN, 2.0, -1.0];
        assert_eq!(argmax(row.into_iter().enumerate()), Ok(Token(1)));
        let none = [f32::NAN, f32::NEG_INFINITY];
        assert_eq!(
            argmax(none.into_iter().enumerate()),
            Err(SamplerError::NotFinite)
        );
    }
}
