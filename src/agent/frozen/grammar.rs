//! The grammar of a reply format in the form in which the sampler takes it.

use crate::chat::template::ReplyFormat;
use crate::ledger::Token;
use crate::llama::{Grammar, Vocab};

/// The grammar of a format, its triggers made tokens and patterns as llama.cpp's own tools do.
pub(in crate::agent) fn grammar(vocab: &Vocab, format: &ReplyFormat) -> Option<Grammar> {
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
