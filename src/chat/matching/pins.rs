//! Pins: the system text, the tools and the first user message of a client's conversation stay as they
//! were first seen. Clients write the date, the state of a repository or a billing line into them again
//! with each request; if that became tokens, every token after it would be evaluated again. Pure.
//!
//! [`PinRule`]s decide which changes are small enough to keep the pinned tokens. Each rule has a name, can
//! be switched off, and is named in the receipt when it overlooked a change. What the model should know of
//! a change stands in a note at the end of the conversation. Every other change makes a new prefix, and
//! the reason is reported.

use serde_json::Value;

use super::blocks::{first_of, masked_first};
pub use super::overlooked::Overlooked;
use super::overlooked::values;
use super::rules::mask;
pub use super::rules::{HeadPlace, PinRule, PinRules};
use super::tools;

#[cfg(test)]
#[path = "pins_tests.rs"]
mod tests;

/// What is pinned, or what came in its place.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Pinned<'a> {
    /// The system text.
    pub system: Option<&'a str>,
    /// The tools, OpenAI form.
    pub tools: Option<&'a Value>,
    /// The text of the first user message.
    pub first: Option<&'a str>,
}

/// What becomes of the pinned tokens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PinVerdict {
    /// The pinned tokens stay. What the rules overlooked, in order.
    Kept(Vec<Overlooked>),
    /// The pinned tokens cannot stay: the reason, a sentence that may be logged.
    New(String),
}

/// Compares what came with what is pinned. The first message is compared where both have one: another
/// text of the user's own is no matter of pins.
pub fn compare(pinned: Pinned<'_>, came: Pinned<'_>, rules: PinRules) -> PinVerdict {
    let mut seen = Vec::new();
    let system = |pinned: Pinned<'_>| pinned.system.unwrap_or_default().trim().to_owned();
    if let Err(why) = system_texts(&system(pinned), &system(came), rules, &mut seen) {
        return PinVerdict::New(why);
    }
    if let Err(why) = tools::compare(pinned.tools, came.tools, rules, &mut seen) {
        return PinVerdict::New(why);
    }
    if let (Some(was), Some(is)) = (pinned.first, came.first)
        && masked_first(was).trim() == masked_first(is).trim()
    {
        let (was, is) = (first_of(was), first_of(is));
        if let Some(refused) = values(&was, &is, HeadPlace::First, rules, &mut seen) {
            return PinVerdict::New(format!("the first message has another {}", refused.thing()));
        }
    }
    PinVerdict::Kept(seen)
}

/// The note to the model about the changes that it should know; `None` when there are none.
pub fn note(seen: &[Overlooked]) -> Option<String> {
    let mut lines: Vec<String> = Vec::new();
    for change in seen.iter().filter(|change| change.rule.told()) {
        let Overlooked { rule, was, is, .. } = change;
        let line = match (rule, was.is_empty(), is.is_empty()) {
            (PinRule::FewLines, true, _) => format!("- The instructions now also say: {is}"),
            (PinRule::FewLines, _, true) => format!("- The instructions no longer say: {was}"),
            (PinRule::FewLines, ..) => {
                format!("- Where the instructions said: {was}\n  they now say: {is}")
            }
            _ => format!("- The {} was {was}, it is now {is}.", rule.thing()),
        };
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    let first = "This has changed since the conversation began:";
    (!lines.is_empty()).then(|| format!("{first}\n{}", lines.join("\n")))
}

/// What a note says when everything is again as it was pinned.
pub const AGAIN: &str = "All instructions are again as they were when the conversation began.";

/// Most lines, and most bytes of them, that may differ in a system text.
const MOST_LINES: usize = 3;
const MOST_BYTES: usize = 600;
/// And they are at most this part of the text: one in so many bytes.
const PART: usize = 10;

fn system_texts(
    was: &str,
    is: &str,
    rules: PinRules,
    seen: &mut Vec<Overlooked>,
) -> Result<(), String> {
    if was == is {
        return Ok(());
    }
    let (old, new) = (mask(was), mask(is));
    let refused = |rule: PinRule| format!("the system text has another {}", rule.thing());
    if old.text.trim() == new.text.trim() {
        return match values(&old, &new, HeadPlace::System, rules, seen) {
            Some(rule) => Err(refused(rule)),
            None => Ok(()),
        };
    }
    let (a, b): (Vec<&str>, Vec<&str>) = (old.text.lines().collect(), new.text.lines().collect());
    let head = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let most = a.len().min(b.len()) - head;
    let tail = a.iter().rev().zip(b.iter().rev());
    let tail = tail.take(most).take_while(|(a, b)| a == b).count();
    let (gone, came) = (&a[head..a.len() - tail], &b[head..b.len() - tail]);
    let bytes = |lines: &[&str]| lines.iter().map(|line| line.len()).sum::<usize>();
    let size = bytes(gone).max(bytes(came));
    let small =
        gone.len().max(came.len()) <= MOST_LINES && size <= MOST_BYTES && size * PART <= was.len();
    if !small || !rules.has(PinRule::FewLines) {
        let at = was
            .chars()
            .zip(is.chars())
            .take_while(|(a, b)| a == b)
            .count();
        return Err(format!(
            "the system text differs from character {at} on, in {} lines of {}",
            gone.len().max(came.len()),
            a.len().max(b.len())
        ));
    }
    let (old_head, old_mid, old_tail) = old.parts(&a[..head], gone);
    let (new_head, new_mid, new_tail) = new.parts(&b[..head], came);
    for (old, new) in [(&old_head, &new_head), (&old_tail, &new_tail)] {
        if let Some(rule) = values(old, new, HeadPlace::System, rules, seen) {
            return Err(refused(rule));
        }
    }
    seen.push(Overlooked {
        rule: PinRule::FewLines,
        place: HeadPlace::System,
        was: old_mid.unmasked(),
        is: new_mid.unmasked(),
    });
    Ok(())
}
