//! How likely a token was: by the row of logits that it was chosen from, before temperature, cuts and
//! grammars. It is computed where somebody asks for it, and costs one pass over the vocabulary a token.

use crate::ledger::Token;

/// A token of a reply and the most likely ones in its place. Probabilities are natural logarithms.
#[derive(Clone, PartialEq, Debug)]
pub struct Odds {
    /// The token.
    pub token: Token,
    /// Its own.
    pub logprob: f32,
    /// The most likely tokens, the likeliest first; of two that are as likely, the lower id.
    pub top: Vec<(Token, f32)>,
}

impl Odds {
    /// Of a token that was chosen from this row; with at most `most` likely ones. A token or a logit
    /// that is none has no probability (minus infinity).
    pub fn of(row: &[f32], token: Token, most: usize) -> Odds {
        let highest = row.iter().copied().filter(|l| !l.is_nan());
        let highest = f64::from(highest.fold(f32::NEG_INFINITY, f32::max));
        let each = row.iter().map(|logit| f64::from(*logit) - highest);
        let sum: f64 = each.filter(|l| !l.is_nan()).map(f64::exp).sum();
        let whole = highest + sum.ln();
        let logprob = |logit: f32| {
            let logprob = (f64::from(logit) - whole) as f32;
            if logprob.is_nan() {
                f32::NEG_INFINITY
            } else {
                logprob
            }
        };
        let chosen = usize::try_from(token.0).ok().and_then(|at| row.get(at));
        Odds {
            token,
            logprob: chosen.map_or(f32::NEG_INFINITY, |logit| logprob(*logit)),
            top: likeliest(row, most)
                .into_iter()
                .map(|at| (Token(at as i32), logprob(row[at])))
                .collect(),
        }
    }
}

/// The places of the greatest values, the greatest first.
fn likeliest(row: &[f32], most: usize) -> Vec<usize> {
    let before = |a: &usize, b: &usize| row[*b].total_cmp(&row[*a]).then(a.cmp(b));
    let mut places: Vec<usize> = (0..row.len()).filter(|at| !row[*at].is_nan()).collect();
    let most = most.min(places.len());
    if most == 0 {
        return Vec::new();
    }
    if most < places.len() {
        places.select_nth_unstable_by(most - 1, before);
        places.truncate(most);
    }
    places.sort_unstable_by(before);
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probabilities_of_a_row_are_one_together_and_the_greatest_logit_has_the_greatest() {
        let row = [2.0, -1.0, 700.0, 699.0, f32::NEG_INFINITY, 699.0];
        let odds = Odds::of(&row, Token(3), row.len());
        let order: Vec<i32> = odds.top.iter().map(|(token, _)| token.0).collect();
        assert_eq!(order, [2, 3, 5, 0, 1, 4]);
        let sum: f64 = odds.top.iter().map(|(_, l)| f64::from(*l).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
        assert_eq!(odds.logprob, odds.top[1].1);
        assert_eq!(Odds::of(&row, Token(3), 2).top, odds.top[..2]);
        assert_eq!(Odds::of(&row, Token(3), 0).top, []);
        assert_eq!(Odds::of(&row, Token(99), 0).logprob, f32::NEG_INFINITY);
        assert_eq!(
            Odds::of(&[f32::NAN, 1.0], Token(1), 5).top,
            [(Token(1), 0.0)]
        );
    }
}
