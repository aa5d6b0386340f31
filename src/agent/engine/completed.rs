//! The last completions of a process: which tokens were read and written. A prompt that goes on from one of
//! them goes on from its tokens, whatever tokens its text would have otherwise.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ledger::{Token, common_prefix};

/// Completions that are remembered.
const MOST: usize = 16;

/// The completions of a process.
#[derive(Debug, Default)]
pub(in crate::agent) struct Completions {
    /// The last used last.
    all: Mutex<Vec<FinishedCompletion>>,
    calls: AtomicU64,
}

/// A completion that was made, or is being made.
#[derive(Clone, PartialEq, Debug, Default)]
pub(in crate::agent) struct FinishedCompletion {
    /// Whose KV it is in the store.
    pub owner: usize,
    /// Prompt and answer, where the tokens are those of this text.
    pub text: Option<String>,
    /// Prompt and answer.
    pub tokens: Vec<Token>,
    /// How many of them are the prompt's.
    pub prompt: usize,
    /// How many of them were decoded.
    pub decoded: usize,
}

/// What is known of a prompt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::agent) struct CompletionPlace {
    /// Whose KV it becomes in the store.
    pub owner: usize,
    /// How many of its first tokens a completion decoded before.
    pub decoded: usize,
}

impl Completions {
    fn all(&self) -> MutexGuard<'_, Vec<FinishedCompletion>> {
        // What is held is whole between two statements, whoever panicked.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of this process's next completion, from 1.
    pub fn count(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The longest completion that a text begins with: its tokens, and the text that follows it.
    pub fn before<'t>(&self, text: &'t str) -> Option<(Vec<Token>, &'t str)> {
        let all = self.all();
        let begins = all.iter().filter_map(|one| {
            let begin = one.text.as_deref().filter(|begin| !begin.is_empty())?;
            Some((&one.tokens, text.strip_prefix(begin)?))
        });
        let longest = begins.min_by_key(|(_, rest)| rest.len());
        longest.map(|(tokens, rest)| (tokens.clone(), rest))
    }

    /// The place of a prompt. One that goes on from a completion, or asks for another answer in the
    /// place of one, is that one's owner.
    pub fn place(&self, prompt: &[Token]) -> CompletionPlace {
        let mut all = self.all();
        let common: Vec<usize> = all
            .iter()
            .map(|one| common_prefix(&one.tokens, prompt))
            .collect();
        let best = (0..all.len()).max_by_key(|at| common[*at]);
        let decoded = best.map_or(0, |at| common[at].min(all[at].decoded));
        let goes_on = best.filter(|at| common[*at] > 0 && common[*at] >= all[*at].prompt);
        let owner = match goes_on {
            Some(at) => all[at].owner,
            None => {
                if all.len() >= MOST {
                    all.remove(0);
                }
                let free = |n: &usize| all.iter().all(|one| one.owner != *n);
                let owner = (0..=all.len()).find(free).unwrap_or_default();
                // So that nobody else takes it meanwhile.
                all.push(FinishedCompletion {
                    owner,
                    ..FinishedCompletion::default()
                });
                owner
            }
        };
        CompletionPlace { owner, decoded }
    }

    /// A completion was made, in the place of its owner's last one.
    pub fn remember(&self, made: FinishedCompletion) {
        let mut all = self.all();
        all.retain(|one| one.owner != made.owner);
        all.push(made);
        if all.len() > MOST {
            all.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(ids: &[i32]) -> Vec<Token> {
        ids.iter().copied().map(Token).collect()
    }

    fn made(owner: usize, text: &str, ids: &[i32], prompt: usize) -> FinishedCompletion {
        FinishedCompletion {
            owner,
            text: Some(text.to_owned()),
            tokens: tokens(ids),
            prompt,
            decoded: ids.len() - 1,
        }
    }

    #[test]
    fn a_prompt_goes_on_from_the_completion_that_it_begins_with() {
        let known = Completions::default();
        let place = |ids: &[i32]| {
            let place = known.place(&tokens(ids));
            (place.owner, place.decoded)
        };
        assert_eq!(place(&[1, 2, 3]), (0, 0));
        known.remember(made(0, "abc", &[1, 2, 3, 4, 5], 3));
        // What follows it, and another answer to the same prompt.
        assert_eq!(place(&[1, 2, 3, 4, 5, 6]), (0, 4));
        assert_eq!(place(&[1, 2, 3, 9]), (0, 3));
        // Another prompt with the same beginning.
        assert_eq!(place(&[1, 2, 8]), (1, 2));
        known.remember(made(1, "ab", &[1, 2, 8], 2));
        let before = |text| known.before(text);
        assert_eq!(before("abcd"), Some((tokens(&[1, 2, 3, 4, 5]), "d")));
        assert_eq!(before("abd"), Some((tokens(&[1, 2, 8]), "d")));
        assert_eq!(before("b"), None);
    }

    #[test]
    fn so_many_are_known_and_the_one_that_was_used_longest_ago_goes() {
        let known = Completions::default();
        for n in 0..40 {
            let prompt = tokens(&[100 + n]);
            let owner = known.place(&prompt).owner;
            assert!(owner < MOST, "{owner}");
            known.remember(made(owner, "", &[100 + n, 1], 1));
        }
        assert_eq!(known.all().len(), MOST);
        assert_eq!(known.place(&tokens(&[100])).decoded, 0);
        assert_eq!(known.place(&tokens(&[139, 1])).decoded, 1);
    }
}
