//! Which bytes of a rendering the template wrote and which came from contents.
//!
//! A conversation is rendered twice: once with a sentinel in the place of each text that the template did
//! not write (a *placeholder*), once as it is. The first rendering shows where the template puts each text,
//! the second what the template makes of it. The pieces, joined, are the second rendering. A text that
//! cannot be placed is refused, so that content is never taken for the template's text.

use crate::chat::tokens::authored::Authored;

/// How the template changed a content on its way into the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentForm {
    /// Not at all.
    Verbatim,
    /// White space removed at both ends.
    Trimmed,
    /// White space removed at the start.
    TrimmedStart,
    /// White space removed at the end.
    TrimmedEnd,
    /// As the inside of a JSON string.
    Json,
    /// In another way, seen in the rendering.
    Other,
}

/// A part of a rendering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text of the template; may hold control tokens.
    Template(String),
    /// Text from a message; is never a control token.
    Content {
        /// The text as it stands in the rendering.
        text: String,
        /// What the template did to it.
        form: ContentForm,
        /// What it came from.
        owner: ContentOwner,
    },
}

/// What a content belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentOwner {
    /// A message: its index among those that were given.
    Message(usize),
    /// The session's system prompt.
    System,
    /// The session's tools.
    Tools,
    /// What stands before the words of the first user message, see [`super::TemplateFrame::preface`].
    Preface,
}

impl std::fmt::Display for ContentOwner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ContentOwner::Message(index) => write!(f, "message {index}"),
            ContentOwner::System => f.write_str("the system prompt"),
            ContentOwner::Tools => f.write_str("the tools"),
            ContentOwner::Preface => f.write_str("the notes before the first message"),
        }
    }
}

impl Piece {
    /// The piece's text, whoever wrote it.
    pub fn text(&self) -> &str {
        match self {
            Piece::Template(text) | Piece::Content { text, .. } => text,
        }
    }
}

/// The text of all pieces.
pub fn join(pieces: &[Piece]) -> String {
    pieces.iter().map(Piece::text).collect()
}

/// The pieces as the tokenizer wants them: who wrote what, and no more.
pub fn for_tokenizer(pieces: Vec<Piece>) -> Vec<Authored> {
    let right = |piece| match piece {
        Piece::Template(text) => Authored::Template(text),
        Piece::Content { text, .. } => Authored::Content(text),
    };
    pieces.into_iter().map(right).collect()
}

/// A foreign text and the sentinel that stands for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placeholder {
    /// Stands for the text in the first rendering; occurs in no content.
    pub sentinel: String,
    /// The foreign text.
    pub text: String,
    /// What it belongs to.
    pub owner: ContentOwner,
}

/// Why a rendering cannot be taken apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// The template leaves a text out.
    #[error("the template leaves out the text of {0}")]
    Dropped(ContentOwner),
    /// The template writes a text more than once.
    #[error("the template writes the text of {0} more than once")]
    Repeated(ContentOwner),
    /// The template's own text depends on the content.
    #[error("the template writes other text of its own around {0} when its content changes")]
    Unplaced(ContentOwner),
    /// Two renderings of the same messages differ where no message stands.
    #[error("the template does not write the same text twice")]
    Unsteady,
}

impl PlaceError {
    /// What cannot be placed.
    pub fn owner(&self) -> Option<ContentOwner> {
        match self {
            PlaceError::Dropped(owner)
            | PlaceError::Repeated(owner)
            | PlaceError::Unplaced(owner) => Some(*owner),
            PlaceError::Unsteady => None,
        }
    }
}

/// Where the slots are in a rendering with sentinels: the template's texts around them
/// (one more than places), and the slots' indexes in order of appearance.
pub fn skeleton<'a>(
    sketch: &'a str,
    slots: &[Placeholder],
) -> Result<(Vec<&'a str>, Vec<usize>), PlaceError> {
    let mut found = Vec::with_capacity(slots.len());
    for (index, slot) in slots.iter().enumerate() {
        let mut hits = sketch.match_indices(&slot.sentinel);
        if slot.owner == ContentOwner::Tools {
            // Templates may write a text of a tool several times, or not at all.
            found.extend(hits.map(|(at, _)| (at, index)));
            continue;
        }
        let (at, _) = hits.next().ok_or(PlaceError::Dropped(slot.owner))?;
        if hits.next().is_some() {
            return Err(PlaceError::Repeated(slot.owner));
        }
        found.push((at, index));
    }
    found.sort_unstable();
    let mut texts = Vec::with_capacity(slots.len() + 1);
    let mut from = 0;
    for &(at, index) in &found {
        texts.push(&sketch[from..at]);
        from = at + slots[index].sentinel.len();
    }
    texts.push(&sketch[from..]);
    Ok((texts, found.into_iter().map(|(_, index)| index).collect()))
}

/// Takes `rendering` apart along the rendering with sentinels. `alone(slot)` renders with that
/// slot's text true and sentinels in all others; it is called only when the usual forms do not fit.
pub fn place(
    sketch: &str,
    rendering: &str,
    slots: &[Placeholder],
    mut alone: impl FnMut(usize) -> Option<String>,
) -> Result<Vec<Piece>, PlaceError> {
    let (texts, order) = skeleton(sketch, slots)?;
    let candidates: Vec<Vec<(ContentForm, String)>> = order
        .iter()
        .map(|&index| forms(&slots[index].text))
        .collect();
    let chosen = match choose(rendering, &texts, &candidates) {
        Some(chosen) => chosen,
        None => {
            let mut seen = Vec::with_capacity(order.len());
            for (at, &index) in order.iter().enumerate() {
                let unplaced = PlaceError::Unplaced(slots[index].owner);
                let text = alone(index).ok_or(unplaced.clone())?;
                seen.push((
                    ContentForm::Other,
                    between(&text, &texts, &order, at, slots).ok_or(unplaced)?,
                ));
            }
            seen
        }
    };
    let mut pieces = Vec::with_capacity(2 * order.len() + 1);
    for (at, (form, text)) in chosen.into_iter().enumerate() {
        push_template(&mut pieces, texts[at]);
        let owner = slots[order[at]].owner;
        pieces.push(Piece::Content { text, form, owner });
    }
    push_template(&mut pieces, texts[order.len()]);
    if join(&pieces) != rendering {
        let first = order.first().map(|&index| slots[index].owner);
        return Err(first.map_or(PlaceError::Unsteady, PlaceError::Unplaced));
    }
    Ok(pieces)
}

fn push_template(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Template(text.to_owned()));
    }
}

fn forms(text: &str) -> Vec<(ContentForm, String)> {
    let json = serde_json::Value::String(text.to_owned()).to_string();
    let all = [
        (ContentForm::Verbatim, text),
        (ContentForm::Trimmed, text.trim()),
        (ContentForm::TrimmedStart, text.trim_start()),
        (ContentForm::TrimmedEnd, text.trim_end()),
        (ContentForm::Json, &json[1..json.len() - 1]),
    ];
    let mut out: Vec<(ContentForm, String)> = Vec::new();
    for (form, made) in all {
        if !out.iter().any(|(_, other)| other == made) {
            out.push((form, made.to_owned()));
        }
    }
    out
}

/// The one way in which forms and template texts, alternating, make up the rendering.
fn choose(
    rendering: &str,
    texts: &[&str],
    candidates: &[Vec<(ContentForm, String)>],
) -> Option<Vec<(ContentForm, String)>> {
    let mut rest = rendering.strip_prefix(texts[0])?;
    let mut chosen = Vec::with_capacity(candidates.len());
    for (at, forms) in candidates.iter().enumerate() {
        let after = texts[at + 1];
        let last = at + 1 == candidates.len();
        let (form, text) = forms.iter().find(|(_, text)| {
            rest.strip_prefix(text.as_str()).is_some_and(|rest| {
                if last {
                    rest == after
                } else {
                    rest.starts_with(after)
                }
            })
        })?;
        rest = &rest[text.len() + after.len()..];
        chosen.push((*form, text.clone()));
    }
    rest.is_empty().then_some(chosen)
}

/// What stands in the place of slot `order[at]` when all others are sentinels.
fn between(
    text: &str,
    texts: &[&str],
    order: &[usize],
    at: usize,
    slots: &[Placeholder],
) -> Option<String> {
    let mut before = String::new();
    for n in 0..at {
        before.push_str(texts[n]);
        before.push_str(&slots[order[n]].sentinel);
    }
    before.push_str(texts[at]);
    let mut after = texts[at + 1].to_owned();
    for n in at + 1..order.len() {
        after.push_str(&slots[order[n]].sentinel);
        after.push_str(texts[n + 1]);
    }
    let inner = text.strip_prefix(&before)?;
    inner.strip_suffix(&after).map(str::to_owned)
}

/// Length of the common prefix, on a character boundary.
pub(super) fn common(a: &str, b: &str) -> usize {
    let mut n = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
    while !a.is_char_boundary(n) {
        n -= 1;
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(texts: &[&str]) -> Vec<Placeholder> {
        texts
            .iter()
            .enumerate()
            .map(|(n, text)| Placeholder {
                sentinel: format!("S{n}S"),
                text: (*text).to_owned(),
                owner: ContentOwner::Message(n),
            })
            .collect()
    }

    #[test]
    fn contents_are_found_in_each_form() {
        let slots = slots(&[" a ", " b ", "c\"\n"]);
        let pieces = place("<S0S><S1S><S2S>", "< a ><b><c\\\"\\n>", &slots, |_| None).unwrap();
        let forms: Vec<ContentForm> = pieces
            .iter()
            .filter_map(|p| match p {
                Piece::Content { form, .. } => Some(*form),
                Piece::Template(_) => None,
            })
            .collect();
        assert_eq!(
            forms,
            [
                ContentForm::Verbatim,
                ContentForm::Trimmed,
                ContentForm::Json
            ]
        );
        assert_eq!(join(&pieces), "< a ><b><c\\\"\\n>");
    }

    #[test]
    fn a_form_that_is_not_known_is_seen_by_rendering_it_alone() {
        let slots = slots(&["abc", "def"]);
        let pieces = place("<S0S|S1S>", "<CBA|FED>", &slots, |slot| {
            Some(["<CBA|S1S>", "<S0S|FED>"][slot].to_owned())
        })
        .unwrap();
        assert_eq!(pieces[1].text(), "CBA");
        assert_eq!(pieces[3].text(), "FED");
    }

    #[test]
    fn content_that_looks_like_the_template_stays_content() {
        let slots = slots(&["x><y", "z"]);
        let pieces = place("<S0S><S1S>", "<x><y><z>", &slots, |_| None).unwrap();
        assert_eq!(pieces[1].text(), "x><y");
        assert_eq!(pieces[3].text(), "z");
    }

    #[test]
    fn a_tools_text_may_stand_twice_or_nowhere_and_is_content_wherever_it_stands() {
        let mut slots = slots(&["a", "b", "c"]);
        slots[0].owner = ContentOwner::Tools;
        slots[1].owner = ContentOwner::Tools;
        let pieces = place("<S0S><S0S><S2S>", "<a><a><c>", &slots, |_| None).unwrap();
        let contents = pieces.iter().filter(|p| matches!(p, Piece::Content { .. }));
        assert_eq!(contents.map(Piece::text).collect::<String>(), "aac");
        assert_eq!(join(&pieces), "<a><a><c>");
    }

    #[test]
    fn what_is_dropped_repeated_or_moved_is_refused() {
        let slots = slots(&["a", "b"]);
        assert_eq!(
            place("<S0S>", "<a>", &slots, |_| None),
            Err(PlaceError::Dropped(ContentOwner::Message(1)))
        );
        assert_eq!(
            place("<S0S><S0S><S1S>", "<a><a><b>", &slots, |_| None),
            Err(PlaceError::Repeated(ContentOwner::Message(0)))
        );
        assert!(matches!(
            place("<S0S><S1S>", "<a>!<b>", &slots, |_| None),
            Err(PlaceError::Unplaced(_))
        ));
    }
}
