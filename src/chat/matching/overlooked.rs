//! Values that differ between two texts which are otherwise equal, and the rule that lets each pass. Pure.

use super::rules::{HeadPlace, Masked, PinRule, PinRules};

/// A change that a rule let pass.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Overlooked {
    /// The rule.
    pub rule: PinRule,
    /// Where.
    pub place: HeadPlace,
    /// What is pinned.
    pub was: String,
    /// What came.
    pub is: String,
}

/// Lists the values that differ between two texts that are the same but for them; gives the rule that
/// is switched off and would have been needed.
pub(super) fn values(
    was: &Masked,
    is: &Masked,
    place: HeadPlace,
    rules: PinRules,
    seen: &mut Vec<Overlooked>,
) -> Option<PinRule> {
    // A line that may be there or not has no place to be compared by.
    let lines = |masked: &Masked| {
        let all = masked
            .found
            .iter()
            .filter(|f| f.rule == PinRule::BillingLine);
        all.map(|f| f.value.clone()).collect::<Vec<_>>().join("\n")
    };
    let in_place = |masked: &Masked| -> Vec<(PinRule, String)> {
        let all = masked
            .found
            .iter()
            .filter(|f| f.rule != PinRule::BillingLine);
        all.map(|f| (f.rule, f.value.clone())).collect()
    };
    let mut changes = vec![(PinRule::BillingLine, lines(was), lines(is))];
    let pairs = in_place(was).into_iter().zip(in_place(is));
    changes.extend(pairs.map(|((rule, was), (_, is))| (rule, was, is)));
    for (rule, was, is) in changes.into_iter().filter(|(_, was, is)| was != is) {
        if !rules.has(rule) {
            return Some(rule);
        }
        seen.push(Overlooked {
            rule,
            place,
            was,
            is,
        });
    }
    None
}
