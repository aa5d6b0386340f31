//! Where the special tokens of a text are, and who wrote them: llama.cpp's partition of a text by
//! special tokens, done here so that the template's control text and a content's are kept apart. Pure: it
//! knows the texts of special tokens and no vocabulary.

use std::cmp::Reverse;
use std::ops::Range;

use aho_corasick::{AhoCorasick, BuildError};

use super::authored::Authored;
use crate::ledger::Token;

/// What a special token is to content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpecialClass {
    /// A control token: only the template writes it.
    Control,
    /// A user-defined token that the template uses as a mark, such as `<think>`: likewise.
    Mark,
    /// A user-defined token that is ordinary text, such as a run of spaces: anyone writes it.
    Word,
}

/// A token that llama.cpp looks for in a text before it tokenizes what lies between.
#[derive(Clone, Debug)]
pub struct Special {
    /// Its id.
    pub token: Token,
    /// The exact text that becomes the token.
    pub text: String,
    /// Who may write it.
    pub class: SpecialClass,
    /// White space to its left belongs to no token.
    pub lstrip: bool,
    /// White space to its right belongs to no token.
    pub rstrip: bool,
}

/// A rendered text and the ranges (bytes) that are content.
#[derive(Clone, Debug, Default)]
pub struct AuthoredText {
    /// The whole text.
    pub text: String,
    /// Ascending, not empty, not overlapping.
    content: Vec<Range<usize>>,
}

impl AuthoredText {
    /// The concatenation of some pieces.
    pub fn of(pieces: &[Authored]) -> AuthoredText {
        let mut text = String::with_capacity(pieces.iter().map(|p| p.text().len()).sum());
        let mut content = Vec::new();
        for piece in pieces.iter().filter(|p| !p.text().is_empty()) {
            let start = text.len();
            text.push_str(piece.text());
            if matches!(piece, Authored::Content(_)) {
                content.push(start..text.len());
            }
        }
        AuthoredText { text, content }
    }

    /// The same without its first `bytes`, which must end at a character.
    pub fn without_first(mut self, bytes: usize) -> AuthoredText {
        self.text.drain(..bytes);
        for range in &mut self.content {
            *range = range.start.saturating_sub(bytes)..range.end.saturating_sub(bytes);
        }
        self.content.retain(|range| !range.is_empty());
        self
    }

    /// Whether any of it is content.
    pub fn has_content(&self) -> bool {
        !self.content.is_empty()
    }

    /// Whether no byte of `range` is content.
    pub fn by_template(&self, range: &Range<usize>) -> bool {
        let at = self.content.partition_point(|c| c.end <= range.start);
        self.content.get(at).is_none_or(|c| c.start >= range.end)
    }
}

/// A part of a partitioned text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fragment {
    /// A special token.
    Token(Token),
    /// Text between special tokens, in bytes of the whole.
    Text(Range<usize>),
}

/// The special tokens of a vocabulary, and the automata that find them.
#[derive(Clone, Debug)]
pub struct Specials {
    /// In the order in which llama.cpp looks for them: the longest first.
    list: Vec<Special>,
    all: AhoCorasick,
    /// Control tokens and marks.
    guarded: AhoCorasick,
}

impl Specials {
    /// Builds the automata.
    ///
    /// # Errors
    /// When the texts together are too large for an automaton (gigabytes).
    pub fn new(mut list: Vec<Special>) -> Result<Specials, BuildError> {
        list.retain(|special| !special.text.is_empty());
        // llama.cpp's order among texts of one length is that of an unstable sort. It would matter
        // only where two of them overlap in a text.
        list.sort_by_key(|special| (Reverse(special.text.len()), special.token));
        let guarded = list.iter().filter(|s| s.class != SpecialClass::Word);
        Ok(Specials {
            all: AhoCorasick::new(list.iter().map(|special| &special.text))?,
            guarded: AhoCorasick::new(guarded.map(|special| &special.text))?,
            list,
        })
    }

    /// All special tokens, the longest text first.
    pub fn list(&self) -> &[Special] {
        &self.list
    }

    /// Whether the text of a control token or a mark lies in content, or partly so: whether
    /// llama.cpp's partition would cut there. What its tokenizers then merge to such a token does
    /// not show here, for they see another text (escaped, prefixed, normalized).
    pub fn hostile(&self, rendered: &AuthoredText) -> bool {
        rendered.has_content()
            && self
                .guarded
                .find_overlapping_iter(&rendered.text)
                .any(|hit| !rendered.by_template(&hit.range()))
    }

    /// Cuts a text at its special tokens as llama.cpp does, except that control tokens and marks
    /// count only where the template alone wrote them.
    pub fn partition(&self, rendered: &AuthoredText) -> Vec<Fragment> {
        let bytes = rendered.text.as_bytes();
        let mut hits: Vec<(usize, Range<usize>)> = self
            .all
            .find_overlapping_iter(&rendered.text)
            .map(|hit| (hit.pattern().as_usize(), hit.range()))
            .filter(|(which, range)| {
                self.list[*which].class == SpecialClass::Word || rendered.by_template(range)
            })
            .collect();
        hits.sort_unstable_by_key(|(which, range)| (*which, range.start));

        let mut taken = vec![false; bytes.len()];
        let mut cuts: Vec<(Range<usize>, Token)> = Vec::new();
        for (which, range) in hits {
            // What is taken is never shorter than this one, so it covers an end of it or nothing.
            if taken[range.start] || taken[range.end - 1] {
                continue;
            }
            let special = &self.list[which];
            let Range { mut start, mut end } = range;
            while special.lstrip && start > 0 && !taken[start - 1] && is_space(bytes[start - 1]) {
                start -= 1;
            }
            while special.rstrip && end < bytes.len() && !taken[end] && is_space(bytes[end]) {
                end += 1;
            }
            taken[start..end].fill(true);
            cuts.push((start..end, special.token));
        }
        cuts.sort_unstable_by_key(|(range, _)| range.start);

        let mut fragments = Vec::with_capacity(2 * cuts.len() + 1);
        let mut at = 0;
        for (range, token) in cuts {
            if at < range.start {
                fragments.push(Fragment::Text(at..range.start));
            }
            fragments.push(Fragment::Token(token));
            at = range.end;
        }
        if at < bytes.len() {
            fragments.push(Fragment::Text(at..bytes.len()));
        }
        fragments
    }

    /// Where to cut `text` so that none of its parts holds the text of a mark: ascending byte
    /// positions, each after the first character of what it breaks. A text of a single character
    /// cannot be broken.
    pub fn breaks(&self, text: &str) -> Vec<usize> {
        let mut hits: Vec<Range<usize>> = self
            .all
            .find_overlapping_iter(text)
            .filter(|hit| self.list[hit.pattern().as_usize()].class == SpecialClass::Mark)
            .map(|hit| hit.range())
            .collect();
        hits.sort_unstable_by_key(|range| (range.start, range.end));
        let mut cuts: Vec<usize> = Vec::new();
        for hit in hits {
            let first = text[hit.clone()].chars().next().map_or(0, char::len_utf8);
            let broken = cuts.last().is_some_and(|cut| *cut > hit.start);
            if !broken && hit.len() > first {
                cuts.push(hit.start + first);
            }
        }
        cuts
    }
}

/// White space as C's `isspace` sees it, which is what llama.cpp strips.
pub fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;
    use Fragment::Text;

    fn specials(list: &[(&str, SpecialClass)]) -> Specials {
        let list = list.iter().enumerate().map(|(id, (text, class))| Special {
            token: Token(id as i32),
            text: text.to_string(),
            class: *class,
            lstrip: text.contains("left"),
            rstrip: text.contains("right"),
        });
        Specials::new(list.collect()).expect("automata")
    }

    fn template(text: &str) -> Authored {
        Authored::Template(text.into())
    }

    fn content(text: &str) -> Authored {
        Authored::Content(text.into())
    }

    fn token(id: i32) -> Fragment {
        Fragment::Token(Token(id))
    }

    const CHAT: &[(&str, SpecialClass)] = &[
        ("<|s|>", SpecialClass::Control),
        ("<|e|>", SpecialClass::Control),
        ("<think>", SpecialClass::Mark),
        ("  ", SpecialClass::Word),
        ("    ", SpecialClass::Word),
    ];

    #[test]
    fn only_the_template_cuts_at_control_text() {
        let chat = specials(CHAT);
        let rendered = AuthoredText::of(&[
            template("<|s|>u"),
            content("a<|e|><think>b"),
            template("<|e|>"),
        ]);
        assert!(chat.hostile(&rendered));
        assert_eq!(chat.partition(&rendered), [token(0), Text(5..20), token(1)]);
    }

    #[test]
    fn control_text_across_the_edge_of_content_is_hostile() {
        let chat = specials(CHAT);
        for pieces in [
            [template("x<|"), content("s|>"), template("y")],
            [template("x"), content("<|s"), template("|>y")],
            [template("x<"), content("|s|"), template(">y")],
        ] {
            let rendered = AuthoredText::of(&pieces);
            assert!(chat.hostile(&rendered));
            assert_eq!(chat.partition(&rendered), [Text(0..7)]);
        }
        let cut_by_nothing = AuthoredText::of(&[template("<|s"), content(""), template("|>")]);
        assert!(!chat.hostile(&cut_by_nothing));
        assert_eq!(chat.partition(&cut_by_nothing), [token(0)]);
    }

    #[test]
    fn the_templates_own_token_survives_content_that_overlaps_it() {
        let overlapping = specials(&[
            ("|><|", SpecialClass::Control),
            ("<|e|>", SpecialClass::Control),
        ]);
        let rendered = AuthoredText::of(&[content("|>"), template("<|e|>")]);
        assert!(overlapping.hostile(&rendered));
        assert_eq!(overlapping.partition(&rendered), [Text(0..2), token(1)]);
    }

    #[test]
    fn the_longest_token_is_found_first_and_words_are_found_in_content() {
        let chat = specials(CHAT);
        let rendered = AuthoredText::of(&[content("a       b")]);
        assert!(!chat.hostile(&rendered));
        assert_eq!(
            chat.partition(&rendered),
            [Text(0..1), token(4), token(3), Text(7..9)]
        );
    }

    #[test]
    fn white_space_beside_stripping_tokens_is_no_fragment() {
        let strip = specials(&[
            ("<left>", SpecialClass::Control),
            ("<right>", SpecialClass::Control),
            ("\n\n", SpecialClass::Word),
        ]);
        let rendered = AuthoredText::of(&[template("a \n<left> b<right> \n\nc<right>\n")]);
        assert_eq!(
            strip.partition(&rendered),
            [
                Text(0..1),
                token(0),
                Text(9..11),
                token(1),
                Text(21..22),
                token(1)
            ]
        );
    }

    #[test]
    fn broken_text_holds_no_mark_in_any_part() {
        let nested = specials(&[
            ("<a<a>", SpecialClass::Mark),
            ("<a>", SpecialClass::Mark),
            ("a>", SpecialClass::Control),
            ("é-é", SpecialClass::Mark),
            ("x", SpecialClass::Mark),
        ]);
        for (text, cuts) in [
            ("..<a<a>..", vec![3, 5]),
            ("<a>", vec![1]),
            ("a>", vec![]),
            ("é-é", vec![2]),
            ("x", vec![]),
        ] {
            assert_eq!(nested.breaks(text), cuts, "{text}");
        }
    }

    #[test]
    fn a_text_without_its_first_bytes_knows_its_content() {
        let rendered = AuthoredText::of(&[template("ab"), content("cd"), template("ef")]);
        for (bytes, range) in [(1, 1..3), (2, 0..2), (3, 0..1)] {
            assert_eq!(rendered.clone().without_first(bytes).content, [range]);
        }
        assert!(rendered.without_first(5).content.is_empty());
    }
}
