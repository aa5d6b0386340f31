//! Where the frozen head ends. The preface (what differs between sessions) stands in the first user message
//! behind the system text and the tools, so that a session in another folder or on another day reads only
//! its own preface. It belongs to the head: the head ends behind it, whatever the first message says.

use crate::agent::prompt::preface::framed;
use crate::agent::values::error::AgentError;
use crate::chat::Message;
use crate::chat::pieces::{ContentForm, ContentOwner, Piece, for_tokenizer};
use crate::chat::template::{BEHIND_PREFACE, ChatTemplate, TemplateFrame};
use crate::chat::tokenize::Tokenizer;
use crate::ledger::{Token, common_prefix};

/// The frozen head: the tokens up to the end of the preface. Without one it is what two openings with
/// different first messages have in common, cut back to the last control token or mark (some vocabularies
/// have no control tokens in it).
pub(in crate::agent) fn head_of(
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    frame: &TemplateFrame,
) -> Result<Vec<Token>, AgentError> {
    let opening = |text: &str| -> Result<Vec<Piece>, AgentError> {
        Ok(template.opening(frame, &[Message::user(text)])?.pieces)
    };
    let (one, other) = (opening("One.")?, opening("Another one?")?);
    if let Some(head) = tokens_to_end(tokenizer, one.clone())?
        && tokens_to_end(tokenizer, other.clone())?.as_ref() == Some(&head)
    {
        return Ok(head);
    }
    let one = tokens_of(tokenizer, one)?;
    let other = tokens_of(tokenizer, other)?;
    let common = &one[..common_prefix(&one, &other)];
    let last = tokenizer.last_control(common).map_or(0, |i| i + 1);
    Ok(common[..last].to_vec())
}

/// The tokens of a rendering that begins with the first message. What follows the preface is tokenized
/// apart from it: the head ends there with the same tokens before any message.
pub(in crate::agent) fn tokens_of(
    tokenizer: &Tokenizer,
    pieces: Vec<Piece>,
) -> Result<Vec<Token>, AgentError> {
    let (head, rest) = divided(pieces);
    let mut tokens = tokenizer.tokenize(&for_tokenizer(head), true)?;
    if let Some(rest) = rest {
        let rest = tokenizer.continuation(&tokens, &for_tokenizer(rest))?;
        tokens.extend(rest);
    }
    Ok(tokens)
}

/// The tokens of a rendering up to the end of its preface, if it has one.
pub(in crate::agent) fn tokens_to_end(
    tokenizer: &Tokenizer,
    pieces: Vec<Piece>,
) -> Result<Option<Vec<Token>>, AgentError> {
    let (head, rest) = divided(pieces);
    if rest.is_none() {
        return Ok(None);
    }
    Ok(Some(tokenizer.tokenize(&for_tokenizer(head), true)?))
}

/// The pieces up to the end of the preface and those behind it. Where a template trims an empty message
/// away, the empty line behind the preface is put back.
fn divided(mut pieces: Vec<Piece>) -> (Vec<Piece>, Option<Vec<Piece>>) {
    let Some(last) = pieces.iter().rposition(is_preface) else {
        return (pieces, None);
    };
    let mut rest = pieces.split_off(last + 1);
    if let Some(Piece::Template(text)) = rest.first_mut()
        && let Some(behind) = text.strip_prefix(BEHIND_PREFACE)
    {
        *text = behind.to_owned();
    }
    pieces.push(Piece::Template(BEHIND_PREFACE.to_owned()));
    (pieces, Some(rest))
}

fn is_preface(piece: &Piece) -> bool {
    matches!(
        piece,
        Piece::Content {
            owner: ContentOwner::Preface,
            ..
        }
    )
}

/// The frame with its preface where the template can have it: before the first message, or at the end of
/// the system text where the first message cannot be divided.
pub(in crate::agent) fn placed(
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    frame: TemplateFrame,
) -> TemplateFrame {
    if frame.preface.is_none() || is_divisible(template, tokenizer, &frame).unwrap_or(false) {
        return frame;
    }
    let texts = [frame.system.as_deref(), frame.preface.as_deref()];
    let system = texts.into_iter().flatten().collect::<Vec<_>>().join("\n\n");
    TemplateFrame {
        system: Some(system),
        preface: None,
        ..frame
    }
}

/// Whether the template writes the preface as it is, and the tokenizer takes what follows it alone.
fn is_divisible(
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    frame: &TemplateFrame,
) -> Result<bool, AgentError> {
    let pieces = template.opening(frame, &[Message::user("One.")])?.pieces;
    let at = pieces.iter().position(is_preface);
    let as_it_is = at.is_some_and(|at| {
        let verbatim = matches!(
            pieces[at],
            Piece::Content {
                form: ContentForm::Verbatim,
                ..
            }
        );
        let behind = pieces.get(at + 1);
        verbatim && behind.is_some_and(|piece| piece.text().starts_with(BEHIND_PREFACE))
    });
    if !as_it_is {
        return Ok(false);
    }
    let tokens = tokens_of(tokenizer, pieces.clone())?;
    let head = head_of(template, tokenizer, frame)?;
    Ok(tokens.starts_with(&head) && tokens_to_end(tokenizer, pieces)?.as_ref() == Some(&head))
}

/// How many tokens of a head with a preface any session with this system text and these tools begins
/// with, whatever its preface says.
pub(in crate::agent) fn common_len(
    template: &ChatTemplate,
    tokenizer: &Tokenizer,
    frame: &TemplateFrame,
    head: &[Token],
) -> Result<usize, AgentError> {
    if frame.preface.is_none() {
        return Ok(head.len());
    }
    let mut common = head.len();
    // What a vocabulary joins with the line before differs with the first sign behind it.
    for other in ["# Other", "- other", "Other"] {
        let other = TemplateFrame {
            preface: framed(other),
            ..frame.clone()
        };
        let pieces = template.opening(&other, &[Message::user("One.")])?.pieces;
        let other = tokens_of(tokenizer, pieces)?;
        common = common.min(common_prefix(head, &other));
    }
    Ok(common)
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
